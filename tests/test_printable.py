from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from hrinet.printable import printable


@given(st.text())
def test_what_comes_out_is_printed_as_it_is_and_encoded(text):
    shown = printable(text)
    assert len(shown) == len(text)
    assert shown.isprintable()
    assert shown.encode("utf-8").decode("utf-8") == shown
    assert all(b in (a, "?") for a, b in zip(text, shown, strict=True))


def test_only_what_acts_on_a_terminal_is_replaced():
    assert printable("Röntgen 胸部 ~") == "Röntgen 胸部 ~"
    assert printable("a\x1b[2Jb\n\u202e\ud800") == "a?[2Jb???"
