"""Which sizes of an input and its reference can be compared."""

from __future__ import annotations

# Some published references are a pixel shorter or wider than their input.
SIZE_TOLERANCE = 2


def size_mismatch(source: tuple[int, int], target: tuple[int, int]) -> str | None:
    """Why an input and a reference can't be compared, or None where they can.

    Args:
        source, target: height and width of either, in pixels, upright.
    """
    if max(abs(a - b) for a, b in zip(source, target, strict=True)) <= SIZE_TOLERANCE:
        return None
    sizes = " and ".join(f"{width}x{height}" for height, width in (source, target))
    return f"input and reference differ in size: {sizes}"
