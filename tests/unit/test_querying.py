"""The recipes of docs/querying.md and of the README, run as they stand there; all libraries say the same."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from typer.testing import CliRunner

from tests.unit.results_fakes import number, run, write_tables
from vp_engine.cli.app import app

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "querying.md").read_text(encoding="utf-8")
LIBRARIES = ("pandas", "DuckDB", "Polars", "Dask")


def blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", text, flags=re.DOTALL | re.MULTILINE)


def section(name: str) -> str:
    return PAGE.partition(f"\n## {name}\n")[2].partition("\n## ")[0]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with results of two datasets, one of them without sessions, and a participants.tsv."""
    runs, rows = [], []
    for dataset, participant, session, value in (
        ("mystudy", "01", "1", 3000.0),
        ("mystudy", "01", "2", 2900.0),
        ("mystudy", "02", "1", 3500.0),
        ("mystudy", "1e5", "1", 3700.0),
        ("other", "01", None, 1.0),
    ):
        where = dataset, participant, session
        runs += [run(*where, "hippvol"), run(*where, "liver", status="refused", reason="unknown_structure: No liver.")]
        rows += [
            number(*where, "hippvol", "left_hippocampus", value, qc_score=0.4 if session == "2" else 0.9),
            number(
                *where, "hippvol", "right_hippocampus", value + 1, flags=["flag_units"] if participant == "02" else []
            ),
            number(*where, "hippvol", "left_hippocampus", 9.0, measure="surface_area", unit="mm2"),
        ]
    write_tables(tmp_path / "results", runs, rows)
    (tmp_path / "mystudy").mkdir()
    people = "participant_id\tgroup\nsub-01\tpatient\nsub-02\tpatient\nsub-1e5\tcontrol\n"
    (tmp_path / "mystudy" / "participants.tsv").write_text(people)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def as_frame(table: Any) -> pd.DataFrame:
    return table if isinstance(table, pd.DataFrame) else pd.DataFrame(table.to_dicts())


def as_numbers(means: Any) -> dict[str, float]:
    if isinstance(means, pd.Series):
        return dict(means)
    return {row[0]: row[1] for row in as_frame(means).itertuples(index=False)}


@pytest.mark.parametrize("library", LIBRARIES)
def test_recipe(library: str, here: Path) -> None:
    (recipe,) = blocks(section(library), "python")
    names: dict[str, Any] = {}
    exec(compile(recipe, f"querying.md, {library}", "exec"), names)  # noqa: S102 - the page is ours

    wide = as_frame(names["wide"]).astype(object)
    wide = wide.where(wide.notna(), None)
    found = {
        tuple(row)
        for row in wide[["dataset", "participant", "session", "left_hippocampus", "right_hippocampus"]].to_numpy()
    }
    assert found == {
        ("mystudy", "01", "1", 3000.0, 3001.0),
        ("mystudy", "01", "2", 2900.0, 2901.0),
        ("mystudy", "02", "1", 3500.0, 3501.0),
        ("mystudy", "1e5", "1", 3700.0, 3701.0),
        ("other", "01", None, 1.0, 2.0),
    }
    assert as_numbers(names["means"]) == {"control": 3700.0, "patient": (2950.0 + 3500.0) / 2}
    assert len(names["trusted"]) == 10 - 1 - 1
    assert len(names["open_ones"]) == 1
    counted = names["open_ones"]
    times = counted.iloc[0] if isinstance(counted, pd.Series) else as_frame(counted).iloc[0, -1]
    assert times == 5


def test_recipes_of_the_readme(here: Path) -> None:
    found = blocks((ROOT / "README.md").read_text(encoding="utf-8"), "python")
    assert found
    for recipe in found:
        exec(compile(recipe, "README.md", "exec"), {})  # noqa: S102 - the page is ours


def test_exports_of_the_page(here: Path) -> None:
    (here / "config.yaml").write_text(
        "datasets: {mystudy: {path: mystudy}}\noutput: results\nprompts: [{id: hippvol, text: Measure it.}]\n"
    )
    (here / "mystudy" / "sub-01").mkdir()
    (here / "mystudy" / "dataset_description.json").write_text("{}")
    (commands,) = blocks(section("A table for spreadsheets"), "bash")
    for command in commands.splitlines():
        program, *arguments = shlex.split(command)
        assert program == "vp"
        done = CliRunner().invoke(app, arguments)
        assert done.exit_code == 0, done.output
    table = pd.read_csv(here / "study.csv", dtype=str)
    assert list(table.columns[:4]) == ["dataset", "participant_id", "session_id", "group"]
    assert list(table["group"].fillna("")) == ["patient", "patient", "patient", "control", ""]
    assert "hippvol.left_hippocampus.volume.T1w" in table.columns
