"""Dice with a reference: merged labels, pooled sides, sides told apart."""

from __future__ import annotations

import numpy as np
import pytest

from vp_engine.evaluation.anatomy import SIXTEEN, agreement


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
