"""Group statistics: one model per structure and measure, corrected over the family."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass

import numpy as np
import pandas as pd

from vp_engine.errors import ConfigError
from vp_engine.stats.adjustment import with_icv
from vp_engine.stats.centiles import fit_centiles
from vp_engine.stats.covariates import join_covariates, numeric_columns
from vp_engine.stats.design import typed
from vp_engine.stats.exclusion import excluded_by
from vp_engine.stats.families import corrected
from vp_engine.stats.formula import Formula, parse_formula
from vp_engine.stats.preparation import RAW, Key, Model, Prepared, prepare
from vp_engine.stats.sample import PERSON, Sample, join_icv, runs_without_rows, select, take_sample, without
from vp_engine.stats.spec import (
    ALL,
    CENTILE_COLUMNS,
    COLUMNS,
    EXCLUDED,
    EXCLUSION_COLUMNS,
    ICV,
    NOT_KNOWN,
    ROW_COLUMNS,
    StatisticSpec,
)
from vp_engine.stats.terms import NUMBERS, nothing_found, term_rows

_RESERVED = (RAW, "excluded_by", "reason")

__all__ = ["StatisticResult", "StatisticSpec", "analyse_statistic", "fit_statistics", "model_samples", "read_model"]


@dataclass(frozen=True, slots=True, eq=False)
class StatisticResult:
    """What comes of one statistic.

    Attributes
    ----------
    terms : DataFrame
        Columns of the table `statistics`.
    exclusions : DataFrame
        Columns of the table `exclusions`.
    centiles : DataFrame
        Columns of the table `centiles`; empty when they are not asked for.
    """

    terms: pd.DataFrame
    exclusions: pd.DataFrame
    centiles: pd.DataFrame


def fit_statistics(rows: pd.DataFrame, covariates: pd.DataFrame, spec: StatisticSpec) -> pd.DataFrame:
    """Terms of the models of a statistic, as `analyse_statistic` finds them."""
    return analyse_statistic(rows, covariates, spec).terms


def analyse_statistic(
    rows: pd.DataFrame, covariates: pd.DataFrame, spec: StatisticSpec, *, runs: pd.DataFrame | None = None
) -> StatisticResult:
    """Fit one model per structure and measure, and say who is in it and who is not.

    Each participant counts once: of several sessions the first is used (natural order of the labels), and the
    others are counted as excluded; unless all are asked for, with a random intercept of the participant. A model that
    cannot be fitted yields rows without estimates that say why. With a rule of exclusion every model is fitted twice.

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
    runs : DataFrame, optional
        Table `runs`: who was asked for and has no row at all.

    Returns
    -------
    StatisticResult
        Terms sorted by analysis, target, measure and term order of the model. Estimates are in `unit`; confidence
        intervals cover 95 %; p values are two-sided.

        `effect_size` of a factor with two levels is ``hedges_g``, the difference over the residual standard deviation
        with the small-sample factor ``1 - 3 / (4 df - 1)`` (without covariates the usual Hedges' g); of any other
        term ``partial_r2 = t² / (t² + df)``. Both are made with the classical standard error, robust or not.

    Raises
    ------
    ConfigError
        If the formula is not allowed, names an unknown column, or the covariates are ambiguous.
    """
    formula, numeric = read_model(covariates, spec)
    model = Model(formula, numeric, spec.options)
    groups, samples = _samples(rows, covariates, spec, model)
    reasons = excluded_by(samples, model)
    analyses = {ALL: samples}
    if spec.options.exclude is not None:
        analyses[EXCLUDED] = {key: without(one, reasons[key]) for key, one in samples.items()}
    prepared = {analysis: prepare(own, model) for analysis, own in analyses.items()}
    terms = [
        {"analysis": analysis, "target": key[0], "measure": key[1]} | row
        for analysis, own in prepared.items()
        for key, one in own.items()
        for row in term_rows(one, model, seed=json.dumps([asdict(spec), analysis, *key], sort_keys=True))
    ] or [nothing_found(spec, analysis) for analysis in prepared]
    table = pd.DataFrame(terms).assign(statistic_id=spec.id, model=spec.model)
    table[["p_fdr", "p_bonferroni"]] = corrected(table, spec.options.family)
    table = table.reindex(columns=list(COLUMNS)).astype(dict.fromkeys(NUMBERS, "float64"))
    failed = pd.DataFrame() if runs is None else runs_without_rows(runs, spec)
    return StatisticResult(
        table, _exclusions(prepared, groups, failed, spec), _centiles(prepared[ALL], reasons, model, spec)
    )


def model_samples(rows: pd.DataFrame, covariates: pd.DataFrame, spec: StatisticSpec) -> pd.DataFrame:
    """The values that the models of a statistic are fitted to, for figures.

    Parameters
    ----------
    rows, covariates, spec
        As in `fit_statistics`; `rows` of all of `spec.prompts`.

    Returns
    -------
    DataFrame
        `dataset`, `participant`, `session`, `target`, `measure`, `unit`, `value` as the models of the analysis `all`
        see it, each column of the model: float64 when it is a number, else ordered by `sorted_levels` (categorical);
        `raw_value` as measured, and `excluded_by`: why the analysis `excluded` does without it.

    Raises
    ------
    ConfigError
        As `fit_statistics`.
    """
    formula, numeric = read_model(covariates, spec)
    model = Model(formula, numeric, spec.options)
    groups, samples = _samples(rows, covariates, spec, model)
    reasons = excluded_by(samples, model)
    frames = [
        one.sample.frame.assign(excluded_by=reasons[key][one.sample.frame.index])
        for key, one in prepare(samples, model).items()
    ]
    sample = pd.concat(frames) if frames else groups.assign(**{RAW: np.nan, "excluded_by": None})
    columns, _ = typed(sample, formula, numeric)
    identity = ["dataset", "participant", "session", "target", "measure", "unit"]
    own = [column for column in identity if column not in columns.columns]
    return pd.concat([sample[own], columns, sample[[RAW, "excluded_by"]]], axis=1).reset_index(drop=True)


def read_model(covariates: pd.DataFrame, spec: StatisticSpec) -> tuple[Formula, frozenset[str]]:
    """The formula of a statistic, with the intracranial volume where it is a covariate, and which columns are numbers.

    Raises
    ------
    ConfigError
        As `fit_statistics`; needs no measurements, so that it can be known before there are any.
    """
    options = spec.options
    known = {*covariates.columns, *ROW_COLUMNS} - {"participant"}
    formula = parse_formula(spec.model, columns=known)
    numeric = numeric_columns(covariates, [c for c in formula.columns if c not in formula.factors])
    for column in (*formula.columns, *options.columns):
        if column in _RESERVED or column.startswith("__"):
            raise ConfigError(f"covariates: {column!r} is a name of our own; give the column another one")
    if absent := sorted(set(options.columns) - known):
        raise ConfigError(f"no column {absent[0]!r} in participants.tsv or sessions.tsv")
    if options.centiles is not None:
        age, reference = options.centiles.age, options.centiles.reference
        if age not in numeric_columns(covariates, [age]):
            raise ConfigError(f"centiles.age: expected a column of numbers, got {age!r}")
        for column, values in reference.items():
            if column not in ROW_COLUMNS and (strange := sorted(set(values) - set(covariates[column].dropna()))):
                raise ConfigError(f"centiles.reference.{column}: nobody has {strange[0]!r} there")
    complete = with_icv(formula, options.icv)
    return complete, numeric | ({ICV} if complete is not formula else set())


def _samples(
    rows: pd.DataFrame, covariates: pd.DataFrame, spec: StatisticSpec, model: Model
) -> tuple[pd.DataFrame, dict[Key, Sample]]:
    """The measurements with their covariates, and those of them that each model uses."""
    options = spec.options
    selected = select(rows, spec)
    used = [column for column in model.formula.columns if column != ICV or options.icv is None]
    joined = join_covariates(selected, covariates, dict.fromkeys([*used, *options.columns]))
    needed = [*model.formula.columns, *([options.site] if options.site is not None else [])]
    if options.icv is not None:
        joined = join_icv(joined, rows, options.icv.prompt)
        needed.append(ICV)
    samples = {
        (str(target), str(measure)): take_sample(
            group, model.formula, dict.fromkeys(needed), every_session=model.every_session
        )
        for (target, measure), group in joined.groupby(["target", "measure"], sort=True)
    }
    return joined, samples


def _exclusions(
    prepared: Mapping[str, Mapping[Key, Prepared]], groups: pd.DataFrame, failed: pd.DataFrame, spec: StatisticSpec
) -> pd.DataFrame:
    """Who is in no model, and why; of every analysis."""
    found = [pd.DataFrame(columns=list(EXCLUSION_COLUMNS))]
    for analysis, own in prepared.items():
        for target, measure in own or [(NOT_KNOWN, NOT_KNOWN)]:
            named = {"statistic_id": spec.id, "target": target, "measure": measure, "analysis": analysis}
            dropped = [own[target, measure].sample.dropped] if own else []
            if len(failed):
                there = groups[(groups["target"] == target) & (groups["measure"] == measure)]
                keys = [*PERSON, "session"]
                asked, answered = (pd.MultiIndex.from_frame(f[keys].astype(object).fillna("")) for f in (failed, there))
                dropped.append(failed[~asked.isin(answered)])
            found += [one.assign(**named)[list(EXCLUSION_COLUMNS)] for one in dropped if len(one)]
    return pd.concat(found).drop_duplicates().reset_index(drop=True)


def _centiles(
    prepared: Mapping[Key, Prepared], reasons: Mapping[Key, pd.Series], model: Model, spec: StatisticSpec
) -> pd.DataFrame:
    found = [pd.DataFrame(columns=list(CENTILE_COLUMNS))]
    option = spec.options.centiles
    for (target, measure), one in prepared.items() if option is not None else ():
        if one.fault is None and option is not None:
            frame = one.sample.frame
            left_out = reasons[target, measure][frame.index].notna()
            own = fit_centiles(frame, model.formula, model.numeric, option, left_out=left_out)
            found.append(own.assign(statistic_id=spec.id, target=target, measure=measure)[list(CENTILE_COLUMNS)])
    numbers = dict.fromkeys(("age", "value", "expected", "z", "centile"), "float64")
    return pd.concat(found).reset_index(drop=True).astype(numbers | {"in_reference": bool})
