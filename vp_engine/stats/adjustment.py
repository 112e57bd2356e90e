"""Head size: measurements in proportion to it, or without what it explains."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd

from vp_engine.stats.formula import RESPONSE, Formula
from vp_engine.stats.spec import ICV, IcvOption, NotFittedError

_VOLUME = "mm3"


def with_icv(formula: Formula, icv: IcvOption | None) -> Formula:
    """The formula with the intracranial volume as a further term, where it is a covariate."""
    if icv is None or icv.method != "covariate":
        return formula
    return replace(formula, right=f"{formula.right} + {ICV}", columns=(*formula.columns, ICV))


def adjust_for_icv(frame: pd.DataFrame, icv: IcvOption | None) -> tuple[pd.DataFrame, int, str]:
    """Values adjusted for head size.

    Parameters
    ----------
    frame : DataFrame
        A sample with `value`, `unit` and `icv` (mm³).
    icv : IcvOption or None

    Returns
    -------
    frame : DataFrame
        With the adjusted `value` and its `unit`. ``proportion``: value / ICV, of unit 1. ``residual``:
        value - slope (ICV - mean ICV), the slope being that of a straight line through the whole sample.
        ``covariate``: as they were, as the model has a term.
    lost : int
        Parameters estimated.
    how : str
        For `method`; empty when there is nothing to say.

    Raises
    ------
    NotFittedError
        If a proportion is asked for of something that is not a volume, or all ICVs are equal.

    References
    ----------
    O'Brien et al. 2011, *Statistical adjustments for brain size in volumetric neuroimaging studies*. Voevodskaya et al.
    2014, *The effects of intracranial volume adjustment approaches on multiple regional MRI volumes*.
    """
    if icv is None:
        return frame, 0, ""
    if icv.method == "covariate":
        return frame, 0, "intracranial volume as covariate"
    values, size = frame[RESPONSE].to_numpy(dtype=np.float64), frame[ICV].to_numpy(dtype=np.float64)
    if icv.method == "proportion":
        other = sorted(set(frame["unit"].dropna()) - {_VOLUME})
        if other:
            raise NotFittedError(f"a proportion of the intracranial volume is of volumes in mm3, not of {other[0]}")
        return frame.assign(value=values / size, unit="1"), 0, "values in proportion to the intracranial volume"
    if not np.ptp(size):
        raise NotFittedError("the intracranial volume is the same for every participant")
    centred = size - size.mean()
    slope = float(centred @ values / (centred @ centred))
    how = "residuals of the intracranial volume (one slope for all; it costs a degree of freedom)"
    return frame.assign(value=values - slope * centred), 1, how
