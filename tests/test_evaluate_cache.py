"""Kept results: they come back whole, or count as absent."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from hrinet.errors import RequestError
from hrinet.evaluate.cache import Cache, code_fingerprint, key_of


def test_results_come_back(tmp_path: Path) -> None:
    cache = Cache(tmp_path / "c")
    slices = {"made0": np.arange(24, dtype=np.int16).reshape(2, 3, 4)}
    cache.put("k", {"method": "cubic", "scores": []}, slices)
    found = cache.get("k")
    assert found is not None
    assert found["method"] == "cubic"
    back = Cache(tmp_path / "c").slices("k")
    assert back is not None
    np.testing.assert_array_equal(back["made0"], slices["made0"])
    assert cache.get("other") is None


def test_damaged_results_count_as_absent(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    slices = {"made0": np.arange(4000, dtype=np.int16)}
    cache.put("k", {"method": "cubic"}, slices)
    npz = (tmp_path / "k.npz").read_bytes()
    for content in (npz[: len(npz) // 2], b"", b"PK" + bytes(50)):
        (tmp_path / "k.npz").write_bytes(content)
        assert cache.get("k") is None
    cache.put("k", {"method": "cubic"}, {})
    assert cache.get("k") is not None
    for text in ("", "[]", '{"schema": "other"}', '{"method": "cu'):
        (tmp_path / "k.json").write_text(text)
        assert cache.get("k") is None


def test_names_depend_on_everything() -> None:
    base = {"scan": "a", "method": "cubic", "weights": ""}
    assert key_of(base) == key_of(dict(reversed(base.items())))
    assert key_of(base) != key_of({**base, "weights": "b"})
    assert len(code_fingerprint()) == 64


def test_a_folder_that_cannot_be_made_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RequestError, match="cannot be made"):
        Cache(tmp_path / "file" / "cache")
