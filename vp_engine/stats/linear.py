"""Ordinary least squares, with classical or robust standard errors."""

from __future__ import annotations

import numpy as np
import statsmodels
import statsmodels.api as sm
from scipy import stats

from vp_engine.stats.design import Array, Design, Estimates
from vp_engine.stats.spec import NotFittedError

ESTIMATOR = "ols"
LEAST_LEFT = 1e-18
"""Share of the variance that has to be left unexplained: below it there is nothing but rounding."""


def fit_linear(design: Design, *, robust: bool = False) -> Estimates:
    """Ordinary least squares with t tests.

    Parameters
    ----------
    design : Design
    robust : bool
        Standard errors HC3, which hold when the variance differs between participants; the t tests keep the residual
        degrees of freedom.

    Raises
    ------
    NotFittedError
        If nothing is left unexplained, or a robust standard error does not exist.

    References
    ----------
    MacKinnon & White 1985, *Some heteroskedasticity-consistent covariance matrix estimators with improved finite
    sample properties* (HC3). Long & Ervin 2000, *Using heteroscedasticity consistent standard errors in the linear
    regression model* (why HC3 with t).
    """
    model = sm.OLS(design.y, design.x)
    model.df_resid = design.df
    fit = model.fit()
    if fit.ssr <= LEAST_LEFT * np.sum((design.y - design.y.mean()) ** 2):
        raise NotFittedError("the model explains the values without any residual", design.terms)
    classical = np.asarray(fit.bse)
    std_error = classical
    if robust:
        leverage = leverages(design.x)
        if leverage.max() > 1 - 1e-10:
            alone = "a participant alone decides a term; standard errors HC3 do not exist, take `classical`"
            raise NotFittedError(alone, design.terms)
        std_error = hc3(design.x, np.asarray(fit.resid), leverage)
    if design.widening is not None:
        classical, std_error = classical * design.widening, std_error * design.widening
    statistic = fit.params / std_error
    df = np.full(len(design.terms), float(design.df))
    how = f"ordinary least squares (statsmodels {statsmodels.__version__})"
    return Estimates(
        terms=design.terms,
        estimate=np.asarray(fit.params),
        std_error=std_error,
        statistic=statistic,
        df=df,
        p=2 * stats.t.sf(np.abs(statistic), df),
        effect_error=classical,
        effect_df=df,
        sd=float(np.sqrt(fit.scale)),
        residuals=np.asarray(fit.resid),
        checked=np.asarray(fit.resid),
        how=f"{how}, standard errors HC3, t tests" if robust else f"{how}, t tests",
    )


def leverages(x: Array) -> Array:
    """Diagonal of the hat matrix, between 0 and 1.

    Parameters
    ----------
    x : float64 (N, P)
        Of full rank.

    Returns
    -------
    float64 (N,)
    """
    q = np.linalg.qr(x)[0]
    return np.asarray((q**2).sum(axis=1))


def hc3(x: Array, residuals: Array, leverage: Array) -> Array:
    """Standard errors HC3.

    Parameters
    ----------
    x : float64 (N, P)
    residuals, leverage : float64 (N,)

    Returns
    -------
    float64 (P,)
    """
    weights = np.linalg.pinv(x) * (residuals / (1 - leverage))
    return np.asarray(np.sqrt((weights**2).sum(axis=1)))
