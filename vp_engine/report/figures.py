"""What all figures share: colours, markers, type, and two layouts as SVG and PNG files."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from vp_engine.tables.publish import publishing

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#7F7F7F")
"""Okabe & Ito's; each group has its own marker too."""

MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")

WIDE = 7.0
"""Width of the layout for paper and large screens, in inches: two columns of a journal."""

NARROW = 3.4
"""Width of the layout for small screens, in inches: one column."""

MAX_LEVELS = 8
"""Groups that are told apart; the levels of a column with more are not."""

RASTER_POINTS = 2000
"""Points beyond which they are drawn as pixels inside the SVG, so that it stays small."""

OWN_COLUMNS = (
    "dataset", "participant", "session", "target", "measure", "unit", "value", "raw_value", "excluded_by", "icv",
)  # fmt: skip
"""Columns of samples that are no covariates of the model."""

_LABEL = 28
_UNITS = {"mm3": "mm³", "mm2": "mm²", "1": "no unit", "mm3/year": "mm³/year"}
_COLUMN_UNITS = {"age": "years"}  # what BIDS says of the column; of others participants.tsv says nothing here
_SINGULAR = {"age": "year"}
_STYLE: dict[Any, Any] = {
    "text.parse_math": False,  # names from the user's files may hold a $
    "svg.hashsalt": "vp_engine",  # equal figures, equal bytes
    "svg.fonttype": "path",
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 8.5,
    "axes.titlesize": 9,
    "axes.labelsize": 8.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.8,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e6e6e6",
    "grid.linewidth": 0.6,
    "legend.frameon": False,
    "legend.fontsize": 8,
    "lines.markersize": 3.5,
}


@dataclass(frozen=True, slots=True)
class SavedFigure:
    """A figure on disk, in two layouts.

    Attributes
    ----------
    svg, png : Path
        The wide one, for paper.
    narrow : Path
        SVG, for small screens.
    alt : str
        What is to be seen, for those who cannot see it.
    caption : str
        How to read it.
    """

    svg: Path
    png: Path
    narrow: Path
    alt: str
    caption: str


def save_figure(draw: Callable[[float], Figure], folder: Path, stem: str, *, alt: str, caption: str) -> SavedFigure:
    """Draw both layouts and write ``<stem>.svg``, ``<stem>.png`` and ``<stem>_narrow.svg``; equal data, equal bytes.

    Parameters
    ----------
    draw : callable
        Makes the figure for a width in inches.
    folder : Path
        Where the files go.
    stem : str
        Name without ending; other characters than letters, digits and _ become _.
    alt, caption : str
        As in `SavedFigure`.
    """
    safe = re.sub(r"[^0-9A-Za-z_]", "_", stem)
    files: dict[str, bytes] = {}
    with mpl.rc_context(_STYLE):
        wide, narrow = (_laid_out(draw(width)) for width in (WIDE, NARROW))
        files[f"{safe}.svg"] = _bytes(wide, "svg", {"Date": None, "Creator": None})
        files[f"{safe}.png"] = _bytes(wide, "png", {"Software": None})
        files[f"{safe}_narrow.svg"] = _bytes(narrow, "svg", {"Date": None, "Creator": None})
    for name, content in files.items():
        with publishing(folder / name) as file:
            file.write(content)
    svg, png, small = (folder / name for name in files)
    return SavedFigure(svg, png, small, alt, caption)


def new_figure(width: float, height: float) -> Figure:
    """An empty figure that lays itself out, in inches."""
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def panels_of(count: int, width: float, *, height: float = 2.4) -> tuple[Figure, list[Axes]]:
    """A grid of panels of which as many stand side by side as can be read; the rest of the last row stays empty."""
    across = min(count, 3 if width > NARROW else (1 if count <= 4 else 2))
    rows = -(-count // across)
    figure = new_figure(width if across > 1 or width <= NARROW else width / 2 + 1, height * rows + 0.3)
    axes = list(figure.subplots(rows, across, squeeze=False).ravel())
    for empty in axes[count:]:
        empty.set_visible(False)
    return figure, axes[:count]


def group_column(samples: pd.DataFrame) -> str | None:
    """The first category of the model with 2 to 8 levels, by which points are coloured."""
    for column in samples.columns:
        dtype = samples[column].dtype
        levels = len(dtype.categories) if isinstance(dtype, pd.CategoricalDtype) else 0
        if column not in OWN_COLUMNS and 2 <= levels <= MAX_LEVELS:
            return str(column)
    return None


def number_column(samples: pd.DataFrame) -> str | None:
    """The first covariate that is a number."""
    for column in samples.columns:
        dtype = samples[column].dtype
        if column not in OWN_COLUMNS and not isinstance(dtype, pd.CategoricalDtype):
            return str(column)
    return None


def point_style(position: int) -> dict[str, Any]:
    """Colour and marker of a group."""
    return {"color": COLOURS[position % len(COLOURS)], "marker": MARKERS[position % len(MARKERS)]}


def words(name: str) -> str:
    """A canonical name as words."""
    return name.replace("_", " ")


def unit_text(unit: str | None) -> str:
    """A unit as papers print it; a number without one says so."""
    return _UNITS.get(unit or "1", unit or "no unit")


def column_text(column: str, units: Mapping[str, str] = _COLUMN_UNITS) -> str:
    """A covariate with its unit, where it is known.

    >>> column_text("age"), column_text("mmse")
    ('age (years)', 'mmse (as in participants.tsv)')
    """
    return f"{short(column)} ({units.get(column, 'as in participants.tsv')})"


def per_text(column: str) -> str:
    """Of what a slope is per, with its unit.

    >>> per_text("age"), per_text("mmse")
    ('per year of age', 'per unit of mmse')
    """
    return f"per {_SINGULAR.get(column, 'unit')} of {short(column)}"


def short(text: str, limit: int = _LABEL) -> str:
    """Text that fits; control characters become spaces, which fonts have no picture for."""
    plain = "".join(" " if ord(letter) < 32 else letter for letter in text)
    return plain if len(plain) <= limit else f"{plain[: limit - 1]}…"


def _laid_out(figure: Figure) -> Figure:
    """The figure with its layout fixed, which else is computed again for every file."""
    figure.draw_without_rendering()
    figure.set_layout_engine("none")
    return figure


def _bytes(figure: Figure, kind: str, metadata: Mapping[str, None]) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format=kind, dpi=200, metadata=dict(metadata))
    return buffer.getvalue()
