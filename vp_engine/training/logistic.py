"""Logistic regression with a prior, by Newton's method."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from vp_engine.errors import WeightsError


def logistic(
    rows_NF: NDArray[np.float64],
    share_N: NDArray[np.float64],
    *,
    prior: NDArray[np.float64],
    penalty: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Coefficients of a logistic regression of shares.

    Parameters
    ----------
    rows_NF : numpy.ndarray
    share_N : numpy.ndarray
        0 to 1.
    prior, penalty : numpy.ndarray, shape (F,)
        Where coefficients are drawn to, and the weight of half the squared distance from there, in units of one row.

    Raises
    ------
    WeightsError
        If it does not converge.
    """
    found = prior.copy()
    for _ in range(100):
        expected = 1 / (1 + np.exp(-rows_NF @ found))
        gradient = rows_NF.T @ (share_N - expected) - penalty * (found - prior)
        curvature = (rows_NF * (expected * (1 - expected))[:, None]).T @ rows_NF + np.diag(penalty)
        step = np.linalg.solve(curvature, gradient)
        found += step * 2 / max(2.0, float(np.abs(step).max()))  # far from the optimum Newton's steps are too long
        if np.abs(step).max() < 1e-9:
            return found
    raise WeightsError("Expected a logistic regression to converge in 100 steps.", code="quality_unrelated")
