"""p values by permutation, for terms beside covariates."""

from __future__ import annotations

import hashlib

import numpy as np

from vp_engine.stats.design import Array, Design, is_mean
from vp_engine.stats.linear import leverages

_AT_ONCE = 2**21
_TIE = 1e-10
"""Statistics that differ by less, as a share, are equal: rounding must not decide."""


def permutation_p(design: Design, statistic: Array, count: int, *, robust: bool, seed: str) -> Array:
    """Share of permutations whose t is at least as far from 0, the observed one among them.

    Residuals of the model without the term are permuted and added to its fitted values (Freedman and Lane), so that
    covariates may be related to the term and to the values.

    Parameters
    ----------
    design : Design
    statistic : float64 (P,)
        t of each term, as observed.
    count : int
        Permutations of each term.
    robust : bool
        Whether t has the standard errors HC3.
    seed : str
        Text that the random numbers follow from, with the name of the term.

    Returns
    -------
    float64 (P,)
        Missing for terms that are means.

    References
    ----------
    Freedman & Lane 1983, *A nonstochastic interpretation of reported significance levels*. Winkler et al. 2014,
    *Permutation inference for the general linear model*. Phipson & Smyth 2010, *Permutation p-values should never be
    zero*. DiCiccio & Romano 2017, *Robust permutation tests for correlation and regression coefficients*.
    """
    p = np.full(len(design.terms), np.nan)
    basis = np.linalg.qr(design.x)[0]
    slack = 1 - leverages(design.x)
    for index, term in enumerate(design.terms):
        if is_mean(term):
            continue
        others = np.delete(design.x, index, axis=1)
        column = _without(design.x[:, index], others)
        residual = _without(design.y, others)
        rng = np.random.default_rng(np.frombuffer(hashlib.sha256(f"{seed} {term}".encode()).digest(), np.uint32))
        beyond = 1
        limit = abs(statistic[index]) * (1 - _TIE)
        left = count
        while left:
            size = min(left, max(1, _AT_ONCE // len(residual)))
            shuffled = rng.permuted(np.broadcast_to(residual, (size, len(residual))), axis=1)
            rest = shuffled - (shuffled @ basis) @ basis.T
            slope = shuffled @ column / (column @ column)
            if robust:
                error = np.sqrt((rest / slack) ** 2 @ column**2) / (column @ column)
            else:
                error = np.sqrt((rest**2).sum(axis=1) / design.df / (column @ column))
            beyond += int(np.count_nonzero(np.abs(slope) >= limit * error))
            left -= size
        p[index] = beyond / (count + 1)
    return p


def _without(values: Array, others: Array) -> Array:
    """What other columns do not explain."""
    if not others.shape[1]:
        return values
    basis = np.linalg.qr(others)[0]
    return np.asarray(values - basis @ (basis.T @ values))
