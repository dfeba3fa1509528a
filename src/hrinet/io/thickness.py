"""Slice thickness of volume files, most of whose formats have no place for it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from hrinet.io.sidecar import is_own_schema, sidecar_path
from hrinet.thickness import plausible_mm

_MOST_BYTES = 1 << 24


def thickness_beside(path: Path) -> float | None:
    """The slice thickness that the JSON beside a volume file states, mm.

    Converters such as dcm2niix put ``SliceThickness`` into ``scan.json`` beside ``scan.nii.gz``, as
    the Brain Imaging Data Structure wants it; it is DICOM's (0018,0050), PS3.3 C.7.6.2. A sidecar
    of this program states it as well. Whatever else lies there tells nothing.

    Args:
        path: of the volume file.
    """
    beside = sidecar_path(path)
    try:
        if beside.stat().st_size > _MOST_BYTES:
            return None
        content = json.loads(beside.read_text("utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    if not isinstance(content, dict):
        return None
    if is_own_schema(content.get("schema")):
        outputs: Any = content.get("outputs", [content.get("output")])
        if not isinstance(outputs, list) or path.name not in outputs:
            return None  # It describes another file of that stem.
        geometry: Any = content.get("geometry")
        content = geometry if isinstance(geometry, dict) else {}
        return plausible_mm(content.get("slice_thickness_mm"))
    return plausible_mm(content.get("SliceThickness"))
