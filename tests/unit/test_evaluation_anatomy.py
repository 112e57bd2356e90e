"""Dice with a reference: merged labels, pooled sides, sides told apart."""

from __future__ import annotations

import numpy as np
import pytest

from vp_engine.evaluation.anatomy import SIXTEEN, agreement, renumbered, without_parcels


def test_same_labels_agree_fully() -> None:
    labels = np.array([10, 49, 4, 43, 16, 14, 15, 2, 41, 3, 42, 7, 8, 11, 12, 13, 17, 18, 26, 28])
    result = agreement(labels, labels)
    assert result.mean() == 1.0
    assert set(result.dice) == set(SIXTEEN)
    assert result.sides_swapped == 0


def test_dice_counts_what_is_missed_and_what_is_too_much() -> None:
    reference = np.array([10] * 6 + [0] * 4)
    labels = np.array([10] * 3 + [0] * 5 + [10] * 2)
    assert agreement(labels, reference).dice["thalamus"] == pytest.approx(2 * 3 / (5 + 6))


def test_swapped_sides_are_told_though_sides_are_pooled() -> None:
    reference = np.array([10, 10, 49, 49])
    result = agreement(np.array([10, 49, 49, 49]), reference)
    assert result.dice["thalamus"] == 1.0
    assert result.sides_swapped == pytest.approx(1 / 4)


def test_labels_of_freesurfer_that_mean_a_part_count_as_it() -> None:
    result = agreement(np.array([4, 41, 2]), np.array([31, 251, 77]))
    assert result.dice["lateral_ventricle"] == result.dice["cerebral_white_matter"] == 1.0


def test_volumes_are_compared_with_the_reference() -> None:
    overlap = agreement(np.array([10, 10, 10, 0]), np.array([10, 0, 49, 49])).overlaps["thalamus"]
    assert (overlap.found, overlap.truth, overlap.both) == (3, 3, 2)
    overlap = agreement(np.array([16, 16, 16]), np.array([16, 16, 0])).overlaps["brainstem"]
    assert overlap.volume_difference_percent == pytest.approx(50)
    assert np.isnan(agreement(np.array([16, 16]), np.array([2, 2])).dice["brainstem"])


def test_numbers_of_whole_pairs_count_and_have_no_side() -> None:
    result = agreement(renumbered(np.array([3, 3, 4]), {3: "thalamus", 4: "left_caudate"}), np.array([10, 49, 50]))
    assert result.dice["thalamus"] == result.dice["caudate"] == 1
    assert result.sides_swapped == 1  # the caudate


def test_other_numbers_become_ours_and_the_rest_background() -> None:
    names = {1: "left_thalamus", 7: "brainstem", 900: "csf"}
    np.testing.assert_array_equal(renumbered(np.array([0, 1, 2, 7]), names), [0, 10, 0, 16])


def test_parcels_count_as_the_cortex_of_their_side() -> None:
    labels = np.array([10, 1002, 2035, 11101, 12175])
    np.testing.assert_array_equal(without_parcels(labels), [10, 3, 42, 3, 42])


def test_grids_must_be_the_same() -> None:
    with pytest.raises(ValueError, match="one grid"):
        agreement(np.zeros((2, 3), int), np.zeros((3, 2), int))
