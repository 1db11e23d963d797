"""Long lists in messages."""

from __future__ import annotations

from relit.data.few import few


def test_a_few_are_named_and_the_others_counted() -> None:
    assert few(["a", "b"]) == "a, b"
    assert few(list("abcde")) == "a, b, c, d, e"
    assert few([str(number) for number in range(1189)]) == "0, 1, 2, 3, 4 and 1,184 more"
    assert few(list("abc"), most=1) == "a and 2 more"
