"""VTK: an optional dependency, imported when a surface is made and not before."""

from __future__ import annotations

import os
from importlib.util import find_spec
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hrinet.errors import RequestError
from hrinet.synthesize.engine import default_threads


def require(*modules: str) -> None:
    """Check that what the extra installs is there.

    Args:
        modules: top-level packages, such as ``vtkmodules``.

    Raises:
        RequestError: if one is not installed.
    """
    names = {"vtkmodules": "vtk"}
    absent = [names.get(name, name) for name in modules if find_spec(name) is None]
    if absent:
        raise RequestError(
            f"surfaces need {' and '.join(absent)}, which is not installed: "
            "pip install 'hrinet[surface]'"
        )


def to_vtk(values: NDArray[Any]) -> Any:
    """A VTK array that shares the memory of a NumPy array and keeps it alive."""
    from vtkmodules.util import numpy_support

    support: Any = numpy_support  # Has no types.
    return support.numpy_to_vtk(np.ascontiguousarray(values))


def to_vtk_ids(values: NDArray[np.int64]) -> Any:
    """Likewise, for indices."""
    from vtkmodules.util import numpy_support

    support: Any = numpy_support
    return support.numpy_to_vtkIdTypeArray(np.ascontiguousarray(values, np.int64))


def from_vtk(array: Any) -> NDArray[Any]:
    """A view of a VTK array, which must outlive it."""
    from vtkmodules.util import numpy_support

    support: Any = numpy_support
    return np.asarray(support.vtk_to_numpy(array))


def use_threads(threads: int | None) -> None:
    """Let VTK's filters use this many cores; by itself the wheel uses one.

    Args:
        threads: by default all.
    """
    from vtkmodules.vtkCommonCore import vtkSMPTools

    if "VTK_SMP_BACKEND_IN_USE" not in os.environ:
        vtkSMPTools.SetBackend("STDThread")
    vtkSMPTools.Initialize(threads or default_threads())
