"""From words of the command line to options."""

from __future__ import annotations

from typing import get_args

from hrinet.errors import RequestError
from hrinet.job import parse_device
from hrinet.project.beam import Beam
from hrinet.project.fill import NONE
from hrinet.project.options import Options
from hrinet.project.projector import Mode
from hrinet.project.views import MAX_ANGLES, View, parse_angles, parse_euler, parse_numbers
from hrinet.project.weights import UNIFORM, parse_weight
from hrinet.synthesize.registry import find_method


def parse(
    *,
    angle: tuple[float, ...],
    angles: str | None,
    euler: tuple[str, ...],
    mode: str,
    weight: tuple[str, ...],
    centre_mm: str | None,
    fill: str,
    compare: bool,
    kev: float,
    window: float | None,
    level: float | None,
    pixel_mm: float | None,
    bits: int,
    plain: bool,
    whole: bool,
    fps: float,
    max_gap: float | None,
    threads: int | None,
    device: str,
    overwrite: bool,
) -> Options:
    """The options that the arguments of ``hrinet project`` name.

    Raises:
        RequestError: if they contradict each other, or one of them is nothing.
        InputError: if a CSV file of weights cannot be read.
    """
    if mode not in get_args(Mode):
        raise RequestError(f"--mode is {mode!r}, expected one of {', '.join(get_args(Mode))}")
    if fill != NONE:
        find_method(fill)
    turned = (*angle, *(parse_angles(angles) if angles is not None else ()))
    views = (*(View.turned(a) for a in turned), *(parse_euler(text) for text in euler))
    if len(views) > MAX_ANGLES:
        raise RequestError(f"{len(views)} views were asked for, expected {MAX_ANGLES} at most")
    point = None
    if centre_mm is not None:
        if not weight:
            raise RequestError("--centre-mm goes with --weight gaussian:SIGMA; give it as well")
        x, y, z = parse_numbers(
            centre_mm, option="--centre-mm", names="X,Y,Z", example="12.5,-80,310"
        )
        point = (x, y, z)
    return Options(
        views=views or (View.turned(0),),
        weights=tuple(parse_weight(text, centre_mm=point) for text in weight) or (UNIFORM,),
        mode=mode,  # type: ignore[arg-type]
        fill=fill,
        compare=compare,
        beam=Beam(kev),
        window=window,
        level=level,
        pixel_mm=pixel_mm,
        bits=bits,
        plain=plain,
        whole=whole,
        frames_a_second=fps,
        max_gap_mm=max_gap,
        threads=threads,
        device=parse_device(device),
        overwrite=overwrite,
    )
