"""``hrinet surface``: surfaces of structures as mesh files."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer

from hrinet.synthesize.registry import AUTO


def surface(
    input_path: Annotated[
        Path,
        typer.Argument(
            metavar="INPUT",
            help="DICOM file, folder or zip; or .nii, .nii.gz, .nrrd, .nhdr, .mha, .mhd.",
        ),
    ],
    output_path: Annotated[
        Path,
        typer.Argument(
            metavar="OUTPUT", help="A .stl, .obj, .ply, .glb or .vtp file; coordinates are in mm."
        ),
    ],
    structures: Annotated[
        list[str] | None,
        typer.Option(
            "--structure",
            metavar="bone|skin|lung|LOW:HIGH",
            help="What to draw a surface around, LOW:HIGH in HU; by default bone. May be repeated "
            "for .glb and .vtp.",
        ),
    ] = None,
    fill: Annotated[
        str,
        typer.Option(
            metavar="none|METHOD",
            help="How gaps are filled first, so that voxels are nearly cubes: auto, or a name "
            "that 'hrinet models' lists; none takes the slices as they are.",
        ),
    ] = AUTO,
    coordinates: Annotated[
        str,
        typer.Option(metavar="lps|ras", help="Axes of the mesh: DICOM's (lps) or NIfTI's (ras)."),
    ] = "lps",
    smooth: Annotated[
        int,
        typer.Option(metavar="N", help="Smooth with N iterations of a windowed sinc; 20 is usual."),
    ] = 0,
    decimate: Annotated[
        float | None,
        typer.Option(metavar="FRACTION", help="Take out this fraction of the triangles."),
    ] = None,
    max_triangles: Annotated[
        int | None, typer.Option(metavar="N", help="Leave at most N triangles to a structure.")
    ] = None,
    largest: Annotated[
        int | None,
        typer.Option(metavar="N", help="Keep only the N largest connected pieces."),
    ] = None,
    is_open: Annotated[
        bool,
        typer.Option("--open", help="Leave surfaces open where the scan ends; they are closed."),
    ] = False,
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
    compare: Annotated[
        Path | None,
        typer.Option(
            metavar="PNG", help="Also draw the surfaces of the slices as they are beside them."
        ),
    ] = None,
    report: Annotated[
        Path | None, typer.Option(metavar="JSON", help="Also write what was done.")
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace existing output files.")
    ] = False,
    threads: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Cores to use; by default all.")
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the report as one JSON object.")
    ] = False,
    verbose: Annotated[
        bool, typer.Option("-v", "--verbose", help="Show a progress bar even if piped.")
    ] = False,
) -> None:
    """Draw the surface of bone, skin, lung or a range of HU, in patient coordinates.

    Gaps are filled first, so that slices leave no steps; smoothing and decimation are optional and
    say how far they move the surface.
    """
    from hrinet.commands.progress import progress_bar
    from hrinet.surface.extract import Shaping
    from hrinet.surface.run import Options, Outputs, parse_coordinates, surface_file
    from hrinet.surface.structures import parse_structure
    from hrinet.surface.wording import describe_surfaces

    options = Options(
        structures=tuple(parse_structure(text) for text in structures or ["bone"]),
        fill=fill,
        max_gap_mm=max_gap,
        coordinates=parse_coordinates(coordinates),
        shaping=Shaping(
            largest=largest,
            is_closed=not is_open,
            smooth=smooth,
            decimate=decimate,
            max_triangles=max_triangles,
        ),
        threads=threads,
    )
    with progress_bar(
        "slices", unit="slices", forced=verbose, hidden=as_json and not verbose
    ) as progress:
        result = surface_file(
            input_path,
            Outputs(mesh=output_path, compare=compare, report=report, overwrite=overwrite),
            options,
            series=series,
            progress=progress,
            command=shlex.join(["hrinet", *sys.argv[1:]]),
        )
    if as_json:
        import json

        typer.echo(json.dumps(result))
    else:
        typer.echo(describe_surfaces(result))
