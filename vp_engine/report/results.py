"""What came out: for each statistic its tables, its figures, who is behind it and what to mind."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from vp_engine.report import cells
from vp_engine.report.centiles import save_centiles
from vp_engine.report.distributions import save_distributions
from vp_engine.report.effects import save_effects
from vp_engine.report.figures import SavedFigure, unit_text
from vp_engine.report.flags import behind_lines, flags_behind
from vp_engine.report.flow import exclusion_lines, flow_of
from vp_engine.report.trajectories import save_trajectories
from vp_engine.stats.checks import FLAGS
from vp_engine.stats.models import model_samples
from vp_engine.stats.spec import NOT_KNOWN, Options, StatisticSpec

MAX_ROWS = 200
"""Rows a table of the report shows at most."""

_HEADLINES = 4
_NAMED = 6
_EXCLUSION_COLUMNS = (
    cells.Column("analysis", "Analysis"),
    cells.Column("reason", "Not used because", long=True),
    cells.Column("rows", "Measurements", number=True),
    cells.Column("people", "Participants", number=True),
)


@dataclass(frozen=True, slots=True, eq=False)
class Tables:
    """What statistics are told from.

    Attributes
    ----------
    plan, runs, measurements : pyarrow.Table
    statistics, exclusions, centiles : DataFrame
        Empty when there are none.
    meanings : mapping of str to str
        Flag of measurements → what it means.
    """

    plan: pa.Table
    runs: pa.Table
    measurements: pa.Table
    statistics: pd.DataFrame
    exclusions: pd.DataFrame
    centiles: pd.DataFrame
    meanings: Mapping[str, str] = field(default_factory=dict)


def tell_statistics(
    tables: Tables, specs: Sequence[StatisticSpec], covariates: pd.DataFrame | None, folder: Path
) -> list[dict[str, Any]]:
    """Each statistic of the table, in order of their ids, for the template; figures are written to `folder`.

    Parameters
    ----------
    tables : Tables
    specs : sequence of StatisticSpec
        As configured; a statistic without one has no figures of its values.
    covariates : DataFrame or None
        As `fit_statistics` had them.
    folder : Path

    Raises
    ------
    ConfigError
        If a statistic does not fit the covariates.
    """
    known = {spec.id: spec for spec in specs}
    told = []
    for statistic_id, rows in tables.statistics.groupby("statistic_id", sort=True):
        spec = known.get(str(statistic_id))
        told.append(_tell(str(statistic_id), rows, tables, spec, covariates, folder))
    return told


def _tell(
    statistic_id: str,
    rows: pd.DataFrame,
    tables: Tables,
    spec: StatisticSpec | None,
    covariates: pd.DataFrame | None,
    folder: Path,
) -> dict[str, Any]:
    figures: dict[str, list[SavedFigure]] = {}
    references: dict[str, str] = {}
    values = pd.DataFrame() if spec is None else _rows_for(tables.measurements, spec).to_pandas()
    flagged = {} if spec is None else flags_behind(values, spec)
    if spec is not None and covariates is not None:
        samples = model_samples(values, covariates, spec)
        references = _references(samples)
        repeated = model_samples(values, covariates, replace(spec, options=Options(sessions="mixed")))
        figures = _value_figures(statistic_id, samples, repeated, _years(tables.plan), folder)
    centiles = tables.centiles[tables.centiles["statistic_id"] == statistic_id]
    measures = []
    for measure, own in rows.groupby("measure", sort=True):
        stem = f"{statistic_id}_{measure}"
        effects = save_effects(own, references, folder, f"{stem}_effects")
        norms = save_centiles(centiles[centiles["measure"] == measure], folder, f"{stem}_centiles")
        drawn = [*figures.get(str(measure), ()), *(figure for figure in (effects, norms) if figure is not None)]
        measures.append(_measure(str(measure), own, drawn, references, dict.fromkeys(flagged, cells.MARK)))
    exclusions = exclusion_lines(tables.exclusions[tables.exclusions["statistic_id"] == statistic_id])
    return {
        "id": statistic_id,
        "model": rows["model"].iloc[0],
        "headline": [*_headline(rows, references), *_not_fitted(rows)],
        "flow": flow_of(tables.plan, tables.runs, _prompts(spec), rows),
        "exclusion_columns": _EXCLUSION_COLUMNS,
        "exclusions": [
            {"analysis": cells.ANALYSES[analysis], "reason": reason, "rows": f"{count:,}", "people": f"{people:,}"}
            for analysis, reason, count, people in exclusions
        ],
        "measures": measures,
        "flags": [*behind_lines(flagged, tables.meanings), *_flags(rows)],
        "methods": methods_of(rows),
    }


def _measure(
    measure: str,
    rows: pd.DataFrame,
    figures: Sequence[SavedFigure],
    references: dict[str, str],
    marks: Mapping[str, str],
) -> dict[str, Any]:
    """Tables and figures of one measure."""
    analyses = [name for name in cells.ANALYSES if name in set(rows["analysis"])]
    effects = rows[rows["term"] != "Intercept"]
    shown = rows if effects.empty else effects  # a model of nothing but a mean
    lines = cells.term_rows(shown, analyses, references, marks)
    units = rows["unit"].dropna().unique()
    return {
        "title": f"{cells.words(measure)} ({unit_text(str(units[0]))})" if len(units) == 1 else cells.words(measure),
        "figures": list(figures),
        "columns": cells.term_columns(analyses),
        "detail_columns": cells.detail_columns(analyses, permuted=bool(rows["p_permutation"].notna().any())),
        "rows": lines[:MAX_ROWS],
        "left": max(0, len(lines) - MAX_ROWS),
    }


def _value_figures(
    statistic_id: str,
    samples: pd.DataFrame,
    repeated: pd.DataFrame,
    years: dict[tuple[str, str, str], float],
    folder: Path,
) -> dict[str, list[SavedFigure]]:
    """Distributions and trajectories, by measure."""
    figures: dict[str, list[SavedFigure]] = {}
    for measure, own in samples.groupby("measure", sort=True):
        stem = f"{statistic_id}_{measure}"
        found = [save_distributions(own, folder, f"{stem}_values")]
        lines = save_trajectories(repeated[repeated["measure"] == measure], years, folder, f"{stem}_trajectories")
        figures[str(measure)] = found if lines is None else [*found, lines]
    return figures


def _references(samples: pd.DataFrame) -> dict[str, str]:
    """The first level of each category of the model, with which the others are compared."""
    columns = [column for column in samples.columns if isinstance(samples[column].dtype, pd.CategoricalDtype)]
    return {str(c): str(samples[c].cat.categories[0]) for c in columns if len(samples[c].cat.categories)}


def _rows_for(measurements: pa.Table, spec: StatisticSpec) -> pa.Table:
    """Measurements a statistic needs: those it is about, and the intracranial volumes it adjusts for."""
    if spec.prompts is None:
        return measurements
    return measurements.filter(
        pc.is_in(measurements.column("prompt_id"), value_set=pa.array(spec.prompts, pa.string()))
    )


def _years(plan: pa.Table) -> dict[tuple[str, str, str], float]:
    """Time of each session since the first of its participant, where the dates are known."""
    rows = plan.select(["dataset", "participant", "session", "days"]).to_pylist()
    return {
        (row["dataset"], row["participant"], row["session"]): row["days"] / 365.25
        for row in rows
        if row["session"] is not None and row["days"] is not None
    }


def _prompts(spec: StatisticSpec | None) -> tuple[str, ...]:
    return () if spec is None else spec.rows.get("prompt", ())


def _headline(rows: pd.DataFrame, references: dict[str, str]) -> list[str]:
    """One line per comparison of groups (or per term, when there is none) of what the first analysis says."""
    fitted = rows[(rows["analysis"] == "all") & rows["estimate"].notna() & (rows["term"] != "Intercept")]
    compared = fitted[fitted["term"].str.contains("[T.", regex=False) & ~fitted["term"].str.contains(":", regex=False)]
    told = fitted if compared.empty else compared
    first = _first_column(told, rows["model"].iloc[0])
    lines = []
    for term in dict.fromkeys(first["term"]):
        own = first[first["term"] == term]
        significant = int((own["p_fdr"] < 0.05).sum())
        text = f"{cells.term_text(term, references)}: p < 0.05 after correction in {significant} of {len(own)} models"
        if own["effect_size"].notna().any():
            largest = own.loc[own["effect_size"].abs().idxmax()]
            what = f"{cells.words(largest['measure'])} of {cells.words(largest['target'])}"
            text += f"; largest effect: {what}, {cells.effect_text(largest)}"
        lines.append(f"{text}.")
    return lines[:_HEADLINES]


def _not_fitted(rows: pd.DataFrame) -> list[str]:
    """One line per reason for which models have no estimates."""
    left = rows[rows["estimate"].isna()]
    lines = []
    for (analysis, method), own in left.groupby(["analysis", "method"], sort=False):
        targets = [cells.words(target) for target in own["target"].unique() if target != NOT_KNOWN]
        about = f" for {_some(targets)}" if targets else ""
        exclusions = "" if analysis == "all" else " with exclusions"
        lines.append(f"not fitted{exclusions}{about}: {str(method).removeprefix('not fitted: ')}.")
    return lines[:_HEADLINES]


def _first_column(rows: pd.DataFrame, model: str) -> pd.DataFrame:
    """Terms of the column that comes first in the formula: what the statistic is about."""
    right = str(model).partition("~")[2]
    columns = sorted({term.partition("[")[0] for term in rows["term"]}, key=right.find)
    return rows[rows["term"].str.partition("[")[0] == columns[0]] if columns else rows


def _flags(rows: pd.DataFrame) -> list[str]:
    """Warnings about assumptions, in words, each once with the structures and analyses it is about."""
    found: dict[str, dict[str, None]] = {}
    for row in rows.to_dict("records"):
        for flag in row["flags"] if row["flags"] is not None else ():
            where = cells.words(row["target"]) + ("" if row["analysis"] == "all" else " (with exclusions)")
            found.setdefault(flag, {})[where] = None
    lines = []
    for flag in sorted(found):
        kind, _, detail = flag.partition(":")
        where = _some(list(found[flag]))
        about = f" ({detail})" if detail else ""
        lines.append(f"{cells.words(kind)}{about}: {FLAGS.get(kind, 'see docs/statistics.md')}. In: {where}.")
    return lines


def methods_of(rows: pd.DataFrame) -> list[str]:
    """Each way numbers were made, once, with the structures it is about."""
    lines = []
    for method, own in rows.groupby("method", sort=False):
        targets = sorted({cells.words(target) for target in own["target"]})
        lines.append(f"{_some(targets)}: {method}")
    return lines


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:_NAMED]) + (f" and {len(names) - _NAMED} more" if len(names) > _NAMED else "")
