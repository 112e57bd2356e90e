"""Group statistics: one linear model per structure, corrected over the family."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import patsy
import statsmodels
import statsmodels.api as sm
from statsmodels.stats.multitest import multipletests

from vp_engine.errors import ConfigError
from vp_engine.stats.covariates import ROW_COLUMNS, join_covariates, numeric_columns, sorted_levels
from vp_engine.stats.formula import RESPONSE, Formula, parse_formula

COLUMNS: tuple[str, ...] = (
    "statistic_id",
    "target",
    "measure",
    "model",
    "term",
    "estimate",
    "std_error",
    "ci_low",
    "ci_high",
    "statistic",
    "df",
    "p",
    "p_fdr",
    "effect_size",
    "effect_size_name",
    "n",
    "n_excluded",
    "method",
)
"""Columns of the table `statistics`."""

NOT_KNOWN = "n/a"
"""Target, measure or term of a row about a model that has none."""

_FILTERS: Mapping[str, str] = {"prompt": "prompt_id"}
_ESTIMATES = ("estimate", "std_error", "ci_low", "ci_high", "statistic", "df", "p", "p_fdr", "effect_size")


@dataclass(frozen=True, slots=True)
class StatisticSpec:
    """One entry of `statistics` in config.yaml.

    Attributes
    ----------
    id : str
        Names the rows of the result.
    rows : mapping of str to tuple of str
        Which measurements: `prompt`, `measure`, `target`, `image`, `session` or `dataset` to the values allowed.
    model : str
        Formula, ``value ~ columns of participants.tsv and sessions.tsv``.
    """

    id: str
    rows: Mapping[str, tuple[str, ...]]
    model: str


@dataclass(frozen=True, slots=True)
class _Sample:
    """Rows one model is fitted to, and what became of the others."""

    frame: pd.DataFrame
    excluded: tuple[str, ...]
    n_excluded: int
    notes: tuple[str, ...]


class _NotFitted(Exception):
    """Why a model has no estimates; becomes the text of `method`."""

    def __init__(self, reason: str, terms: tuple[str, ...] = (NOT_KNOWN,)) -> None:
        super().__init__(reason)
        self.terms = terms


def fit_statistics(rows: pd.DataFrame, covariates: pd.DataFrame, spec: StatisticSpec) -> pd.DataFrame:
    """Fit one ordinary least squares model per structure and measure.

    Each participant counts once: of several sessions the first is used (natural order of the labels), and the
    others are counted as excluded. A model that cannot be fitted yields rows without estimates that say why.

    Parameters
    ----------
    rows : DataFrame
        Table `measurements`.
    covariates : DataFrame
        One row per participant, and per session where `session` is given; every value text, ``n/a`` for missing.
        A column whose every value is a number is a number; others are categories, first level in sorted order as the
        reference.
    spec : StatisticSpec
        What to fit to what.

    Returns
    -------
    DataFrame
        Columns of the table `statistics`, sorted by target, measure and term order of the model. Estimates are in the
        unit of the measure; confidence intervals cover 95 %; p values are two-sided.

        `effect_size` of a factor with two levels is ``hedges_g``, the difference over the residual standard deviation
        with the small-sample factor ``1 - 3 / (4 df - 1)`` (without covariates the usual Hedges' g); of any other
        term ``partial_r2 = t² / (t² + df)``.

    Raises
    ------
    ConfigError
        If the formula is not allowed, names an unknown column, or the covariates are ambiguous.

    References
    ----------
    Benjamini & Hochberg 1995, *Controlling the false discovery rate* (`p_fdr`: over the same term of all models).
    Hedges 1981, *Distribution theory for Glass's estimator of effect size*.
    """
    formula, numeric = read_model(covariates, spec)
    selected = _select(rows, spec)
    results: list[dict[str, Any]] = []
    if selected.empty:
        filters = ", ".join(f"{key} = {' or '.join(values)}" for key, values in spec.rows.items())
        empty = {"target": NOT_KNOWN, "measure": NOT_KNOWN, "n": 0, "n_excluded": 0}
        results.append(_without_estimates(NOT_KNOWN) | empty | {"method": f"not fitted: no number with {filters}"})
    else:
        joined = join_covariates(selected, covariates, formula.columns)
        for (target, measure), group in joined.groupby(["target", "measure"], sort=True):
            common = {"target": target, "measure": measure}
            results.extend(common | row for row in _fit_group(group, formula, numeric))
    table = pd.DataFrame(results).assign(statistic_id=spec.id, model=spec.model)
    table["p_fdr"] = corrected(table)
    return table.reindex(columns=list(COLUMNS)).astype(dict.fromkeys(_ESTIMATES, "float64"))


def model_samples(rows: pd.DataFrame, covariates: pd.DataFrame, spec: StatisticSpec) -> pd.DataFrame:
    """The values that the models of a statistic are fitted to, for figures.

    Parameters
    ----------
    rows, covariates, spec
        As in `fit_statistics`.

    Returns
    -------
    DataFrame
        `dataset`, `participant`, `session`, `target`, `measure`, `unit`, `value`, and each column of the model: float64
        when it is a number, else ordered by `sorted_levels` (categorical).

    Raises
    ------
    ConfigError
        As `fit_statistics`.
    """
    formula, numeric = read_model(covariates, spec)
    joined = join_covariates(_select(rows, spec), covariates, formula.columns)
    groups = [_sample(group, formula).frame for _, group in joined.groupby(["target", "measure"], sort=True)]
    sample = pd.concat(groups) if groups else joined
    typed, _ = _typed(sample, formula, numeric)
    identity = ["dataset", "participant", "session", "target", "measure", "unit"]
    own = [column for column in identity if column not in typed.columns]
    return pd.concat([sample[own], typed], axis=1).reset_index(drop=True)


def read_model(covariates: pd.DataFrame, spec: StatisticSpec) -> tuple[Formula, frozenset[str]]:
    """The formula of a statistic, and which of its columns are numbers.

    Raises
    ------
    ConfigError
        As `fit_statistics`; needs no measurements, so that it can be known before there are any.
    """
    known = {*covariates.columns, *ROW_COLUMNS} - {"participant"}
    formula = parse_formula(spec.model, columns=known)
    return formula, numeric_columns(covariates, [c for c in formula.columns if c not in formula.factors])


def _select(rows: pd.DataFrame, spec: StatisticSpec) -> pd.DataFrame:
    """Numbers about a structure that the statistic asks for."""
    chosen = rows[rows["text"].isna() & rows["target"].notna()]
    for key, values in spec.rows.items():
        column = _FILTERS.get(key, key)
        if column not in rows.columns:
            raise ConfigError(f"statistic {spec.id}: rows.{key}: the table measurements has no column {column!r}")
        chosen = chosen[chosen[column].isin(list(values))]
    return chosen.reset_index(drop=True)


def _fit_group(group: pd.DataFrame, formula: Formula, numeric: frozenset[str]) -> list[dict[str, Any]]:
    """Rows of the result for one structure and measure."""
    sample = _sample(group, formula)
    counts = {"n": len(sample.frame), "n_excluded": sample.n_excluded}
    try:
        rows, how = _fit(sample.frame, formula, numeric)
    except _NotFitted as reason:
        rows = [_without_estimates(term) for term in reason.terms]
        how = f"not fitted: {reason}"
    method = "; ".join([how, *sample.notes, *sample.excluded])
    return [row | counts | {"method": method} for row in rows]


def _sample(group: pd.DataFrame, formula: Formula) -> _Sample:
    """The first usable session of each participant."""
    excluded = []
    frame = group[group[RESPONSE].notna()]
    if len(frame) < len(group):
        excluded.append(f"excluded {len(group) - len(frame)}: no value")
    for column in formula.columns:
        there = frame[frame[column].notna()]
        if len(there) < len(frame):
            excluded.append(f"excluded {len(frame) - len(there)}: no {column}")
        frame = there
    order = frame["session"].map(_natural)
    frame = frame.assign(_order=order).sort_values(["dataset", "participant", "_order"], kind="stable")
    first = frame.groupby(["dataset", "participant"], sort=False)["_order"].transform("first")
    kept = frame[frame["_order"] == first]
    if len(kept) < len(frame):
        excluded.append(f"excluded {len(frame) - len(kept)}: further sessions (the first of each participant is used)")
    notes = []
    if len(group["dataset"].unique()) > 1 and "dataset" not in formula.columns:
        notes.append(f"pooled over datasets {', '.join(sorted(group['dataset'].unique()))}")
    weights = group["model_id"].unique()
    if len(weights) > 1:
        notes.append(f"values of {len(weights)} versions of the weights")
    return _Sample(kept.drop(columns="_order"), tuple(excluded), len(group) - len(kept), tuple(notes))


def _fit(frame: pd.DataFrame, formula: Formula, numeric: frozenset[str]) -> tuple[list[dict[str, Any]], str]:
    """Estimates of every term, and how they were made."""
    _check_sample(frame, formula)
    data, references = _typed(frame, formula, numeric)
    response = data.pop(RESPONSE)
    try:
        design = patsy.dmatrix(formula.right, data, eval_env=patsy.EvalEnvironment([]), return_type="dataframe")
    except patsy.PatsyError as error:
        raise _NotFitted(str(error).splitlines()[0]) from error
    terms = tuple(str(column) for column in design.columns)
    df = len(design) - len(terms)
    if df < 1:
        raise _NotFitted(f"{len(design)} participants are too few for {len(terms)} terms", terms)
    scaled = design.to_numpy() / np.maximum(np.linalg.norm(design.to_numpy(), axis=0), np.finfo(float).tiny)
    if np.linalg.matrix_rank(scaled) < len(terms):
        raise _NotFitted("singular design: some terms can be computed from others", terms)
    fit = sm.OLS(response.to_numpy(), design.to_numpy()).fit()
    if fit.ssr <= 1e-18 * np.sum((response - response.mean()) ** 2):
        raise _NotFitted("the model explains the values without any residual", terms)
    interval = fit.conf_int(alpha=0.05)
    two_levels = _two_level_terms(design.design_info)
    rows = []
    for index, term in enumerate(terms):
        size, name = _effect_size(term, fit, index, two_levels)
        rows.append(
            {
                "term": term,
                "estimate": fit.params[index],
                "std_error": fit.bse[index],
                "ci_low": interval[index, 0],
                "ci_high": interval[index, 1],
                "statistic": fit.tvalues[index],
                "df": fit.df_resid,
                "p": fit.pvalues[index],
                "effect_size": size,
                "effect_size_name": name,
            }
        )
    unit = frame["unit"].iloc[0]
    how = [f"ordinary least squares (statsmodels {statsmodels.__version__}), t tests, unit {unit}"]
    if references:
        how.append("reference levels " + ", ".join(f"{column} = {level}" for column, level in references.items()))
    how.append("p_fdr: Benjamini-Hochberg over this term of all models of the statistic")
    return rows, "; ".join(how)


def _check_sample(frame: pd.DataFrame, formula: Formula) -> None:
    """Faults of the data that no model survives."""
    if frame.empty:
        raise _NotFitted("no participant has a value and every covariate")
    again = frame[frame.duplicated(["dataset", "participant"])]
    if len(again):
        participant = again["participant"].iloc[0]
        raise _NotFitted(
            f"more than one value for participant {participant} in one session; "
            "narrow `rows` in config.yaml with prompt, image or session"
        )
    units = sorted(frame["unit"].dropna().unique())
    if len(units) > 1:
        raise _NotFitted(f"values in different units: {', '.join(units)}")
    if len(frame[RESPONSE].unique()) == 1 and len(frame) > 1:
        raise _NotFitted(f"every value is {frame[RESPONSE].iloc[0]:g}")
    for column in formula.columns:
        if len(frame[column].unique()) == 1:
            raise _NotFitted(f"{column} is {frame[column].iloc[0]} for every participant")


def _typed(frame: pd.DataFrame, formula: Formula, numeric: frozenset[str]) -> tuple[pd.DataFrame, dict[str, str]]:
    """Columns of the model as numbers and categories, and the reference level of each category."""
    data = pd.DataFrame({RESPONSE: frame[RESPONSE].astype("float64")})
    references = {}
    for column in formula.columns:
        if column in numeric:
            data[column] = frame[column].astype("float64")
        else:
            levels = sorted_levels(frame[column].astype(str))
            data[column] = pd.Categorical(frame[column].astype(str), categories=levels)
            references[column] = levels[0]
    return data, references


def _two_level_terms(design: Any) -> frozenset[str]:
    """Columns that are the difference between the two levels of a factor that is in no interaction."""
    found = set()
    for term, codings in design.term_codings.items():
        shared = [other for other in design.terms if other is not term and set(term.factors) & set(other.factors)]
        contrasts = [m for coding in codings for m in coding.contrast_matrices.values()]
        if len(term.factors) == 1 and not shared and len(contrasts) == 1 and contrasts[0].matrix.shape == (2, 1):
            found.add(design.column_names[design.term_slices[term]][0])
    return frozenset(found)


def _effect_size(term: str, fit: Any, index: int, two_levels: frozenset[str]) -> tuple[float, str | None]:
    if term == "Intercept" or re.fullmatch(r"[^:]*\[(?!T\.)[^\]]*\]", term):
        return np.nan, None  # a mean against zero, not an effect
    if term in two_levels:
        correction = 1 - 3 / (4 * fit.df_resid - 1)
        return correction * fit.params[index] / np.sqrt(fit.mse_resid), "hedges_g"
    t_squared = fit.tvalues[index] ** 2
    return t_squared / (t_squared + fit.df_resid), "partial_r2"


def corrected(table: pd.DataFrame) -> pd.Series:
    """Corrected p values, family by family (one term); models without a p value are no part of the family."""
    corrected = pd.Series(np.nan, index=table.index)
    tested = table[table["p"].notna()]
    for _, family in tested.groupby("term"):
        corrected[family.index] = multipletests(family["p"].to_numpy(), method="fdr_bh")[1]
    return corrected


def _without_estimates(term: str) -> dict[str, Any]:
    return {"term": term, "effect_size_name": None} | dict.fromkeys(_ESTIMATES, np.nan)


def _natural(label: object) -> str:
    """Sort key by which session 2 comes before 10; no label comes first."""
    return re.sub(r"[0-9]+", lambda match: match[0].zfill(20), label) if isinstance(label, str) else ""
