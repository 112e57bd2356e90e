"""Statistics read the measurements of the prompts that they are about, wherever these lie."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from tests.unit.results_fakes import number, run, write_tables
from tests.unit.statistics_fakes import ROWS, cohort
from vp_engine.cli import cohort as commands
from vp_engine.cli.app import app
from vp_engine.cohort import demo
from vp_engine.cohort.config import Config, DatasetConfig
from vp_engine.cohort.statistic_config import StatisticConfig
from vp_engine.cohort.statistics import LOCATION, LOCATIONS, check_statistics, read_covariates, run_statistics
from vp_engine.cohort.verify import verify
from vp_engine.errors import ConfigError
from vp_engine.stats.models import StatisticSpec, fit_statistics
from vp_engine.stats.spec import CentilesOption, ExcludeOption, IcvOption, Options
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


def test_the_command_tells_which_models_were_not_fitted(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = (
        StatisticConfig("found", {"prompt": ("vol",)}, "value ~ age"),
        StatisticConfig("nothing", {"measure": ("surface_area",)}, "value ~ age"),
    )
    config = Config(config.file, config.datasets, config.output, (), statistics=asked)
    monkeypatch.setattr(commands, "_load", lambda _: config)
    done = CliRunner().invoke(app, ["stats"])
    assert done.stdout == "nothing: 1 model not fitted: no number with measure = surface_area\n"


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


def test_all_options_at_once_give_the_same_bytes_twice(tmp_path: Path) -> None:
    rows, covariates = cohort(n=60, sessions=2)
    root = tmp_path / "d"
    root.mkdir()
    table = covariates.assign(participant="sub-" + covariates["participant"]).rename(
        columns={"participant": "participant_id"}
    )
    table.to_csv(root / "participants.tsv", sep="\t", index=False)
    runs = [run("d", label, visit, "vol") for label in covariates["participant"] for visit in "12"]
    runs.append(run("d", "900", "1", "vol", status="timeout"))
    write_tables(tmp_path / "results", runs, rows.to_dict("records"))
    options = Options(
        icv=IcvOption("residual", "head"),
        standard_errors="HC3",
        family="statistic",
        permutations=99,
        site="site",
        exclude=ExcludeOption(0.5, 3.0),
        centiles=CentilesOption("age", {"group": ("control",)}),
    )
    asked = (
        StatisticConfig("s", ROWS, "value ~ group + age", options=options),
        StatisticConfig("m", ROWS, "value ~ group + age", options=Options(sessions="mixed")),
    )
    config = Config(tmp_path / "config.yaml", (DatasetConfig("d", root),), tmp_path / "results", (), statistics=asked)
    check_statistics(config)
    written = []
    for _ in range(2):
        assert run_statistics(config, config.output) == 2 * 2 * 3 + 2 * 3
        written.append([(config.output / path).read_bytes() for path in LOCATIONS.values()])
    assert written[0] == written[1]
    terms = read_table(config.output / LOCATION, "statistics").to_pandas()
    tested = (terms["statistic_id"] == "s") & (terms["term"] != "Intercept")
    for column in ("p", "p_fdr", "p_bonferroni", "p_permutation", "effect_ci_low"):
        assert terms.loc[tested, column].notna().all()
    exclusions = read_table(config.output / LOCATIONS["exclusions"], "exclusions").to_pandas()
    who = exclusions[exclusions["reason"] == "refused:timeout"]
    assert len(who) == 2 * 2 + 2
    assert set(who["participant"]) == {"900"}
    centiles = read_table(config.output / LOCATIONS["centiles"], "centiles").to_pandas()
    assert set(centiles["statistic_id"]) == {"s"}
    assert centiles["centile"].notna().sum() > 100
    assert verify(config.output) == []


def test_without_statistics_the_tables_are_empty(config: Config) -> None:
    assert run_statistics(config, config.output) == 0
    for name, path in LOCATIONS.items():
        assert read_table(config.output / path, name).num_rows == 0


def test_a_level_that_nobody_has_is_told_before_the_first_scan(config: Config) -> None:
    options = Options(centiles=CentilesOption("age", {"age": ("1",)}))
    statistic = StatisticConfig("s", {"prompt": ("vol",)}, "value ~ age", options=options)
    config = Config(config.file, config.datasets, config.output, (), statistics=(statistic,))
    with pytest.raises(ConfigError, match=r"statistics\.s: centiles\.reference\.age: nobody has '1' there"):
        check_statistics(config)


def test_intervals_hold_what_was_planted_into_the_demo_cohort() -> None:
    """The people of the demo cohort with the volumes that were planted, measured 40 times with chance."""
    rng = np.random.default_rng(2)
    planted = {"patient": 0.70 * 4700, "control": 4700.0}
    covariates = pd.DataFrame(
        [{"participant": who, "group": group, "age": f"{age}", "sex": sex} for who, group, age, sex in demo._PEOPLE]
    )
    rows = pd.DataFrame(
        [
            number("demo", who, "01", "vol", f"t{again:02d}", planted[group] * np.exp(rng.normal(0, 0.04)))
            for again in range(40)
            for who, group, _, _ in demo._PEOPLE
        ]
    )
    found = fit_statistics(rows, covariates, StatisticSpec("s", ROWS, "value ~ group + age + sex"))
    own = found[found["term"] == "group[T.patient]"]
    inside = own["ci_low"].lt(-0.30 * 4700) & own["ci_high"].gt(-0.30 * 4700)
    assert inside.sum() >= 34, "of 40, fewer than 34 in one of 200 cohorts of tests"
    assert (own["estimate"] / (-0.30 * 4700)).between(0.7, 1.3).all()
