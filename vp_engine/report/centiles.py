"""Figure of normative centiles: how far each participant lies from what the reference group leads to expect."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from vp_engine.report.distributions import MAX_PANELS
from vp_engine.report.figures import RASTER_POINTS, SavedFigure, panels_of, point_style, save_figure, short, words

_GROUPS = ((True, "reference group"), (False, "others"))


def save_centiles(table: pd.DataFrame, folder: Path, stem: str) -> SavedFigure | None:
    """Distances (z) against age, one panel per structure; the band holds 95 of 100 of the reference group.

    Parameters
    ----------
    table : DataFrame
        Rows of the table `centiles`, of one statistic and measure.
    folder, stem
        As in `save_figure`.

    Returns
    -------
    SavedFigure or None
        None when no value could be compared.
    """
    judged = table[table["z"].notna()]
    if judged.empty:
        return None
    targets = sorted(judged["target"].unique())
    shown = targets[:MAX_PANELS]

    def draw(width: float) -> Figure:
        figure, grid = panels_of(len(shown), width)
        for axes, target in zip(grid, shown, strict=True):
            own = judged[judged["target"] == target]
            axes.axhspan(-1.96, 1.96, color="#dddddd", alpha=0.6, linewidth=0)
            axes.axhline(0, color="black", linewidth=0.8, linestyle="--")
            for number, (inside, _) in enumerate(_GROUPS):
                chosen = own[own["in_reference"] == inside]
                axes.plot(
                    chosen["age"], chosen["z"], linestyle="none", alpha=0.75, rasterized=len(own) > RASTER_POINTS,
                    **point_style(number),
                )  # fmt: skip
            axes.set_title(short(words(target)))
            axes.set_xlabel("age (years)")
        figure.supylabel(f"z of {short(words(str(judged['measure'].iloc[0])))} (no unit)", fontsize=8.5)
        handles = [
            Line2D([], [], linestyle="none", label=text, **point_style(n)) for n, (_, text) in enumerate(_GROUPS)
        ]
        figure.legend(handles=handles, loc="outside lower center", ncols=2)
        return figure

    left = len(table) - len(judged)
    caption = (
        "Distance of each value from the one expected at that age in the reference group, in its standard deviations; "
        "members of the reference are compared with the others of it. Grey band: 95 of 100 of the reference group."
    )
    if left:
        caption += f" {left} value{'' if left == 1 else 's'} could not be compared; the table centiles says why."
    if len(targets) > len(shown):
        caption += f" The first {len(shown)} of {len(targets)} structures."
    alt = f"z against age for {', '.join(words(target) for target in shown)}; {len(judged)} values"
    return save_figure(draw, folder, stem, alt=alt, caption=caption)
