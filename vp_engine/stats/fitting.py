"""One prepared sample to its estimates."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd

from vp_engine.stats.design import Design, Estimates, make_design
from vp_engine.stats.harmonisation import widening
from vp_engine.stats.linear import fit_linear
from vp_engine.stats.mixed import fit_mixed
from vp_engine.stats.preparation import Model, Prepared
from vp_engine.stats.sample import PERSON


def estimate(prepared: Prepared, model: Model) -> tuple[Design, Estimates]:
    """Fit the model that the statistic asks for.

    Raises
    ------
    NotFittedError
        If there is none.
    """
    if prepared.fault is not None:
        raise prepared.fault
    frame = prepared.sample.frame
    design = make_design(frame, model.formula, model.numeric, lost=prepared.lost)
    if prepared.site is not None:
        design = replace(design, widening=widening(design.x, prepared.site))
    if model.every_session:
        return design, fit_mixed(design, np.asarray(frame.groupby(PERSON, sort=True).ngroup(), dtype=np.intp))
    return design, fit_linear(design, robust=model.options.standard_errors == "HC3")


def residuals_of(prepared: Prepared, model: Model) -> pd.Series:
    """What the model leaves of each row of a sample.

    Raises
    ------
    NotFittedError
        If there is no model.
    """
    _, found = estimate(prepared, model)
    return pd.Series(np.asarray(found.residuals), index=prepared.sample.frame.index)
