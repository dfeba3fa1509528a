"""The ``hrinet`` command: parses arguments, hands them on, turns errors into exit codes."""

from __future__ import annotations

import signal
import sys
import traceback
from pathlib import Path
from types import FrameType
from typing import Annotated, NoReturn

import typer

import hrinet
from hrinet.commands import (
    demo,
    doctor,
    evaluate,
    explore,
    info,
    interpolate,
    manifest,
    models,
    node,
    project,
    pull,
    push,
    selftest,
    surface,
    train,
    verify,
)
from hrinet.errors import HrinetError

app = typer.Typer(
    name="hrinet",
    help="Fill the gaps between the slices of a CT scan.",
    epilog="Exit codes: 0 done; 1 failed half-way, nothing partial is left behind; "
    "2 the input or the arguments are wrong.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,  # Rich would double the time that --help takes.
    pretty_exceptions_enable=False,
)
app.command("interpolate", short_help="Fill the gaps of a scan; the main job.")(
    interpolate.interpolate
)
app.command("info", short_help="Show what is in an input and what would be done.")(info.info)
app.command("evaluate", short_help="Measure the methods on scans; tables and pictures.")(
    evaluate.evaluate
)
app.command("selftest", short_help="Test the methods on a scan of one's own.")(selftest.selftest)
app.command("surface", short_help="Draw the surface of bone, skin or lung as a mesh.")(
    surface.surface
)
app.command("project", short_help="Pictures of a scan from any side.")(project.project)
app.command("verify", short_help="Check a derived DICOM series.")(verify.verify)
app.command("models", short_help="List the methods and their weights.")(models.models)
app.command("train", short_help="Train a network, resumable.")(train.train)
app.command("manifest", short_help="List scans for training, split by patient.")(manifest.manifest)
app.command("explore", short_help="Draw what a trained network has learnt.")(explore.explore)
app.command("curves", short_help="Draw the learning curves of trainings.")(explore.curves)
app.command("demo", short_help="The whole path on a built-in phantom, offline.")(demo.demo)
app.command("node", short_help="DICOM node: receives, fills the gaps, sends on.")(node.node)
app.command("pull", short_help="Fetch a series from a PACS or DICOMweb server.")(pull.pull)
app.command("push", short_help="Send DICOM files to a PACS or DICOMweb server.")(push.push)
app.command("doctor", short_help="Check the installation and the machine's speed.")(doctor.doctor)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"hrinet {hrinet.__version__}")
        raise typer.Exit


@app.callback()
def _common(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version."
        ),
    ] = False,
) -> None:
    """Fill the gaps between the slices of a CT scan."""


class _Interrupted(BaseException):
    """Ctrl-C or a request to terminate; unwinds so that temporary files are removed."""


def _stop(number: int, frame: FrameType | None) -> NoReturn:
    raise _Interrupted(number)


def main() -> NoReturn:
    """Entry point of the console script."""
    signal.signal(signal.SIGINT, _stop)
    signal.signal(signal.SIGTERM, _stop)
    try:
        app(standalone_mode=True)
    except HrinetError as error:
        typer.echo(f"hrinet: {error}", err=True)
        sys.exit(error.exit_code)
    except _Interrupted as interrupted:
        typer.echo("hrinet: interrupted; no output was written", err=True)
        sys.exit(128 + int(interrupted.args[0]))
    except BrokenPipeError:
        sys.exit(1)
    except MemoryError:
        typer.echo("hrinet: out of memory; no output was written", err=True)
        sys.exit(1)
    except OSError as error:
        reason = error.strerror or str(error)
        typer.echo(
            f"hrinet: {error.filename or 'system'}: {reason}; no output was written", err=True
        )
        sys.exit(1)
    except Exception as error:
        place = traceback.extract_tb(error.__traceback__)[-1]
        typer.echo(
            f"hrinet: internal error, {type(error).__name__} at {Path(place.filename).name}:"
            f"{place.lineno}: {error}; no output was written; please report this, it is a defect",
            err=True,
        )
        sys.exit(1)
    sys.exit(0)
