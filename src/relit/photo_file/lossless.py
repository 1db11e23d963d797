"""PNG and TIFF files of 8 or 16 bits with alpha and metadata; Pillow has no 16-bit colour to write."""

from __future__ import annotations

import io
import zlib

import numpy as np
from PIL import TiffImagePlugin
from PIL.PngImagePlugin import PngInfo, putchunk
from PIL.TiffImagePlugin import ImageFileDirectory_v2

from relit.photo_file.photograph import Photograph

_SIGNATURE_AND_HEADER = 33  # bytes of a PNG file before its other chunks
_STRIP_BYTES = 1 << 18
_XMP = 700
_DEFLATE = 8
_HORIZONTAL_DIFFERENCES = 2
_NOT_PREMULTIPLIED = 2
_GREY, _RGB = 1, 2
_INCH = 2


def png_file(photo: Photograph) -> bytes:
    """A PNG file of a grey or RGB photograph."""
    from imagecodecs import png_encode

    # a copy: the strides of a view on a single row or column are not what the encoder asks for
    pixels = png_encode(_channels(photo).copy(order="C"))
    file = io.BytesIO()
    file.write(pixels[:_SIGNATURE_AND_HEADER])
    for name, content in _chunks(photo):
        putchunk(file, name, content)
    file.write(pixels[_SIGNATURE_AND_HEADER:])
    return file.getvalue()


def tiff_file(photo: Photograph) -> bytes:
    """A TIFF file of a grey or RGB photograph: Deflate, differences of neighbours, strips of 256 KiB."""
    samples = _channels(photo)
    height, width, channels = samples.shape
    differences = samples.astype(samples.dtype.newbyteorder("<"))
    differences[:, 1:] -= samples[:, :-1]
    rows = max(1, _STRIP_BYTES // differences[0].nbytes)
    strips = [zlib.compress(differences[top : top + rows].tobytes()) for top in range(0, height, rows)]
    ends = np.cumsum([0, *map(len, strips)]).tolist()

    directory = ImageFileDirectory_v2(prefix=b"II")
    for tag, value in photo.metadata.exif.items():
        directory[tag] = value
    directory[TiffImagePlugin.IMAGEWIDTH] = width
    directory[TiffImagePlugin.IMAGELENGTH] = height
    directory[TiffImagePlugin.BITSPERSAMPLE] = (8 * samples.itemsize,) * channels
    directory[TiffImagePlugin.COMPRESSION] = _DEFLATE
    directory[TiffImagePlugin.PHOTOMETRIC_INTERPRETATION] = _GREY if photo.is_grey else _RGB
    directory[TiffImagePlugin.STRIPOFFSETS] = tuple(ends[:-1])
    directory[TiffImagePlugin.SAMPLESPERPIXEL] = channels
    directory[TiffImagePlugin.ROWSPERSTRIP] = rows
    directory[TiffImagePlugin.STRIPBYTECOUNTS] = tuple(map(len, strips))
    directory[TiffImagePlugin.PLANAR_CONFIGURATION] = 1
    directory[TiffImagePlugin.PREDICTOR] = _HORIZONTAL_DIFFERENCES
    if photo.alpha is not None:
        directory[TiffImagePlugin.EXTRASAMPLES] = _NOT_PREMULTIPLIED
    if photo.profile is not None:
        directory[TiffImagePlugin.ICCPROFILE] = photo.profile
    if photo.metadata.xmp:
        directory[_XMP] = photo.metadata.xmp
    if photo.metadata.dpi is not None:
        across, down = photo.metadata.dpi
        directory[TiffImagePlugin.X_RESOLUTION] = across
        directory[TiffImagePlugin.Y_RESOLUTION] = down
        directory[TiffImagePlugin.RESOLUTION_UNIT] = _INCH
    file = io.BytesIO()
    directory.save(file)
    file.write(b"".join(strips))
    return file.getvalue()


def _channels(photo: Photograph) -> np.ndarray:
    """Colours, then alpha: (H, W, 1 to 4)."""
    return photo.samples if photo.alpha is None else np.dstack([photo.samples, photo.alpha])


def _chunks(photo: Photograph) -> list[tuple[bytes, bytes]]:
    kept = photo.metadata
    info = PngInfo()
    if photo.profile is not None:
        info.add(b"iCCP", b"ICC Profile\0\0" + zlib.compress(photo.profile))
    if kept.dpi is not None:
        across, down = (round(dots / 0.0254) for dots in kept.dpi)  # per metre
        info.add(b"pHYs", across.to_bytes(4, "big") + down.to_bytes(4, "big") + b"\1")
    if len(kept.exif):
        info.add(b"eXIf", kept.exif.tobytes().removeprefix(b"Exif\0\0"))
    if kept.xmp:
        info.add_itxt("XML:com.adobe.xmp", kept.xmp)
    for keyword, text in kept.text.items():
        info.add_text(keyword, text)
    return [(name, content) for name, content, _ in info.chunks]
