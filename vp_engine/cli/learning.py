"""Commands that train and evaluate the models."""

from __future__ import annotations

import enum
from pathlib import Path
from typing import Annotated

import typer


class Trainable(enum.StrEnum):
    """What can be trained."""

    AGENT = "agent"
    VISION = "vision"


def train(
    what: Annotated[Trainable, typer.Argument(help="The language model or the vision network.")],
    recipe: Annotated[str, typer.Option(help="Name of a recipe; one recipe is one full run.")] = "default",
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for checkpoints and the final weights.")] = Path(
        "runs"
    ),
    data: Annotated[Path, typer.Option(help="Folder with the label maps that images are synthesised from.")] = Path(
        "../shared/data/training"
    ),
) -> None:
    """Train a model from scratch."""


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command()(train)
