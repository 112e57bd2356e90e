"""Figure of the values that a statistic is about: every participant a point, by group."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from vp_engine.report.figures import (
    RASTER_POINTS,
    SavedFigure,
    column_text,
    group_column,
    number_column,
    panels_of,
    point_style,
    save_figure,
    short,
    unit_text,
    words,
)

MAX_PANELS = 12
"""Structures in a figure; the first in alphabetical order."""

_GOLDEN = 0.6180339887
_LEFT_OUT = "#5f5f5f"


def save_distributions(samples: pd.DataFrame, folder: Path, stem: str) -> SavedFigure:
    """Every value as a point, one panel per structure, side by side by group.

    The group is the first category of the model with 2 to 8 levels; a model without one has its first number on the
    horizontal axis; a model without columns, all values together. Points that the second analysis leaves out are
    crosses.

    Parameters
    ----------
    samples : DataFrame
        From `model_samples`, of one measure: `target`, `measure`, `unit`, `value`, the columns of the model, and where
        there are such, `raw_value` (as measured, when `value` is adjusted) and `excluded_by`.
    folder, stem
        As in `save_figure`.

    Returns
    -------
    SavedFigure
    """
    targets = sorted(samples["target"].unique())
    shown = targets[:MAX_PANELS]
    group = group_column(samples)
    column = group or number_column(samples)
    label = value_label(samples)

    def draw(width: float) -> Figure:
        figure, grid = panels_of(len(shown), width)
        for axes, target in zip(grid, shown, strict=True):
            own = samples[samples["target"] == target]
            if group is None and column is not None:
                _draw_against(axes, own, column)
            else:
                _draw_groups(axes, own, group)
            axes.set_title(short(words(target)))
        figure.supylabel(short(label, 60), fontsize=8.5)
        return figure

    people = len(samples[["dataset", "participant"]].drop_duplicates())
    caption = "Each point is one participant." if len(samples) <= people * len(targets) else "Each point is one scan."
    if group is not None or column is None:
        caption += " Black bar: median; shaded box: middle half of the values."
    if "excluded_by" in samples and samples["excluded_by"].notna().any():
        caption += " Grey crosses: left out of the second analysis by the rule of the statistic."
    if len(targets) > len(shown):
        caption += f" The first {len(shown)} of {len(targets)} structures."
    by = f" by {column}" if column else ""
    alt = f"Distributions of {label}{by} for {', '.join(words(target) for target in shown)}; {people} participants"
    return save_figure(draw, folder, stem, alt=alt, caption=caption)


def value_label(samples: pd.DataFrame) -> str:
    """What the vertical axis shows, with its unit; says so when the values were adjusted.

    Adjusted values keep the unit of the measure; a proportion of the intracranial volume has none.
    """
    adjusted = "raw_value" in samples and not np.allclose(samples["raw_value"], samples["value"], equal_nan=True)
    units = samples["unit"].dropna().unique()
    unit = unit_text(str(units[0]) if len(units) == 1 else None)
    return f"{'adjusted ' if adjusted else ''}{words(str(samples['measure'].iloc[0]))} ({unit})"


def _draw_against(axes: Axes, sample: pd.DataFrame, column: str) -> None:
    left_out = _left_out(sample)
    axes.plot(
        sample[column][~left_out], sample["value"][~left_out], linestyle="none", alpha=0.75,
        rasterized=len(sample) > RASTER_POINTS, **point_style(0),
    )  # fmt: skip
    axes.plot(sample[column][left_out], sample["value"][left_out], "x", color=_LEFT_OUT)
    axes.set_xlabel(column_text(column))


def _draw_groups(axes: Axes, sample: pd.DataFrame, group: str | None) -> None:
    levels = [""] if group is None else list(sample[group].cat.categories)
    for position, level in enumerate(levels):
        chosen = sample if group is None else sample[sample[group] == level]
        chosen = chosen.sort_values("value")
        if chosen.empty:
            continue
        values, left_out = chosen["value"].to_numpy(dtype=float), _left_out(chosen)
        # spread evenly and without chance: multiples of the golden ratio never bunch up
        across = position + ((np.arange(len(values)) * _GOLDEN) % 1 - 0.5) * 0.5
        style = point_style(position)
        low, middle, high = np.percentile(values, [25, 50, 75])
        ends = [position - 0.34, position + 0.34]
        axes.fill_between(ends, low, high, color=style["color"], alpha=0.18, linewidth=0)
        axes.plot(
            across[~left_out], values[~left_out], linestyle="none", alpha=0.75,
            rasterized=len(values) > RASTER_POINTS, **style,
        )  # fmt: skip
        axes.plot(across[left_out], values[left_out], "x", color=_LEFT_OUT)
        axes.plot(ends, [middle, middle], color="black", linewidth=1.6)
    axes.set_xlim(-0.6, len(levels) - 0.4)
    axes.grid(visible=False, axis="x")
    counts = [len(sample) if group is None else int((sample[group] == level).sum()) for level in levels]
    names = [f"{short(str(level), 14)}\n(n = {count})" for level, count in zip(levels, counts, strict=True)]
    axes.set_xticks(range(len(levels)), names, rotation=30 if len(levels) > 3 else 0)
    if group is not None:
        axes.set_xlabel(short(group))


def _left_out(sample: pd.DataFrame) -> np.ndarray:
    if "excluded_by" not in sample:
        return np.zeros(len(sample), dtype=bool)
    found: np.ndarray = sample["excluded_by"].notna().to_numpy()
    return found
