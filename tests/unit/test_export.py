"""`vp export`: one row per participant and session, and nothing lost, mixed up or run by a spreadsheet."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.unit.results_fakes import number, run, word, write_tables
from vp_engine.cohort import wide
from vp_engine.cohort.export import explanation_of, export, find_covariates, no_formula
from vp_engine.cohort.wide import lay_out
from vp_engine.errors import ConfigError, TableError
from vp_engine.tables import parquet
from vp_engine.tables.parquet import file_metadata, publish_table, rows_to_table

ROOT = Path(__file__).resolve().parents[2]
LEFT, RIGHT = "vol.left_hippocampus.volume.T1w", "vol.right_hippocampus.volume.T1w"


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """Two datasets; the second has no sessions."""
    runs = [
        run("a", "01", "1", "vol"),
        run("a", "01", "2", "vol"),
        run("a", "01", None, "growth"),
        run("a", "02", "1", "vol", status="refused_input", reason="truncated: Expected 9 bytes, got 8: copy it again."),
        run("a", "02", None, "growth", status="no_input", reason="no_fitting_scan: Expected two."),
        run("a", "02", "1", "liver", status="refused", reason="unknown_structure: No."),
        run("b", "1e5", None, "vol"),
        run("b", "x", None, "vol"),
    ]
    change = {"measure": "percent_change", "unit": "%", "reference_session": "1"}
    rows = [
        number("a", "01", "1", "vol", "left_hippocampus", 3000.5, qc_score=0.8, flags=["flag_units"]),
        number("a", "01", "1", "vol", "right_hippocampus", None, qc_score=0.4, flags=["empty_mask", "flag_units"]),
        number("a", "01", "2", "vol", "left_hippocampus", 2900.0),
        number("a", "01", "2", "growth", "left_hippocampus", -3.25, **change),
        word("a", "01", None, "growth", "left", measure="answer"),
        number("b", "1e5", None, "vol", "left_hippocampus", 1.0, qc_score=None),
    ]
    return write_tables(tmp_path / "results", runs, rows)


def read(path: Path) -> pd.DataFrame:
    return pd.read_csv(path, dtype=str, keep_default_na=False, sep="\t" if path.suffix == ".tsv" else ",")


def test_every_session_asked_has_one_row_and_every_number_its_cell(results: Path, tmp_path: Path) -> None:
    path = tmp_path / "wide.csv"
    assert export(results, path) == (7, 11)
    table = read(path)
    keys = ["dataset", "participant_id", "session_id"]
    assert [tuple(row) for row in table[keys].to_numpy()] == [
        ("a", "sub-01", "ses-1"),
        ("a", "sub-01", "ses-2"),
        ("a", "sub-01", ""),
        ("a", "sub-02", "ses-1"),
        ("a", "sub-02", ""),
        ("b", "sub-1e5", ""),
        ("b", "sub-x", ""),
    ]
    cells = {
        (participant, session, name): value
        for (_, participant, session), row in table.set_index(keys).iterrows()
        for name, value in row.items()
        if value
    }
    change = "growth.left_hippocampus.percent_change.T1w"
    assert cells == {
        ("sub-01", "ses-1", LEFT): "3000.5",
        ("sub-01", "ses-1", "lowest_qc_score"): "0.4",
        ("sub-01", "ses-1", "flags"): "empty_mask; flag_units",
        ("sub-01", "ses-2", LEFT): "2900.0",
        ("sub-01", "ses-2", change): "-3.25",
        ("sub-01", "ses-2", f"{change}.reference_session"): "ses-1",
        ("sub-01", "ses-2", "lowest_qc_score"): "0.9",
        ("sub-01", "", "growth.answer.T1w"): "left",
        ("sub-02", "ses-1", "not_answered"): "liver: refused (unknown_structure); vol: refused_input (truncated)",
        ("sub-02", "", "not_answered"): "growth: no_input (no_fitting_scan)",
        ("sub-1e5", "", LEFT): "1.0",
    }
    assert RIGHT in table.columns, "undefined everywhere, and shown as that"


def test_formats_say_the_same(results: Path, tmp_path: Path) -> None:
    paths = [tmp_path / f"wide{ending}" for ending in (".csv", ".tsv", ".parquet")]
    for path in paths:
        export(results, path)
    comma, tab = (read(path) for path in paths[:2])
    assert (tab == "n/a").to_numpy().any()
    pd.testing.assert_frame_equal(comma, tab.replace("n/a", ""))
    columns = pq.read_table(paths[2])
    assert columns.schema.field(LEFT).type == pa.float64()
    as_text = columns.to_pandas().astype(object).where(lambda table: table.notna(), "").map(str)
    pd.testing.assert_frame_equal(comma, as_text, check_dtype=False)


def test_explanation_has_units_and_the_words_asked(results: Path, tmp_path: Path) -> None:
    export(results, tmp_path / "wide.csv")
    meanings = json.loads(explanation_of(tmp_path / "wide.csv").read_text())
    assert meanings.keys() == set(read(tmp_path / "wide.csv").columns)
    assert meanings[LEFT] == {
        "Description": "volume of left hippocampus on T1w",
        "Units": "mm3",
        "prompt_id": "vol",
        "prompt": "Text of vol.",
        "target": "left_hippocampus",
        "measure": "volume",
        "image": "T1w",
    }
    assert "Units" not in meanings["growth.answer.T1w"]


def test_changes_since_several_sessions_have_a_column_each(tmp_path: Path) -> None:
    rows = [
        number("a", "01", "3", "growth", "edema", float(label), measure="change", reference_session=label)
        for label in ("1", "2")
    ]
    export(write_tables(tmp_path / "results", [run("a", "01", None, "growth")], rows), tmp_path / "wide.csv")
    (row,) = read(tmp_path / "wide.csv").to_dict("records")
    found = {name: value for name, value in row.items() if name.startswith("growth")}
    assert found == {"growth.edema.change.T1w.since-1": "1.0", "growth.edema.change.T1w.since-2": "2.0"}


def test_two_units_are_never_put_into_one_column(tmp_path: Path) -> None:
    rows = [number("a", one, None, "vol", "edema", 1.0, unit=unit) for one, unit in (("1", "mm3"), ("2", "%"))]
    results = write_tables(tmp_path / "results", [run("a", "1", None, "vol"), run("a", "2", None, "vol")], rows)
    with pytest.raises(TableError, match=r"vol\.edema\.volume\.T1w in % and in mm3"):
        export(results, tmp_path / "wide.csv")
    assert not (tmp_path / "wide.csv").exists()


def test_chosen_prompts(results: Path, tmp_path: Path) -> None:
    export(results, tmp_path / "wide.csv", prompts=["vol"])
    table = read(tmp_path / "wide.csv")
    assert not [name for name in table.columns if name.startswith("growth")]
    assert "liver" not in " ".join(table["not_answered"])
    with pytest.raises(ConfigError, match="--prompt: no prompt 'livr' in the table runs; did you mean 'liver'"):
        export(results, tmp_path / "wide.csv", prompts=["vol", "livr"])


def test_batches_and_parts_change_nothing(results: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    export(results, tmp_path / "whole.csv")
    monkeypatch.setattr(wide, "CELLS_AT_ONCE", 1)
    monkeypatch.setattr(parquet.pq.ParquetFile, "iter_batches", row_by_row)
    for part in sorted(results.glob("tables/*/dataset=*/part-0.parquet")):
        table = pq.read_table(part, partitioning=None)
        name = part.parts[-3]
        first = table.filter(
            pa.array([one == table["participant"][0].as_py() for one in table["participant"].to_pylist()])
        )
        rest = table.slice(first.num_rows)
        for number_, piece in enumerate((first, rest)):
            metadata = file_metadata(name, {"model_id": "fake-1"})
            publish_table(part.with_name(f"part-{number_}.parquet"), piece, metadata)
    export(results, tmp_path / "pieces.csv")
    assert (tmp_path / "pieces.csv").read_bytes() == (tmp_path / "whole.csv").read_bytes()


def row_by_row(file: Any, _rows: int, *, columns: list[str]) -> Any:
    yield from file.read(columns=columns).to_batches(max_chunksize=1)


def covariates(**columns: list[str | None]) -> pd.DataFrame:
    return pd.DataFrame({name: pd.Series(values, dtype=object) for name, values in columns.items()})


def test_columns_of_participants_and_sessions(results: Path, tmp_path: Path) -> None:
    table = covariates(
        dataset=["a", "a", "b", "a"],
        participant=["01", "02", "1e5", "01"],
        session=[None, None, None, "2"],
        age=["60", "n/a", "7", "61"],
        flags=["mine", "", "", ""],
    )
    export(results, tmp_path / "wide.csv", covariates=table)
    found = read(tmp_path / "wide.csv")
    assert list(found.columns[3:5]) == ["age", "participants.flags"]
    assert list(found["age"]) == ["60", "61", "60", "", "", "7", ""]
    assert found["participants.flags"][0] == "mine"
    assert found["flags"][0] == "empty_mask; flag_units"


@pytest.mark.parametrize("ending", [".csv", ".tsv"])
@pytest.mark.parametrize(
    "text",
    [
        "=1+1",
        "+1+1",
        "-1+1",
        "@SUM(A1)",
        "\t=1+1",
        " =1+1",
        "\uff1d1+1",
        '=HYPERLINK("http://x","y")',
        "=cmd|' /C calc'!A0",
    ],
)
def test_no_cell_is_a_formula(results: Path, tmp_path: Path, text: str, ending: str) -> None:
    table = covariates(dataset=["a"], participant=["01"], session=[None], site=[text], **{text: ["harmless"]})
    export(results, tmp_path / f"wide{ending}", covariates=table)
    with (tmp_path / f"wide{ending}").open(encoding="utf-8", newline="") as stream:
        cells = [cell for row in csv.reader(stream, delimiter="\t" if ending == ".tsv" else ",") for cell in row]
    assert [cell for cell in cells if cell.endswith(text.strip())] == [f"'{text.strip()}"] * 4, (
        "its name and three rows"
    )
    assert not [cell for cell in cells if cell[:1] in "=+@\t\uff1d" and cell]


@pytest.mark.parametrize("text", ["-3.25", "+7", "-1e-5", "12", "n/a", "left", "1=1", "sub-01"])
def test_numbers_and_plain_words_are_left_alone(text: str) -> None:
    assert no_formula(text) == text


def test_text_of_others_stays_on_its_line(results: Path, tmp_path: Path) -> None:
    table = covariates(dataset=["a"], participant=["01"], session=[None], note=["one\ntwo\u2028three\x00"])
    for ending in (".csv", ".tsv"):
        export(results, tmp_path / f"wide{ending}", covariates=table)
        text = (tmp_path / f"wide{ending}").read_text()
        assert len(text.splitlines()) == 8
        assert "one two three" in text


@pytest.mark.parametrize("name", ["wide.xlsx", "wide", "results/wide.csv", "results/tables/runs.parquet"])
def test_files_that_are_not_written(results: Path, tmp_path: Path, name: str) -> None:
    before = sorted(results.rglob("*"))
    with pytest.raises(ConfigError, match="--output: expected a file"):
        export(results, tmp_path / name)
    assert sorted(results.rglob("*")) == before


def test_without_tables_it_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(TableError, match="run `vp collect`"):
        export(tmp_path, tmp_path.parent / "wide.csv")


def test_configuration_here_is_taken_only_if_it_is_that_of_the_results(
    results: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    data = tmp_path / "data"
    (data / "sub-01").mkdir(parents=True)
    (data / "dataset_description.json").write_text("{}")
    (data / "participants.tsv").write_text("participant_id\tage\nsub-01\t60\n")
    text = "datasets: {a: {path: data}}\noutput: %s\nprompts: [{id: vol, text: Measure it.}]\n"
    monkeypatch.chdir(tmp_path)
    assert find_covariates(results, None) is None
    (tmp_path / "config.yaml").write_text(text % "results")
    found = find_covariates(results, None)
    assert found is not None
    assert list(found["age"]) == ["60"]
    (tmp_path / "config.yaml").write_text(text % "others")
    assert find_covariates(results, None) is None
    assert "--config FILE" in caplog.messages[-1]
    assert find_covariates(results, Path("config.yaml")) is not None, "said outright"
    (tmp_path / "config.yaml").write_text("nonsense: 1\n")
    assert find_covariates(results, None) is None
    with pytest.raises(ConfigError):
        find_covariates(results, Path("config.yaml"))


def write_cohort(output: Path, *, participants: int, sessions: int, prompts: int, targets: int) -> int:
    """Tables of a cohort in the size of real ones, one part per million rows; the number of measurements."""
    for name in ("runs", "measurements"):
        made, part = [], 0
        rows_each = sessions * prompts * (targets if name == "measurements" else 1)
        for start in range(0, participants, 1000):
            people = [f"{one:05d}" for one in range(start, min(start + 1000, participants))]
            made.append(_rows_of(people, name, sessions=sessions, prompts=prompts, targets=targets))
            if (
                sum(table.num_rows for table in made) + 1000 * rows_each > 1_000_000
                or people[-1] == f"{participants - 1:05d}"
            ):
                path = output / "tables" / name / "dataset=big" / f"part-{part}.parquet"
                publish_table(path, pa.concat_tables(made), file_metadata(name, {"model_id": "fake-1"}))
                made, part = [], part + 1
    return participants * sessions * prompts * targets


def _rows_of(people: list[str], name: str, *, sessions: int, prompts: int, targets: int) -> pa.Table:
    each = targets if name == "measurements" else 1
    one = [
        (f"{session + 1:02d}", f"prompt{prompt:02d}", target)
        for session in range(sessions)
        for prompt in range(prompts)
        for target in range(each)
    ]
    count = len(people) * len(one)
    columns: dict[str, Any] = {
        "participant": np.repeat(people, len(one)),
        "session": np.tile([session for session, _, _ in one], len(people)),
        "prompt_id": np.tile([prompt for _, prompt, _ in one], len(people)),
    }
    example = number("big", "0", "1", "x", "t", 1.0) if name == "measurements" else run("big", "0", "1", "x")
    if name == "measurements":
        columns["target"] = np.tile([f"target_{target}" for _, _, target in one], len(people))
        columns["value"] = np.random.default_rng(0).uniform(100, 9000, count)
    rest = rows_to_table(name, [example], where="test").take(pa.array(np.zeros(count, dtype=np.int64)))
    for column, values in columns.items():
        place = rest.schema.get_field_index(column)
        rest = rest.set_column(place, rest.schema.field(column), pa.array(values, type=rest.schema.field(column).type))
    return rest.drop_columns(["dataset"])


@pytest.mark.stress
@pytest.mark.timeout(1800)
def test_large_cohort_in_bounded_memory(tmp_path: Path) -> None:
    rows = write_cohort(tmp_path / "results", participants=10_000, sessions=2, prompts=20, targets=5)
    program = (
        "import re, sys, time; from pathlib import Path; from vp_engine.cohort.export import export\n"
        "start = time.monotonic(); export(Path(sys.argv[1]), Path(sys.argv[2])); spent = time.monotonic() - start\n"
        "peak = int(re.search(r'VmHWM:\\s+(\\d+)', Path('/proc/self/status').read_text())[1]) / 1024\n"
        "size = Path(sys.argv[2]).stat().st_size / 1e6\n"
        "print(f'{spent:.0f} s, {time.process_time():.0f} s of CPU, {peak:.0f} MB; file of {size:.0f} MB')\n"
        "assert peak < 1000\n"
    )
    for ending in (".csv", ".parquet"):
        command = [sys.executable, "-c", program, str(tmp_path / "results"), str(tmp_path / f"wide{ending}")]
        environment = os.environ | {"PYTHONPATH": str(ROOT)}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        print(f"{rows} measurements to {ending}: {done.stdout}")  # noqa: T201 - the numbers of `make stress`
    assert pq.read_metadata(tmp_path / "wide.parquet").num_rows == 20_000
    assert pq.read_metadata(tmp_path / "wide.parquet").num_columns == 3 + 100 + 3


def test_layout_is_that_of_all_datasets(results: Path) -> None:
    names = [quantity.name for quantity in lay_out(results).quantities]
    assert names == ["growth.answer.T1w", "growth.left_hippocampus.percent_change.T1w", LEFT, RIGHT]
