"""What a model assumes, looked at: flags for the table `statistics`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType

import numpy as np
from scipy import stats
from statsmodels.stats.diagnostic import het_breuschpagan

from vp_engine.stats.design import INTERCEPT, Array, Design
from vp_engine.stats.linear import leverages

FLAGS: Mapping[str, str] = MappingProxyType(
    {
        "residuals_not_normal": "Shapiro-Wilk p < 0.01 (above 5000 values D'Agostino-Pearson), and a skewness beyond "
        "0.5 or an excess kurtosis beyond 1",
        "heteroscedastic": "Breusch-Pagan (Koenker's form) p < 0.01: the spread depends on the columns of the model; "
        "take `standard_errors: HC3`",
        "high_leverage": "somebody's columns are so unusual that the model follows them: leverage above three "
        "times the mean, this limit being between 0.2 and 0.9",
        "influential": "without this one the estimates would be others: Cook's distance above 1",
        "collinear": "variance inflation factor of the term above 10: it is hardly told apart from others",
        "few_participants": "fewer than 20 residual degrees of freedom: the tests above see little, intervals are wide",
        "confounded_site": "not fitted: ComBat cannot tell the site from a column of the model",
        "unbalanced_site": "the columns of the model differ between sites: what ComBat had to estimate makes the "
        "standard error of the term more than 5 % greater",
        "no_shrinkage": "ComBat had one structure only, so the sites' estimates are not drawn towards each other",
        "random_intercept_zero": "participants differ no more from each other than from themselves: sessions count as "
        "independent",
    }
)
"""Flags of the table `statistics`, without what follows a colon (a term or a participant)."""

_SIGNIFICANT = 0.01
_SHAPIRO_MOST = 5000
_LISTED = 5
_FEW_DF = 20
_MOST_VIF = 10.0


def residual_flags(design: Design, residuals: Array) -> list[str]:
    """Whether residuals are far from normal, or their spread depends on the columns of the model.

    Parameters
    ----------
    design : Design
    residuals : float64 (N,)
    """
    flags = []
    if len(residuals) >= 8:
        shape = abs(stats.skew(residuals)) > 0.5 or abs(stats.kurtosis(residuals)) > 1
        if shape and normality_p(residuals) < _SIGNIFICANT:
            flags.append("residuals_not_normal")
        if INTERCEPT in design.terms and len(design.terms) > 1 and breusch_pagan_p(design, residuals) < _SIGNIFICANT:
            flags.append("heteroscedastic")
    return flags


def normality_p(residuals: Array) -> float:
    """Shapiro & Wilk 1965; above 5000 values D'Agostino & Pearson 1973."""
    test = stats.shapiro if len(residuals) <= _SHAPIRO_MOST else stats.normaltest
    return float(test(residuals).pvalue)


def breusch_pagan_p(design: Design, residuals: Array) -> float:
    """Breusch & Pagan 1979 in the form of Koenker 1981, which does not assume normal residuals."""
    return float(het_breuschpagan(residuals, design.x)[1])


def leverage_flags(design: Design, residuals: Array, names: Sequence[str]) -> list[str]:
    """Who decides the estimates; at most five of each kind, the worst first, and how many more.

    Parameters
    ----------
    design : Design
    residuals : float64 (N,)
    names : sequence of str
        Of each row.
    """
    leverage = leverages(design.x)
    distance = cooks_distance(design, residuals, leverage)
    limit = np.clip(3 * leverage.mean(), 0.2, 0.9)
    unusual = np.where(leverage > limit, leverage, 0.0)
    influential = np.where(distance > 1, distance, 0.0)
    return [*_listed("high_leverage", unusual, names), *_listed("influential", influential, names)]


def cooks_distance(design: Design, residuals: Array, leverage: Array) -> Array:
    """Cook 1977, *Detection of influential observation in linear regression*; 0 where the leverage is 1."""
    free = np.maximum(1 - leverage, 1e-12)
    variance = residuals @ residuals / (len(residuals) - len(design.terms))
    distance = residuals**2 / (len(design.terms) * variance) * leverage / free**2
    return np.asarray(np.where(leverage > 1 - 1e-10, 0.0, distance))


def collinearity_flags(design: Design) -> list[str]:
    """Terms that others nearly explain; products are left out, as they go with what they are products of."""
    factors = variance_inflation(design)
    return [f"collinear:{term}" for term, factor in factors.items() if factor > _MOST_VIF]


def variance_inflation(design: Design) -> dict[str, float]:
    """Factor by which the variance of each term is greater than if it were unrelated to the others.

    Of models with an intercept; terms that are products are left out.
    """
    kept = [i for i, term in enumerate(design.terms) if term != INTERCEPT and ":" not in term]
    if INTERCEPT not in design.terms or len(kept) < 2:
        return {}
    inverse = np.linalg.inv(np.corrcoef(design.x[:, kept], rowvar=False))
    return {design.terms[i]: float(factor) for i, factor in zip(kept, np.diag(inverse), strict=True)}


def size_flags(df: Array) -> list[str]:
    """Whether there are few participants for the terms, by the degrees of freedom of the terms."""
    return ["few_participants"] if df.min() < _FEW_DF else []


def _listed(flag: str, amount: Array, names: Sequence[str]) -> list[str]:
    order = [i for i in np.lexsort((np.arange(len(amount)), -amount)) if amount[i] > 0]
    more = [f"{flag}:and {len(order) - _LISTED} more"] if len(order) > _LISTED else []
    return [*(f"{flag}:{names[i]}" for i in order[:_LISTED]), *more]
