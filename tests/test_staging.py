from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from hrinet.errors import RequestError
from hrinet.io.staging import Staging


def test_files_appear_together_when_all_is_well(tmp_path):
    with Staging(overwrite=False) as staging:
        first = staging.path(tmp_path / "a.nii")
        second = staging.path(tmp_path / "a.json")
        first.write_bytes(b"1")
        second.write_bytes(b"2")
        assert not (tmp_path / "a.nii").exists()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.json", "a.nii"]
    assert (tmp_path / "a.nii").read_bytes() == b"1"


def test_nothing_is_left_after_an_error(tmp_path):
    with pytest.raises(KeyboardInterrupt), Staging(overwrite=False) as staging:
        staging.path(tmp_path / "a.nii").write_bytes(b"1")
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []


def test_an_existing_file_survives_a_failed_overwrite(tmp_path):
    target = tmp_path / "a.nii"
    target.write_bytes(b"old")
    with pytest.raises(ValueError, match="boom"), Staging(overwrite=True) as staging:
        staging.path(target).write_bytes(b"new")
        raise ValueError("boom")
    assert target.read_bytes() == b"old"
    with Staging(overwrite=True) as staging:
        staging.path(target).write_bytes(b"new")
    assert target.read_bytes() == b"new"


def test_clear_refusals(tmp_path):
    (tmp_path / "there.nii").touch()
    with Staging(overwrite=False) as staging:
        with pytest.raises(RequestError, match=r"exists already; pass --overwrite"):
            staging.path(tmp_path / "there.nii")
        with pytest.raises(RequestError, match="is a folder"):
            staging.path(tmp_path)
        with pytest.raises(RequestError, match="does not exist; create it"):
            staging.path(tmp_path / "no" / "a.nii")
        staging.path(tmp_path / "b.nii")
        with pytest.raises(RequestError, match="two outputs"):
            staging.path(tmp_path / "b.nii")


def test_one_place_is_not_two_outputs_whatever_it_is_called(tmp_path, monkeypatch):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    (tmp_path / "circle").symlink_to("circle")
    monkeypatch.chdir(tmp_path)
    for other in ("link/a.nii", "real/../real/a.nii", "link/../real/a.nii", "real/a.nii"):
        with (
            pytest.raises(RequestError, match="asked for as two outputs"),
            Staging(overwrite=True) as staging,
        ):
            staging.path(tmp_path / "real" / "a.nii")
            staging.path(Path(other))
        assert list((tmp_path / "real").iterdir()) == []
    with pytest.raises(RequestError, match="two outputs"), Staging(overwrite=True) as staging:
        staging.folder(tmp_path / "real" / "out", replaces=_is_dcm)
        staging.path(tmp_path / "link" / "out")
    with Staging(overwrite=True) as staging:
        staging.path(tmp_path / "circle")
        staging.path(tmp_path / "real" / "b.nii")


def _is_dcm(path):
    return path.suffix == ".dcm"


def test_a_folder_appears_whole(tmp_path):
    with Staging(overwrite=False) as staging:
        folder = staging.folder(tmp_path / "out", replaces=_is_dcm)
        (folder / "1.dcm").write_bytes(b"1")
        assert not (tmp_path / "out").exists()
    assert [p.name for p in tmp_path.iterdir()] == ["out"]
    assert (tmp_path / "out" / "1.dcm").read_bytes() == b"1"


def test_a_failed_folder_leaves_the_old_one(tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "1.dcm").write_bytes(b"old")
    with pytest.raises(ValueError, match="boom"), Staging(overwrite=True) as staging:
        (staging.folder(tmp_path / "out", replaces=_is_dcm) / "2.dcm").write_bytes(b"new")
        raise ValueError("boom")
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["1.dcm"]
    with Staging(overwrite=True) as staging:
        (staging.folder(tmp_path / "out", replaces=_is_dcm) / "2.dcm").write_bytes(b"new")
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["2.dcm"]
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


def test_a_folder_with_anything_else_is_never_replaced(tmp_path):
    folder = tmp_path / "home"
    folder.mkdir()
    with Staging(overwrite=False) as staging:
        staging.folder(folder, replaces=_is_dcm)  # Empty: nothing can be lost.
    (folder / "1.dcm").write_bytes(b"mine")
    with (
        Staging(overwrite=False) as staging,
        pytest.raises(RequestError, match="not empty; pass --overwrite"),
    ):
        staging.folder(folder, replaces=_is_dcm)
    (folder / "thesis.txt").write_bytes(b"mine")
    with (
        Staging(overwrite=True) as staging,
        pytest.raises(RequestError, match=r"holds 'thesis.txt', which is no part"),
    ):
        staging.folder(folder, replaces=_is_dcm)
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to(folder)
    with Staging(overwrite=True) as staging:
        with pytest.raises(RequestError, match="is a file, expected a folder"):
            staging.folder(tmp_path / "file", replaces=_is_dcm)
        with pytest.raises(RequestError, match="is a link to a folder"):
            staging.folder(tmp_path / "link", replaces=_is_dcm)
    assert len(list(folder.iterdir())) == 2


_WRITE_SLOWLY = """
import sys, time
from pathlib import Path
from hrinet.io.staging import Staging
with Staging(overwrite=True) as staging:
    path = staging.path(Path(sys.argv[1]) / "a.nii")
    path.write_bytes(b"half")
    print("ready", flush=True)
    time.sleep(30)
"""


@pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
def test_kill_leaves_the_old_file_and_no_partial_one(tmp_path):
    (tmp_path / "a.nii").write_bytes(b"old")
    process = subprocess.Popen(
        [sys.executable, "-c", _WRITE_SLOWLY, str(tmp_path)], stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    process.stdout.readline()
    process.send_signal(signal.SIGKILL)
    process.wait(timeout=10)
    process.stdout.close()
    time.sleep(0.05)
    assert (tmp_path / "a.nii").read_bytes() == b"old"
    assert all(p.name.startswith(".") for p in tmp_path.iterdir() if p.name != "a.nii")


def test_a_foreign_file_is_told_before_overwrite_is_advised(tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.txt").touch()
    with (
        Staging(overwrite=False) as staging,
        pytest.raises(RequestError, match="no part of such an output and would be lost; choose"),
    ):
        staging.folder(tmp_path / "out", replaces=_is_dcm)


def test_the_advice_is_for_the_command_line_and_for_python(tmp_path):
    (tmp_path / "a.nii").touch()
    with (
        Staging(overwrite=False) as staging,
        pytest.raises(RequestError, match=r"pass --overwrite \(in Python overwrite=True\)"),
    ):
        staging.path(tmp_path / "a.nii")
