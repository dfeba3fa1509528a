"""Outputs that would destroy what they are made from."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from hrinet.errors import HrinetError, RequestError

_HEADERS = (".nrrd", ".nhdr", ".mha", ".mhd")
"""Files that may name another one, which holds the voxels."""


def refuse_inputs(
    outputs: Iterable[Path],
    inputs: Iterable[str | Path | None],
    *,
    folders: Iterable[Path] = (),
) -> None:
    """Refuse outputs that would replace an input or a part of it, or lie among its slices.

    Places are compared, not names: links, ``..`` and a file system that ignores case lead nowhere
    else. A file may lie in the folder of a DICOM input, unless it takes the place of a DICOM file
    there; a derived series may not, since it would be read with the input from then on.

    Args:
        outputs: the files that will be written, sidecars included.
        inputs: what will be read; None, an empty name and what does not exist are passed over.
        folders: the folders of derived DICOM series that will be written.

    Raises:
        RequestError: naming the first such output.
    """
    sources = [path for given in inputs if given for path in _files_of(Path(given))]
    for folder in folders:
        for source in sources:
            if _holds(folder, source) or (source.is_dir() and _holds(source, folder)):
                raise RequestError(
                    f"{folder}: is the input's folder, lies in it or holds it; write the derived "
                    "series somewhere else"
                )
    for output in outputs:
        for source in sources:
            if _is_same(output, source):
                raise RequestError(
                    f"{output}: is the input, which would be lost; choose another name"
                )
            if source.is_dir() and _holds(source, output) and _is_dicom_file(output):
                raise RequestError(
                    f"{output}: is a DICOM file in the input's folder and would be lost; choose "
                    "another name"
                )


def _files_of(path: Path) -> Iterator[Path]:
    """A path that is read, and the data file that its header names."""
    if not path.exists():
        return
    yield path
    if path.suffix.lower() in _HEADERS and path.is_file():
        from hrinet.io.formats import open_scan
        from hrinet.io.raw import RawSource

        try:
            source = open_scan(path)
        except HrinetError:
            return  # Reading it will say why.
        if isinstance(source, RawSource) and not _is_same(source.data_path, path):
            yield source.data_path


def _real(path: Path) -> Path:
    # Path.resolve raises where links go round in circles.
    return Path(os.path.realpath(path))


def _is_same(one: Path, other: Path) -> bool:
    if _real(one) == _real(other):
        return True
    return one.exists() and other.exists() and one.samefile(other)


def _holds(folder: Path, path: Path) -> bool:
    """Whether a path is the folder itself or lies in it, however deep."""
    place = _real(path)
    return any(_is_same(folder, parent) for parent in (place, *place.parents))


def _is_dicom_file(path: Path) -> bool:
    from hrinet.io.dicom.parse import is_dicom

    if not path.is_file():
        return False
    try:
        with path.open("rb") as stream:
            return is_dicom(stream)
    except OSError:
        return True  # It cannot be told, so nothing is risked.
