"""A report as its reader gets it: headings, tables, pictures, links."""

from __future__ import annotations

import base64
import io
from html.parser import HTMLParser

from PIL import Image

VOID = {"meta", "img", "input", "line", "rect", "polyline", "circle", "br", "link"}


class Page(HTMLParser):
    """Every element's attributes by tag, text by the tag it stands in, cells of tables by row.

    Attributes:
        elements: attributes of each element, by tag, in order.
        texts: text of each element that has some, by tag.
        rows: head, other heads and cells of each table's row, as (text, exact value or None).
        unbalanced: end tags that closed nothing.
    """

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: dict[str, list[dict[str, str | None]]] = {}
        self.texts: dict[str, list[str]] = {}
        self.rows: list[list[tuple[str, float | None]]] = []
        self.unbalanced: list[str] = []
        self._open: list[str] = []
        self.feed(text)
        self.close()
        self.unbalanced += self._open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.setdefault(tag, []).append(dict(attrs))
        if tag not in VOID:
            self._open.append(tag)
        if tag == "tr":
            self.rows.append([])
        elif tag in ("td", "th"):
            self.rows[-1].append(("", None))
        elif tag == "data":
            self.rows[-1][-1] = ("", float(dict(attrs)["value"] or "nan"))

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.setdefault(tag, []).append(dict(attrs))

    def handle_endtag(self, tag: str) -> None:
        if self._open and self._open[-1] == tag:
            self._open.pop()
        else:
            self.unbalanced.append(tag)

    def handle_data(self, data: str) -> None:
        if not data.strip() or not self._open:
            return
        self.texts.setdefault(self._open[-1], []).append(data.strip())
        if self.rows and self.rows[-1] and {"td", "th"} & set(self._open):
            text, value = self.rows[-1][-1]
            self.rows[-1][-1] = (text + data.strip(), value)

    def row(self, *heads: str) -> list[tuple[str, float | None]]:
        """The cells of the only row that begins with these heads."""
        (found,) = [row for row in self.rows if tuple(text for text, _ in row[: len(heads)]) == heads]
        return found[len(heads) :]

    def picture(self, alt: str) -> Image.Image:
        """The decoded picture of the only image with this text."""
        (found,) = [image for image in self.elements["img"] if image["alt"] == alt]
        source = found["src"] or ""
        assert source.startswith("data:image/webp;base64,")
        return Image.open(io.BytesIO(base64.b64decode(source.partition(",")[2]))).convert("RGB")
