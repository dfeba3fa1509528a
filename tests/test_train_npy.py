from __future__ import annotations

import hashlib

import numpy as np

from hrinet.train.npy import write_npy


def test_numpy_reads_what_was_written(tmp_path):
    values = np.random.default_rng(0).integers(0, 65536, (5, 3, 4), dtype=np.uint16)
    digest = write_npy(tmp_path / "a.npy", iter(values), shape=values.shape)
    np.testing.assert_array_equal(np.load(tmp_path / "a.npy"), values)
    np.testing.assert_array_equal(np.load(tmp_path / "a.npy", mmap_mode="r"), values)
    assert digest == hashlib.sha256(values.tobytes()).hexdigest()
    np.save(tmp_path / "b.npy", values)
    assert (tmp_path / "a.npy").read_bytes() == (tmp_path / "b.npy").read_bytes()
