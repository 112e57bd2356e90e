"""Figure of what a statistic found: estimates with their intervals, with and without exclusions."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from vp_engine.report.cells import term_text
from vp_engine.report.figures import (
    COLOURS,
    NARROW,
    SavedFigure,
    new_figure,
    per_text,
    save_figure,
    short,
    unit_text,
    words,
)

MAX_ROWS = 40
"""Structures in a figure; the first in alphabetical order."""

MAX_TERMS = 6
"""Terms in a figure: comparisons of groups first."""

_ANALYSES = {"all": (COLOURS[0], "o", "all"), "excluded": (COLOURS[1], "D", "with exclusions")}


def save_effects(table: pd.DataFrame, references: Mapping[str, str], folder: Path, stem: str) -> SavedFigure | None:
    """Estimates with 95 % confidence intervals, one row per structure, one panel per term.

    Differences between two groups are drawn as Hedges' g, so that large and small structures compare; other terms in
    the unit of the measure.

    Parameters
    ----------
    table : DataFrame
        Rows of the table `statistics`, of one statistic and measure.
    references : mapping of str to str
        As in `term_text`.
    folder, stem
        As in `save_figure`.

    Returns
    -------
    SavedFigure or None
        None when no model was fitted, or it has no term besides the intercept.
    """
    fitted = table[table["estimate"].notna() & (table["term"] != "Intercept")]
    terms = sorted(fitted["term"].unique(), key=lambda term: ("[T." not in term, ":" in term, term))[:MAX_TERMS]
    targets = sorted(fitted["target"].unique())
    shown = targets[:MAX_ROWS]
    if not terms:
        return None
    analyses = [name for name in _ANALYSES if name in set(fitted["analysis"])]

    def draw(width: float) -> Figure:
        across = min(len(terms), 3 if width > NARROW else 1)
        rows = -(-len(terms) // across)
        legend = 0.35
        figure = new_figure(width, rows * (0.95 + 0.3 * max(len(shown), 2)) + legend)
        grid = figure.subplots(rows, across, squeeze=False, sharey=True)
        for axes, term in zip(grid.ravel(), terms, strict=False):
            _draw_term(axes, fitted[fitted["term"] == term], shown, analyses)
            axes.set_title(short(term_text(term, references), 34))
        for empty in grid.ravel()[len(terms) :]:
            empty.set_visible(False)
        for first in grid[:, 0]:
            first.set_yticks(range(len(shown)), [short(words(target), 24) for target in shown])
        grid[0, 0].set_ylim(len(shown) - 0.4, -0.6)
        figure.legend(handles=_handles(analyses), loc="outside lower center", ncols=3 if width > NARROW else 1)
        return figure

    caption = "Points: estimates; lines: 95 % confidence intervals; filled: p < 0.05 after correction (p_fdr)."
    if "hedges_g" in set(fitted["effect_size_name"]):
        caption += " Hedges' g: the difference in units of the residual standard deviation."
    if len(analyses) > 1:
        caption += " Both analyses are shown: of all measurements, and without those that the rule excludes."
    left = len(fitted["term"].unique()) - len(terms)
    if left:
        caption += f" {left} more term{'' if left == 1 else 's'} in the table only."
    if len(targets) > len(shown):
        caption += f" The first {len(shown)} of {len(targets)} structures."
    named = ", ".join(term_text(term, references) for term in terms)
    alt = f"Estimates of {named} with 95 % confidence intervals for {len(shown)} structures"
    return save_figure(draw, folder, stem, alt=alt, caption=caption)


def _draw_term(axes: Axes, rows: pd.DataFrame, targets: list[str], analyses: list[str]) -> None:
    standardised = set(rows["effect_size_name"].dropna()) == {"hedges_g"}
    for number, analysis in enumerate(analyses):
        colour, marker, _ = _ANALYSES[analysis]
        own = rows[rows["analysis"] == analysis].drop_duplicates("target").set_index("target").reindex(targets)
        offset = 0.0 if len(analyses) == 1 else (-0.14, 0.14)[number]
        for position, (_, row) in enumerate(own.iterrows()):
            middle, low, high = _interval(row, standardised=standardised)
            if not np.isfinite(middle):
                continue
            height = position + offset
            axes.plot([low, high], [height, height], color=colour, linewidth=1.6, solid_capstyle="butt")
            face = colour if row["p_fdr"] < 0.05 else "white"
            axes.plot(middle, height, marker, color=colour, markerfacecolor=face, markersize=5)
    axes.axvline(0, color="black", linewidth=0.8, linestyle="--")
    axes.grid(visible=False, axis="y")
    units = rows["unit"].dropna().unique()
    unit = unit_text(str(units[0]) if len(units) == 1 else None)
    term = str(rows["term"].iloc[0])
    per = "" if "[T." in term else f" {per_text(term)}"
    axes.set_xlabel("Hedges' g (no unit)" if standardised else short(f"{unit}{per}", 34))
    axes.locator_params(axis="x", nbins=4)


def _interval(row: pd.Series, *, standardised: bool) -> tuple[float, float, float]:
    """Middle and ends, in the unit of the measure or as an effect size."""
    names = ("effect_size", "effect_ci_low", "effect_ci_high") if standardised else ("estimate", "ci_low", "ci_high")
    middle, low, high = (float(row[name]) for name in names)
    return middle, low, high


def _handles(analyses: list[str]) -> list[Line2D]:
    handles = []
    if len(analyses) > 1:
        for analysis in analyses:
            colour, marker, text = _ANALYSES[analysis]
            handles.append(Line2D([], [], color=colour, marker=marker, markersize=5, label=text))
    plain: dict[str, Any] = {"color": "#444444", "marker": "o", "linestyle": "none", "markersize": 5}
    handles.append(Line2D([], [], label="p < 0.05 corrected", **plain))
    handles.append(Line2D([], [], markerfacecolor="white", label="not significant", **plain))
    return handles
