"""``hrinet project``: pictures of a scan from any side."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer

from hrinet.synthesize.registry import AUTO, method_names


def project(
    input_path: Annotated[
        Path, typer.Argument(metavar="INPUT", help="A scan, as for 'interpolate'.")
    ],
    outputs: Annotated[
        list[Path],
        typer.Argument(
            metavar="OUT...",
            help=".png picture, .tif 16 bits, .nii or .nii.gz values, .gif or .mp4 turntable; "
            "several are made at once.",
        ),
    ],
    angle: Annotated[
        list[float] | None,
        typer.Option(
            metavar="DEG",
            help="About the patient's long axis: 0 coronal, 90 sagittal; may be repeated.",
        ),
    ] = None,
    angles: Annotated[
        str | None,
        typer.Option(metavar="FROM:TO:STEP", help="Many angles, up to but without TO."),
    ] = None,
    euler: Annotated[
        list[str] | None,
        typer.Option(
            metavar="A,B,C",
            help="Turn by A about the long axis, B about the picture's horizontal axis, C about "
            "the ray (intrinsic z, x', y'', degrees); 0,90,0 is axial from the feet.",
        ),
    ] = None,
    mode: Annotated[
        str,
        typer.Option(metavar="mean|maximum|minimum|sum|attenuation", help="What is made of a ray."),
    ] = "mean",
    weight: Annotated[
        list[str] | None,
        typer.Option(
            metavar="WEIGHT",
            help="By depth along the ray: uniform, 1/k, k, gaussian:MU,SIGMA (fractions), "
            "polynomial:C0,C1,..., FILE.csv; may be repeated.",
        ),
    ] = None,
    centre_mm: Annotated[
        str | None,
        typer.Option(
            metavar="X,Y,Z",
            help="Middle of --weight gaussian:SIGMA: a point of the patient, LPS, mm.",
        ),
    ] = None,
    fill: Annotated[
        str,
        typer.Option(
            metavar="NAME", help=f"What fills the gaps: none, {', '.join(method_names())}."
        ),
    ] = AUTO,
    compare: Annotated[
        bool,
        typer.Option("--compare", help="Beside each other: repeat, linear, none, and --fill."),
    ] = False,
    kev: Annotated[
        float, typer.Option(metavar="KEV", help="Photon energy of --mode attenuation.")
    ] = 60.0,
    window: Annotated[
        float | None,
        typer.Option(metavar="WIDTH", help="Of the window, in the unit of the mode."),
    ] = None,
    level: Annotated[float | None, typer.Option(metavar="MIDDLE", help="Of the window.")] = None,
    pixel_mm: Annotated[
        float | None, typer.Option(metavar="MM", help="Pixels; by default those of the slices.")
    ] = None,
    bits: Annotated[
        int, typer.Option(metavar="8|16", help="Of a PNG; 16 has no drawing in it.")
    ] = 8,
    plain: Annotated[
        bool, typer.Option("--plain", help="Leave letters and captions out of a PNG.")
    ] = False,
    whole: Annotated[bool, typer.Option("--whole", help="Keep empty margins.")] = False,
    fps: Annotated[
        float, typer.Option(metavar="N", help="Pictures a second of a turntable.")
    ] = 12.0,
    max_gap: Annotated[
        float | None,
        typer.Option(
            metavar="MM", help="Fill gaps up to this width (by default 25 mm, 5 times the usual)."
        ),
    ] = None,
    series: Annotated[
        str | None,
        typer.Option(metavar="UID", help="Which DICOM series, as listed by 'hrinet info'."),
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace existing output files.")
    ] = False,
    threads: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Cores to use; by default all.")
    ] = None,
    device: Annotated[
        str,
        typer.Option(
            metavar="cpu|cuda|mps",
            help="What projects; other than cpu needs pip install 'hrinet[torch]'.",
        ),
    ] = "cpu",
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the sidecar, with whole paths, as JSON.")
    ] = False,
    verbose: Annotated[
        bool, typer.Option("-v", "--verbose", help="Show a progress bar even if piped.")
    ] = False,
) -> None:
    """Project a scan along parallel rays, from any side, in true proportions.

    Gaps between slices are filled first. Beside every output a .json tells how it was made.
    """
    from hrinet.commands.progress import progress_bar
    from hrinet.project import describe, request, run

    options = request.parse(
        angle=tuple(angle or ()),
        angles=angles,
        euler=tuple(euler or ()),
        mode=mode,
        weight=tuple(weight or ()),
        centre_mm=centre_mm,
        fill=fill,
        compare=compare,
        kev=kev,
        window=window,
        level=level,
        pixel_mm=pixel_mm,
        bits=bits,
        plain=plain,
        whole=whole,
        fps=fps,
        max_gap=max_gap,
        threads=threads,
        device=device,
        overwrite=overwrite,
    )
    with progress_bar(
        "slices", unit="slices", forced=verbose, hidden=as_json and not verbose
    ) as progress:
        result = run.project_file(
            input_path,
            outputs,
            options,
            series=series,
            progress=progress,
            command=shlex.join(["hrinet", *sys.argv[1:]]),
        )
    if as_json:
        import json

        typer.echo(json.dumps(result))
    else:
        typer.echo(describe.describe_run(result))
