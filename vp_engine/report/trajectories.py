"""Figure of change over visits: a line per participant, and the mean of each group."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from scipy import stats

from vp_engine.report.distributions import MAX_PANELS, value_label
from vp_engine.report.figures import (
    COLOURS,
    RASTER_POINTS,
    SavedFigure,
    group_column,
    panels_of,
    point_style,
    save_figure,
    short,
    words,
)

MIN_MEAN = 3
"""Values that a mean with an interval needs."""

_TIME, _VISIT = "_time", "_visit"


def save_trajectories(
    samples: pd.DataFrame, years: dict[tuple[str, str, str], float], folder: Path, stem: str
) -> SavedFigure | None:
    """Values of all visits of those who have several, joined by lines; means of the groups with 95 % intervals.

    Parameters
    ----------
    samples : DataFrame
        As in `save_distributions`, with every session.
    years : mapping of (dataset, participant, session) to float
        Time since the first visit. When it is known of all visits it is the horizontal axis, else the number of the
        visit is.
    folder, stem
        As in `save_figure`.

    Returns
    -------
    SavedFigure or None
        None when nobody has two visits.
    """
    several = _repeated(samples)
    if several.empty:
        return None
    keys = list(zip(several["dataset"], several["participant"], several["session"], strict=True))
    dated = all(key in years for key in keys)
    several[_TIME] = [years[key] for key in keys] if dated else several[_VISIT].astype(float)
    targets = sorted(several["target"].unique())
    shown = targets[:MAX_PANELS]
    group = group_column(several)
    label = value_label(several)
    people = len(several[["dataset", "participant"]].drop_duplicates())
    means = False

    def draw(width: float) -> Figure:
        nonlocal means
        figure, grid = panels_of(len(shown), width)
        for axes, target in zip(grid, shown, strict=True):
            means |= _draw_lines(axes, several[several["target"] == target], group)
            axes.set_title(short(words(target)))
            axes.set_xlabel("time since first visit (years)" if dated else "visit (number)")
            if not dated:
                axes.set_xticks(sorted(several[_VISIT].unique()))
        figure.supylabel(short(label, 60), fontsize=8.5)
        if group is not None:
            figure.legend(handles=_handles(several, group), loc="outside lower center", ncols=3)
        return figure

    alt = f"Change of {label} over visits of {people} participants, for {', '.join(words(target) for target in shown)}"
    saved = save_figure(draw, folder, stem, alt=alt, caption="")
    caption = f"Thin lines: the {people} participants with more than one visit, values as measured."
    if means:
        caption += " Thick lines: means of the groups at each visit with 95 % intervals (t), where three have a value."
    if len(targets) > len(shown):
        caption += f" The first {len(shown)} of {len(targets)} structures."
    return replace(saved, caption=caption)


def _repeated(samples: pd.DataFrame) -> pd.DataFrame:
    """Rows of those with several sessions of a structure, with the number of the visit."""
    person = ["target", "dataset", "participant"]
    there = samples[samples["session"].notna()]
    # session 2 comes before 10
    order = there["session"].map(lambda label: re.sub("[0-9]+", lambda match: match[0].zfill(20), label))
    ordered = there.assign(_order=order).sort_values([*person, "_order"])
    several = ordered[ordered.groupby(person, observed=True)["session"].transform("size") > 1].copy()
    several[_VISIT] = several.groupby(person, observed=True).cumcount() + 1
    return several


def _draw_lines(axes: Axes, sample: pd.DataFrame, group: str | None) -> bool:
    """Draw one structure; whether a mean could be drawn."""
    drawn = False
    levels = [None] if group is None else list(sample[group].cat.categories)
    for position, level in enumerate(levels):
        chosen = sample if level is None else sample[sample[group] == level]
        style = point_style(position)
        for _, own in chosen.groupby(["dataset", "participant"], sort=True):
            axes.plot(
                own[_TIME], own["value"], linewidth=0.9, alpha=0.55, rasterized=len(sample) > RASTER_POINTS, **style
            )
        drawn |= _draw_mean(axes, chosen, style["color"])
    return drawn


def _draw_mean(axes: Axes, chosen: pd.DataFrame, colour: str) -> bool:
    visits = [own for _, own in chosen.groupby(_VISIT, sort=True) if len(own) >= MIN_MEAN]
    if len(visits) < 2:
        return False
    times = [float(own[_TIME].mean()) for own in visits]
    middles = [float(own["value"].mean()) for own in visits]
    errors = [float(stats.t.ppf(0.975, len(own) - 1) * own["value"].std(ddof=1) / np.sqrt(len(own))) for own in visits]
    axes.errorbar(times, middles, yerr=errors, color=colour, linewidth=2.4, capsize=3, zorder=4)
    return True


def _handles(sample: pd.DataFrame, group: str) -> list[Line2D]:
    levels = list(sample[group].cat.categories)[: len(COLOURS)]
    return [Line2D([], [], label=short(str(level), 18), **point_style(n)) for n, level in enumerate(levels)]
