"""How far a score can be trusted: the table, the errors and the rule, on scores whose truth is known."""

from __future__ import annotations

import numpy as np
import pytest

from vp_engine.evaluation.reliability import reliability, rule


def test_a_calibrated_score_has_no_error() -> None:
    rng = np.random.default_rng(0)
    score = rng.uniform(0, 1, 20_000)
    dice = np.clip(score + rng.normal(0, 0.05, score.size), 0, 1)
    found = reliability(score, dice)
    assert found.calibration_error < 0.01
    assert found.spearman > 0.95
    assert found.auroc > 0.95
    assert [b.low for b in found.bins] == pytest.approx(np.arange(10) / 10)
    assert sum(b.masks for b in found.bins) == score.size
    assert all(b.score == pytest.approx(b.dice, abs=0.02) for b in found.bins)


def test_error_is_the_mean_distance_by_masks() -> None:
    found = reliability([0.95, 0.95, 0.95, 0.05, 1.0], [0.75, 0.75, 0.75, 0.25, 0.8])
    assert found.calibration_error == pytest.approx(0.2)
    assert [(b.masks, b.score) for b in found.bins if b.masks] == [(1, 0.05), (4, pytest.approx(0.9625))]
    assert np.isnan(found.bins[5].dice)


@pytest.mark.parametrize(
    ("score", "auroc"), [((0.1, 0.2, 0.8, 0.9), 1.0), ((0.9, 0.8, 0.2, 0.1), 0.0), ((0.5, 0.5, 0.5, 0.6), 0.75)]
)
def test_bad_masks_are_those_with_low_scores(score: tuple[float, ...], auroc: float) -> None:
    assert reliability(score, (0.1, 0.3, 0.7, 0.9)).auroc == auroc


def test_nothing_bad_cannot_be_found() -> None:
    assert np.isnan(reliability((0.1, 0.9), (0.7, 0.9)).auroc)


def test_rule_counts_both_kinds() -> None:
    found = rule((0.2, 0.4, 0.6, 0.4, 0.9, 0.8), (0.1, 0.3, 0.5, 0.7, 0.9, 0.8), threshold=0.5)
    assert (found.bad_found, found.others_flagged) == pytest.approx((2 / 3, 1 / 3))
