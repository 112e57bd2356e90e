"""Whether a mask is as good as its `qc_score` says: masks on degraded scans, where the truth is known."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import rankdata, spearmanr

from vp_engine.synthesis.degradation import KnownScan
from vp_engine.vision.quality import expected_dice
from vp_engine.vision.segmenter import NetworkSegmenter

BAD = 0.6
"""Masks with a lower Dice ought to be found out."""


@dataclass(frozen=True, slots=True)
class ScoredMask:
    """A mask with what was expected of it and what it is.

    Attributes
    ----------
    structure : str
    qc_score, expected, dice : float
        Calibrated score, the Dice to be expected if the probabilities were right, and the true Dice; 0 to 1.
    """

    structure: str
    qc_score: float
    expected: float
    dice: float


@dataclass(frozen=True, slots=True)
class Bin:
    """Masks with scores from `low` on: how many, their mean score and their mean Dice (NaN when there are none)."""

    low: float
    masks: int
    score: float
    dice: float


@dataclass(frozen=True, slots=True)
class Reliability:
    """How far a score of masks can be trusted.

    Attributes
    ----------
    bins : tuple of Bin
    calibration_error : float
        Mean distance of score and Dice over the bins, by their number of masks (ECE).
    spearman : float
        Rank correlation of score and Dice.
    auroc : float
        Probability that a bad mask has a lower score than one that is not; NaN when there are none of either.
    """

    bins: tuple[Bin, ...]
    calibration_error: float
    spearman: float
    auroc: float


@dataclass(frozen=True, slots=True)
class Rule:
    """What happens when masks with a score below a threshold are looked at: shares of bad and of other masks."""

    threshold: float
    bad_found: float
    others_flagged: float


def scored_masks(segmenter: NetworkSegmenter, scans: Iterable[KnownScan]) -> Iterator[ScoredMask]:
    """Masks on scans whose truth is known; empty ones have no score and are left out."""
    for known in scans:
        for name, region in segmenter.regions(known.scan, known.unions):
            expected = expected_dice(region.probability, region.inside)
            if region.qc_score is not None and expected is not None:
                yield ScoredMask(name, region.qc_score, expected, known.dice(name, region.start, region.inside))


def reliability(score: ArrayLike, dice: ArrayLike, *, bins: int = 10) -> Reliability:
    """Compare scores with true Dice.

    Parameters
    ----------
    score, dice : array_like, shape (N,)
        0 to 1.
    bins : int
        Of equal width.

    References
    ----------
    Guo et al. 2017, *On calibration of modern neural networks* (expected calibration error).
    """
    scores, truth = np.asarray(score, np.float64), np.asarray(dice, np.float64)
    which = np.minimum((scores * bins).astype(int), bins - 1)
    table = tuple(
        Bin(k / bins, int((which == k).sum()), _mean(scores[which == k]), _mean(truth[which == k])) for k in range(bins)
    )
    error = sum(b.masks * abs(b.score - b.dice) for b in table if b.masks) / len(scores)
    return Reliability(table, float(error), float(spearmanr(scores, truth).statistic), _auroc(scores, truth < BAD))


def rule(score: ArrayLike, dice: ArrayLike, *, threshold: float) -> Rule:
    """What is found, and what is flagged in vain, when masks with a score below a threshold are looked at."""
    flagged, bad = np.asarray(score) < threshold, np.asarray(dice) < BAD
    return Rule(threshold, _mean(flagged[bad]), _mean(flagged[~bad]))


def _mean(values: NDArray[np.float64] | NDArray[np.bool_]) -> float:
    return float(values.mean()) if values.size else math.nan


def _auroc(score: NDArray[np.float64], bad: NDArray[np.bool_]) -> float:
    """Area under the curve from ranks (Mann-Whitney)."""
    few, many = int(bad.sum()), int((~bad).sum())
    if not few or not many:
        return math.nan
    above = rankdata(-score)[bad].sum() - few * (few + 1) / 2
    return float(above / (few * many))
