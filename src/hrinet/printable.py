"""Texts of files and peers, where control codes would act on a terminal."""

from __future__ import annotations


def printable(text: str) -> str:
    """The same without what no terminal shows and no UTF-8 holds, of which each becomes ``?``."""
    if text.isprintable():
        return text
    return "".join(character if character.isprintable() else "?" for character in text)
