"""Figures: names are names, axes have units, visits are in order, nothing is drawn of nothing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from vp_engine.report.cells import term_text
from vp_engine.report.centiles import save_centiles
from vp_engine.report.distributions import save_distributions, value_label
from vp_engine.report.effects import save_effects
from vp_engine.report.figures import RASTER_POINTS, column_text, per_text
from vp_engine.report.trajectories import save_trajectories
from vp_engine.stats.spec import CENTILE_COLUMNS, COLUMNS


def samples(
    count: int, *, levels: tuple[str, str] = ("control", "patient"), sessions: tuple[str, ...] = ("1",)
) -> pd.DataFrame:
    people = [f"{n:02d}" for n in range(count)]
    frame = pd.DataFrame(
        {
            "dataset": "demo",
            "participant": np.repeat(people, len(sessions)),
            "session": list(sessions) * count,
            "target": "caudate",
            "measure": "volume",
            "unit": "mm3",
            "value": np.arange(count * len(sessions), dtype=float),
        }
    )
    group = [levels[n % 2] for n in range(count) for _ in sessions]
    return frame.assign(group=pd.Categorical(group, categories=sorted(levels)), raw_value=frame["value"])


def test_names_are_not_read_as_formulas(tmp_path: Path) -> None:
    figure = save_distributions(samples(6, levels=("$\\frac{$", "\\undefined $_$")), tmp_path, "../a b")
    assert [path.name for path in (figure.svg, figure.png, figure.narrow)] == [
        f"___a_b{end}" for end in (".svg", ".png", "_narrow.svg")
    ]
    assert figure.svg.parent == tmp_path


def test_thousands_of_points_are_pixels_in_the_svg(tmp_path: Path) -> None:
    many = save_distributions(samples(2 * RASTER_POINTS + 2), tmp_path, "many")
    assert b"<image" in many.svg.read_bytes()
    assert many.svg.stat().st_size < 500_000


def test_the_axis_says_when_values_were_adjusted() -> None:
    frame = samples(4)
    assert value_label(frame) == "volume (mm³)"
    assert value_label(frame.assign(value=frame["value"] / 2)) == "adjusted volume (mm³)"
    assert value_label(frame.assign(unit="1")) == "volume (no unit)"
    assert (column_text("age"), per_text("age")) == ("age (years)", "per year of age")


def test_visits_are_in_natural_order_and_means_need_three_values(tmp_path: Path) -> None:
    frame = samples(8, sessions=("10", "2"))
    without_dates = save_trajectories(frame, {}, tmp_path, "visits")
    assert without_dates is not None
    assert "means of the groups" in without_dates.caption
    few = save_trajectories(frame[frame["participant"] < "04"], {}, tmp_path, "few")
    assert few is not None
    assert "means of the groups" not in few.caption
    # the same values, the labels already in the order of their visits: the same picture
    renamed = frame.assign(session=frame["session"].map({"2": "a", "10": "b"}))
    again = save_trajectories(renamed, {}, tmp_path, "again")
    assert again is not None
    assert again.svg.read_bytes() == without_dates.svg.read_bytes()


def test_nothing_is_drawn_of_nothing(tmp_path: Path) -> None:
    assert save_trajectories(samples(4), {}, tmp_path, "x") is None
    empty = pd.DataFrame({column: pd.Series(dtype=object) for column in COLUMNS})
    assert save_effects(empty, {}, tmp_path, "x") is None
    assert save_centiles(pd.DataFrame({column: [] for column in CENTILE_COLUMNS}), tmp_path, "x") is None
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("term", "said"),
    [
        ("Intercept", "Intercept"),
        ("age", "age"),
        ("C(site)[T.b]", "site: b against a"),
        ("group[T.a:b]", "group: a:b"),
        ("site[T.b]:age", "site: b against a, by age"),
    ],
)
def test_terms_in_words(term: str, said: str) -> None:
    assert term_text(term, {"site": "a"}) == said
