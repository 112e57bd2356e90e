"""Commands that train the models."""

from __future__ import annotations

import enum
from pathlib import Path
from typing import Annotated

import typer

from vp_engine.errors import ConfigError


class Trainable(enum.StrEnum):
    """What can be trained."""

    AGENT = "agent"
    VISION = "vision"


def train(
    what: Annotated[Trainable, typer.Argument(help="The language model or the vision network.")],
    recipe: Annotated[str, typer.Option(help="Name of a recipe: one recipe is one full run.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for the weights; a run in it is resumed.")],
    maps: Annotated[
        Path | None, typer.Option(help="vision: archive of label maps that images are synthesised from (.npz).")
    ] = None,
    device: Annotated[str, typer.Option(help="vision: cpu or cuda.")] = "cpu",
) -> None:
    """Train a model from scratch."""
    if what is Trainable.AGENT:
        from vp_engine.training.agent import train_agent

        print(train_agent(out, recipe=recipe))
        return
    if maps is None or not maps.is_file():
        raise ConfigError(f"--maps: expected an archive of label maps (.npz), got {maps or 'nothing'}")
    from vp_engine.training.vision import RECIPES, train_vision

    if recipe not in RECIPES:
        raise ConfigError(f"--recipe: expected one of {', '.join(RECIPES)}, got {recipe!r}")
    print(train_vision(maps, out, recipe=RECIPES[recipe], device=device))


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command()(train)
