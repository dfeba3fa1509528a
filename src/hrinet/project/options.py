"""What a user can choose about projections, and what a projection is shown with."""

from __future__ import annotations

from dataclasses import dataclass, field

from hrinet.project.beam import Beam
from hrinet.project.fill import NONE
from hrinet.project.projector import Mode, Projection
from hrinet.project.views import View
from hrinet.project.weights import UNIFORM, Weight
from hrinet.project.window import Window
from hrinet.synthesize.registry import AUTO, Device


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What the user can choose.

    Attributes:
        views: from where.
        weights: by which weights; several are drawn beside each other.
        mode: see :func:`hrinet.project.projector.project`.
        fill: see :func:`hrinet.project.fill.fill_gaps`.
        compare: draw what repeat, linear and no filling give, beside ``fill``.
        beam: of the attenuation.
        window: width of the window, in the unit of the mode.
        level: its middle.
        pixel_mm: of the pictures; by default that of the slices.
        bits: of a PNG, 8 or 16; 16 has no drawing in it.
        plain: leave the drawing out of a PNG of 8 bits, too.
        whole: keep empty margins.
        frames_a_second: of films.
        max_gap_mm: see :func:`hrinet.pipeline.interpolate`.
        threads: cores to use; by default all.
        device: what projects; gaps are filled on the processor.
        overwrite: whether existing files may be replaced.
    """

    views: tuple[View, ...] = field(default_factory=lambda: (View.turned(0),))
    weights: tuple[Weight, ...] = (UNIFORM,)
    mode: Mode = "mean"
    fill: str = AUTO
    compare: bool = False
    beam: Beam = field(default_factory=Beam)
    window: float | None = None
    level: float | None = None
    pixel_mm: float | None = None
    bits: int = 8
    plain: bool = False
    whole: bool = False
    frames_a_second: float = 12.0
    max_gap_mm: float | None = None
    threads: int | None = None
    device: Device = "cpu"
    overwrite: bool = False


@dataclass(frozen=True, slots=True)
class Shown:
    """A projection and what to say about it."""

    projection: Projection
    filled: FillRecord
    window: Window


@dataclass(frozen=True, slots=True)
class FillRecord:
    """What is remembered of a filled volume, without the volume."""

    asked: str
    method: str
    slices: int
    originals: int
    spacing_mm: float
    notes: tuple[str, ...]

    @property
    def words(self) -> str:
        """For the title of a picture."""
        names = {"repeat": "repeated slices", "linear": "linear", NONE: "gaps not filled"}
        return names.get(self.method, self.method) if self.method else "no gaps to fill"
