"""Commands that train and evaluate the models."""

from __future__ import annotations

import enum
from pathlib import Path
from typing import Annotated

import typer

from vp_engine.cli.options import ModelOption, PlannerOption
from vp_engine.errors import ConfigError


class Trainable(enum.StrEnum):
    """What can be trained."""

    AGENT = "agent"
    VISION = "vision"
    JOINT = "joint"
    QUALITY = "quality"
    DESCRIPTION = "description"


def train(
    what: Annotated[
        Trainable,
        typer.Argument(
            help="The language model, the vision network, both together, the qc_score of the masks, or "
            "the answers about lesions."
        ),
    ],
    recipe: Annotated[str, typer.Option(help="Name of a recipe: one recipe is one full run.")],
    out: Annotated[
        Path,
        typer.Option(
            "--out",
            "-o",
            help="Folder for the weights; a run in it is resumed. quality, description: the folder that has them.",
        ),
    ],
    *,
    maps: Annotated[
        Path | None,
        typer.Option(
            help="Archive of label maps that images are synthesised from (.npz). agent: without it the looks of "
            "contrasts are not learnt."
        ),
    ] = None,
    lesions: Annotated[
        Path | None,
        typer.Option(
            help="vision, quality, description: archive of lesion masks in MNI space, pasted into some images (.npz)."
        ),
    ] = None,
    strokes: Annotated[
        Path | None,
        typer.Option(help="vision, quality, description: archive of stroke masks in MNI space, as --lesions (.npz)."),
    ] = None,
    reader: Annotated[
        Path | None, typer.Option(help="agent: folder of a pre-trained BERT encoder to start from; none: from scratch.")
    ] = None,
    start: Annotated[
        Path | None,
        typer.Option(
            help="vision, agent: folder of weights to train on from; structures and words that are new are added."
        ),
    ] = None,
    model: ModelOption = "default",
    device: Annotated[str, typer.Option(help="All but agent: cpu or cuda.")] = "cpu",
) -> None:
    """Train the models, or fit the qc_score and the answers about lesions to a vision network.

    The agent learns what contrasts look like to the vision network of --model; joint trains on from its weights.
    """
    from vp_engine.cohort.weights import model_folder

    if maps is not None and not maps.is_file():
        raise ConfigError(f"--maps: expected an archive of label maps (.npz), got {maps}")
    if what is Trainable.AGENT:
        from vp_engine.training.agent import Beginning, train_agent
        from vp_engine.training.appearances import appearances_in

        seen = appearances_in(out, maps, model_folder(model) / "vision") if maps else {}
        print(train_agent(out, recipe=recipe, begin=Beginning(reader, start), appearances=seen))
        return
    if maps is None:
        raise ConfigError("--maps: expected an archive of label maps (.npz), got nothing")
    if what is Trainable.JOINT:
        from vp_engine.training.joint import train_joint

        print(train_joint(maps, model_folder(model), out, recipe=recipe, device=device))
        return
    from vp_engine.training import description, quality, vision
    from vp_engine.training.sources import Archives

    rooms = {Trainable.VISION: vision, Trainable.QUALITY: quality, Trainable.DESCRIPTION: description}
    if recipe not in rooms[what].RECIPES:
        raise ConfigError(f"--recipe: expected one of {', '.join(rooms[what].RECIPES)}, got {recipe!r}")
    archives = Archives(maps, lesions, strokes)
    match what:
        case Trainable.VISION:
            print(vision.train_vision(archives, out, recipe=vision.RECIPES[recipe], device=device, start=start))
        case Trainable.QUALITY:
            print(quality.train_quality(archives, out, recipe=quality.RECIPES[recipe], device=device))
        case Trainable.DESCRIPTION:
            fit = description.RECIPES[recipe]
            print(description.train_description(archives, out, recipe=fit, device=device))


class Suite(enum.StrEnum):
    """What can be evaluated."""

    AGENT = "agent"
    ANATOMY = "anatomy"


def evaluate(
    suite: Annotated[Suite, typer.Argument(help="agent: prompts to programs; anatomy: agreement of delineations.")],
    *,
    model: ModelOption = "default",
    planner: PlannerOption = "builtin",
    prompts: Annotated[Path | None, typer.Option(help="agent: hand-written cases, JSON lines.")] = None,
    held_out: Annotated[int, typer.Option(min=0, help="agent: prompts drawn from templates never trained on.")] = 300,
    appearances: Annotated[
        Path | None, typer.Option(help="agent: image features by contrast, to ask what contrast scans have.")
    ] = None,
    scan: Annotated[Path | None, typer.Option(help="anatomy: NIfTI image.")] = None,
    reference: Annotated[Path | None, typer.Option(help="anatomy: labels with FreeSurfer's numbers.")] = None,
) -> None:
    """Say how good the models are on a suite."""
    if suite is Suite.AGENT:
        from vp_engine.cohort.engine import load_planner
        from vp_engine.evaluation.agent import evaluate_agent
        from vp_engine.evaluation.feedback import evaluate_feedback

        writer = load_planner(model, planner)
        for scores in evaluate_agent(writer, prompts=prompts, held_out=held_out):
            print(scores)
        if held_out:
            from vp_engine.training.appearances import load_appearances

            print("feedback:")
            for row in evaluate_feedback(writer, number=held_out, appearances=load_appearances(appearances)):
                print(f"  {row}")
        return
    if scan is None or reference is None:
        raise ConfigError("expected --scan and --reference for the suite anatomy")
    from vp_engine.cohort.weights import model_folder, verify_weights
    from vp_engine.evaluation.anatomy import agreement, label_scan
    from vp_engine.vision.segmenter import NetworkSegmenter
    from vp_engine.volumes.nifti import read_image, read_labels

    folder = model_folder(model)
    verify_weights(folder)
    labels = label_scan(NetworkSegmenter.from_pretrained(folder / "vision"), read_image(scan))
    found = agreement(labels, read_labels(reference).data)
    for name, dice in found.dice.items():
        print(f"{name}\t{dice:.3f}")
    print(f"mean\t{found.mean():.3f}\nsides swapped\t{found.sides_swapped:.5f}")


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    for command in (train, evaluate):
        app.command()(command)
