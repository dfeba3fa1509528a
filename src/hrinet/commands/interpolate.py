"""``hrinet interpolate``: the main job."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer

from hrinet.commands.parsing import parse_range
from hrinet.plan.spacing import parse_spacing
from hrinet.synthesize.registry import AUTO, method_help


def interpolate(
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
            metavar="OUTPUT",
            help="A .nii, .nii.gz, .nrrd or .mha file; or a folder or .zip for a DICOM series.",
        ),
    ],
    spacing: Annotated[
        str,
        typer.Option(
            metavar="iso|MM",
            help="Distance between output slices: 'iso' is the pixel spacing, rounded so that "
            "every original slice is kept; a number is taken exactly.",
        ),
    ] = "iso",
    factor: Annotated[
        int | None,
        typer.Option(
            metavar="N", help="Divide every gap of usual width into N, instead of --spacing."
        ),
    ] = None,
    method: Annotated[str, typer.Option(metavar="NAME", help=method_help())] = AUTO,
    weights: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Weights that 'hrinet train' made, instead of a --method."
        ),
    ] = None,
    label: Annotated[
        bool, typer.Option("--label", help="The input is a segmentation: voxels are ids.")
    ] = False,
    grid: Annotated[
        str | None,
        typer.Option(
            metavar="originals|uniform",
            help="For unevenly spaced scans: keep every original, or make the output even "
            "(chosen by itself where the format needs it).",
        ),
    ] = None,
    slice_range: Annotated[
        str | None,
        typer.Option(
            "--range", metavar="A:B", help="Only input slices A to B - 1, counted from 0."
        ),
    ] = None,
    thickness: Annotated[
        float | None,
        typer.Option(
            metavar="MM",
            help="Slice thickness, where INPUT does not tell it, as a lone NIfTI does not; with it "
            "hrinet-flow errs less.",
        ),
    ] = None,
    untilt: Annotated[
        bool,
        typer.Option(
            "--untilt", help="Straighten a tilted scan; originals are then moved in their plane."
        ),
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
    strict: Annotated[
        bool,
        typer.Option(
            "--strict", help="Refuse missing slices and unusual gaps instead of flagging."
        ),
    ] = False,
    preview: Annotated[
        Path | None, typer.Option(metavar="PNG", help="Also draw before and after.")
    ] = None,
    uncertainty: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Also write the expected absolute error of every voxel, HU, and beside it half "
            "the width of the 90 % interval; a file, folder or .zip like OUTPUT. Needs a method "
            "that estimates its error.",
        ),
    ] = None,
    enhanced: Annotated[
        bool,
        typer.Option(
            "--enhanced", help="DICOM output as one Enhanced CT object, not one file a slice."
        ),
    ] = False,
    compress: Annotated[
        str | None,
        typer.Option(metavar="rle|jpegls|j2k", help="Compress DICOM output without loss."),
    ] = None,
    burn_in: Annotated[
        bool, typer.Option("--burn-in", help="Draw a mark into synthetic DICOM slices.")
    ] = False,
    like: Annotated[
        Path | None,
        typer.Option(
            metavar="SERIES",
            help="DICOM series that gives patient and study to DICOM output from a volume file.",
        ),
    ] = None,
    report: Annotated[
        Path | None, typer.Option(metavar="JSON", help="Also write what was done.")
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace existing outputs, never an input.")
    ] = False,
    threads: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Cores to use; by default all.")
    ] = None,
    precision: Annotated[
        str,
        typer.Option(
            metavar="auto|f32|bf16",
            help="Of a network's arithmetic; auto is bf16 where that changes nothing.",
        ),
    ] = "auto",
    quality: Annotated[
        str,
        typer.Option(
            metavar="standard|best",
            help="How much work a slice is worth: with hrinet-flow, best looks at every gap in "
            "eight ways, takes 3 to 8 times as long and errs less.",
        ),
    ] = "standard",
    device: Annotated[
        str,
        typer.Option(
            metavar="cpu|cuda|mps",
            help="What runs a network; other than cpu needs pip install 'hrinet[torch]'.",
        ),
    ] = "cpu",
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the report as one JSON object.")
    ] = False,
    verbose: Annotated[
        bool, typer.Option("-v", "--verbose", help="Show a progress bar even if piped.")
    ] = False,
) -> None:
    """Fill the gaps of a CT scan; every original slice stays bit for bit what it was.

    Next to OUTPUT a .json tells for every slice whether it is original or synthetic.
    """
    from hrinet import job, pipeline
    from hrinet.commands.progress import progress_bar
    from hrinet.io.dicom_options import DicomOptions, parse_compression
    from hrinet.plan.plan import Request
    from hrinet.report.wording import describe_result

    start, stop = parse_range(slice_range)
    request = Request(
        spacing=parse_spacing(spacing),
        factor=factor,
        grid=job.parse_grid(grid),
        start=start,
        stop=stop,
        limits=job.gap_limits(max_gap),
        strict=strict,
    )
    with progress_bar(
        "slices", unit="slices", forced=verbose, hidden=as_json and not verbose
    ) as progress:
        result = pipeline.interpolate_file(
            input_path,
            pipeline.Outputs(
                volume=output_path,
                preview=preview,
                uncertainty=uncertainty,
                report=report,
                overwrite=overwrite,
                dicom=DicomOptions(
                    enhanced=enhanced,
                    compress=parse_compression(compress),
                    burn_in=burn_in,
                    like=like,
                ),
            ),
            job.Options(
                request=request,
                method=method,
                weights=weights,
                label=label,
                untilt=untilt,
                threads=threads,
                precision=job.parse_precision(precision),
                quality=job.parse_quality(quality),
                device=job.parse_device(device),
                thickness_mm=thickness,
            ),
            series=series,
            progress=progress,
            command=shlex.join(["hrinet", *sys.argv[1:]]),
        )
    if as_json:
        import json

        typer.echo(json.dumps(result))
    else:
        typer.echo(describe_result(result))
