"""EXIF, XMP and the rest: what stays true of a result is kept, what tells of the old light is not."""

from __future__ import annotations

import re

from PIL import ExifTags, Image

from relit.photo_file.photograph import Metadata

# Tags of a TIFF's first directory, where EXIF stands, too, that tell how its pixels are stored: sizes, strips
# and tiles, compression, orientation, other pictures in the file; and what is kept elsewhere (XMP, ICC).
_STORAGE = {
    *range(254, 260), 262, 263, 264, 265, 266, 273, 274, 277, 278, 279, 280, 281, 284, 290, 291, 292, 293,
    301, 317, 320, 321, 322, 323, 324, 325, 330, 332, 334, 336, 338, 339, 340, 341, 347, *range(512, 522),
    529, 530, 531, 532, 700, 33723, 34377, 34675, 37724,
}  # fmt: skip
_ORIENTATION = re.compile(rb"(tiff:Orientation\s*(?:=\s*[\"']|>)\s*)[2-8]")
_THUMBNAILS = re.compile(rb"<(xmp:Thumbnails)\b.*?</\1>", re.DOTALL)
# Texts of a PNG that are other metadata in disguise.
_NO_TEXT = ("XML:com.adobe.xmp", "Raw profile type ")


def read_metadata(image: Image.Image) -> Metadata:
    """The metadata of a loaded image that are kept, without EXIF, as they hold for an upright result.

    XMP loses its thumbnails, which show the old light, and its orientation. IPTC and Photoshop's own blocks
    are not kept.
    """
    text = {key: value for key, value in getattr(image, "text", {}).items() if not key.startswith(_NO_TEXT)}
    comment = image.info.get("comment")
    return Metadata(
        xmp=_kept_xmp(image.info.get("xmp")),
        dpi=_dpi(image.info.get("dpi")),
        text=text,
        comment=comment if isinstance(comment, bytes) else b"",
    )


def kept_exif(exif: Image.Exif, width: int, height: int) -> Image.Exif:
    """EXIF as it holds for a result of ``width`` x ``height`` pixels, upright.

    It loses the orientation, the thumbnail, which shows the old light, and what tells how pixels were stored;
    pixel dimensions become those of the result. The notes of a camera's maker are kept byte for byte.

    Raises: almost anything, where the data are so damaged that they can't be written again.
    """
    kept = Image.Exif()
    kept.endian = exif.endian
    for tag, value in exif.items():
        if tag not in _STORAGE and tag not in (ExifTags.IFD.Exif, ExifTags.IFD.GPSInfo):
            kept[tag] = value
    if details := dict(exif.get_ifd(ExifTags.IFD.Exif)):
        if ExifTags.IFD.Interop in details:
            details[ExifTags.IFD.Interop] = dict(exif.get_ifd(ExifTags.IFD.Interop))
        for tag, side in ((ExifTags.Base.ExifImageWidth, width), (ExifTags.Base.ExifImageHeight, height)):
            if tag in details:
                details[tag] = side
        kept[ExifTags.IFD.Exif] = details
    if place := dict(exif.get_ifd(ExifTags.IFD.GPSInfo)):
        kept[ExifTags.IFD.GPSInfo] = place
    kept.tobytes()  # what can't be written is found here, not when the result is
    return kept


def _kept_xmp(xmp: object) -> bytes:
    if isinstance(xmp, str):
        xmp = xmp.encode()
    if not isinstance(xmp, bytes):
        return b""
    return _ORIENTATION.sub(rb"\g<1>1", _THUMBNAILS.sub(b"", xmp))


def _dpi(dpi: object) -> tuple[float, float] | None:
    try:
        across, down = (float(number) for number in dpi)  # type: ignore[attr-defined]
    except (TypeError, ValueError, ZeroDivisionError):
        return None
    # formats write it as integers of 32 bits, in dots a metre or hundredths of an inch
    # and Pillow gives a TIFF file that has none one of 1
    return (across, down) if all(1 < number <= 1e6 for number in (across, down)) else None
