"""The files of projections: PNG, TIFF, NIfTI, GIF, MP4."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import cv2
import nibabel as nib
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from hrinet.errors import RequestError, RunError
from hrinet.project.projector import Projection

STILLS = (".png", ".tif", ".tiff")
FILMS = (".gif", ".mp4")
VOLUMES = (".nii", ".nii.gz")
SUFFIXES = (*STILLS, *FILMS, *VOLUMES)
"""What can be written."""

_MM_PER_INCH = 25.4
_LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0])


def output_suffix(path: Path) -> str:
    """The suffix in lower case, ``.nii.gz`` whole.

    Raises:
        RequestError: if such files are not written.
    """
    name = path.name.lower()
    for suffix in sorted(SUFFIXES, key=len, reverse=True):
        if name.endswith(suffix) and len(name) > len(suffix):
            return suffix
    raise RequestError(
        f"{path}: cannot write {path.suffix!r}; choose a file name that ends in one of "
        f"{', '.join(SUFFIXES)}"
    )


def write_png(
    path: Path, image: Image.Image | NDArray[np.unsignedinteger], *, pixel_mm: float
) -> None:
    """Write a picture, with its pixels a metre in the pHYs chunk."""
    picture = image if isinstance(image, Image.Image) else Image.fromarray(image)
    dpi = _MM_PER_INCH / pixel_mm
    picture.save(path, format="PNG", dpi=(dpi, dpi), compress_level=9)


def write_tiff(path: Path, pages: Sequence[NDArray[np.uint16]], *, pixel_mm: float) -> None:
    """Write 16-bit pages, with their pixels a centimetre in the resolution tags."""
    first, *others = [Image.fromarray(page) for page in pages]
    first.save(
        path,
        format="TIFF",
        save_all=True,
        append_images=others,
        compression="tiff_adobe_deflate",
        resolution_unit="cm",
        x_resolution=10 / pixel_mm,
        y_resolution=10 / pixel_mm,
    )


def write_nifti(path: Path, projections: Sequence[Projection], *, compress: bool) -> None:
    """Write float32 values, one slice a projection: axes right, down, number.

    A single projection has the affine of its pixels in the plane through the middle of the volume.
    Of several, each with a plane of its own, it is that of the first one; the sidecar has the
    others.
    """
    first = projections[0]
    affine = np.eye(4)
    axes = (first.view.right, -first.view.up, first.view.ray)
    affine[:3, :3] = _LPS_TO_RAS @ (np.stack(axes, axis=1) * first.pixel_mm)
    affine[:3, 3] = _LPS_TO_RAS @ first.origin
    data = np.stack([one.values.T for one in projections], axis=2).astype(np.float32)
    image = cast(Any, nib).Nifti1Image(data, affine)
    image.header.set_xyzt_units("mm")
    image.header["descrip"] = f"hrinet projection, {first.mode}, {first.unit}".encode()
    content = image.to_bytes()
    if compress:
        import gzip

        content = gzip.compress(content, 6, mtime=0)
    path.write_bytes(content)


def write_gif(path: Path, frames: Sequence[Image.Image], *, frames_a_second: float) -> None:
    """Write an endless film in 256 greys and colours."""
    first, *others = [frame.quantize(256, dither=Image.Dither.NONE) for frame in frames]
    first.save(
        path,
        format="GIF",
        save_all=True,
        append_images=others,
        duration=round(1000 / frames_a_second),
        loop=0,
    )


def write_mp4(path: Path, frames: Sequence[Image.Image], *, frames_a_second: float) -> None:
    """Write an MPEG-4 film.

    Args:
        path: may have any suffix; OpenCV needs .mp4, so it is written beside and moved.
        frames: of one size with even sides.
        frames_a_second: of the film.

    Raises:
        RunError: if this OpenCV has no encoder.
    """
    beside = path.with_name(path.name + ".mp4")
    try:
        writer = cv2.VideoWriter(
            str(beside),
            cv2.VideoWriter.fourcc(*"mp4v"),
            frames_a_second,
            frames[0].size,
        )
        if not writer.isOpened():
            raise RunError("this OpenCV cannot write MPEG-4 films; choose a .gif instead")
        for frame in frames:
            writer.write(cv2.cvtColor(np.asarray(frame), cv2.COLOR_RGB2BGR))
        writer.release()
        if not beside.is_file() or beside.stat().st_size == 0:
            raise RunError("the MPEG-4 film could not be written; choose a .gif instead")
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)
