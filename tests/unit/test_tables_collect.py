"""Collection: every planned prompt has one row, whatever the records hold."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import duckdb
import pandas as pd
import pyarrow as pa
import pytest

from vp_engine.errors import TableError
from vp_engine.tables import collect as collect_module
from vp_engine.tables.collect import collect
from vp_engine.tables.parquet import read_table, rows_to_table, write_table

META = {"model_id": "m"}


def run_row(participant: str, **changes: Any) -> dict[str, Any]:
    row: dict[str, Any] = {
        "dataset": "demo",
        "participant": participant,
        "session": None,
        "prompt_id": "vol",
        "prompt": "Measure it.",
        "status": "ok",
        "reason": None,
        "steps": 1,
        "program": "x",
        "seconds": 0.5,
        "device": "cpu",
        "input_sha256": "0" * 64,
        "model_id": "m",
        "vp_engine_version": "0.1.0",
        "record_id": f"record{participant}",
    }
    return row | changes


def plan_of(participants: list[str], dataset: str = "demo") -> pa.Table:
    rows: list[dict[str, Any]] = [
        {
            "dataset": dataset,
            "participant": participant,
            "session": None,
            "prompt_id": "vol",
            "prompt": "Measure it.",
            "scope": "session",
            "images": [],
            "scans": [],
            "streams": [],
            "left_out": [],
            "status": None,
            "reason_code": None,
            "reason": None,
            "shard": 0,
            "acquired": None,
            "days": None,
        }
        for participant in participants
    ]
    return rows_to_table("plan", rows, where="test")


def record(root: Path, participant: str, rows: list[dict[str, Any]] | None = None) -> Path:
    path = root / "records" / "demo" / f"sub-{participant}" / "runs.parquet"
    write_table(path, "runs", [run_row(participant)] if rows is None else rows, metadata=META)
    return path


def test_order_of_the_files_does_not_change_a_byte(tmp_path: Path) -> None:
    files = [record(tmp_path, name) for name in ("10", "1", "02")]
    (first,) = collect({"demo": files}, "runs", tmp_path / "a", META)
    (second,) = collect({"demo": files[::-1]}, "runs", tmp_path / "b", META)
    assert first.read_bytes() == second.read_bytes()
    assert first.relative_to(tmp_path) == Path("a/runs/dataset=demo/part-0.parquet")
    assert read_table(tmp_path / "a" / "runs", "runs").column("participant").to_pylist() == ["02", "1", "10"]


def test_shards_and_parts_join_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(collect_module, "FOLDERS_PER_TASK", 2)
    monkeypatch.setattr(collect_module, "_TASKS_AT_ONCE", 2)
    monkeypatch.setattr(collect_module, "ROWS_PER_FILE", 3)
    names = [f"{number:02d}" for number in range(11)]
    files = collect({"demo": [record(tmp_path, name) for name in names]}, "runs", tmp_path, META)
    assert [path.name for path in files] == [f"part-{number}.parquet" for number in range(3)]
    assert read_table(tmp_path / "runs", "runs").column("participant").to_pylist() == names


def test_planned_without_a_record_becomes_a_row(tmp_path: Path) -> None:
    collect({"demo": [record(tmp_path, "01")]}, "runs", tmp_path, META, plan=plan_of(["01", "02"]))
    rows = read_table(tmp_path / "runs", "runs").to_pylist()
    assert [(row["participant"], row["status"]) for row in rows] == [("01", "ok"), ("02", "no_record")]
    assert rows[1]["reason"].startswith("no_record: ")
    assert rows[1]["prompt"] == "Measure it."


def test_dataset_without_any_record_is_not_forgotten(tmp_path: Path) -> None:
    collect({}, "runs", tmp_path, META, plan=plan_of(["01"], dataset="other"))
    assert read_table(tmp_path / "runs", "runs").column("status").to_pylist() == ["no_record"]


def test_rows_of_prompts_no_longer_planned_are_left_out(tmp_path: Path) -> None:
    file = record(tmp_path, "01", [run_row("01"), run_row("01", prompt_id="old"), run_row("01", session="gone")])
    collect({"demo": [file]}, "runs", tmp_path, META, plan=plan_of(["01"]))
    rows = read_table(tmp_path / "runs", "runs").to_pylist()
    assert [(row["session"], row["prompt_id"]) for row in rows] == [(None, "vol")]


def test_answers_to_an_earlier_wording_or_a_scan_that_has_gone_are_no_answers(tmp_path: Path) -> None:
    plan = plan_of(["01", "02", "03", "04"]).to_pylist()
    plan[1]["prompt"] = "Measure it well."
    for row in plan[2:]:
        row |= {"status": "no_input", "reason_code": "no_fitting_scan", "reason": "Expected T1w."}
    files = [record(tmp_path, name) for name in ("01", "02", "03")]
    files.append(record(tmp_path, "04", [run_row("04", status="no_input", reason="no_fitting_scan: Expected T1w.")]))
    collect({"demo": files}, "runs", tmp_path, META, plan=rows_to_table("plan", plan, where="test"))
    rows = read_table(tmp_path / "runs", "runs").to_pylist()
    assert [row["status"] for row in rows] == ["ok", "no_record", "no_record", "no_input"]
    assert rows[1]["prompt"] == "Measure it well."


def test_numbers_of_sessions_no_longer_planned_are_left_out(tmp_path: Path) -> None:
    common = dict.fromkeys(("text", "image", "reference_session", "qc_score")) | {"program_sha256": "0" * 64}
    common |= {"dataset": "demo", "participant": "01", "target": "brainstem", "measure": "volume", "value": 1.0}
    common |= {"unit": "mm3", "flags": [], "model_id": "m", "record_id": "r"}
    asked = (("here", "vol"), ("gone", "vol"), ("here", "growth"), ("gone", "growth"))
    rows = [common | {"session": session, "prompt_id": prompt} for session, prompt in asked]
    file = record(tmp_path, "01").with_name("measurements.parquet")
    write_table(file, "measurements", rows, metadata=META)
    plan = plan_of(["01"]).to_pylist()[0]
    planned = [plan | {"session": "here"}, plan | {"prompt_id": "growth", "scope": "participant"}]
    collect({"demo": [file]}, "measurements", tmp_path, META, plan=rows_to_table("plan", planned, where="test"))
    found = read_table(tmp_path / "measurements", "measurements", columns=["session", "prompt_id"]).to_pylist()
    # of a prompt about all sessions the plan does not say which
    assert sorted(tuple(row.values()) for row in found) == [("gone", "growth"), ("here", "growth"), ("here", "vol")]


def test_duplicate_keys_are_refused_and_listed(tmp_path: Path) -> None:
    first = record(tmp_path, "01")
    again = first.with_name("again.parquet")
    write_table(again, "runs", [run_row("01")], metadata=META)
    with pytest.raises(TableError, match=r"participant=01, session=None, prompt_id=vol"):
        collect({"demo": [first, again]}, "runs", tmp_path, META)


def test_rows_of_another_participant_than_the_folder_are_refused(tmp_path: Path) -> None:
    file = record(tmp_path, "01", [run_row("02")])
    with pytest.raises(TableError, match="expected rows of participant 01, got '02'"):
        collect({"demo": [file]}, "runs", tmp_path, META)
    with pytest.raises(TableError, match="expected rows of dataset other, got 'demo'"):
        collect({"other": [record(tmp_path, "03")]}, "runs", tmp_path, META)


@pytest.mark.parametrize("dataset", ["01", "../up", "a=b", "", "demo\n"])
def test_dataset_names_that_are_no_folder_name_are_refused(tmp_path: Path, dataset: str) -> None:
    with pytest.raises(TableError, match="expected a dataset name"):
        collect({dataset: []}, "runs", tmp_path, META)


def test_leftovers_of_an_earlier_collection_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(collect_module, "ROWS_PER_FILE", 1)
    monkeypatch.setattr(collect_module, "FOLDERS_PER_TASK", 1)
    files = [record(tmp_path, "01"), record(tmp_path, "02")]
    collect({"demo": files, "gone": []}, "runs", tmp_path, META)
    collect({"demo": files[:1]}, "runs", tmp_path, META)
    found = sorted(str(path.relative_to(tmp_path / "runs")) for path in (tmp_path / "runs").rglob("*.parquet"))
    assert found == ["dataset=demo/part-0.parquet"]


def test_no_rows_still_have_columns(tmp_path: Path) -> None:
    collect({"demo": []}, "measurements", tmp_path, META)
    table = read_table(tmp_path / "measurements", "measurements")
    assert table.num_rows == 0
    assert "value" in table.column_names


def test_pandas_and_duckdb_read_the_folder_and_ids_stay_text(tmp_path: Path) -> None:
    collect({"demo": [record(tmp_path, "01")]}, "runs", tmp_path, META)
    frame = pd.read_parquet(tmp_path / "runs")
    assert (frame.loc[0, "participant"], str(frame.loc[0, "dataset"])) == ("01", "demo")
    query = "select dataset, participant from read_parquet(?, hive_partitioning = true)"
    assert duckdb.execute(query, [f"{tmp_path}/runs/*/*.parquet"]).fetchall() == [("demo", "01")]
