"""How long the models compute, to tell it from the time that goes into everything beside them."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from vp_engine.cohort.engine import Models
from vp_engine.cohort.scans import Region, Seen, Segmenter
from vp_engine.volumes.volume import Volume

if TYPE_CHECKING:
    from vp_engine.agent.planner import Context, History, Planner
    from vp_engine.environment.instruction import Instruction


class Stopwatch:
    """Takes the time that passes, and the part of it in which models compute."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Start at 0."""
        self._begun = time.monotonic()
        self._within = 0
        self.stood = 0.0
        """Seconds that are left out."""
        self.computing = 0.0
        """Seconds in which models computed."""

    @property
    def passed(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self._begun - self.stood

    @contextmanager
    def standing(self) -> Iterator[None]:
        """Leave out the time of the block."""
        before = self.passed
        yield
        self.stood += self.passed - before

    @contextmanager
    def running(self) -> Iterator[None]:
        """Count the time of the block as computing; once, where one such block is inside another."""
        before = self.passed
        self._within += 1
        try:
            yield
        finally:
            self._within -= 1
            if not self._within:
                self.computing += self.passed - before


def timed(models: Models, stopwatch: Stopwatch) -> Models:
    """The same models; while one of them computes, the stopwatch runs."""
    on_cpu = models.on_cpu
    return replace(
        models,
        planner=_TimedPlanner(models.planner, stopwatch),
        segmenter=_TimedSegmenter(models.segmenter, stopwatch),
        on_cpu=None if on_cpu is None else lambda: _TimedSegmenter(on_cpu(), stopwatch),
    )


class _TimedPlanner:
    def __init__(self, planner: Planner, stopwatch: Stopwatch) -> None:
        self._planner = planner
        self._stopwatch = stopwatch

    def next_instruction(self, context: Context, history: History) -> Instruction:
        with self._stopwatch.running():
            return self._planner.next_instruction(context, history)


class _TimedSegmenter:
    def __init__(self, segmenter: Segmenter, stopwatch: Stopwatch) -> None:
        self._segmenter = segmenter
        self._stopwatch = stopwatch

    @property
    def known(self) -> tuple[str, ...]:
        return self._segmenter.known

    @property
    def device(self) -> str:
        return self._segmenter.device

    def regions(
        self, volume: Volume, unions: Mapping[str, Sequence[str]], *, others: Sequence[Volume] = ()
    ) -> Iterator[tuple[str, Region]]:
        with self._stopwatch.running():
            found = iter(self._segmenter.regions(volume, unions, others=others))
        while True:
            with self._stopwatch.running():  # not while those who asked work with what they got
                one = next(found, None)
            if one is None:
                return
            yield one

    def features(self, volume: Volume, *, others: Sequence[Volume] = ()) -> Seen:
        with self._stopwatch.running():
            return self._segmenter.features(volume, others=others)

    def answer(self, question: str, numbers: np.ndarray) -> tuple[str, float]:
        return self._segmenter.answer(question, numbers)
