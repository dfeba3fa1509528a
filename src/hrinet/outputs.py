"""The files that the main job writes, and refusing those that it must not or cannot write."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from hrinet.errors import RequestError, RunError
from hrinet.io.dicom_options import DicomOptions
from hrinet.io.formats import check_writable, is_dicom_output, is_folder
from hrinet.io.guard import refuse_inputs
from hrinet.io.sidecar import half_width_path, own_sidecar, refuse_sidecars
from hrinet.job import Job, Options
from hrinet.types import FLOAT32


@dataclass(frozen=True, slots=True, kw_only=True)
class Outputs:
    """The files to write.

    Attributes:
        volume: the filled volume: a volume file, or a folder or ``.zip`` for a DICOM series.
        preview: a PNG, or None.
        uncertainty: a volume file for the expected absolute error of every voxel, HU, float32, or
            None. The half width of the 90 % interval goes beside it; see
            :func:`hrinet.io.sidecar.half_width_path`.
        report: a JSON report, or None.
        overwrite: whether existing files may be replaced; an input never is.
        dicom: how a DICOM series is written.
    """

    volume: Path
    preview: Path | None = None
    uncertainty: Path | None = None
    report: Path | None = None
    overwrite: bool = False
    dicom: DicomOptions = field(default_factory=DicomOptions)

    @property
    def maps(self) -> tuple[Path, ...]:
        """Those of the uncertainty: expected error and half width; or none."""
        if self.uncertainty is None:
            return ()
        return self.uncertainty, half_width_path(self.uncertainty)


def check_outputs(input_path: Path, outputs: Outputs, options: Options) -> None:
    """Refuse outputs that cannot be written, or would replace an input, before any work is done.

    Args:
        input_path: the scan.
        outputs: the files to write.
        options: what the user wants.

    Raises:
        RequestError: saying which output is wrong.
    """
    for path in (outputs.volume, *outputs.maps):
        check_writable(path)
    if outputs.preview and outputs.preview.suffix.lower() != ".png":
        raise RequestError(f"{outputs.preview}: --preview draws a PNG; end its name in .png")
    volumes = (outputs.volume, *outputs.maps)
    folders = [path for path in volumes if is_folder(path)]
    refuse_inputs(
        (
            *(path for path in volumes if path not in folders),
            own_sidecar(outputs.volume),
            *(path for path in (outputs.preview, outputs.report) if path),
        ),
        (input_path, outputs.dicom.like, *_weights_files(options.weights)),
        folders=folders,
    )
    refuse_sidecars([outputs.report])
    dicom = any(map(is_dicom_output, (outputs.volume, *outputs.maps)))
    if dicom and options.label:
        raise RequestError(
            f"{outputs.volume}: a segmentation is no CT, and cannot be written as a DICOM series; "
            "write .nii.gz, .nrrd or .mha"
        )
    if not dicom and (chosen := outputs.dicom.chosen):
        raise RequestError(
            f"{chosen} is for DICOM output; give a folder or a .zip instead of {outputs.volume}"
        )


def _weights_files(weights: Path | None) -> tuple[Path, ...]:
    """What belongs to weights of one's own; not all kinds have all of it."""
    if weights is None:
        return ()
    from hrinet.weights.find import find_weights
    from hrinet.weights.flow import graph_paths

    weights = find_weights(weights)
    return weights, weights.with_suffix(".json"), *graph_paths(weights)


def check_space(outputs: Outputs, job: Job) -> None:
    """Refuse what a format or a disk cannot hold before the work; compressed CT is about half.

    Raises:
        RequestError: if a format cannot hold the geometry.
        RunError: if a disk is too full.
    """
    float_bytes = int(np.prod(job.geometry.shape)) * FLOAT32.itemsize
    sizes = {outputs.volume: job.output_bytes, **dict.fromkeys(outputs.maps, float_bytes)}
    needed: dict[int, int] = {}
    for path, size in sizes.items():
        suffix = check_writable(path, job.geometry)
        folder = path.parent if path.parent.is_dir() else Path()
        try:
            disk, free = folder.stat().st_dev, shutil.disk_usage(folder).free
        except OSError:
            continue
        needed[disk] = needed.get(disk, 0) + (size // 2 if suffix == ".nii.gz" else size)
        if needed[disk] > free:
            raise RunError(
                f"{path}: needs about {needed[disk] / 1e9:.1f} GB, {free / 1e9:.1f} GB are free "
                "on its disk"
            )
