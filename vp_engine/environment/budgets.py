"""Limits on what one prompt may use, counted before each step, statement and call."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from vp_engine.environment.misuse import Misuse
from vp_engine.environment.values import Cutout, Image, Mask, Value

BYTES_PER_VOXEL: Mapping[str, int] = MappingProxyType(
    {
        "segment": 1,
        "parcels": 64,
        "volume": 1,
        "surface_area": 16,
        "sphericity": 16,
        "max_diameter": 4,
        "mean_thickness": 16,
        "count": 8,
        "centroid_x": 1,
        "centroid_y": 1,
        "centroid_z": 1,
        "mean_intensity": 16,
        "std_intensity": 16,
        "median_intensity": 16,
        "distance": 8,
        "union": 2,
        "intersection": 2,
        "difference": 2,
        "dilate": 64,
        "erode": 64,
        "largest": 12,
        "near": 64,
        "nearer": 64,
        "part": 16,
        "crop": 4,
        "isolate": 8,
        "changed": 32,
        "follow": 32,
        "quality": 1,
        "features": 8,
        "pieces": 16,
        "smallest": 12,
        "at_least": 12,
        "touching": 12,
        "perpendicular_diameter": 4,
        "located": 64,
        "with_signal": 64,
        "relative_intensity": 64,
        "describe": 64,
    }
)
"""Most memory an op takes, per voxel of its largest argument; other ops take none to speak of."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Upper bounds for one prompt (`steps`, `seconds`) and for each of its steps (the others).

    Attributes
    ----------
    steps : int
        Programs run.
    statements : int
        Statements run, each turn of a loop counted.
    calls : int
        Calls of ops.
    variables : int
        Variables held.
    seconds : float
        Wall time since the first step, checked before every call; a call itself is ended by the worker's deadline.
    memory_bytes : int
        Images, masks and cutouts held plus what the next op is predicted to take.
    """

    steps: int = 16
    statements: int = 20_000
    calls: int = 20_000
    variables: int = 64
    seconds: float = 1800.0
    memory_bytes: int = 16 * 2**30


class Budget:
    """What has been used of the limits; spent is spent, even when a step is refused."""

    __slots__ = ("_clock", "_started", "calls", "limits", "statements", "steps")

    def __init__(self, limits: Limits, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.limits = limits
        self.steps = 0
        self.statements = 0
        self.calls = 0
        self._clock = clock
        self._started: float | None = None

    def start_step(self) -> None:
        """Count one program and start its counters.

        Raises
        ------
        Misuse
            If the prompt has had all its steps or all its time.
        """
        self._started = self._clock() if self._started is None else self._started
        self.steps += 1
        self.statements = self.calls = 0
        self._require("steps", self.steps, self.limits.steps)
        self._require_time()

    def count_statement(self) -> None:
        """Count one statement.

        Raises
        ------
        Misuse
            If the step has run too many.
        """
        self.statements += 1
        self._require("statements", self.statements, self.limits.statements)

    def count_call(self, op: str, arguments: Iterable[object], held: Callable[[], Iterable[Value]]) -> None:
        """Count one call and predict its memory, before it runs.

        Parameters
        ----------
        op : str
            Name of the op.
        arguments : iterable
            Its arguments.
        held : callable
            Gives every value that stays alive meanwhile.

        Raises
        ------
        Misuse
            If calls, time or memory run out.
        """
        self.calls += 1
        self._require("calls", self.calls, self.limits.calls)
        self._require_time()
        per_voxel = BYTES_PER_VOXEL.get(op)
        if per_voxel is not None:
            voxels = max((a.data.size for a in arguments if isinstance(a, (Image, Mask))), default=0)
            self._require("memory", held_bytes(held()) + per_voxel * voxels, self.limits.memory_bytes)

    def count_variables(self, count: int) -> None:
        """Check the number of variables held.

        Raises
        ------
        Misuse
            If there are too many.
        """
        self._require("variables", count, self.limits.variables)

    def _require_time(self) -> None:
        elapsed = 0.0 if self._started is None else self._clock() - self._started
        self._require("seconds", elapsed, self.limits.seconds)

    def _require(self, what: str, used: float, limit: float) -> None:
        if used > limit:
            raise Misuse(
                f"the budget of {what} is used up",
                code=f"budget_{what}",
                expected=f"<= {limit:.10g}",
                got=f"{used:.10g}",
            )


def held_bytes(values: Iterable[Value]) -> int:
    """Memory of all images, masks and cutouts among the values, each array counted once."""
    sizes: dict[int, int] = {}
    for value in values:
        for one in value if isinstance(value, list) else [value]:
            for owner in (one, one.image) if isinstance(one, (Mask, Cutout)) else (one,):
                if isinstance(owner, (Image, Mask, Cutout)):
                    sizes[id(owner.data)] = owner.data.nbytes
    return sum(sizes.values())
