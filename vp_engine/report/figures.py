"""Figures of a statistic: the values it is about, and what it found."""

from __future__ import annotations

import io
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from vp_engine.tables.publish import publishing

MAX_PANELS = 12
"""Structures in a figure of distributions; the first in alphabetical order."""

MAX_ROWS = 40
"""Structures in a figure of effects; the first in alphabetical order."""

_MAX_LEVELS = 8
_MAX_TERMS = 3
_LABEL = 28
# Okabe & Ito's colours; each group has its own marker too
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#7F7F7F")
_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
_STYLE: dict[Any, Any] = {
    "text.parse_math": False,  # names from the user's files may hold a $
    "svg.hashsalt": "vp_engine",  # equal figures, equal bytes
    "svg.fonttype": "path",
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
}
_UNITS = {"mm3": "mm³", "mm2": "mm²", "1": "no unit"}


@dataclass(frozen=True, slots=True)
class SavedFigure:
    """A figure on disk.

    Attributes
    ----------
    svg, png : Path
        The two files.
    alt : str
        What is to be seen, for those who cannot see it.
    caption : str
        How to read it.
    """

    svg: Path
    png: Path
    alt: str
    caption: str


def save_distributions(samples: pd.DataFrame, folder: Path, stem: str) -> SavedFigure:
    """Every value as a point, one panel per structure, side by side by group.

    The group is the first category of the model with 2 to 8 levels; a model without one has its first number on the
    horizontal axis; a model without columns, all values together.

    Parameters
    ----------
    samples : DataFrame
        From `model_samples`, of one measure: `target`, `measure`, `unit`, `value` and the columns of the model.
    folder : Path
        Where the SVG and the PNG go.
    stem : str
        Name of the files without ending; other characters than letters, digits and _ become _.

    Returns
    -------
    SavedFigure
    """
    targets = sorted(samples["target"].unique())
    shown = targets[:MAX_PANELS]
    column = _horizontal(samples)
    label = f"{_words(samples['measure'].iloc[0])} ({_unit(samples['unit'].iloc[0])})"
    with mpl.rc_context(_STYLE):
        rows = -(-len(shown) // 4)
        columns = -(-len(shown) // rows)
        figure = Figure(figsize=(max(3.2, 2.4 * columns), 2.5 * rows + 0.2), layout="constrained")
        FigureCanvasAgg(figure)
        grid = figure.subplots(rows, columns, squeeze=False).ravel()
        for axes, target in zip(grid, shown, strict=False):
            _draw_values(axes, samples[samples["target"] == target], column)
            axes.set_title(_short(_words(target)), fontsize=9)
        for axes in grid[len(shown) :]:
            axes.set_visible(False)
        figure.supylabel(_short(label, 60), fontsize=9)
        files = _save(figure, folder, stem)
    by = f" by {column}" if column else ""
    caption = "Each point is one participant."
    if column and not pd.api.types.is_numeric_dtype(samples[column]):
        caption += " Bar: median; box: middle half of the values."
    if len(targets) > len(shown):
        caption += f" The first {len(shown)} of {len(targets)} structures."
    alt = f"Distributions of {label}{by} for {', '.join(_words(target) for target in shown)}"
    return SavedFigure(*files, alt=alt, caption=caption)


def save_effects(table: pd.DataFrame, unit: str | None, folder: Path, stem: str) -> SavedFigure | None:
    """Estimates with 95 % confidence intervals, one row per structure, one panel per term (three at most).

    Differences between two groups are drawn as Hedges' g, so that large and small structures compare; other terms in
    the unit of the measure.

    Parameters
    ----------
    table : DataFrame
        Rows of the table `statistics`, of one statistic and measure.
    unit : str or None
        Unit of the measure.
    folder, stem
        As in `save_distributions`.

    Returns
    -------
    SavedFigure or None
        None when no model was fitted, or it has no term besides the intercept.
    """
    fitted = table[table["estimate"].notna() & (table["term"] != "Intercept")]
    terms = sorted(fitted["term"].unique(), key=lambda term: ("[T." not in term, ":" in term, term))[:_MAX_TERMS]
    targets = sorted(fitted["target"].unique())
    shown = targets[:MAX_ROWS]
    if not terms:
        return None
    with mpl.rc_context(_STYLE):
        size = (2.2 + 2.6 * len(terms), 1.1 + 0.26 * len(shown))
        figure = Figure(figsize=size, layout="constrained")
        FigureCanvasAgg(figure)
        panels = figure.subplots(1, len(terms), squeeze=False, sharey=True).ravel()
        for axes, term in zip(panels, terms, strict=True):
            _draw_effects(axes, fitted[fitted["term"] == term].set_index("target").reindex(shown), term, unit)
        panels[0].set_yticks(range(len(shown)), [_short(_words(target)) for target in shown])
        panels[0].set_ylim(len(shown) - 0.5, -0.5)
        files = _save(figure, folder, stem)
    caption = "Points: estimates; lines: 95 % confidence intervals; filled: p < 0.05 after correction (p_fdr)."
    if "hedges_g" in set(fitted["effect_size_name"]):
        caption += " Hedges' g: the estimate and its interval, divided by the residual standard deviation."
    if len(targets) > len(shown):
        caption += f" The first {len(shown)} of {len(targets)} structures."
    alt = f"Estimates of {', '.join(terms)} with 95 % confidence intervals for {len(shown)} structures"
    return SavedFigure(*files, alt=alt, caption=caption)


def _horizontal(samples: pd.DataFrame) -> str | None:
    """Column of the model that goes on the horizontal axis."""
    own = ("dataset", "participant", "session", "target", "measure", "unit", "value")
    categories = [c for c in samples.columns if isinstance(samples[c].dtype, pd.CategoricalDtype)]
    for column in categories:
        if 2 <= len(samples[column].cat.categories) <= _MAX_LEVELS:
            return str(column)
    numbers = [c for c in samples.columns if c not in own and c not in categories]
    return str(numbers[0]) if numbers else None


def _draw_values(axes: Axes, sample: pd.DataFrame, column: str | None) -> None:
    if column is not None and not isinstance(sample[column].dtype, pd.CategoricalDtype):
        axes.plot(sample[column], sample["value"], "o", color=_COLOURS[0], markersize=3, alpha=0.7)
        axes.set_xlabel(_short(column))
        return
    levels = [""] if column is None else list(sample[column].cat.categories)
    for position, level in enumerate(levels):
        chosen = sample if column is None else sample[sample[column] == level]
        values = np.sort(chosen["value"].to_numpy(dtype=float))
        if not len(values):
            continue
        # spread evenly and without chance: multiples of the golden ratio never bunch up
        spread = ((np.arange(len(values)) * 0.6180339887) % 1 - 0.5) * 0.5
        style: dict[str, Any] = {
            "color": _COLOURS[position],
            "marker": _MARKERS[position],
            "markersize": 3,
            "alpha": 0.7,
        }
        axes.plot(position + spread, values, linestyle="none", **style)
        low, middle, high = np.percentile(values, [25, 50, 75])
        axes.fill_between(
            [position - 0.32, position + 0.32], low, high, color=_COLOURS[position], alpha=0.15, linewidth=0
        )
        axes.plot([position - 0.32, position + 0.32], [middle, middle], color="black", linewidth=1.5)
    axes.set_xlim(-0.6, len(levels) - 0.4)
    axes.set_xticks(
        range(len(levels)), [_short(str(level), 14) for level in levels], rotation=30 if len(levels) > 3 else 0
    )


def _draw_effects(axes: Axes, rows: pd.DataFrame, term: str, unit: str | None) -> None:
    standardised = bool((rows["effect_size_name"].dropna() == "hedges_g").all())
    # g is the estimate over the residual standard deviation; the interval is scaled alike
    scale = (rows["effect_size"] / rows["estimate"]).to_numpy(dtype=float) if standardised else np.ones(len(rows))
    for position, (_, row) in enumerate(rows.iterrows()):
        if not np.isfinite(row["estimate"]) or not np.isfinite(scale[position]):
            continue
        ends = [row["ci_low"] * scale[position], row["ci_high"] * scale[position]]
        axes.plot(ends, [position, position], color=_COLOURS[0], linewidth=1.5)
        face = _COLOURS[0] if row["p_fdr"] < 0.05 else "white"
        axes.plot(
            row["estimate"] * scale[position], position, "o", color=_COLOURS[0], markerfacecolor=face, markersize=5
        )
    axes.axvline(0, color="black", linewidth=0.8, linestyle="--")
    axes.set_title(_short(term), fontsize=9)
    per = "" if "[T." in term else f" per unit of {term}"
    axes.set_xlabel(_short("Hedges' g" if standardised else f"{_unit(unit)}{per}", 40))
    axes.locator_params(axis="x", nbins=5)


def _save(figure: Figure, folder: Path, stem: str) -> tuple[Path, Path]:
    svg, png = io.BytesIO(), io.BytesIO()
    figure.savefig(svg, format="svg", metadata={"Date": None, "Creator": None})
    figure.savefig(png, format="png", dpi=150, metadata={"Software": None})
    safe = re.sub(r"[^0-9A-Za-z_]", "_", stem)
    paths = (folder / f"{safe}.svg", folder / f"{safe}.png")
    for path, content in zip(paths, (svg, png), strict=True):
        with publishing(path) as file:
            file.write(content.getvalue())
    return paths


def _words(name: str) -> str:
    return name.replace("_", " ")


def _unit(unit: str | None) -> str:
    return _UNITS.get(unit or "1", unit or "no unit")


def _short(text: str, limit: int = _LABEL) -> str:
    return text if len(text) <= limit else f"{text[: limit - 1]}…"
