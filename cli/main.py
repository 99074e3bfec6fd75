"""The command `dfdc`: parse, call, print. The rooms do the work; heavy imports happen inside the commands."""

from __future__ import annotations

import io
import os
import sys
from typing import Annotated

import typer

import cli.ensemble
import cli.explore
import cli.inference
import cli.kaggle
import cli.scale
import cli.serve
import cli.train
from cli.grouped_help import GroupedHelp
from cli.options import EXIT_FAILED, EXIT_USAGE
from cli.stopping import when_stopped
from common import __version__
from common.errors import DfdcError

# Plain help: rich would take half a second to import, which is longer than everything else that `--help` does.
app = typer.Typer(cls=GroupedHelp, no_args_is_help=True, pretty_exceptions_enable=False, rich_markup_mode=None)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"dfdc {__version__}")
        raise typer.Exit


@app.callback()
def dfdc(
    version: Annotated[
        bool, typer.Option("--version", help="print the version and exit", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    """DeepFake Detection Challenge: predict videos, train members, tune their blend, find out what each contributes.

    Results go to stdout, progress and logs to stderr. Exit codes: 0 done, 1 failed, 2 wrong usage, 3 done, but more
    videos than --max-fallback could not be predicted, 75 stopped by SIGTERM (training), 130 stopped by Ctrl-C.
    """
    when_stopped("nothing is kept", "begin again")  # unless the command says something else


GROUPS = {
    "Videos": cli.inference.COMMANDS | cli.serve.COMMANDS,
    "Training": cli.train.COMMANDS,
    "Blend": cli.ensemble.COMMANDS,
    "Many machines": cli.scale.COMMANDS,
    "Kaggle": cli.kaggle.COMMANDS,
}
for group, commands in GROUPS.items():
    for name, command in commands.items():
        app.command(name, rich_help_panel=group)(command)
app.add_typer(cli.explore.app, name="explore", rich_help_panel="Videos")


def main() -> None:
    """Run the command; mistakes of the user, files that fail and our own errors are one line, all else a traceback."""
    for stream in (sys.stdin, sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="surrogateescape")  # names of files are shown whatever their bytes are
    try:
        app()
    except (ValueError, DfdcError) as error:
        if os.environ.get("DFDC_TRACEBACK"):
            raise
        typer.echo(f"dfdc: {error} (DFDC_TRACEBACK=1 shows where)", err=True)
        sys.exit(EXIT_USAGE if isinstance(error, ValueError) else EXIT_FAILED)
    except OSError as error:  # a file that is missing, or may not be read or written
        if os.environ.get("DFDC_TRACEBACK"):
            raise
        named = f"{error.filename}: " if error.filename is not None else ""
        typer.echo(f"dfdc: {named}{error.strerror or error} (DFDC_TRACEBACK=1 shows where)", err=True)
        sys.exit(EXIT_FAILED)
