"""Options that several commands share."""

from __future__ import annotations

import enum
from typing import Annotated

import typer


class Device(enum.StrEnum):
    """Where the models run."""

    AUTO = "auto"
    CPU = "cpu"
    CUDA = "cuda"


DeviceOption = Annotated[Device, typer.Option(help="Where the models run; auto takes the GPU when there is one.")]
PlannerOption = Annotated[
    str,
    typer.Option(help="Who writes the programs: `builtin`, or a folder with a causal language model of transformers."),
]
ModelOption = Annotated[str, typer.Option(help="`default`, or a folder with weights.")]
