"""A report as data: headings, paragraphs, tables, pictures; HTML and Markdown are made of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from PIL import Image

Mark: TypeAlias = Literal["", "best", "second", "thesis", "absent"]
"""How a cell stands out: best of its row or column, second best, the thesis's, nothing there."""


@dataclass(frozen=True, slots=True)
class Cell:
    """One cell.

    Attributes:
        text: what stands in it.
        mark: see :data:`Mark`.
    """

    text: str
    mark: Mark = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Heading:
    """A heading.

    Attributes:
        level: 1 for the title.
        text: of it.
    """

    level: int
    text: str


@dataclass(frozen=True, slots=True)
class Paragraph:
    """A paragraph, or a list.

    Attributes:
        lines: one for a paragraph, several for a list.
        is_list: whether they are items.
    """

    lines: tuple[str, ...]
    is_list: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """A table.

    Attributes:
        title: above it.
        head: texts of the columns.
        rows: cells; the first of a row names it.
        protocol: how the numbers were taken.
        notes: sentences below.
    """

    title: str
    head: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    protocol: str
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """A picture.

    Attributes:
        title: above it.
        image: itself.
        caption: below it: what is seen, where it is from.
    """

    title: str
    image: Image.Image
    caption: str


Block: TypeAlias = Heading | Paragraph | Table | Figure


def paragraph(text: str) -> Paragraph:
    """One paragraph."""
    return Paragraph((text,))


def bullets(lines: Sequence[str]) -> Paragraph:
    """A list."""
    return Paragraph(tuple(lines), is_list=True)


def cells(texts: Sequence[str]) -> tuple[Cell, ...]:
    """Cells that do not stand out."""
    return tuple(Cell(text) for text in texts)
