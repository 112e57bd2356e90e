"""Site harmonisation: ComBat over the structures of a statistic."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from vp_engine.stats.design import Array, rank

MOST_ROUNDS = 1000
"""Of the iteration for the sites' estimates; a few are enough."""

_CLOSE = 1e-4
_LEAST = 2


@dataclass(frozen=True, slots=True, eq=False)
class Harmonised:
    """Values without the differences between sites.

    Attributes
    ----------
    cleaned : float64 (N, F)
        Missing where the values given were.
    shrunk : bool
        Whether the sites' estimates were drawn towards each other, for which at least two structures are needed.
    """

    cleaned: Array
    shrunk: bool


class ConfoundedError(Exception):
    """The site cannot be told from the covariates."""


def combat(values: Array, site: npt.NDArray[np.intp], covariates: Array) -> Harmonised:
    """Take differences of mean and spread between sites out of values, keeping what the covariates explain.

    Parameters
    ----------
    values : float64 (N, F)
        One column per structure; missing values are NaN. Each site has none or at least two of a structure.
    site : int (N,)
        Number of the site of each row, from 0.
    covariates : float64 (N, P)
        Columns of the model without the intercept.

    Returns
    -------
    Harmonised

    Raises
    ------
    ConfoundedError
        If the site can be computed from the covariates, or they from it.

    References
    ----------
    Johnson, Li & Rabinovic 2007, *Adjusting batch effects in microarray expression data using empirical Bayes methods*.
    Fortin et al. 2018, *Harmonization of cortical thickness measurements across scanners and sites*. The iteration and
    its end are those of the R package sva.
    """
    sites = int(site.max()) + 1
    indicator = np.eye(sites)[site]
    design = np.column_stack([indicator, covariates])
    if rank(design) < design.shape[1]:
        raise ConfoundedError
    there = ~np.isnan(values)
    features = values.shape[1]
    fixed, spread = np.full(values.shape, np.nan), np.full(features, np.nan)
    for feature in range(features):
        rows = there[:, feature]
        own = design[rows]
        used = own[:, :sites].any(axis=0)  # a site without a value of this structure has no column
        columns = np.concatenate([used, np.ones(covariates.shape[1], dtype=bool)])
        if rank(own[:, columns]) < columns.sum():
            raise ConfoundedError
        beta = np.linalg.lstsq(own[:, columns], values[rows, feature], rcond=None)[0]
        share = own[:, :sites][:, used].mean(axis=0)
        grand_mean = share @ beta[: used.sum()]
        fixed[rows, feature] = grand_mean + own[:, sites:] @ beta[used.sum() :]
        spread[feature] = np.sqrt(np.mean((values[rows, feature] - own[:, columns] @ beta) ** 2))
    flat = ~(spread > 0)
    standard = (values - fixed) / np.where(flat, 1.0, spread)
    harmonised = values.copy()
    shrunk = bool((~flat).sum() >= _LEAST)
    for number in range(sites):
        rows = site == number
        own_features = ~flat & there[rows].any(axis=0)
        of_site = standard[np.ix_(rows, own_features)]
        shift, scale = _site_estimates(of_site, shrunk=shrunk and int(own_features.sum()) >= _LEAST)
        plain = (of_site - shift) / np.sqrt(scale) * spread[own_features]
        harmonised[np.ix_(rows, own_features)] = plain + fixed[np.ix_(rows, own_features)]
    return Harmonised(harmonised, shrunk)


def _site_estimates(standard: Array, *, shrunk: bool) -> tuple[Array, Array]:
    """Shift and variance of a site in each structure, drawn towards those of all structures.

    Parameters
    ----------
    standard : float64 (N, F)
        Standardised values of the site.
    shrunk : bool
        False for the plain means and variances.

    Returns
    -------
    float64 (F,), float64 (F,)
    """
    count = (~np.isnan(standard)).sum(axis=0)
    mean, variance = np.nanmean(standard, axis=0), np.nanvar(standard, axis=0, ddof=1)
    if not shrunk or variance.var(ddof=1) == 0 or mean.var(ddof=1) == 0:
        return mean, np.where(variance > 0, variance, 1.0)
    prior_mean, prior_variance = mean.mean(), mean.var(ddof=1)
    of_variance, between = variance.mean(), variance.var(ddof=1)
    alpha = (2 * between + of_variance**2) / between
    beta = (of_variance * between + of_variance**3) / between
    shift, scale = mean, variance
    for _ in range(MOST_ROUNDS):
        new_shift = (prior_variance * count * mean + scale * prior_mean) / (prior_variance * count + scale)
        squares = np.nansum((standard - new_shift) ** 2, axis=0)
        new_scale = (0.5 * squares + beta) / (count / 2 + alpha - 1)
        change = max(np.max(np.abs(new_shift - shift) / shift), np.max(np.abs(new_scale - scale) / scale))
        shift, scale = new_shift, new_scale
        if change < _CLOSE:
            break
    return shift, scale


def widening(x: Array, site: npt.NDArray[np.intp]) -> Array:
    """Factor by which standard errors of harmonised values have to be greater than the model of them knows.

    The sites' means were estimated from the same values. Where the columns of the model differ between sites this
    costs precision: as much as it would cost to have the site in the model, which follows from the columns alone.

    Parameters
    ----------
    x : float64 (N, P)
        Columns of the model.
    site : int (N,)

    Returns
    -------
    float64 (P,)
        At least 1; 1 for columns that do not vary within sites (the intercept).

    References
    ----------
    Nygaard, Rødland & Hovig 2016, *Methods that remove batch effects while retaining group differences may lead to
    exaggerated confidence in downstream analyses*.
    """
    factor = np.ones(x.shape[1])
    indicator = np.eye(int(site.max()) + 1)[site]
    indicator = indicator[:, indicator.any(axis=0)]
    within = x - indicator @ (indicator.T @ x / indicator.sum(axis=0)[:, None])
    kept = (within**2).sum(axis=0) > 1e-12 * (x**2).sum(axis=0)
    if kept.any():
        total = (x - x.mean(axis=0))[:, kept]
        length = np.linalg.norm(total, axis=0)

        def variances(columns: Array) -> Array:
            return np.asarray(np.diag(np.linalg.inv((columns / length).T @ (columns / length))))

        factor[kept] = np.sqrt(variances(within[:, kept]) / variances(total))
    return np.maximum(factor, 1.0)
