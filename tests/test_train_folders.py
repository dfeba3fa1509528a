from __future__ import annotations

import os

import pytest

from hrinet.errors import RequestError
from hrinet.train.folders import make_folder, new_folder, require_no_file

LONG = "x" * 300


@pytest.fixture
def refused(monkeypatch):
    """A folder whose file system lets nobody look into it."""

    def stat(path, **_):
        raise PermissionError(13, "Permission denied", path)

    monkeypatch.setattr(os, "stat", stat)
    monkeypatch.setattr("pathlib.Path.stat", stat)


def enter(folder):
    with new_folder(folder):
        raise AssertionError("got in")


@pytest.mark.parametrize("ask", [require_no_file, make_folder, enter])
def test_a_name_that_cannot_be_is_one_sentence(tmp_path, ask):
    with pytest.raises(RequestError, match=rf"{LONG}: cannot be made: File name too long"):
        ask(tmp_path / LONG)


def test_nor_does_it_leave_its_parent_behind(tmp_path):
    with pytest.raises(RequestError, match="File name too long"):
        enter(tmp_path / "new" / LONG)
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("ask", [require_no_file, enter])
def test_a_folder_that_nobody_may_look_into_is_one_sentence(tmp_path, refused, ask):
    with pytest.raises(RequestError, match=r"new: cannot be made: Permission denied"):
        ask(tmp_path / "new")


def test_a_file_on_the_way_is_named(tmp_path):
    (tmp_path / "a").write_text("")
    with pytest.raises(RequestError, match=r"b: cannot be made: .*a is a file, expected a folder"):
        require_no_file(tmp_path / "a" / "b")
    require_no_file(tmp_path / "new" / "folder")
    assert not (tmp_path / "new").exists()


def test_an_empty_folder_is_not_left_behind(tmp_path):
    with pytest.raises(AssertionError, match="got in"):
        enter(tmp_path / "new" / "folder")
    assert not (tmp_path / "new").exists()
    with new_folder(tmp_path / "new" / "folder"):
        (tmp_path / "new" / "folder" / "kept").touch()
    assert (tmp_path / "new" / "folder" / "kept").exists()
