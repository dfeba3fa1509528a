"""Checking DICOM with other people's programs."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence as Items

SECRET = "ZZSENTINEL"
"""Stands in every attribute that could identify a patient."""


def tool(name: str, package: str) -> str:
    """Path of a program; skips the test where it is not installed."""
    path = shutil.which(name)
    if path is None:
        pytest.skip(f"{name} is not installed (Debian package {package})")
    return path


def dciodvfy_errors(path: Path) -> list[str]:
    """What dciodvfy calls an error."""
    run = subprocess.run(
        [tool("dciodvfy", "dicom3tools"), str(path)],
        capture_output=True,
        text=True,
        errors="replace",
        timeout=60,
    )
    lines = (run.stdout + run.stderr).splitlines()
    assert any("CTImage" in line for line in lines), lines  # It knew what the object is.
    return [line for line in lines if "Error" in line]


def dcm2niix(folder: Path, out: Path) -> tuple[list[str], Path | None]:
    """Warnings of dcm2niix, and the volume that it made (not the one it straightened)."""
    out.mkdir()
    run = subprocess.run(
        [tool("dcm2niix", "dcm2niix"), "-o", str(out), "-f", "x", "-b", "n", str(folder)],
        capture_output=True,
        text=True,
        errors="replace",
        timeout=120,
    )
    lines = (run.stdout + run.stderr).splitlines()
    warnings = [line for line in lines if "warning" in line.lower() or "error" in line.lower()]
    made = sorted(out.glob("x.nii"))
    return warnings, made[0] if made else None


def patient(**more: Any) -> dict[str, Any]:
    """Attributes of a complete CT image, full of identifiers, old habits and private data."""
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = "X", "99X", "meaning"
    item.add_new(0x00090010, "LO", "PRIVATE")
    item.add_new(0x00091001, "LO", f"{SECRET} private in a sequence")
    return {
        "SpecificCharacterSet": "ISO_IR 100",
        "PatientName": f"{SECRET}^Jürgen",
        "PatientID": f"{SECRET}-1",
        "PatientBirthDate": "19500102",
        "PatientSex": "F",
        "PatientAge": "071Y",
        "OtherPatientIDs": f"{SECRET}-2",
        "StudyDate": "20210304",
        "StudyTime": "101112",
        "StudyID": f"{SECRET}-3",
        "AccessionNumber": f"{SECRET}-4",
        "ReferringPhysicianName": f"{SECRET}^Doctor",
        "StudyDescription": f"{SECRET} study",
        "SeriesDescription": f"{SECRET} series",
        "InstitutionName": f"{SECRET} hospital",
        "ProcedureCodeSequence": Items([item]),
        "Manufacturer": "ACME",
        "ManufacturerModelName": "Scanner",
        "SeriesNumber": 5,
        "AcquisitionNumber": 7,
        "KVP": 120,
        "ConvolutionKernel": "B30f",
        "BodyPartExamined": "CHEST",
        "PatientPosition": "HFS",
        "FrameOfReferenceUID": "1.2.3.99",
        "PositionReferenceIndicator": "",
        "SliceThickness": 5.0,
        "SpacingBetweenSlices": -5.0,
        "RescaleType": "HU",
        "WindowCenter": [40, -600],
        "WindowWidth": [400, 1500],
        "AcquisitionTime": "101200",
        "ContentTime": "101201",
        "Exposure": 100,
        "XRayTubeCurrent": 200,
        "ExposureTime": 500,
        **more,
    }
