"""A photograph written into a file of any of the formats, with all that the format can hold."""

from __future__ import annotations

import io
from dataclasses import replace

import numpy as np
from PIL import Image

from relit.photo_file.formats import FORMATS
from relit.photo_file.lossless import png_file, tiff_file
from relit.photo_file.photograph import Photograph

QUALITY = 95
"""Of JPEG and WebP files."""


class TooLarge(ValueError):  # noqa: N818 (says what is wrong)
    """A photograph with a longer side than its format allows."""


def losses(photo: Photograph, name: str) -> list[str]:
    """What of a photograph a format can't hold, in words: nothing for most."""
    kind = FORMATS[name]
    lost = {
        "no 16-bit samples": photo.is_deep and not kind.deep,
        "no alpha": photo.alpha is not None and not kind.alpha,
        "not so much EXIF data": len(photo.metadata.exif.tobytes()) > kind.max_block,
        "not so much XMP data": len(photo.metadata.xmp) > kind.max_block,
    }
    return [words for words, is_lost in lost.items() if is_lost]


def encoded(photo: Photograph, name: str, quality: int = QUALITY) -> bytes:
    """The bytes of a file that holds a photograph.

    PNG and TIFF are lossless (TIFF: Deflate with a predictor). JPEG has the chroma subsampling that the
    photograph had in a JPEG file, or none. What :func:`losses` names is left out: 16 bits are rounded to 8,
    and without alpha the colours of transparent pixels show.

    Args:
        photo: grey or RGB.
        name: of the format, one of :data:`~relit.photo_file.formats.FORMATS`.
        quality: 1 to 100, of JPEG and WebP.

    Raises: :class:`TooLarge`.
    """
    kind = FORMATS[name]
    if max(photo.samples.shape[:2]) > kind.max_side:
        raise TooLarge(f"{kind.title} files have at most {kind.max_side:,} pixels along a side")
    photo = _fitting(photo, name)
    if name == "png":
        return png_file(photo)
    if name == "tiff":
        return tiff_file(photo)
    kept = photo.metadata
    options: dict[str, object] = {
        "quality": quality,
        "exif": kept.exif.tobytes() if len(kept.exif) else b"",
        "icc_profile": photo.profile or b"",
        "xmp": kept.xmp,
    }
    if name == "jpeg":
        options |= {"subsampling": photo.subsampling or 0, "comment": kept.comment}
        options |= {} if kept.dpi is None else {"dpi": kept.dpi}
    else:
        options |= {"exact": True}  # the colours of transparent pixels, too
    file = io.BytesIO()
    _pillow(photo).save(file, kind.title, **options)
    return file.getvalue()


def _fitting(photo: Photograph, name: str) -> Photograph:
    """The photograph without what the format can't hold."""
    kind, kept = FORMATS[name], photo.metadata
    if len(kept.exif.tobytes()) > kind.max_block:
        kept = replace(kept, exif=Image.Exif())
    if len(kept.xmp) > kind.max_block:
        kept = replace(kept, xmp=b"")
    samples, alpha = photo.samples, photo.alpha if kind.alpha else None
    if photo.is_deep and not kind.deep:
        samples = _in_8_bits(samples)
        alpha = None if alpha is None else _in_8_bits(alpha)
    return replace(photo, samples=samples, alpha=alpha, metadata=kept)


def _in_8_bits(samples: np.ndarray) -> np.ndarray:
    return ((samples.astype(np.uint32) + 128) // 257).astype(np.uint8)


def _pillow(photo: Photograph) -> Image.Image:
    image = Image.fromarray(photo.samples[..., 0] if photo.is_grey else photo.samples)
    if photo.alpha is not None:
        image.putalpha(Image.fromarray(photo.alpha))
    return image
