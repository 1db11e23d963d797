"""Sizes of photographs: which can be compared, and what one becomes that is too large."""

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


def reduced_size(height: int, width: int, long_side: int) -> tuple[int, int]:
    """Height and width of a photograph, in proportion, with at most ``long_side`` pixels a side."""
    longest = max(height, width)
    if longest <= long_side:
        return height, width
    return max(1, round(height * long_side / longest)), max(1, round(width * long_side / longest))
