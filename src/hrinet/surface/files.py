"""Mesh files: STL, OBJ, PLY, GLB and VTP."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hrinet.errors import RequestError, RunError
from hrinet.surface.extra import from_vtk, require, to_vtk
from hrinet.surface.mesh import Coordinates, Mesh

SUFFIXES = (".stl", ".obj", ".ply", ".glb", ".vtp")
"""What can be written."""

_SEVERAL = (".glb", ".vtp")

_TO_GLTF = {
    "lps": np.array([[1, 0, 0, 0], [0, 0, 1, 0], [0, -1, 0, 0], [0, 0, 0, 1]], np.float64),
    "ras": np.array([[-1, 0, 0, 0], [0, 0, 1, 0], [0, 1, 0, 0], [0, 0, 0, 1]], np.float64),
}
"""glTF 2.0, section 3.4: y is up and the front faces +z, so the patient's left is +x."""


@dataclass(frozen=True, eq=False)
class Part:
    """One structure of a file.

    Attributes:
        name: of the structure.
        mesh: in the coordinates of the file.
        colour: red, green and blue, 0 to 1.
    """

    name: str
    mesh: Mesh
    colour: tuple[float, float, float]


def check_mesh_path(path: Path, *, structures: int = 1) -> str:
    """Refuse a file that cannot be written, before any work is done.

    Args:
        path: the output.
        structures: how many it shall hold.

    Returns:
        The suffix.

    Raises:
        RequestError: if the format is unknown or cannot hold several structures, or the extra is
            not installed.
    """
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise RequestError(
            f"{path}: cannot write {path.suffix or 'a name without suffix'!r}; choose one of "
            f"{', '.join(SUFFIXES)}"
        )
    if structures > 1 and suffix not in _SEVERAL:
        raise RequestError(
            f"{path}: {suffix} holds one structure, {structures} were asked for; choose "
            f"{' or '.join(_SEVERAL)}"
        )
    if suffix != ".glb" and not _is_utf8(path):
        raise RequestError(
            f"{path}: the path is no UTF-8 text, as VTK needs it; choose another one, or .glb"
        )
    require("vtkmodules", *(["trimesh"] if suffix == ".glb" else []))
    return suffix


def _is_utf8(path: Path) -> bool:
    try:
        str(path).encode()
    except UnicodeEncodeError:  # Bytes of a name that are no UTF-8 are surrogates in Python.
        return False
    return True


def write_meshes(
    temporary: Path, parts: Sequence[Part], *, suffix: str, coordinates: Coordinates
) -> None:
    """Write a mesh file, binary except for OBJ.

    The unit (mm) and the coordinate system are written into the header of STL, as comments of OBJ
    and PLY and as field data of VTP. GLB keeps points in mm, too; since glTF is in metres with y
    up, the node above them scales and turns, so that viewers show a patient of true size who
    stands upright.

    Args:
        temporary: path to write to (its own suffix does not matter).
        parts: the structures; one, except for GLB and VTP.
        suffix: one of :data:`SUFFIXES`.
        coordinates: what the meshes are in.

    Raises:
        RunError: if writing fails.
    """
    said = f"hrinet {' '.join(part.name for part in parts)}; {coordinates.upper()} mm"
    if suffix == ".glb":
        _write_glb(temporary, parts, coordinates, said)
        return
    from vtkmodules.vtkIOGeometry import vtkOBJWriter, vtkSTLWriter
    from vtkmodules.vtkIOPLY import vtkPLYWriter
    from vtkmodules.vtkIOXML import vtkXMLPolyDataWriter

    data = parts[0].mesh.to_vtk()
    writer: Any
    if suffix == ".stl":
        writer = vtkSTLWriter()
        writer.SetFileTypeToBinary()
        writer.SetHeader(said)
    elif suffix == ".ply":
        writer = vtkPLYWriter()
        writer.SetFileTypeToBinary()
        writer.AddComment(said)
    elif suffix == ".obj":
        writer = vtkOBJWriter()
    else:
        data = _combined(parts, coordinates)
        writer = vtkXMLPolyDataWriter()
        writer.SetDataModeToAppended()
        writer.EncodeAppendedDataOff()
        writer.SetCompressorTypeToZLib()
    # The PLY writer puts its suffix behind any other name.
    written = temporary.with_name(f"{temporary.name}.ply") if suffix == ".ply" else temporary
    writer.SetFileName(str(written))
    writer.SetInputData(data)
    try:
        if not writer.Write() or writer.GetErrorCode():
            raise RunError(f"writing the {suffix} file failed; is the disk full?")
        written.replace(temporary)
    finally:
        if written != temporary:
            written.unlink(missing_ok=True)
    if suffix == ".obj":
        with temporary.open("a", encoding="utf-8") as file:
            file.write(f"# {said}\n")


def _combined(parts: Sequence[Part], coordinates: Coordinates) -> Any:
    """One data set with the number of its structure at every triangle."""
    from vtkmodules.vtkCommonCore import vtkStringArray

    offsets = np.cumsum([0, *(len(part.mesh.points) for part in parts)])
    whole = Mesh(
        np.concatenate([part.mesh.points for part in parts]),
        np.concatenate(
            [
                part.mesh.triangles + np.int32(offset)
                for part, offset in zip(parts, offsets, strict=False)
            ]
        ),
    )
    data = whole.to_vtk()
    numbers = np.repeat(
        np.arange(len(parts), dtype=np.uint8), [len(part.mesh.triangles) for part in parts]
    )
    array = to_vtk(numbers)
    array.SetName("structure")
    data.GetCellData().SetScalars(array)
    fields = {
        "structures": [part.name for part in parts],
        "unit": ["mm"],
        "coordinates": [coordinates.upper()],
    }
    for name, values in fields.items():
        strings = vtkStringArray()
        strings.SetName(name)
        for value in values:
            strings.InsertNextValue(value)
        data.GetFieldData().AddArray(strings)
    return data


def _write_glb(temporary: Path, parts: Sequence[Part], coordinates: Coordinates, said: str) -> None:
    trimesh: Any = import_module("trimesh")  # Its types are partial.
    scene = trimesh.Scene(
        metadata={"generator": said, "unit": "mm", "coordinates": coordinates.upper()}
    )
    transform = _TO_GLTF[coordinates].copy()
    transform[:3] /= 1000
    for number, part in enumerate(parts):
        material = trimesh.visual.material.PBRMaterial(
            name=part.name,
            baseColorFactor=[round(255 * value) for value in (*part.colour, 1.0)],
            metallicFactor=0.0,
            roughnessFactor=0.7,
        )
        mesh = trimesh.Trimesh(
            part.mesh.points,
            part.mesh.triangles,
            vertex_normals=vertex_normals(part.mesh),
            visual=trimesh.visual.TextureVisuals(material=material),
            process=False,
        )
        name = part.name if all(part.name != p.name for p in parts[:number]) else f"{number}"
        scene.add_geometry(mesh, geom_name=name, node_name=name, transform=transform)
    temporary.write_bytes(scene.export(file_type="glb", include_normals=True))


def vertex_normals(mesh: Mesh) -> NDArray[np.float32]:
    """Unit normals at the points, the mean of those of the triangles around, shape (point, 3)."""
    return from_vtk(with_normals(mesh).GetPointData().GetNormals()).astype(np.float32)


def with_normals(mesh: Mesh) -> Any:
    """A ``vtkPolyData`` with normals at its points."""
    from vtkmodules.vtkFiltersCore import vtkPolyDataNormals

    normals = vtkPolyDataNormals()
    normals.SetInputData(mesh.to_vtk())
    normals.SplittingOff()
    normals.ConsistencyOff()
    normals.AutoOrientNormalsOff()
    normals.Update()
    return normals.GetOutput()
