"""Mixed models with a random intercept of the participant, by restricted maximum likelihood.

With one random intercept the likelihood has one parameter that is not linear, the ratio of the two variances, and all
that depends on it are sums over participants. So the estimates are exact to rounding and take milliseconds, where a
general optimiser takes seconds and stops within its tolerance; tests hold them to lme4 and to statsmodels' MixedLM.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import optimize, stats

from vp_engine.stats.design import Array, Design, Estimates
from vp_engine.stats.linear import LEAST_LEFT
from vp_engine.stats.spec import NotFittedError

ESTIMATOR = "mixed"
NO_BETWEEN = "random_intercept_zero"
"""Flag: participants differ no more from each other than from themselves; sessions count as independent."""

_SHARES = np.concatenate([[0.0], np.linspace(0.02, 0.98, 49), 1 - np.logspace(-2, -9, 15)])


@dataclass(frozen=True, slots=True, eq=False)
class _Grouped:
    """Data and their sums over participants."""

    x: Array  # (N, P)
    y: Array  # (N,)
    of: npt.NDArray[np.intp]  # (N,) participant of each row
    size: Array  # (M,) rows of each participant
    first: npt.NDArray[np.intp]  # (M,) first row of each participant

    def sums(self, values: Array) -> Array:
        """Sums over participants: (N, ...) to (M, ...)."""
        return np.asarray(np.add.reduceat(values, self.first, axis=0))

    def precision(self, values: Array, ratio: float) -> Array:
        """The inverse of ``I + ratio Z Z'`` times values, Z being the indicator of participants."""
        shrink = ratio / (1 + ratio * self.size)
        own = (shrink.reshape(-1, *[1] * (values.ndim - 1)) * self.sums(values))[self.of]
        return np.asarray(values - own)

    def between(self, values: Array) -> Array:
        """``Z Z'`` times values."""
        return self.sums(values)[self.of]


def fit_mixed(design: Design, participant: npt.NDArray[np.intp]) -> Estimates:
    """A linear model whose intercept differs between participants.

    Parameters
    ----------
    design : Design
        One row per measurement.
    participant : int (N,)
        Number of the participant of each row, from 0 without gaps, in order.

    Returns
    -------
    Estimates
        t tests with Satterthwaite's degrees of freedom; `sd` is that of a value of a new participant.

    Raises
    ------
    NotFittedError
        If nobody has two rows, or nothing is left unexplained.

    References
    ----------
    Laird & Ware 1982, *Random-effects models for longitudinal data*. Giesbrecht & Burns 1985, *Two-stage analysis
    based on a mixed model* (degrees of freedom). Kuznetsova et al. 2017, *lmerTest package*.
    """
    lengths = np.linalg.norm(design.x, axis=0)  # columns of equal length, as a volume beside a constant is badly scaled
    size = np.bincount(participant).astype(np.float64)
    first = np.searchsorted(participant, np.arange(len(size)))
    data = _Grouped(design.x / lengths, design.y, participant, size, first)
    if data.size.max() < 2:
        raise NotFittedError("nobody has two sessions; take `sessions: first`", design.terms)
    if len(data.size) <= len(design.terms):
        few = f"{len(data.size)} participants are too few for {len(design.terms)} terms and a random intercept"
        raise NotFittedError(few, design.terms)
    residual = design.y - design.x @ np.linalg.lstsq(design.x, design.y, rcond=None)[0]
    if residual @ residual <= LEAST_LEFT * np.sum((design.y - design.y.mean()) ** 2):
        raise NotFittedError("the model explains the values without any residual", design.terms)
    within = residual - (data.sums(residual) / data.size)[participant]
    if within @ within <= LEAST_LEFT * (residual @ residual):
        raise NotFittedError("all sessions of a participant have the same value", design.terms)
    ratio = _best_ratio(data)
    scaled, inverse, rest = _fixed(data, ratio)
    error_variance = rest / (len(design.y) - len(design.terms))
    covariance = error_variance * inverse
    df = _satterthwaite(data, ratio, error_variance, covariance)
    beta, std_error = scaled / lengths, np.sqrt(np.diag(covariance)) / lengths
    statistic = beta / std_error
    return Estimates(
        terms=design.terms,
        estimate=beta,
        std_error=std_error,
        statistic=statistic,
        df=df,
        p=2 * stats.t.sf(np.abs(statistic), df),
        effect_error=std_error,
        effect_df=df,
        sd=float(np.sqrt(error_variance * (1 + ratio))),
        residuals=design.y - design.x @ beta,
        checked=data.precision(design.y - data.x @ scaled, ratio),
        how="mixed model, random intercept of the participant (REML), t tests with Satterthwaite's df, "
        f"{len(design.y)} measurements",
        flags=() if ratio > 0 else (NO_BETWEEN,),
    )


def _fixed(data: _Grouped, ratio: float) -> tuple[Array, Array, float]:
    """Generalised least squares: coefficients, inverse of X'V⁻¹X, and r'V⁻¹r; V in units of the error variance."""
    weighted_x = data.precision(data.x, ratio)
    inverse: Array = np.linalg.inv(data.x.T @ weighted_x).astype(np.float64)
    beta = inverse @ (weighted_x.T @ data.y)
    residual = data.y - data.x @ beta
    return beta, inverse, float(residual @ data.precision(residual, ratio))


def _best_ratio(data: _Grouped) -> float:
    """Ratio of the variance between to that within participants, where the restricted likelihood is greatest."""
    # neither the size of the fixed part nor the columns that span it change the likelihood: take the accurate ones
    q = np.linalg.qr(data.x)[0]
    y = data.y - q @ (q.T @ data.y)
    width, freedom = q.shape[1], len(y) - q.shape[1]
    sums_x, sums_y = data.sums(q), data.sums(y)
    xx = (sums_x[:, :, None] * sums_x[:, None, :]).reshape(len(sums_x), -1)
    xy, yy = sums_x * sums_y[:, None], sums_y**2

    def deviance_and_slope(shares_S: Array) -> tuple[Array, Array]:
        ratio_SM = (shares_S / (1 - shares_S))[:, None]
        own_SM = 1 / (1 + ratio_SM * data.size)
        inverse_SPP = np.linalg.inv(np.eye(width) - (ratio_SM * own_SM @ xx).reshape(-1, width, width))
        pull_SP = -(ratio_SM * own_SM) @ xy
        beta_SP = np.einsum("spq,sq->sp", inverse_SPP, pull_SP)
        rest_S = y @ y - (ratio_SM * own_SM) @ yy - (beta_SP * pull_SP).sum(axis=1)
        deviance_S = -np.log(own_SM).sum(axis=1) - np.linalg.slogdet(inverse_SPP)[1] + freedom * np.log(rest_S)
        pulled_SM = own_SM * (sums_y - beta_SP @ sums_x.T)
        crossed_SPP = (own_SM**2 @ xx).reshape(-1, width, width)
        trace_S = own_SM @ data.size - np.einsum("spq,spq->s", inverse_SPP, crossed_SPP)
        return deviance_S, trace_S - freedom * (pulled_SM**2).sum(axis=1) / rest_S

    def slope(share: float) -> float:
        return float(deviance_and_slope(np.array([share]))[1][0])

    best = int(np.argmin(deviance_and_slope(_SHARES)[0]))
    low, high = _SHARES[max(best - 1, 0)], _SHARES[min(best + 1, len(_SHARES) - 1)]
    if slope(low) >= 0:
        return 0.0
    share = float(optimize.brentq(slope, low, high, xtol=1e-15, rtol=1e-14))
    return share / (1 - share)


def _satterthwaite(data: _Grouped, ratio: float, error_variance: float, covariance: Array) -> Array:
    """Degrees of freedom of each term.

    From the observed information of the two variances and the gradient of each term's variance. Without variance
    between participants there is one variance, and the degrees of freedom are those of least squares.
    """
    freedom = float(len(data.y) - data.x.shape[1])
    if ratio == 0:
        return np.full(len(covariance), freedom)

    def precision(values: Array) -> Array:
        return data.precision(values, ratio) / error_variance

    weighted = precision(data.x)
    variances = np.diag(covariance)
    beta = covariance @ (weighted.T @ data.y)
    pulled = precision(data.y - data.x @ beta)  # P y

    def projected(values: Array) -> Array:
        """P times values, P being what takes the fixed part out and weights the rest."""
        return np.asarray(precision(values) - weighted @ (covariance @ (weighted.T @ values)))

    parts = (lambda values: values, data.between)  # derivatives of V by the error variance and that between people
    inside = [weighted.T @ part(weighted) for part in parts]
    gradient = np.stack([np.diag(covariance @ one @ covariance) for one in inside], axis=1)
    own = 1 / (error_variance * (1 + ratio * data.size))  # precision of the mean direction of each participant
    powers = np.array(
        [
            [((data.size - 1) / error_variance**2 + own**2).sum(), (data.size * own**2).sum()],
            [(data.size * own**2).sum(), (data.size**2 * own**2).sum()],
        ]
    )
    information = np.empty((2, 2))
    for row, first in enumerate(parts):
        for column, second in enumerate(parts):
            crossed = first(weighted).T @ precision(second(weighted))
            trace = powers[row, column] - 2 * np.sum(covariance * crossed)
            trace += np.sum((covariance @ inside[row]) * (covariance @ inside[column]).T)
            information[row, column] = 2 * first(pulled) @ projected(second(pulled)) - trace
    spread = 2 * np.linalg.inv(information)
    uncertain = np.einsum("pi,ij,pj->p", gradient, spread, gradient)
    return np.asarray(2 * variances**2 / uncertain)
