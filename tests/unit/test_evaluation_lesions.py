"""Lesions scored against a reference: overlap, one by one, volumes, surfaces; intervals of statistics."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from vp_engine.evaluation.intervals import bootstrap
from vp_engine.evaluation.lesions import (
    detection,
    hausdorff95_mm,
    known_pathologies,
    lesion_scores,
    pathology_masks,
    subsets,
    volumes_ml,
)
from vp_engine.volumes.volume import Volume


def boxes(*corners: tuple[tuple[int, int, int], int], shape: tuple[int, int, int] = (30, 20, 20)) -> np.ndarray:
    """Cubes by first voxel and edge length."""
    mask = np.zeros(shape, bool)
    for (x, y, z), edge in corners:
        mask[x : x + edge, y : y + edge, z : z + edge] = True
    return mask


def test_a_mask_agrees_with_itself() -> None:
    mask = boxes(((2, 2, 2), 3), ((12, 5, 5), 4))
    scores = lesion_scores(mask, mask, np.eye(4))
    assert scores.overlap.dice == scores.detection.f1 == 1
    assert (scores.detection.sensitivity.trials, scores.detection.precision.trials) == (2, 2)
    assert scores.volume_error_ml == scores.hausdorff95_mm == 0


def test_dice_and_volume_errors_of_a_mask_twice_as_large() -> None:
    truth = boxes(((4, 4, 4), 4))
    found = truth.copy()
    found[8:12, 4:8, 4:8] = True
    scores = lesion_scores(found, truth, np.diag([2.0, 1, 1, 1]))
    assert scores.overlap.dice == pytest.approx(2 / 3)
    assert scores.reference_ml == pytest.approx(0.128)
    assert scores.volume_error_ml == pytest.approx(0.128)
    assert scores.overlap.volume_difference_percent == pytest.approx(100)


def test_lesions_are_counted_one_by_one_whatever_their_size() -> None:
    truth = boxes(((1, 1, 1), 8), ((12, 1, 1), 2), ((20, 1, 1), 2))
    found = boxes(((1, 1, 1), 8), ((12, 2, 2), 1), ((25, 15, 15), 1))
    result = detection(found, truth)
    assert (result.sensitivity.hits, result.sensitivity.trials) == (2, 3)
    assert (result.precision.hits, result.precision.trials, result.false_positives) == (2, 3, 1)
    assert result.f1 == pytest.approx(2 / 3)


def test_pieces_of_one_lesion_are_all_true_and_it_is_found_once() -> None:
    truth = boxes(((2, 2, 2), 9))
    result = detection(boxes(((2, 2, 2), 2), ((9, 9, 9), 2), ((20, 2, 2), 2)), truth)
    assert (result.sensitivity.hits, result.sensitivity.trials) == (1, 1)
    assert (result.precision.hits, result.precision.trials) == (2, 3)
    assert result.f1 == pytest.approx(2 * (2 / 3) / (1 + 2 / 3))


def test_tiny_lesions_of_the_reference_are_not_looked_for_but_finding_one_is_no_fault() -> None:
    truth = boxes(((2, 2, 2), 1), ((10, 2, 2), 1), ((20, 2, 2), 3))
    truth[3, 2, 2] = True  # two voxels
    found = boxes(((2, 2, 2), 1), ((20, 2, 2), 3))
    result = detection(found, truth)
    assert (result.sensitivity.trials, result.false_positives) == (1, 0)
    assert detection(found, truth, smallest_voxels=1).sensitivity.trials == 3
    assert detection(found, truth, smallest_voxels=2).sensitivity.trials == 2


def test_voxels_that_share_a_corner_are_one_lesion() -> None:
    truth = boxes(((2, 2, 2), 2), ((4, 4, 4), 2))
    assert detection(truth, truth).sensitivity.trials == 1


def test_nothing_found_and_nothing_to_find_are_not_the_same() -> None:
    empty, lesion = boxes(), boxes(((2, 2, 2), 3))
    missed = lesion_scores(empty, lesion, np.eye(4))
    assert (missed.overlap.dice, missed.detection.f1, missed.detection.false_positives) == (0, 0, 0)
    assert np.isnan(missed.hausdorff95_mm)
    in_vain = lesion_scores(lesion, empty, np.eye(4))
    assert np.isnan(in_vain.overlap.dice)
    assert np.isnan(in_vain.detection.f1)
    assert (in_vain.detection.false_positives, in_vain.volume_error_ml) == (1, pytest.approx(0.027))


def test_distance_of_surfaces_is_in_mm_along_each_axis() -> None:
    here, there = boxes(((2, 8, 8), 3)), boxes(((6, 8, 8), 3))
    expected = 4.0  # of every voxel on the far face: 1 to 4 voxels, more than 5 % of them 4
    assert hausdorff95_mm(there, here, np.eye(4)) == pytest.approx(expected)
    assert hausdorff95_mm(there, here, np.diag([2.5, 1, 1, 1])) == pytest.approx(2.5 * expected)
    turned = np.eye(4)
    turned[:2, :2] = [[0, -1], [1, 0]]
    assert hausdorff95_mm(there, here, turned) == pytest.approx(expected)


def test_distance_of_surfaces_takes_the_worse_direction_and_forgives_five_percent() -> None:
    truth = boxes(((2, 2, 2), 6))
    with_piece = truth | boxes(((25, 2, 2), 3))
    assert hausdorff95_mm(with_piece, truth, np.eye(4)) > 15
    assert hausdorff95_mm(truth, with_piece, np.eye(4)) > 15
    with_speck = truth | boxes(((25, 2, 2), 1))
    assert hausdorff95_mm(with_speck, truth, np.eye(4)) == 0


def test_masks_of_other_grids_are_refused() -> None:
    for compare in (
        detection,
        lambda a, b: lesion_scores(a, b, np.eye(4)),
        lambda a, b: hausdorff95_mm(a, b, np.eye(4)),
    ):
        with pytest.raises(ValueError, match="one grid"):
            compare(boxes(), boxes(shape=(30, 20, 21)))


class FakeSegmenter:
    """Finds a box of each union, as large as the union has parts."""

    def __init__(self, *known: str) -> None:
        self.known = known

    def regions(self, volume: Volume, unions: dict[str, tuple[str, ...]], *, others: object = ()) -> object:
        for name, parts in unions.items():
            assert set(parts) <= set(self.known)
            yield name, SimpleNamespace(start=(1, 2, 3), inside=np.ones((len(parts), 2, 2), bool))


def test_pathologies_that_the_weights_lack_are_left_out() -> None:
    known = known_pathologies(FakeSegmenter("brainstem", "white_matter_lesion"))  # type: ignore[arg-type]
    assert known == {"lesion": ("white_matter_lesion",), "white_matter_lesion": ("white_matter_lesion",)}
    assert known_pathologies(FakeSegmenter("brainstem")) == {}  # type: ignore[arg-type]


def test_masks_lie_where_they_were_found() -> None:
    volume = Volume(np.zeros((9, 9, 9), np.float32), np.diag([1.0, 2, 5, 1]))
    masks = pathology_masks(FakeSegmenter("white_matter_lesion"), volume)  # type: ignore[arg-type]
    expected = np.zeros((9, 9, 9), bool)
    expected[1:2, 2:4, 3:5] = True
    np.testing.assert_array_equal(masks["white_matter_lesion"], expected)
    assert volumes_ml(masks, volume.affine)["lesion"] == pytest.approx(0.04)


def test_every_choice_of_contrasts_once() -> None:
    found = subsets(("FLAIR", "T2w", "T1w", "ce"))
    assert len(found) == len(set(found)) == 15
    assert (found[0], found[-1]) == (("FLAIR",), ("FLAIR", "T2w", "T1w", "ce"))
    assert ("FLAIR", "ce") in found


def test_interval_of_a_mean_is_as_wide_as_its_standard_error_says() -> None:
    rng = np.random.default_rng(0)
    sample = rng.normal(5, 2, 400)
    estimate = bootstrap(sample.tolist(), rng=rng)
    assert estimate.value == pytest.approx(sample.mean())
    assert estimate.low is not None
    assert estimate.high is not None
    assert estimate.high - estimate.low == pytest.approx(2 * 1.96 * sample.std() / 20, rel=0.1)
    assert estimate.low < estimate.value < estimate.high


def test_median_of_few_cases_without_those_that_are_undefined() -> None:
    estimate = bootstrap([1.0, 2.0, 30.0, float("nan")], np.median, rng=np.random.default_rng(0))
    assert (estimate.value, estimate.low, estimate.high, estimate.cases) == (2, 1, 30, 3)


def test_one_case_has_no_interval_and_none_no_value() -> None:
    assert bootstrap([0.5], rng=np.random.default_rng(0)).low is None
    with pytest.raises(ValueError, match="one case"):
        bootstrap([float("nan")], rng=np.random.default_rng(0))
