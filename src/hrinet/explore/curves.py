"""Learning curves of one or more runs, from their logs; needs no torch."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from hrinet.errors import InputError
from hrinet.report import drawing
from hrinet.report.drawing import Colour, Pen, Rect
from hrinet.train.log import LOG_NAME, read_log

COLOURS: tuple[Colour, ...] = (
    *((56, 189, 248), (251, 146, 60), (74, 222, 128), (244, 114, 182), (250, 204, 21)),
    *((167, 139, 250), (45, 212, 191), (248, 113, 113)),
)

_TITLES = {
    "content": "content loss, unsupervised steps",
    "supervised": "supervised loss (step II)",
    "constraint": "D1's term for the generator",
    "loss_d1": "D1's loss",
    "adversarial": "D2's term for the generator",
    "loss_d2": "D2's loss, penalty included",
    "gap": "D2's verdict, real less synthetic",
    "gradient_penalty": "gradient penalty of D2",
    "spread": "spread of the outputs over a batch",
    "steps_per_second": "steps a second",
}
"""What is drawn, in this order; other figures follow under their own names."""

_LEFT_OUT = frozenset({"step", "stage", "spread_of_inputs"})
_COLUMNS = 2
_PANEL_WIDTH, _PANEL_HEIGHT = 620, 250
_MARGIN, _AXIS, _GAP_X, _GAP_Y, _HEADER = 32, 78, 40, 78, 100
_FINE = 3
"""Lines are drawn this many times larger and averaged down, which smooths them."""
_SPAN_OF_LOG = 30.0
_COUNTS_FROM = 0.01
"""Quantile of a figure below which its values do not set the scale; a spike must not either."""
_LARGEST, _SMALLEST = 1e300, 1e-300
"""Beyond them differences and quotients of two values need not be finite numbers."""
_OUTSIDE = 10.0
"""How far a line goes on outside its panel, in panels; pictures have no room for any number."""
_MOST_TICKS = 8


@dataclass(frozen=True, eq=False, kw_only=True)
class Curves:
    """The log of one run.

    Attributes:
        folder: of the run, absolute; its name is that of the run.
        stage2: step after which stage 2 began; None if the log has no line of stage 1 before one
            of stage 2, as where a run began with another's stage 1.
        figures: (step, value) in order, by name.
    """

    folder: Path
    stage2: int | None
    figures: Mapping[str, Sequence[tuple[int, float]]]

    @property
    def name(self) -> str:
        """Of the run."""
        return self.folder.name


def read_curves(folder: Path) -> Curves:
    """Read the log of a run, finished or going on.

    Raises:
        InputError: if there is no log, or no figure in it.
    """
    try:
        records = read_log(folder)
    except OSError as error:
        raise InputError(f"{folder / LOG_NAME}: cannot be read: {error.strerror}") from error
    if not records:
        raise InputError(
            f"{folder}: has no {LOG_NAME} with a line in it; expected the output of a training"
        )
    figures: dict[str, list[tuple[int, float]]] = {}
    stage2 = before = None
    for record in records:
        step = record["step"]
        if record["stage"] == 2 and stage2 is None:
            stage2 = before
        if record["stage"] == 1:
            before = step
        for name, value in record.items():
            number = None if name in _LEFT_OUT else _drawable(value)
            if number is not None:
                figures.setdefault(name, []).append((step, number))
    if not figures:
        raise InputError(
            f"{folder / LOG_NAME}: holds no figure that could be drawn; train on until its next "
            "line, or leave the run out"
        )
    return Curves(folder=folder.resolve(), stage2=stage2, figures=figures)


def draw_curves(runs: Sequence[Curves]) -> Image.Image:
    """One panel a figure, one line a run, a vertical line where stage 2 began."""
    known = {name for run in runs for name in run.figures}
    names = [name for name in _TITLES if name in known] + sorted(known - set(_TITLES))
    lines = -(-len(names) // _COLUMNS)
    width = 2 * _MARGIN + _COLUMNS * (_AXIS + _PANEL_WIDTH) + (_COLUMNS - 1) * _GAP_X
    height = _HEADER + lines * (_PANEL_HEIGHT + _GAP_Y) + 40
    pen = Pen(width, height)
    pen.text(_MARGIN, 38, "Learning curves", size=26)
    x: float = _MARGIN
    for (_, colour), name in zip(_coloured(runs), run_names(runs), strict=True):
        pen.draw.rectangle((x, 72, x + 22, 75), fill=colour)
        pen.text(x + 30, 74, name, size=16)
        x += 30 + drawing.text_width(name, size=16) + 28
    steps = [step for run in runs for line in run.figures.values() for step, _ in line]
    extent = (0, max(steps))
    for number, name in enumerate(names):
        row, column = divmod(number, _COLUMNS)
        left = _MARGIN + _AXIS + column * (_PANEL_WIDTH + _AXIS + _GAP_X)
        top = _HEADER + 28 + row * (_PANEL_HEIGHT + _GAP_Y)
        rect = Rect(left, top, left + _PANEL_WIDTH, top + _PANEL_HEIGHT)
        _draw_panel(pen, rect, name, runs, extent)
    note = "Means over the steps between two lines of the log; horizontal: steps of the generator"
    note += "; dashed: where stage 2 began." if any(run.stage2 is not None for run in runs) else "."
    pen.text(_MARGIN, height - 28, note, size=16, colour=drawing.MUTED)
    return pen.image


@dataclass(frozen=True, slots=True)
class _Scale:
    """Values to heights in [0, 1]."""

    low: float
    high: float
    is_log: bool

    @classmethod
    def of(cls, values: Sequence[float]) -> _Scale:
        array = np.array(values)
        low, high = (float(v) for v in np.quantile(array, [_COUNTS_FROM, 1 - _COUNTS_FROM]))
        is_log = low > 0 and high / low >= _SPAN_OF_LOG  # may be infinite
        if is_log:
            return cls(low / 1.2, high * 1.2, True)
        room = 0.06 * (high - low) or 0.1 * abs(high) or 1.0
        bottom = 0.0 if 0 <= low < 0.5 * high else low - room
        return cls(bottom, high + room, False)

    def height(self, value: float) -> float:
        if self.is_log:
            inside = math.log(max(value, self.low / 1e3)) - math.log(self.low)
            height = inside / (math.log(self.high) - math.log(self.low))
        else:
            height = (value - self.low) / (self.high - self.low)
        return min(max(height, -_OUTSIDE), 1 + _OUTSIDE)

    def ticks(self) -> list[float]:
        if not self.is_log:
            return _round_steps(self.low, self.high)
        powers = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
        many = len(powers) > 4
        apart = -(-len(powers) // _MOST_TICKS)
        found = [f * 10.0**p for p in powers[::apart] for f in ((1,) if many else (1, 3))]
        return [tick for tick in found if self.low <= tick <= self.high]


def _draw_panel(
    pen: Pen, rect: Rect, name: str, runs: Sequence[Curves], extent: tuple[int, int]
) -> None:
    values = [value for run in runs for _, value in run.figures.get(name, ())]
    scale = _Scale.of(values)
    first, last = extent
    title = _TITLES.get(name, name.replace("_", " "))
    pen.text(rect.left, rect.top - 16, title + (", log scale" if scale.is_log else ""), size=16)
    fine = Image.new("RGB", (rect.width * _FINE, rect.height * _FINE), drawing.PANEL)
    draw = ImageDraw.Draw(fine)

    def x_of(step: float) -> float:
        return (step - first) / max(last - first, 1) * (fine.width - 1)

    def y_of(value: float) -> float:
        return (1 - scale.height(value)) * (fine.height - 1)

    for tick in scale.ticks():
        draw.line([(0, y_of(tick)), (fine.width, y_of(tick))], fill=drawing.RULE, width=_FINE)
    for run, colour in _coloured(runs):
        if run.stage2 is not None:
            at, faint = x_of(run.stage2), _faint(colour)
            for start in range(0, fine.height, 12 * _FINE):
                draw.line([(at, start), (at, start + 6 * _FINE)], fill=faint, width=_FINE)
    for run, colour in _coloured(runs):
        points = [(x_of(step), y_of(value)) for step, value in run.figures.get(name, ())]
        if len(points) > 1:
            draw.line(points, fill=colour, width=2 * _FINE, joint="curve")
        for x, y in points if len(points) < 12 else points[:0]:
            r = 3 * _FINE
            draw.ellipse((x - r, y - r, x + r, y + r), fill=colour)
    small = fine.resize((rect.width, rect.height), Image.Resampling.BOX)
    pen.image.paste(small, (rect.left, rect.top))
    pen.box(rect, drawing.RULE)
    for tick in scale.ticks():
        at_y = rect.top + (1 - scale.height(tick)) * (rect.height - 1)
        label = f"{tick:.4g}"
        pen.text(rect.left - 8, at_y, label, size=14, colour=drawing.MUTED, anchor="rm")
    for step in _round_steps(first, last, at_least=1.0):
        at_x = rect.left + (step - first) / max(last - first, 1) * (rect.width - 1)
        pen.draw.line([(at_x, rect.bottom), (at_x, rect.bottom + 5)], fill=drawing.MUTED)
        label = f"{step:,.0f}".replace(",", " ")
        pen.text(at_x, rect.bottom + 16, label, size=14, colour=drawing.MUTED, anchor="mm")


def run_names(runs: Sequence[Curves]) -> list[str]:
    """What the runs are called side by side: by so much of their paths as tells them apart."""
    names = []
    for run in runs:
        others = {other.folder for other in runs} - {run.folder}
        parts = run.folder.parts
        count = 1
        while count < len(parts) and any(o.parts[-count:] == parts[-count:] for o in others):
            count += 1
        names.append("/".join(parts[-count:]))
    return names


def _drawable(value: object) -> float | None:
    """A figure as a number that can be drawn; None if it is none."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    if not math.isfinite(number):
        return None
    return 0.0 if abs(number) < _SMALLEST else min(max(number, -_LARGEST), _LARGEST)


def _round_steps(low: float, high: float, *, at_least: float = 0.0) -> list[float]:
    """Round numbers from low to high, about five, no nearer to each other than ``at_least``."""
    if not high > low:
        return [low]
    step = drawing.round_length(max((high - low) / 3, at_least))
    start = math.ceil(low / step - 1e-9)
    return [k * step for k in range(start, math.floor(high / step + 1e-9) + 1)]


def _coloured(runs: Sequence[Curves]) -> list[tuple[Curves, Colour]]:
    return [(run, COLOURS[number % len(COLOURS)]) for number, run in enumerate(runs)]


def _faint(colour: Colour) -> Colour:
    red, green, blue = colour
    return red // 2, green // 2, blue // 2
