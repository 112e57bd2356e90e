"""A scan that does not fit the GPU is delineated on the processor, and the row says so."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch

from tests.unit.cohort_fakes import AFFINE, Box, IntensitySegmenter, brain
from vp_engine.cohort.fallback import SpillingSegmenter
from vp_engine.volumes.volume import Volume

SCAN = Volume(brain(0), AFFINE)
UNIONS = {"left_hippocampus": ("left_hippocampus",), "brainstem": ("brainstem",)}


class Small(IntensitySegmenter):
    """A GPU that is out of memory at some of its calls, with some already given."""

    def __init__(self, *failing: int, given: int = 0, error: type[RuntimeError] = torch.OutOfMemoryError) -> None:
        super().__init__()
        self.device = "cuda"
        self.failing, self.given, self.error = failing, given, error

    def regions(self, *arguments: Any, **options: Any) -> Iterator[tuple[str, Box]]:
        found = list(super().regions(*arguments, **options))
        if len(self.calls) in self.failing:
            yield from found[: self.given]
            raise self.error("CUDA out of memory")
        yield from found

    def features(self, *arguments: Any, **options: Any) -> Any:
        found = super().features(*arguments, **options)
        if len(self.calls) in self.failing:
            raise self.error("CUDA out of memory")
        return found


def test_second_attempt_is_on_the_gpu_again_and_gives_nothing_twice() -> None:
    small = Small(1, given=1)
    segmenter = SpillingSegmenter(small, IntensitySegmenter)
    assert [name for name, _ in segmenter.regions(SCAN, UNIONS)] == list(UNIONS)
    assert small.calls == [tuple(UNIONS), ("brainstem",)]
    assert segmenter.device == "cuda"


def test_third_attempt_is_on_the_processor_and_the_row_says_so() -> None:
    processor = IntensitySegmenter()
    segmenter = SpillingSegmenter(Small(1, 2), lambda: processor)
    found = dict(segmenter.regions(SCAN, UNIONS))
    assert processor.calls == [tuple(UNIONS)]
    assert segmenter.device == "cuda, cpu (out of memory)"
    expected = dict(IntensitySegmenter().regions(SCAN, UNIONS))
    assert all(np.array_equal(found[name].probability, expected[name].probability) for name in UNIONS)
    assert segmenter.features(SCAN).data is SCAN.data


def test_features_go_the_same_way() -> None:
    segmenter = SpillingSegmenter(Small(1, 2), IntensitySegmenter)
    assert segmenter.features(SCAN).data is SCAN.data
    assert segmenter.device == "cuda, cpu (out of memory)"


@pytest.mark.parametrize(
    ("small", "nowhere_else", "calls"),
    [(Small(1, error=RuntimeError), False, 1), (Small(1), True, 1)],
)
def test_other_errors_and_no_other_place_are_told(small: Small, nowhere_else: bool, calls: int) -> None:
    segmenter = SpillingSegmenter(small, None if nowhere_else else IntensitySegmenter)
    with pytest.raises(small.error):
        list(segmenter.regions(SCAN, UNIONS))
    assert len(small.calls) == calls
    assert segmenter.device == "cuda"


def test_processor_too_small_is_the_end() -> None:
    processor = Small(1)
    with pytest.raises(torch.OutOfMemoryError):
        SpillingSegmenter(Small(1, 2), lambda: processor).features(SCAN)
