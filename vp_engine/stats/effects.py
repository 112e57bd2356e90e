"""Effect sizes with their confidence intervals, from noncentral distributions."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy import optimize, stats

LEVEL = 0.95
"""Of every confidence interval."""

MAX_T = 1000.0
"""Of larger t there is no interval: the noncentral distributions cannot be computed."""

_TAIL = (1 - LEVEL) / 2

HEDGES_G = "hedges_g"
PARTIAL_R2 = "partial_r2"


def small_sample_factor(df: float) -> float:
    """Hedges' factor that takes the bias out of a standardised difference.

    References
    ----------
    Hedges 1981, *Distribution theory for Glass's estimator of effect size*, equation 6e (the approximation).
    """
    return 1 - 3 / (4 * df - 1)


def hedges_g(difference: float, std_error: float, sd: float, df: float) -> tuple[float, float, float]:
    """A difference in standard deviations, without small-sample bias, and its interval.

    Parameters
    ----------
    difference, std_error : float
        Of a term, in the unit of the measure.
    sd : float
        What the difference is divided by, in the same unit.
    df : float
        Degrees of freedom of `std_error`.

    Returns
    -------
    tuple of float
        Effect size and the ends of its 95 % interval: those of the noncentrality of t, scaled. Missing with fewer
        than 2 degrees of freedom, where a standardised difference has no mean that its bias could be taken out of.

    References
    ----------
    Cumming & Finch 2001, *A primer on the understanding, use, and calculation of confidence intervals that are based
    on central and noncentral distributions*.
    """
    if df < 2:
        return np.nan, np.nan, np.nan
    scale = small_sample_factor(df) / sd
    low, high = noncentral_t_interval(difference / std_error, df)
    return scale * difference, scale * std_error * low, scale * std_error * high


def partial_r2(t: float, df: float) -> tuple[float, float, float]:
    """Share of the otherwise unexplained variance, ``t² / (t² + df)``, and its interval.

    Returns
    -------
    tuple of float
        Effect size and the ends of its 95 % interval, ``L / (L + df + 2)`` for the ends L of the noncentrality of F.

    References
    ----------
    Smithson 2001, *Correct confidence intervals for various regression effect sizes and parameters*.
    """
    low, high = noncentral_f_interval(t**2, df)
    return t**2 / (t**2 + df), low / (low + df + 2), high / (high + df + 2)


def noncentral_t_interval(t: float, df: float) -> tuple[float, float]:
    """Noncentralities for which an observed t lies at the upper and at the lower 2.5 % of its distribution."""
    if not abs(t) <= MAX_T:
        return np.nan, np.nan
    if t < 0:
        low, high = noncentral_t_interval(-t, df)
        return -high, -low
    step = 4.0 * np.sqrt(1 + t**2 / (2 * df))
    low = _root(lambda nc: 1 - _TAIL - float(stats.nct.cdf(t, df, nc)), t, -step)
    high = _root(lambda nc: float(stats.nct.cdf(t, df, nc)) - _TAIL, t, step)
    return low, high


def noncentral_f_interval(f: float, df: float) -> tuple[float, float]:
    """The same for an F with one numerator degree of freedom; an end that does not exist is 0."""
    if not f <= MAX_T**2:
        return np.nan, np.nan

    def below(nc: float) -> float:
        # not `sf`, which is wrong for a noncentrality of 0 in SciPy 1.17
        return float(stats.ncf.cdf(f, 1, df, nc))

    low, high = 0.0, 0.0
    if below(0.0) > 1 - _TAIL:
        low = float(optimize.brentq(lambda nc: below(nc) - (1 - _TAIL), 0.0, f, xtol=1e-12, rtol=1e-12))
    if below(0.0) > _TAIL:
        high = _root(lambda nc: below(nc) - _TAIL, f, 4.0 + f)
    return low, high


def _root(function: Callable[[float], float], start: float, step: float) -> float:
    """Where a function that falls from `start` outwards, beginning above 0 and ending at minus the tail, is 0."""

    def finite(nc: float) -> float:
        value = function(nc)
        return -_TAIL if np.isnan(value) else value  # SciPy has no value far out, where the end is reached

    far = start + step
    while finite(far) > 0:
        step *= 2
        far = start + step
    return float(optimize.brentq(finite, start, far, xtol=1e-12, rtol=1e-12))
