"""The Makefile: every test file is run, and the demo may be repeated."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


def dry_run(folder, goal):
    """The lines that make would run, in a folder with this repository's Makefile."""
    if shutil.which("make") is None:
        pytest.skip("make is not installed")
    for name in ("Makefile", "pyproject.toml"):
        shutil.copy(ROOT / name, folder)
    command = ["make", "--no-print-directory", "-n", goal]
    return subprocess.run(
        command, cwd=folder, capture_output=True, text=True, check=True
    ).stdout.splitlines()


def test_every_test_file_is_run_once_whatever_its_name(tmp_path):
    names = ["test_a.py", "test_m.py", "test_n.py", "test_z.py", "test_3d.py", "test_CT.py"]
    names += ["test__x.py", "test_\xe9.py", "test_train.py"]
    (tmp_path / "tests").mkdir()
    for name in [*names, "conftest.py", "node_tools.py"]:
        (tmp_path / "tests" / name).touch()
    parts = [line for line in dry_run(tmp_path, "test") if "-m pytest" in line]
    runs = [re.findall(r"tests/(\S+)", line) for line in parts]
    assert len(runs) == 3
    assert sorted(name for run in runs for name in run) == sorted(names)
    assert runs[0] == ["test_a.py", "test_m.py"]
    assert runs[2] == ["test_train.py"]


def test_no_process_of_the_tests_is_left_without_a_file(tmp_path):
    """Pytest that is given no file runs all of them."""
    (tmp_path / "tests").mkdir()
    for path in (ROOT / "tests").glob("test_*.py"):
        (tmp_path / "tests" / path.name).touch()
    parts = [line for line in dry_run(tmp_path, "test") if "-m pytest" in line]
    assert parts
    assert all("tests/test_" in line for line in parts)


def test_the_demo_may_be_repeated(tmp_path):
    assert any(line.endswith("hrinet demo --overwrite") for line in dry_run(tmp_path, "demo"))
