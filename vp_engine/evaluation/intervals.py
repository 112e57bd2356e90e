"""Shares and statistics of a sample with their confidence intervals."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from statsmodels.stats.proportion import proportion_confint


@dataclass(frozen=True, slots=True)
class Share:
    """A share of trials with its 95 % Wilson interval.

    Attributes
    ----------
    hits, trials : int
        Counted.
    value, low, high : float or None
        Share and interval, 0 to 1; None without trials.
    """

    hits: int
    trials: int
    value: float | None
    low: float | None
    high: float | None

    def __str__(self) -> str:
        if self.value is None:
            return "no trials"
        return f"{self.value:.1%} [{self.low:.1%}, {self.high:.1%}] ({self.hits}/{self.trials})"


def share(outcomes: Sequence[bool]) -> Share:
    """Count how many of the outcomes are true.

    References
    ----------
    Wilson 1927, *Probable inference, the law of succession, and statistical inference*.
    """
    hits, trials = sum(outcomes), len(outcomes)
    if not trials:
        return Share(0, 0, None, None, None)
    low, high = proportion_confint(hits, trials, alpha=0.05, method="wilson")
    return Share(hits, trials, hits / trials, float(low), float(high))


@dataclass(frozen=True, slots=True)
class Estimate:
    """A statistic of a sample with its 95 % bootstrap interval.

    Attributes
    ----------
    value : float
        In the unit of the sample.
    low, high : float or None
        Interval; None for a single case, which says nothing about others.
    cases : int
    """

    value: float
    low: float | None
    high: float | None
    cases: int

    def __str__(self) -> str:
        if self.low is None or self.high is None:
            return f"{self.value:.3f} (one case)"
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}] ({self.cases})"


def bootstrap(
    values: Sequence[float],
    statistic: Callable[..., NDArray[np.float64]] = np.mean,
    *,
    rng: np.random.Generator,
    resamples: int = 5000,
) -> Estimate:
    """Estimate a statistic and its percentile interval by drawing cases with replacement.

    Parameters
    ----------
    values : sequence of float
        One per case; NaN is left out.
    statistic : callable
        Such as `numpy.mean` or `numpy.median`; takes an array and `axis`.
    rng : numpy.random.Generator
    resamples : int

    Raises
    ------
    ValueError
        Without a single case.

    References
    ----------
    Efron & Tibshirani 1993, *An introduction to the bootstrap*, chapter 13.
    """
    sample = np.asarray(values, np.float64)
    sample = sample[~np.isnan(sample)]
    if not sample.size:
        raise ValueError("a statistic is estimated from one case or more, got none")
    value = float(statistic(sample, axis=0))
    if sample.size == 1:
        return Estimate(value, None, None, 1)
    drawn = statistic(rng.choice(sample, (resamples, sample.size)), axis=1)
    low, high = np.percentile(drawn, (2.5, 97.5))
    return Estimate(value, float(low), float(high), int(sample.size))
