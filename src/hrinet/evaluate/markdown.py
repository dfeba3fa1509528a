"""A report as Markdown. Pictures are in the HTML page; here stands what they show."""

from __future__ import annotations

from collections.abc import Sequence

from hrinet.evaluate.document import Block, Cell, Figure, Heading, Paragraph, Table

_AROUND = {"best": "**{}**", "second": "<u>{}</u>", "thesis": "*{}*"}


def to_markdown(blocks: Sequence[Block]) -> str:
    """The whole report."""
    return "\n\n".join(_block(block) for block in blocks) + "\n"


def _block(block: Block) -> str:
    if isinstance(block, Heading):
        return f"{'#' * block.level} {_escaped(block.text)}"
    if isinstance(block, Paragraph):
        mark = "- " if block.is_list else ""
        return "\n".join(mark + _escaped(line) for line in block.lines)
    if isinstance(block, Figure):
        return f"*{_escaped(block.title)}* (picture in the HTML page): {_escaped(block.caption)}"
    return _table(block)


def _table(table: Table) -> str:
    lines = [
        "| " + " | ".join(_escaped(text) for text in table.head) + " |",
        "|---|" + "--:|" * (len(table.head) - 1),
    ]
    lines += ["| " + " | ".join(_cell(cell) for cell in row) + " |" for row in table.rows]
    parts = [f"**{_escaped(table.title)}**", "\n".join(lines)]
    if table.protocol:
        parts.append(f"Protocol: {_escaped(table.protocol)}")
    parts += [_escaped(note) for note in table.notes]
    return "\n\n".join(parts)


def _cell(cell: Cell) -> str:
    return _AROUND.get(cell.mark, "{}").format(_escaped(cell.text))


def _escaped(text: str) -> str:
    for letter in "\\|*_`[]":
        text = text.replace(letter, "\\" + letter)
    return text.replace("<", "&lt;").replace(">", "&gt;")
