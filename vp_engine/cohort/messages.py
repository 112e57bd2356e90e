"""What the processes of a job say to each other, and how they say it.

The parent starts two and watches them. The *worker* computes; what comes of it goes through a channel to the *writer*,
which writes it, also when the worker is gone. Both answer the parent with messages.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from vp_engine.cohort.engine import Engine
from vp_engine.cohort.participant import Begun, Job
from vp_engine.errors import InfrastructureError


@dataclass(frozen=True, slots=True)
class Setup:
    """What the worker is told first.

    Attributes
    ----------
    load_engine : callable
        Verifies the weights and gives the engine; a function of a module, as it is sent to another process.
    log_levels : mapping of str to int
        Name of a logger → its level, as in the parent.
    """

    load_engine: Callable[[], Engine]
    log_levels: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Ready:
    """The weights are verified."""

    model_id: str


@dataclass(frozen=True, slots=True)
class Started:
    """The worker takes up a participant."""

    participant: str


@dataclass(frozen=True, slots=True)
class Loading:
    """The models are being loaded, or are loaded: time that is not the participant's."""

    participant: str
    ended: bool


@dataclass(frozen=True, slots=True)
class Opened:
    """To the writer: what follows is of this participant."""

    job: Job
    begun: Begun
    strays: bool


@dataclass(frozen=True, slots=True)
class Closed:
    """To the writer: that was all of the participant, or nothing more will come of it."""

    participant: str
    complete: bool


@dataclass(frozen=True, slots=True)
class Computed:
    """All tasks are computed.

    Attributes
    ----------
    participant : str
    seconds : float
        How long that took, loading models not counted.
    computing_s : float
        For how much of it the models computed.
    loading_s : float
        How long loading them took.
    """

    participant: str
    seconds: float
    computing_s: float
    loading_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Done:
    """The record is written; its hash."""

    participant: str
    sha256: str


@dataclass(frozen=True, slots=True)
class Failed:
    """The analysis, the writing or (of no participant) the start raised this."""

    participant: str | None
    error: Exception
    writing: bool = False


class WorkerEnded(InfrastructureError):
    """The process that worked on a participant was ended by something else: memory used up, a crash, a person."""

    default_code = "worker_ended"
