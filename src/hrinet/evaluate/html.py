"""A report as one HTML page that needs nothing else: no script, no request, pictures inline."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from html import escape

from PIL import Image

from hrinet.evaluate.document import Block, Cell, Figure, Heading, Paragraph, Table

_QUALITY = 72
"""Of the pictures' WebP compression, 0 to 100."""

_STYLE = """
:root { color-scheme: light dark; --ink: #1b1f27; --soft: #5b6474; --rule: #d8dce4;
  --paper: #ffffff; --panel: #f5f7fa; --best: #0b6bcb; }
@media (prefers-color-scheme: dark) { :root { --ink: #e8ebf1; --soft: #9aa4b5; --rule: #343b48;
  --paper: #14171d; --panel: #1c2028; --best: #63b3ff; } }
body { font: 16px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper);
  max-width: 1180px; margin: 0 auto; padding: 1.5rem; }
h1 { font-size: 1.9rem; line-height: 1.2; } h2 { margin-top: 2.6rem; border-top: 1px solid
  var(--rule); padding-top: 1.2rem; } h3 { margin-top: 1.8rem; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-size: .86rem; font-variant-numeric: tabular-nums; }
caption { text-align: left; font-weight: 600; padding: .5rem 0; font-size: 1rem; }
th, td { padding: .28rem .6rem; border-bottom: 1px solid var(--rule); text-align: right;
  white-space: nowrap; }
th { background: var(--panel); white-space: normal; vertical-align: bottom; }
th:first-child, td:first-child { text-align: left; }
td.best { font-weight: 700; color: var(--best); } td.second { text-decoration: underline; }
td.thesis { font-style: italic; color: var(--soft); } td.absent { color: var(--soft); }
.protocol, .note, figcaption { color: var(--soft); font-size: .84rem; max-width: 70rem; }
figure { margin: 1.5rem 0; } figure img { max-width: 100%; height: auto; display: block; }
figure b { display: block; margin-bottom: .4rem; }
p, li { max-width: 60rem; }
"""


def to_html(blocks: Sequence[Block], *, title: str) -> str:
    """The whole report."""
    body = "\n".join(_block(block) for block in blocks)
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{_STYLE}</style>\n</head>\n"
        f"<body>\n{body}\n</body>\n</html>\n"
    )


def _block(block: Block) -> str:
    if isinstance(block, Heading):
        return f"<h{block.level}>{escape(block.text)}</h{block.level}>"
    if isinstance(block, Paragraph):
        if block.is_list:
            return "<ul>" + "".join(f"<li>{escape(line)}</li>" for line in block.lines) + "</ul>"
        return "".join(f"<p>{escape(line)}</p>" for line in block.lines)
    if isinstance(block, Figure):
        return (
            f"<figure><b>{escape(block.title)}</b>"
            f'<img alt="{escape(block.title)}" width="{block.image.width}" '
            f'height="{block.image.height}" src="{_data_uri(block.image)}">'
            f"<figcaption>{escape(block.caption)}</figcaption></figure>"
        )
    return _table(block)


def _table(table: Table) -> str:
    head = "".join(f"<th>{escape(text)}</th>" for text in table.head)
    rows = "".join("<tr>" + "".join(_cell(cell) for cell in row) + "</tr>" for row in table.rows)
    notes = "".join(f'<p class="note">{escape(note)}</p>' for note in table.notes)
    protocol = f'<p class="protocol">Protocol: {escape(table.protocol)}</p>'
    return (
        f'<div class="scroll"><table><caption>{escape(table.title)}</caption>'
        f"<thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>"
        f"{protocol if table.protocol else ''}{notes}"
    )


def _cell(cell: Cell) -> str:
    mark = f' class="{cell.mark}"' if cell.mark else ""
    return f"<td{mark}>{escape(cell.text)}</td>"


def _data_uri(image: Image.Image) -> str:
    stream = io.BytesIO()
    image.save(stream, format="WEBP", quality=_QUALITY, method=4)
    return "data:image/webp;base64," + base64.b64encode(stream.getvalue()).decode("ascii")
