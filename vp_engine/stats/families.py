"""p values corrected over the models of a statistic."""

from __future__ import annotations

from typing import Literal

import numpy as np
import pandas as pd
from statsmodels.stats.multitest import multipletests

from vp_engine.stats.design import is_mean

_METHODS = {"p_fdr": "fdr_bh", "p_bonferroni": "bonferroni"}


def corrected(table: pd.DataFrame, family: Literal["term", "statistic"] = "term") -> pd.DataFrame:
    """Corrected p values, family by family; models without a p value are no part of it.

    Parameters
    ----------
    table : DataFrame
        `analysis`, `term`, `p`; of one statistic.
    family : str
        ``term``: the same term of all models; ``statistic``: all terms of all models, but for means (the intercept),
        which then have no corrected p value.

    Returns
    -------
    DataFrame
        `p_fdr` (Benjamini & Hochberg 1995) and `p_bonferroni`, with the index of the table.
    """
    found = pd.DataFrame(np.nan, index=table.index, columns=list(_METHODS))
    tested = table[table["p"].notna()]
    if family == "statistic":
        tested = tested[~tested["term"].map(is_mean).astype(bool)]
    for _, own in tested.groupby(["analysis", "term"] if family == "term" else ["analysis"]):
        for column, method in _METHODS.items():
            found.loc[own.index, column] = multipletests(own["p"].to_numpy(), method=method)[1]
    return found
