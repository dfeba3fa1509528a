"""Pictures of surfaces, drawn without a display."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from hrinet.errors import RequestError
from hrinet.report.drawing import PANEL, Pixels
from hrinet.surface.extra import from_vtk
from hrinet.surface.files import Part, with_normals
from hrinet.types import Float64Array

_WINDOWS = ("vtkEGLRenderWindow", "vtkOSOpenGLRenderWindow")
"""Without a display: a graphics driver's EGL, or Mesa in software."""

_FINE = 2
"""Drawn this number of times as large and averaged, so that edges are smooth."""

_PEELS = 6
"""Layers of skin that are seen through; each costs as much as a picture."""

_VIEW_ANGLE_DEG = 12.0
"""Narrow: hardly any perspective, so that proportions hold."""


@dataclass(frozen=True, eq=False)
class Camera:
    """Where a picture is taken from.

    Attributes:
        target: the point in the middle of the picture, LPS, mm.
        towards: unit vector from the target to the camera, LPS.
        up: unit vector that is vertical in the picture, LPS.
        height_mm: what the picture shows from top to bottom at the target, mm.
    """

    target: Float64Array
    towards: Float64Array
    up: Float64Array
    height_mm: float

    @property
    def right(self) -> Float64Array:
        """Unit vector to the right of the picture, LPS."""
        across = np.cross(self.up, self.towards)
        return np.asarray(across / np.linalg.norm(across))

    @property
    def letters(self) -> tuple[str, str, str, str]:
        """At the left, right, top and bottom edge: the patient's nearest direction."""
        up = np.cross(self.towards, self.right)
        return (
            *(_letter(direction) for direction in (-self.right, self.right)),
            *(_letter(direction) for direction in (up, -up)),
        )  # type: ignore[return-value]


def camera_for(
    parts: Sequence[Part], *, azimuth_deg: float, elevation_deg: float, aspect: float
) -> Camera:
    """A camera that sees all of some LPS meshes.

    Args:
        parts: the meshes; empty ones are passed over.
        azimuth_deg: 0 is from the front (anterior), 90 from the patient's left.
        elevation_deg: how far above the axial plane.
        aspect: width of the picture over its height.

    Raises:
        RequestError: if all are empty.
    """
    bounds = [part.mesh.bounds_mm for part in parts if len(part.mesh.points)]
    if not bounds:
        raise RequestError("nothing to draw: the surfaces are empty")
    low = np.min([one[0] for one in bounds], axis=0)
    high = np.max([one[1] for one in bounds], axis=0)
    azimuth, elevation = np.radians([azimuth_deg, elevation_deg])
    flat = np.array([np.sin(azimuth), -np.cos(azimuth), 0.0])
    towards = np.cos(elevation) * flat + np.sin(elevation) * np.array([0.0, 0.0, 1.0])
    camera = Camera((low + high) / 2, towards, np.array([0.0, 0.0, 1.0]), 1.0)
    corners = np.array([[x, y, z] for x in (0, 1) for y in (0, 1) for z in (0, 1)])
    box = (corners - 0.5) * (high - low)
    up = np.cross(towards, camera.right)
    height = 2 * max(np.abs(box @ up).max(), np.abs(box @ camera.right).max() / aspect)
    return Camera(camera.target, towards, camera.up, 1.06 * float(height))


def render(
    scenes: Sequence[Sequence[Part]],
    cameras: Sequence[Camera],
    *,
    width: int,
    height: int,
) -> list[list[Pixels]]:
    """Draw scenes from several cameras.

    Args:
        scenes: LPS meshes that are seen together.
        cameras: where from.
        width: of a picture, pixels.
        height: of a picture, pixels.

    Returns:
        For every scene its pictures, shape (height, width, 3).

    Raises:
        RequestError: if nothing here can draw without a display.
    """
    window = _window()
    window.SetMultiSamples(0)  # Which depth peeling, for skin that is seen through, needs.
    window.SetAlphaBitPlanes(1)
    window.SetSize(_FINE * width, _FINE * height)
    try:
        return [_shots(window, scene, cameras) for scene in scenes]
    finally:
        window.Finalize()


def _shots(window: Any, scene: Sequence[Part], cameras: Sequence[Camera]) -> list[Pixels]:
    renderer = _renderer(scene)
    window.AddRenderer(renderer)
    _aim(renderer, cameras[0])
    window.Render()  # The first picture of a scene may be empty.
    shots = []
    for camera in cameras:
        _aim(renderer, camera)
        window.Render()
        shots.append(_pixels(window))
    window.RemoveRenderer(renderer)
    return shots


def _pixels(window: Any) -> Pixels:
    from vtkmodules.vtkCommonCore import vtkUnsignedCharArray

    width, height = window.GetSize()
    pixels = vtkUnsignedCharArray()
    window.GetPixelData(0, 0, width - 1, height - 1, 1, pixels, 0)
    image = from_vtk(pixels).reshape(height, width, 3)[::-1]
    smaller = (width // _FINE, height // _FINE)
    picture = cv2.resize(np.ascontiguousarray(image), smaller, interpolation=cv2.INTER_AREA)
    return np.asarray(picture, np.uint8)


def _renderer(scene: Sequence[Part]) -> Any:
    from vtkmodules.vtkRenderingCore import vtkActor, vtkPolyDataMapper, vtkRenderer

    renderer = vtkRenderer()
    renderer.SetBackground(*(value / 255 for value in PANEL))
    renderer.SetUseDepthPeeling(1)
    renderer.SetMaximumNumberOfPeels(_PEELS)
    for part in scene:
        mapper = vtkPolyDataMapper()
        mapper.SetInputData(with_normals(part.mesh))
        mapper.ScalarVisibilityOff()
        actor = vtkActor()
        actor.SetMapper(mapper)
        look = actor.GetProperty()
        look.SetColor(*part.colour)
        look.SetAmbient(0.12)
        look.SetDiffuse(0.85)
        look.SetSpecular(0.12)
        look.SetSpecularPower(20)
        # Skin around something else would hide it.
        look.SetOpacity(0.3 if part.name == "skin" and len(scene) > 1 else 1.0)
        renderer.AddActor(actor)
    return renderer


def _aim(renderer: Any, camera: Camera) -> None:
    distance = camera.height_mm / 2 / np.tan(np.radians(_VIEW_ANGLE_DEG / 2))
    view = renderer.GetActiveCamera()
    view.SetViewAngle(_VIEW_ANGLE_DEG)
    view.SetFocalPoint(*camera.target)
    view.SetPosition(*(camera.target + distance * camera.towards))
    view.SetViewUp(*camera.up)
    renderer.ResetCameraClippingRange()


def _window() -> Any:
    """A window that needs no display.

    Raises:
        RequestError: if there is none.
    """
    import vtkmodules.vtkRenderingOpenGL2 as opengl
    from vtkmodules.vtkCommonCore import vtkLogger, vtkObject

    wanted = os.environ.get("VTK_DEFAULT_OPENGL_WINDOW")
    names = (wanted,) if wanted else _WINDOWS
    vtkLogger.SetStderrVerbosity(vtkLogger.VERBOSITY_OFF)
    vtkObject.GlobalWarningDisplayOff()
    for name in names:
        kind = getattr(opengl, name, None)
        if kind is None:
            continue
        window = kind()
        window.SetOffScreenRendering(1)
        if window.SupportsOpenGL():
            window = kind()
            window.SetOffScreenRendering(1)
            return window
    raise RequestError(
        "--compare needs OpenGL without a display, and neither EGL nor Mesa's off-screen library "
        "is here; install libegl1 (or libosmesa6), or leave --compare out"
    )


def _letter(direction: NDArray[np.floating]) -> str:
    main = int(np.argmax(np.abs(direction)))
    return "LPH"[main] if direction[main] > 0 else "RAF"[main]
