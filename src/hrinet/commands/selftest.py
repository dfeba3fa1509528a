"""``hrinet selftest``: how well every method does on a scan of one's own."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def selftest(
    input_path: Annotated[
        Path, typer.Argument(metavar="SCAN", help="As for 'hrinet interpolate'.")
    ],
    methods: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME[,NAME...]",
            help="Only these; by default those that 'auto' chooses from, with --full every one "
            "that is installed.",
        ),
    ] = None,
    full: Annotated[
        bool,
        typer.Option("--full", help="Score every hidden slice by every installed method; slow."),
    ] = False,
    series: Annotated[
        str | None,
        typer.Option(metavar="UID", help="Which DICOM series, as listed by 'hrinet info'."),
    ] = None,
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
    """Hide every second slice of a scan, let the methods make them, and compare.

    Tells which method is best on this scan, by how much, and what error to expect. Nothing is
    written, and the report names neither the patient nor the file.
    """
    import shutil
    import sys

    from hrinet.commands.progress import progress_bar
    from hrinet.selftest.run import SelftestOptions, selftest_file, split_names
    from hrinet.selftest.wording import describe_selftest

    options = SelftestOptions(methods=split_names(methods), full=full, threads=threads)
    with progress_bar(
        "self-test", unit="slices", forced=verbose, hidden=as_json and not verbose
    ) as progress:
        result = selftest_file(input_path, options, series=series, progress=progress)
    if as_json:
        import json

        typer.echo(json.dumps(result))
        return
    # A table that goes into a file or a pipe has no reason to wrap.
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else 200
    typer.echo(describe_selftest(result, width=width))
