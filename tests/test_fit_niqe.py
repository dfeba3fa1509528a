from __future__ import annotations

import numpy as np

import hrinet
from hrinet.demo.phantom import TorsoPhantom
from hrinet.metrics.niqe_model import packaged_model
from real_data import ct
from test_readme import load_tool

fit_niqe = load_tool("fit_niqe")


def test_sharp_patches_of_a_phantom():
    volume = TorsoPhantom(rows=384, columns=384, pixel_mm=1.0).volume(
        [150.0, 160.0, 170.0, 180.0], thickness_mm=2.0
    )
    values, used = fit_niqe.sharp_features(volume, 2)
    assert used == 2
    assert values.shape[1] == 36
    assert 2 <= len(values) < 2 * 16
    assert np.isfinite(values).all()


def test_a_scan_without_tissue_gives_no_patches():
    phantom = TorsoPhantom(rows=96, columns=96, pixel_mm=1.0).volume([150.0], thickness_mm=1.0)
    air = hrinet.Volume(array=np.full((1, 96, 96), -1000, np.int16), geometry=phantom.geometry)
    values, used = fit_niqe.sharp_features(air, 5)
    assert values.shape == (0, 36)
    assert used == 0


def test_packaged_model_was_made_by_this_code():
    """One of its scans gives the number of patches that the file tells."""
    told = next(
        scan
        for scan in packaged_model().provenance["scans"]
        if scan["collection"] == "TCIA C4KC-KiTS 00072"
    )
    volume = hrinet.read(ct("train/kits_00072_18sl"))
    values, used = fit_niqe.sharp_features(volume, 40)
    assert (used, len(values)) == (told["slices"], told["patches"])


def test_fitting_writes_where_the_scans_came_from(monkeypatch, tmp_path):
    volume = TorsoPhantom(rows=384, columns=384, pixel_mm=1.0).volume(
        [140.0, 150.0, 160.0, 170.0, 180.0, 190.0], thickness_mm=2.0
    )
    monkeypatch.setattr(fit_niqe.hrinet, "read", lambda path: volume)
    series = [
        {"name": name, "collection": name.upper(), "licence": "CC BY 4.0"}
        for name in ("a", "b", "c")
    ]
    model = fit_niqe.fit(tmp_path, series, slices=6)
    assert model.value_range == fit_niqe.WINDOW
    assert [scan["collection"] for scan in model.provenance["scans"]] == ["A", "B", "C"]
    assert model.provenance["patches"] == 3 * model.provenance["scans"][0]["patches"]
