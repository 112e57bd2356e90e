"""A scan that does not fit the memory of the GPU is delineated all the same: tried again, then on the processor."""

from __future__ import annotations

import gc
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np

from vp_engine.cohort.scans import Region, Seen, Segmenter
from vp_engine.volumes.volume import Volume

_log = logging.getLogger(__name__)


class SpillingSegmenter:
    """The segmenter of one participant, which goes on with less when the GPU is out of memory.

    Each scan is tried on the GPU, once more when all that is held there for later use has been given back, and then on
    the processor. Only `torch.OutOfMemoryError` leads there: whatever else fails is no matter of size.

    Parameters
    ----------
    first : Segmenter
        Where scans are tried first.
    on_cpu : callable or None
        Gives the same network on the processor; None when there is nowhere else to go.
    """

    def __init__(self, first: Segmenter, on_cpu: Callable[[], Segmenter] | None) -> None:
        self._first = first
        self._on_cpu = on_cpu
        self._spilled = False

    @property
    def known(self) -> tuple[str, ...]:
        """Names of the parts the weights delineate."""
        return self._first.known

    @property
    def device(self) -> str:
        """Where it runs, and whether a scan of the participant had to go elsewhere: ``cuda, cpu (out of memory)``."""
        return f"{self._first.device}, cpu (out of memory)" if self._spilled else self._first.device

    def regions(
        self, volume: Volume, unions: Mapping[str, Sequence[str]], *, others: Sequence[Volume] = ()
    ) -> Iterator[tuple[str, Region]]:
        """As `Segmenter.regions`; what was given before the memory ran out is not given twice."""
        import torch

        rest = dict(unions)
        for segmenter, last in self._attempts():
            try:
                for name, region in segmenter.regions(volume, dict(rest), others=others):
                    del rest[name]
                    yield name, region
            except torch.OutOfMemoryError:
                if last:
                    raise
            else:
                return

    def features(self, volume: Volume, *, others: Sequence[Volume] = ()) -> Seen:
        """As `Segmenter.features`."""
        import torch

        for segmenter, last in self._attempts():
            try:
                return segmenter.features(volume, others=others)
            except torch.OutOfMemoryError:
                if last:
                    raise
        raise AssertionError("the last attempt returns or raises")

    def answer(self, question: str, numbers: np.ndarray) -> tuple[str, float]:
        """As `Segmenter.answer`."""
        return self._first.answer(question, numbers)

    def _attempts(self) -> Iterator[tuple[Segmenter, bool]]:
        """What to try in turn, and whether it is the last; goes on after the `except` block, which holds tensors."""
        if self._on_cpu is None or self._first.device == "cpu":
            yield self._first, True
            return
        yield self._first, False
        _make_room()
        yield self._first, False
        _make_room()
        _log.warning("the GPU is out of memory: a scan goes to the processor, which takes longer")
        self._spilled = True
        yield self._on_cpu(), True


def _make_room() -> None:
    """Give back what is held on the GPU for later use."""
    import torch

    gc.collect()
    torch.cuda.empty_cache()  # nothing where there is none
