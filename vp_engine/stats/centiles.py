"""Normative centiles: how unusual a measurement is among the people of a reference."""

from __future__ import annotations

import numpy as np
import pandas as pd
import patsy
from scipy import stats

from vp_engine.stats.covariates import sorted_levels
from vp_engine.stats.design import Array, rank
from vp_engine.stats.formula import RESPONSE, Formula
from vp_engine.stats.sample import PERSON
from vp_engine.stats.spec import CENTILE_COLUMNS, CentilesOption

LEAST_REFERENCE = 20
"""People a reference needs."""

QUADRATIC_FROM = 50
"""People from which the curve over age may bend."""

NO_AGE = "missing:"
OUTSIDE = "outside_reference_age"
TOO_FEW = "reference_too_small:"
OTHER_LEVEL = "not_in_reference:"
NOT_DETERMINED = "reference_singular"
"""Why there is no centile; some are followed by a column or a number."""

_AGE = "__age"  # no formula may have a column of such a name


def fit_centiles(
    frame: pd.DataFrame, formula: Formula, numeric: frozenset[str], option: CentilesOption, *, left_out: pd.Series
) -> pd.DataFrame:
    """Centile of every measurement of one structure and measure.

    In the reference the value is explained by age (a straight line, from 50 people on a parabola) and the columns of
    the model other than age and those that define the reference. The centile is where the value lies in the
    distribution of a new person of that age; nobody is compared with a reference that he or she is in.

    Parameters
    ----------
    frame : DataFrame
        What the models saw (analysis `all`), with the columns of `option`.
    formula : Formula
        Of the model.
    numeric : frozenset of str
        Columns that are numbers.
    option : CentilesOption
    left_out : Series of bool
        Rows that are compared, but no part of the reference.

    Returns
    -------
    DataFrame
        Columns `dataset` ... `reason` of the table `centiles`, one row per row of `frame`. `z` is the normal score of
        the centile (0 to 100). Where there is none, `reason` says why.

    References
    ----------
    Crawford & Garthwaite 2006, *Comparing patients' predicted test scores from a regression equation with their
    obtained scores* (t of a new observation, which is exact for normal residuals).
    """
    columns = tuple(c for c in formula.columns if c != option.age and c not in option.reference)
    age = pd.to_numeric(frame[option.age], errors="coerce").astype("float64")
    member = pd.Series(True, index=frame.index)
    for column, values in option.reference.items():
        member &= frame[column].isin(list(values))
    fitted = member & ~left_out & age.notna() & ~frame.duplicated(PERSON)  # the first session of each
    # who is in the reference is not compared with himself, in no session
    people = pd.Series(pd.MultiIndex.from_frame(frame[PERSON].astype(str)).to_flat_index(), index=frame.index)
    in_reference = people.isin(set(people[fitted]))
    reason = _reasons(frame, age, fitted, columns, numeric, option)
    table = frame[[*PERSON, "session", RESPONSE, "unit"]].assign(age=age, in_reference=in_reference, reason=reason)
    for name in ("expected", "z", "centile"):
        table[name] = np.nan
    asked = frame[reason.isna()]
    if len(asked):
        x = _matrix(asked, age, columns, numeric, fitted, formula)
        rows = fitted[asked.index].to_numpy()
        if rank(x[rows]) < x.shape[1] or int(rows.sum()) - x.shape[1] < 2:
            table.loc[asked.index, "reason"] = NOT_DETERMINED
        else:
            y, names = asked[RESPONSE].to_numpy(dtype=np.float64), people[asked.index].to_numpy()
            own = {name: number for number, name in enumerate(names[rows])}
            leave = np.array([own.get(name, -1) for name in names])
            expected, t, df = predictions(x[rows], y[rows], x, y, leave)
            table.loc[asked.index, "expected"] = expected
            table.loc[asked.index, "z"] = _normal_score(t, df)
            table.loc[asked.index, "centile"] = 100 * stats.t.cdf(t, df)
    return table.reindex(columns=[c for c in CENTILE_COLUMNS if c not in ("statistic_id", "target", "measure")])


def predictions(x_fit: Array, y_fit: Array, x: Array, y: Array, leave: Array) -> tuple[Array, Array, Array]:
    """Each value against a regression on a reference without the person it is from.

    Parameters
    ----------
    x_fit : float64 (N, P)
        Reference, of full rank.
    y_fit : float64 (N,)
    x : float64 (M, P)
        Who is compared.
    y : float64 (M,)
    leave : int (M,)
        Row of the reference that is the same person; -1 for nobody.

    Returns
    -------
    expected, t, df : float64 (M,)
        Prediction; difference from it over the standard error of a new observation; degrees of freedom.
    """
    q, r = np.linalg.qr(x_fit)
    new = np.linalg.solve(r.T, x.T).T  # in these coordinates X'X is the identity
    beta = q.T @ y_fit
    residual = y_fit - q @ beta
    squares = residual @ residual
    inside = leave >= 0
    mine = q[leave] * inside[:, None]
    mine_left = np.where(inside, residual[leave], 0.0)
    slack = 1 - (mine**2).sum(axis=1)
    crossed = (new * mine).sum(axis=1)
    # the reference without one row, from the whole one (Sherman & Morrison)
    expected = new @ beta - crossed * mine_left / slack
    leverage = (new**2).sum(axis=1) + crossed**2 / slack
    df = len(y_fit) - x_fit.shape[1] - inside.astype(np.float64)
    variance = (squares - mine_left**2 / slack) / df
    return expected, (y - expected) / np.sqrt(variance * (1 + leverage)), df


def _reasons(
    frame: pd.DataFrame,
    age: pd.Series,
    fitted: pd.Series,
    columns: tuple[str, ...],
    numeric: frozenset[str],
    option: CentilesOption,
) -> pd.Series:
    """Why a row has no centile; missing for those that have one."""
    reason = pd.Series(None, index=frame.index, dtype=object)
    count = int(fitted.sum())
    if count < LEAST_REFERENCE:
        return reason.fillna(f"{TOO_FEW}{count}")
    reason[(age < age[fitted].min()) | (age > age[fitted].max())] = OUTSIDE
    for column in columns:
        if column not in numeric:
            reason[~frame[column].isin(frame.loc[fitted, column])] = f"{OTHER_LEVEL}{column}"
    reason[age.isna()] = f"{NO_AGE}{option.age}"
    return reason


def _matrix(
    frame: pd.DataFrame,
    age: pd.Series,
    columns: tuple[str, ...],
    numeric: frozenset[str],
    fitted: pd.Series,
    formula: Formula,
) -> Array:
    """Columns of the normative model: age, its square, and the other columns of the statistic's model."""
    members = fitted[frame.index]
    data = pd.DataFrame({_AGE: age[frame.index] - age[fitted].mean()})
    parts = [_AGE]
    if int(members.sum()) >= QUADRATIC_FROM:
        data[f"{_AGE}2"] = data[_AGE] ** 2
        parts.append(f"{_AGE}2")
    for column in columns:
        if column in numeric:
            data[column] = frame[column].astype("float64")
            parts.append(column)
            continue
        levels = sorted_levels(frame.loc[members, column].astype(str))
        if len(levels) > 1:
            data[column] = pd.Categorical(frame[column].astype(str), categories=levels)
            parts.append(f"C({column})" if column in formula.factors else column)
    return np.asarray(patsy.dmatrix(" + ".join(parts), data, eval_env=patsy.EvalEnvironment([])))


def _normal_score(t: Array, df: Array) -> Array:
    """The same tail probability on the normal scale, from the smaller tail so that extremes stay finite."""
    return np.asarray(-np.sign(t) * stats.norm.ppf(stats.t.sf(np.abs(t), df)))
