"""Rows of the table `statistics`: a fitted model as numbers, how they were made and what is doubtful about them."""

from __future__ import annotations

from typing import Any

import numpy as np

from vp_engine.stats.checks import collinearity_flags, leverage_flags, residual_flags, size_flags
from vp_engine.stats.design import Design, Estimates, is_mean
from vp_engine.stats.effects import HEDGES_G, PARTIAL_R2, hedges_g, partial_r2
from vp_engine.stats.fitting import estimate
from vp_engine.stats.linear import ESTIMATOR as OLS
from vp_engine.stats.mixed import ESTIMATOR as MIXED
from vp_engine.stats.permutation import permutation_p
from vp_engine.stats.preparation import Model, Prepared
from vp_engine.stats.sample import PERSON, told_exclusions
from vp_engine.stats.spec import NOT_KNOWN, NotFittedError, StatisticSpec

NUMBERS = (
    "estimate", "std_error", "ci_low", "ci_high", "statistic", "df", "p", "p_fdr", "effect_size", "p_bonferroni",
    "p_permutation", "effect_ci_low", "effect_ci_high",
)  # fmt: skip
"""Columns of estimates; without a model they are missing."""

_UNBALANCED = 1.05


def term_rows(prepared: Prepared, model: Model, *, seed: str) -> list[dict[str, Any]]:
    """Fit the model to one structure and measure: a row per term, or one that says why there is none.

    Parameters
    ----------
    prepared : Prepared
    model : Model
    seed : str
        Text that the permutations follow from.
    """
    frame, options = prepared.sample.frame, model.options
    units = frame["unit"].dropna().unique()
    common: dict[str, Any] = {
        "n": len(frame[PERSON].drop_duplicates() if model.every_session else frame),
        "n_excluded": len(prepared.sample.dropped),
        "unit": units[0] if len(units) == 1 else None,
        "estimator": MIXED if model.every_session else OLS,
    }
    try:
        design, found = estimate(prepared, model)
    except NotFittedError as reason:
        rows: list[dict[str, Any]] = [_without_estimates(term) for term in reason.terms]
        how, flags = [f"not fitted: {reason}"], [*prepared.flags, *reason.flags]
    else:
        rows = [_term(design, found, index) for index in range(len(found.terms))]
        how = _how(design, found, prepared, model)
        flags = _flags(design, found, prepared, model)
        if options.permutations:
            robust = options.standard_errors == "HC3"
            shares = permutation_p(design, found.statistic, options.permutations, robust=robust, seed=seed)
            rows = [row | {"p_permutation": share} for row, share in zip(rows, shares, strict=True)]
    method = "; ".join([*how, *prepared.sample.notes, *told_exclusions(prepared.sample.dropped)])
    return [row | common | {"method": method, "flags": flags} for row in rows]


def _term(design: Design, found: Estimates, index: int) -> dict[str, Any]:
    """Numbers of one term."""
    name, (size, low, high) = _effect(design, found, index)
    interval = found.interval(index)
    return {
        "term": found.terms[index],
        "estimate": found.estimate[index],
        "std_error": found.std_error[index],
        "ci_low": interval[0],
        "ci_high": interval[1],
        "statistic": found.statistic[index],
        "df": found.df[index],
        "p": found.p[index],
        "effect_size": size,
        "effect_size_name": name,
        "effect_ci_low": low,
        "effect_ci_high": high,
    }


def _effect(design: Design, found: Estimates, index: int) -> tuple[str | None, tuple[float, float, float]]:
    term, error, df = found.terms[index], found.effect_error[index], found.effect_df[index]
    if is_mean(term):
        return None, (np.nan, np.nan, np.nan)
    if term in design.two_levels:
        return HEDGES_G, hedges_g(found.estimate[index], error, found.sd, df)
    return PARTIAL_R2, partial_r2(found.estimate[index] / error, df)


def _how(design: Design, found: Estimates, prepared: Prepared, model: Model) -> list[str]:
    how = [f"{found.how}, unit {prepared.sample.frame['unit'].iloc[0]}"]
    if design.references:
        how.append(
            "reference levels " + ", ".join(f"{column} = {level}" for column, level in design.references.items())
        )
    how += prepared.how
    if model.options.permutations:
        how.append(f"p_permutation: {model.options.permutations} permutations (Freedman-Lane)")
    over = "this term" if model.options.family == "term" else "all terms"
    how.append(f"p_fdr: Benjamini-Hochberg, p_bonferroni: Bonferroni, over {over} of all models of the statistic")
    return how


def _flags(design: Design, found: Estimates, prepared: Prepared, model: Model) -> list[str]:
    """What is doubtful about a model."""
    frame = prepared.sample.frame
    names = "sub-" + frame["participant"].astype(str)
    if len(frame["dataset"].unique()) > 1:
        names = frame["dataset"].astype(str) + "/" + names
    if model.every_session:
        names += frame["session"].map(lambda label: f"_ses-{label}" if isinstance(label, str) else "")
    flags = [*prepared.flags, *found.flags, *size_flags(found.df), *residual_flags(design, found.checked)]
    flags += [*leverage_flags(design, found.residuals, list(names)), *collinearity_flags(design)]
    if design.widening is not None:
        flags += [
            f"unbalanced_site:{term}"
            for term, factor in zip(design.terms, design.widening, strict=True)
            if factor > _UNBALANCED
        ]
    return flags


def nothing_found(spec: StatisticSpec, analysis: str) -> dict[str, Any]:
    """The row of a statistic that no measurement fits."""
    filters = ", ".join(f"{key} = {' or '.join(values)}" for key, values in spec.rows.items())
    estimator = MIXED if spec.options.sessions == "mixed" else OLS
    named: dict[str, Any] = {"target": NOT_KNOWN, "measure": NOT_KNOWN, "n": 0, "n_excluded": 0, "flags": []}
    told = {
        "analysis": analysis,
        "method": f"not fitted: no number with {filters}",
        "estimator": estimator,
        "unit": None,
    }
    return _without_estimates(NOT_KNOWN) | named | told


def _without_estimates(term: str) -> dict[str, Any]:
    return {"term": term, "effect_size_name": None} | dict.fromkeys(NUMBERS, np.nan)
