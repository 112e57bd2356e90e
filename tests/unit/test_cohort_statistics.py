"""Statistics read the measurements of the prompts that they are about, wherever these lie."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.results_fakes import number, run, write_tables
from vp_engine.cohort.config import Config, DatasetConfig
from vp_engine.cohort.statistic_config import StatisticConfig
from vp_engine.cohort.statistics import LOCATION, read_covariates, run_statistics
from vp_engine.tables.parquet import read_table

FACTORS = {"vol": 2.0, "other": 5.0}
AGES = {f"{age}": age for age in range(60, 68)}


@pytest.fixture
def config(tmp_path: Path) -> Config:
    root = tmp_path / "tiny"
    root.mkdir()
    lines = "".join(f"sub-{label}\t{age}\n" for label, age in AGES.items())
    (root / "participants.tsv").write_text(f"participant_id\tage\n{lines}")
    rows = [
        number("tiny", label, None, prompt, "edema", factor * age + age % 3)
        for label, age in AGES.items()
        for prompt, factor in FACTORS.items()
    ]
    write_tables(tmp_path / "results", [run("tiny", label, None, "vol") for label in AGES], rows)
    return Config(tmp_path / "config.yaml", (DatasetConfig("tiny", root),), tmp_path / "results", ())


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ([{"prompt": ("vol",)}], [8]),
        ([{"prompt": ("other",)}, {"prompt": ("vol", "other")}], [8, 16]),
        ([{"prompt": ("vol",)}, {"measure": ("volume",), "target": ("edema",)}], [8, 16]),
        ([{"measure": ("surface",)}], [0]),
        ([], []),
    ],
)
def test_each_statistic_has_the_rows_it_asks_for(
    config: Config, asked: list[dict[str, tuple[str, ...]]], expected: list[int]
) -> None:
    given = tuple(StatisticConfig(f"{number}", rows, "value ~ age", ("target",)) for number, rows in enumerate(asked))
    config = Config(config.file, config.datasets, config.output, (), statistics=given)
    run_statistics(config, config.output)
    rows = read_table(config.output / LOCATION, "statistics").to_pylist()
    assert {row["statistic_id"]: row["n"] + row["n_excluded"] for row in rows} == {
        f"{number}": count for number, count in enumerate(expected)
    }
    slopes = [row["estimate"] for row in rows if row["term"] == "age" and row["statistic_id"] == "0"]
    if asked and "prompt" in asked[0]:
        assert slopes == [pytest.approx(FACTORS[asked[0]["prompt"][0]], abs=0.2)]


def test_covariates_of_participants_and_sessions(config: Config) -> None:
    root = config.datasets[0].path
    with (root / "participants.tsv").open("w") as table:
        table.write("participant_id\tage\tdataset\nsub-60\t60\tmine\nsub-61\tn/a\tmine\n")
    (root / "sub-61").mkdir()
    (root / "sub-61" / "sub-61_sessions.tsv").write_text("session_id\tmass\nses-1\t70\nses-2\tn/a\n")
    found = read_covariates(config)
    assert list(found.columns) == ["dataset", "participant", "session", "age", "mass"]
    assert found.where(found.notna(), None).to_numpy().tolist() == [
        ["tiny", "60", None, "60", None],
        ["tiny", "61", None, None, None],
        ["tiny", "61", "1", None, "70"],
        ["tiny", "61", "2", None, None],
    ]
