"""How well measured volumes agree with true ones over a group of heads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike


@dataclass(frozen=True, slots=True)
class VolumeAgreement:
    """Measured against true volumes.

    Attributes
    ----------
    bias_percent : float
        Mean of 100 (measured - true) / true.
    error_percent, worst_percent : float
        Mean and largest of its absolute value.
    pearson : float
        Correlation, blind to a bias.
    icc : float
        `intraclass_correlation` of the two, which a bias lowers.
    """

    bias_percent: float
    error_percent: float
    worst_percent: float
    pearson: float
    icc: float


def volume_agreement(measured: Sequence[float], truth: Sequence[float]) -> VolumeAgreement:
    """Compare volumes of the same heads, three of them at least, in any one unit.

    Raises
    ------
    ValueError
        If the numbers of volumes differ or there are too few.
    """
    found, true = np.asarray(measured, np.float64), np.asarray(truth, np.float64)
    if found.shape != true.shape or found.size < 3:
        raise ValueError(f"expected two lists of 3 volumes or more, got {found.size} and {true.size}")
    percent = 100 * (found - true) / true
    return VolumeAgreement(
        bias_percent=float(percent.mean()),
        error_percent=float(np.abs(percent).mean()),
        worst_percent=float(np.abs(percent).max()),
        pearson=float(np.corrcoef(found, true)[0, 1]),
        icc=intraclass_correlation(np.stack([found, true], axis=1)),
    )


def intraclass_correlation(ratings: ArrayLike) -> float:
    """Absolute agreement of single ratings: ICC(2,1), two-way random effects.

    Parameters
    ----------
    ratings : array_like, shape (subjects, raters)
        Two or more of each.

    References
    ----------
    Shrout & Fleiss 1979, *Intraclass correlations: uses in assessing rater reliability*.
    """
    x_NK = np.asarray(ratings, np.float64)
    n, k = x_NK.shape
    subject_N1, rater_1K = x_NK.mean(1, keepdims=True), x_NK.mean(0, keepdims=True)
    between = k * float(((subject_N1 - x_NK.mean()) ** 2).sum()) / (n - 1)
    judges = n * float(((rater_1K - x_NK.mean()) ** 2).sum()) / (k - 1)
    error = float(((x_NK - subject_N1 - rater_1K + x_NK.mean()) ** 2).sum()) / ((n - 1) * (k - 1))
    return float((between - error) / (between + (k - 1) * error + k * (judges - error) / n))
