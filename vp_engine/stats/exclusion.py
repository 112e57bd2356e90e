"""The rule of the second analysis: what it leaves out."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import pandas as pd

from vp_engine.stats.design import Array
from vp_engine.stats.fitting import residuals_of
from vp_engine.stats.preparation import Key, Model, prepare
from vp_engine.stats.sample import Sample, without
from vp_engine.stats.spec import NotFittedError

LOW_QUALITY = "qc_score"
OUTLIER = "outlier"

_NORMAL_MAD = 0.6744897501960817
"""Median absolute deviation of a normal distribution with standard deviation 1."""


def excluded_by(samples: Mapping[Key, Sample], model: Model) -> dict[Key, pd.Series]:
    """Why each row of each sample is left out of the analysis `excluded`; missing for those that stay.

    Measurements with a low `qc_score` go first. Then those go that are far from what the model expects of them, as
    fitted to the others: their residual differs from the median of all by more than so many robust standard deviations
    (1.4826 times the median absolute deviation). It is judged by residuals and not by values, as a patient may be far
    from controls, and an old participant from young ones, without being an outlier; and once, not again and again, as
    each round would find new ones. Without a model there are no outliers.

    References
    ----------
    Leys et al. 2013, *Detecting outliers: do not use standard deviation around the mean, use absolute deviation around
    the median*. Iglewicz & Hoaglin 1993, *How to detect and handle outliers* (3.5).
    """
    reasons = {key: pd.Series(None, index=one.frame.index, dtype=object) for key, one in samples.items()}
    rule = model.options.exclude
    if rule is None:
        return reasons
    if rule.qc_below is not None:
        for key, one in samples.items():
            reasons[key][one.frame["qc_score"].lt(rule.qc_below).fillna(value=False)] = LOW_QUALITY
    if rule.outliers is not None:
        good = {key: without(one, reasons[key]) for key, one in samples.items()}
        for key, prepared in prepare(good, model).items():
            try:
                residuals = residuals_of(prepared, model)
            except NotFittedError:
                continue
            reasons[key][residuals.index[outlying(residuals.to_numpy(), rule.outliers)]] = OUTLIER
    return reasons


def outlying(residuals: Array, limit: float) -> npt.NDArray[np.bool_]:
    """Which residuals are further from their median than so many robust standard deviations.

    >>> outlying(np.array([-1.0, 0.0, 1.0, 2.0, 30.0]), 3.5).tolist()
    [False, False, False, False, True]
    """
    distance = np.abs(residuals - np.median(residuals))
    return np.asarray(distance > limit * np.median(distance) / _NORMAL_MAD)
