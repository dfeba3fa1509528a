"""Real series: conformance, and other programs' view of the result."""

from __future__ import annotations

import nibabel
import numpy as np
import pydicom
import pytest
import SimpleITK as sitk

import hrinet
from dicom_tools import dciodvfy_errors, dcm2niix
from hrinet.io.dicom_options import DicomOptions
from hrinet.job import Options
from hrinet.pipeline import Outputs, interpolate_file
from hrinet.plan.plan import Request
from hrinet.verify.derived import verify
from real_data import ct

CASES = [
    "cases/cptac_C3L-00189",
    "cases/enhanced_multiframe_ct.dcm",
    "cases/ge_variable_tilt_and_spacing",
    "cases/philips_tilt_phantom",
    "cases/rider_0109",
    "cases/totalseg_example20",
    "test/lidc_0001",
]
TILTED = {"cases/ge_variable_tilt_and_spacing", "cases/philips_tilt_phantom"}


@pytest.fixture(scope="module")
def derived(tmp_path_factory):
    """The series derived from a case, made once."""
    made = {}

    def get(case):
        if case not in made:
            out = tmp_path_factory.mktemp("derived") / "out"
            # A few slices show all that is different about a case.
            length = None if case.endswith(".dcm") else 7
            interpolate_file(
                ct(case),
                Outputs(volume=out),
                Options(request=Request(factor=2, stop=length), method="linear"),
            )
            made[case] = out
        return made[case]

    return get


@pytest.mark.parametrize("case", CASES)
def test_no_error_and_all_checks_pass(derived, case):
    folder = derived(case)
    for path in sorted(folder.iterdir()):
        assert dciodvfy_errors(path) == []
    found = verify(folder, source=ct(case))
    assert found.passed, found
    assert all(check.outcome == "passed" for check in found.checks)


@pytest.mark.parametrize("case", CASES)
def test_enhanced_has_no_error_and_passes(case, tmp_path):
    length = None if case.endswith(".dcm") else 4
    interpolate_file(
        ct(case),
        Outputs(volume=tmp_path / "out", dicom=DicomOptions(enhanced=True)),
        Options(request=Request(factor=2, stop=length), method="linear"),
    )
    assert dciodvfy_errors(tmp_path / "out" / "enhanced.dcm") == []
    assert verify(tmp_path / "out", source=ct(case)).passed


@pytest.mark.parametrize("case", CASES)
def test_simpleitk_finds_every_slice_in_its_place(derived, case):
    ours = hrinet.read(derived(case))
    names = {}
    for path in derived(case).iterdir():
        image = sitk.ReadImage(str(path))
        names[image.GetOrigin()] = image
    assert len(names) == len(ours)
    for index, origin in enumerate(ours.geometry.origins):
        nearest = min(names, key=lambda place: np.linalg.norm(np.subtract(place, origin)))
        assert np.allclose(nearest, origin, atol=1e-4)
        image = names[nearest]
        assert np.array_equal(sitk.GetArrayViewFromImage(image)[0], ours.array[index])
        assert np.allclose(image.GetSpacing()[:2], ours.geometry.pixel_spacing[::-1], atol=1e-4)


@pytest.mark.parametrize("case", CASES)
def test_dcm2niix_and_nibabel_agree(derived, case, tmp_path):
    before, _ = dcm2niix(_native(ct(case), tmp_path / "native"), tmp_path / "before")
    after, path = dcm2niix(derived(case), tmp_path / "after")
    assert {_kind(line) for line in after} <= {_kind(line) for line in before}
    ours = hrinet.read(derived(case))
    if case in TILTED and not ours.geometry.is_uniform:
        return  # One affine cannot hold it.
    assert path is not None
    image = nibabel.load(path)
    voxels = np.asarray(image.dataobj)
    assert voxels.shape == ours.array.T.shape
    for index, row, column in ((0, 0, 0), (len(ours) - 1, 100, 7), (len(ours) // 2, 9, 300)):
        ras = np.append(ours.geometry.point(index, row, column) * [-1, -1, 1], 1)
        place = np.linalg.solve(image.affine, ras)[:3]
        if case not in TILTED:  # Of those, dcm2niix drops the shear from the affine.
            assert np.allclose(place, np.rint(place), atol=1e-4 / 0.3)
            assert voxels[tuple(np.rint(place).astype(int))] == ours.array[index, row, column]


def _kind(line):
    """A warning without its numbers and names."""
    return line.split(":")[1][:30] if ":" in line else line[:30]


def _native(source, folder):
    """The same without the compression that dcm2niix cannot read."""
    folder.mkdir()
    for path in [source] if source.is_file() else sorted(source.iterdir())[:7]:
        dataset = pydicom.dcmread(path)
        if dataset.file_meta.TransferSyntaxUID.is_compressed:
            dataset.decompress(generate_instance_uid=False)
        dataset.save_as(folder / path.name)
    return folder
