"""The wanted spacing as users write it, and where the words of the command line may be used."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import hrinet
from hrinet.errors import RequestError
from hrinet.plan.spacing import parse_spacing

PACKAGE = Path(hrinet.__file__).parent


@pytest.mark.parametrize(
    ("text", "value"),
    [("iso", "iso"), ("ISO", "iso"), ("1", 1.0), ("0.75mm", 0.75), ("2 MM", 2.0), ("1e-1", 0.1)],
)
def test_spacing_is_iso_or_a_number(text, value):
    assert parse_spacing(text) == value


@pytest.mark.parametrize("text", ["", "mm", "thin", "1,5", "1cm", "iso mm"])
def test_other_words_are_refused(text):
    with pytest.raises(RequestError, match=r"--spacing is .*, expected 'iso' or a number of mm"):
        parse_spacing(text)


def test_nothing_but_the_entry_point_needs_the_command_line():
    found = set()
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            modules = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            modules += [one.name for one in node.names] if isinstance(node, ast.Import) else []
            if any(module.startswith("hrinet.commands") for module in modules):
                found.add(path.relative_to(PACKAGE).parts[0])
    assert found == {"commands", "__main__.py"}
