"""Commands on single scans and on no scan at all: `segment`, `ask`, `plan`, `ops`."""

from __future__ import annotations

import typer


def ops() -> None:
    """Print the reference of the program language."""
    from vp_engine.cli.reference import ops_reference

    print(ops_reference(), end="")


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    for command in (ops,):
        app.command()(command)
