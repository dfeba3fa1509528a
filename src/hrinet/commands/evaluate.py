"""``hrinet evaluate``: how good the methods are on given scans."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer


def evaluate(
    scans: Annotated[
        list[Path] | None,
        typer.Argument(metavar="SCAN...", help="Scans as for 'interpolate'."),
    ] = None,
    folder: Annotated[
        Path, typer.Option("--out", metavar="FOLDER", help="Where the reports go.")
    ] = Path("evaluation"),
    methods: Annotated[
        str | None,
        typer.Option(
            metavar="A,B,C",
            help="Methods; all by default. repeat, linear and cubic always take part.",
        ),
    ] = None,
    weights: Annotated[
        list[Path] | None,
        typer.Option(metavar="FILE", help="Also weights of one's own; may be repeated."),
    ] = None,
    protocol: Annotated[
        str,
        typer.Option(
            metavar="NAME,...",
            help="large-gap, factors, gaps-mm, adjacent, reconstruction, receptive-field, "
            "ablation, or all.",
        ),
    ] = "all",
    factor: Annotated[
        str, typer.Option(metavar="R,R", help="Of 'factors': every R-th slice is kept.")
    ] = "2,3,4,6",
    gap_mm: Annotated[
        str, typer.Option(metavar="MM,MM", help="Of 'gaps-mm': widths to come near to.")
    ] = "4,6,10,15,20",
    manifest: Annotated[
        Path | None,
        typer.Option(metavar="JSON", help="Also the scans of a manifest; see --split."),
    ] = None,
    split: Annotated[
        str, typer.Option(metavar="test|validation", help="Which scans of the manifest.")
    ] = "test",
    names: Annotated[
        str | None,
        typer.Option(
            metavar="A,B",
            help="What reports call the scans of the command line: 'scan 1' and so on by default, "
            "since a path may name a patient.",
        ),
    ] = None,
    no_pictures_of: Annotated[
        str, typer.Option(metavar="A,B", help="Names of scans that no picture may show.")
    ] = "",
    training: Annotated[
        Path | None,
        typer.Option(metavar="RUN_FOLDER", help="Output of a training, for Figure 4-9."),
    ] = None,
    ma_model: Annotated[
        Path | None,
        typer.Option(metavar="model.mat", help="The trained model of Ma et al., if you have it."),
    ] = None,
    jobs: Annotated[
        int | None,
        typer.Option(min=1, metavar="N", help="Processes; one a core by default."),
    ] = None,
    cache: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Where results are kept; in --out by default."),
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace existing reports.")
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the figures as one JSON object.")
    ] = False,
    verbose: Annotated[
        bool, typer.Option("-v", "--verbose", help="Show a progress bar even if piped.")
    ] = False,
) -> None:
    """Hide slices of scans, make them again with every method, and report how well it went.

    Results are kept: a run that was stopped goes on when the same command is given again.
    """
    import json

    from hrinet.commands.progress import progress_bar
    from hrinet.evaluate import arguments, report, run
    from hrinet.evaluate.protocols import parse_protocols

    subjects = run.subjects_of(
        scans or (),
        names=arguments.parse_names(names) if names is not None else None,
        manifest=manifest,
        split=arguments.parse_split(split),
        hidden=arguments.parse_names(no_pictures_of),
    )
    options = run.Options(
        methods=arguments.parse_names(methods) if methods is not None else None,
        weights=tuple(weights or ()),
        protocols=parse_protocols(protocol),
        factors=arguments.parse_factors(factor),
        gaps_mm=arguments.parse_gaps(gap_mm),
        ma_model=ma_model,
        jobs=jobs,
        cache=cache,
        overwrite=overwrite,
        command=arguments.shown_command(sys.argv[1:]),
    )
    report.check(folder, overwrite=overwrite, training=training)
    with progress_bar(
        "evaluating", unit="tasks", forced=verbose, hidden=as_json and not verbose
    ) as progress:
        results = run.evaluate(subjects, folder, options, progress=progress)
    files = report.write_report(results, folder, training=training)
    if as_json:
        typer.echo(json.dumps(report.to_json(results), allow_nan=False))
        return
    for line in report.spoken(results):
        typer.echo(line)
    for path in files:
        typer.echo(f"Written: {path}")
