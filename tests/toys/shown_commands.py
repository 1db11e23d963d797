"""The commands that a page shows, and what stands behind a target of the Makefile."""

from __future__ import annotations

import re
import shlex

from markdown_page import ROOT, MarkdownPage


def shown_commands(page: str) -> list[str]:
    """Each command of the page's blocks ``sh``, on one line, without its comment; each once."""
    text = "".join(block.text for block in MarkdownPage(page).blocks if block.language == "sh")
    return commands_in(text)


def commands_in(text: str) -> list[str]:
    """Each command of a shell script, on one line, without its comment; each once."""
    lines = re.sub(r"\\\n\s*", "", text).splitlines()
    found = [shlex.join(words) for line in lines if (words := shlex.split(line, comments=True))]
    return list(dict.fromkeys(found))


def recipe(target: str) -> str:
    """The first line of a target's recipe, without the path of its ``bin``.

    Raises:
        AssertionError: the Makefile has no such target.
    """
    found = re.search(
        rf"^{re.escape(target)}:.*\n\t(?:\$\(BIN\)/)?(.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE
    )
    assert found, f"the Makefile has no {target}"
    return found[1]
