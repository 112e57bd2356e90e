"""Collection: every planned prompt has one row, whatever the records hold."""

from __future__ import annotations

from collections import ChainMap
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from vp_engine.errors import TableError
from vp_engine.tables import collect as collect_module
from vp_engine.tables.collect import for_each, parts_of, remove_others, write_part
from vp_engine.tables.parquet import file_metadata, read_table, rows_to_table, sort_by_key
from vp_engine.tables.schema import RECORDED

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


Records = dict[str, dict[str, bytes]]


def record(participant: str, rows: list[dict[str, Any]] | None = None, **tables: list[dict[str, Any]]) -> Records:
    """Files of the record of one participant, with a row of `runs` unless others are given."""
    tables = {
        "runs": [run_row(participant)] if rows is None else rows,
        "measurements": [],
        "segmentations": [],
    } | tables
    return {participant: {name: content(name, table) for name, table in tables.items()}}


def content(name: str, rows: list[dict[str, Any]]) -> bytes:
    sink = pa.BufferOutputStream()
    table = rows_to_table(name, rows, where="test")
    pq.write_table(table.replace_schema_metadata(file_metadata(name, META)), sink)
    return bytes(sink.getvalue())


def collect(records: Records, tables: Path, plan: pa.Table | None = None) -> list[Path]:
    """Write all parts; what is recorded is planned, unless a plan is given."""
    parts = parts_of(plan_of(sorted(records)) if plan is None else plan)
    own = [{name: records[name] for name in part.participants if name in records} for part in parts]
    return [path for part, some in zip(parts, own, strict=True) for path in write_part(part, some, tables, META)]


def test_order_of_the_records_does_not_change_a_byte(tmp_path: Path) -> None:
    records = [record(name) for name in ("10", "1", "02")]
    first = collect(dict(ChainMap(*records)), tmp_path / "a")
    second = collect(dict(ChainMap(*records[::-1])), tmp_path / "b")
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]
    assert [path.relative_to(tmp_path).as_posix() for path in first] == [
        f"a/{name}/dataset=demo/part-0.parquet" for name in RECORDED
    ]
    assert read_table(tmp_path / "a" / "runs", "runs").column("participant").to_pylist() == ["02", "1", "10"]


def test_parts_are_cut_between_participants_and_join_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(collect_module, "PLANNED_ROWS", 3)
    names = [f"{number:02d}" for number in range(11)]
    plan = pa.concat_tables([plan_of(names), plan_of(names[:1], "other")])
    twice = pa.concat_tables(
        [plan, rows_to_table("plan", [of | {"prompt_id": "more"} for of in plan.to_pylist()], where="")]
    )
    parts = parts_of(sort_by_key(twice, "plan"))
    assert [(part.dataset, part.number, len(part.participants)) for part in parts] == [
        *(("demo", number, 2) for number in range(5)), ("demo", 5, 1), ("other", 0, 1),
    ]  # fmt: skip
    files = collect({name: own for name in names for own in record(name).values()}, tmp_path, plan_of(names))
    assert [path.name for path in files if path.parts[-3] == "runs"] == [
        f"part-{number}.parquet" for number in range(4)
    ]
    assert read_table(tmp_path / "runs", "runs").column("participant").to_pylist() == names


def test_parts_are_worked_on_in_order() -> None:
    plan = pa.concat_tables([plan_of(["01"], f"d{number:03d}") for number in range(50)])
    assert for_each(parts_of(plan), lambda part: part.dataset) == [f"d{number:03d}" for number in range(50)]


def test_hash_of_a_part_is_that_of_its_plan_alone() -> None:
    plan = plan_of(["01", "02"]).to_pylist()
    part = parts_of(plan_of(["01", "02"]))[0].sha256
    for column, value in (("prompt", "Another."), ("status", "no_input"), ("session", "1"), ("participant", "03")):
        changed = rows_to_table("plan", [plan[0], plan[1] | {column: value}], where="test")
        assert parts_of(changed)[0].sha256 != part, column
    assert parts_of(rows_to_table("plan", plan, where="test"))[0].sha256 == part


def test_planned_without_a_record_becomes_a_row(tmp_path: Path) -> None:
    collect(record("01"), tmp_path, plan_of(["01", "02"]))
    rows = read_table(tmp_path / "runs", "runs").to_pylist()
    assert [(row["participant"], row["status"]) for row in rows] == [("01", "ok"), ("02", "no_record")]
    assert rows[1]["reason"].startswith("no_record: ")
    assert rows[1]["prompt"] == "Measure it."


def test_dataset_without_any_record_is_not_forgotten(tmp_path: Path) -> None:
    collect({}, tmp_path, plan_of(["01"], dataset="other"))
    assert read_table(tmp_path / "runs", "runs").column("status").to_pylist() == ["no_record"]


def test_rows_of_prompts_no_longer_planned_are_left_out(tmp_path: Path) -> None:
    collect(record("01", [run_row("01"), run_row("01", prompt_id="old"), run_row("01", session="gone")]), tmp_path)
    rows = read_table(tmp_path / "runs", "runs").to_pylist()
    assert [(row["session"], row["prompt_id"]) for row in rows] == [(None, "vol")]


def test_answers_to_an_earlier_wording_or_a_scan_that_has_gone_are_no_answers(tmp_path: Path) -> None:
    plan = plan_of(["01", "02", "03", "04"]).to_pylist()
    plan[1]["prompt"] = "Measure it well."
    for row in plan[2:]:
        row |= {"status": "no_input", "reason_code": "no_fitting_scan", "reason": "Expected T1w."}
    records = record("04", [run_row("04", status="no_input", reason="no_fitting_scan: Expected T1w.")])
    records |= record("01") | record("02") | record("03")
    collect(records, tmp_path, rows_to_table("plan", plan, where="test"))
    rows = read_table(tmp_path / "runs", "runs").to_pylist()
    assert [row["status"] for row in rows] == ["ok", "no_record", "no_record", "no_input"]
    assert rows[1]["prompt"] == "Measure it well."


def test_numbers_of_sessions_no_longer_planned_are_left_out(tmp_path: Path) -> None:
    common = dict.fromkeys(("text", "image", "reference_session", "qc_score")) | {"program_sha256": "0" * 64}
    common |= {"dataset": "demo", "participant": "01", "target": "brainstem", "measure": "volume", "value": 1.0}
    common |= {"unit": "mm3", "flags": [], "model_id": "m", "record_id": "r"}
    asked = (("here", "vol"), ("gone", "vol"), ("here", "growth"), ("gone", "growth"))
    rows = [common | {"session": session, "prompt_id": prompt} for session, prompt in asked]
    plan = plan_of(["01"]).to_pylist()[0]
    planned = [plan | {"prompt_id": "growth", "scope": "participant"}, plan | {"session": "here"}]
    runs = [run_row("01", record_id="r", session=row["session"], prompt_id=row["prompt_id"]) for row in planned]
    of_another_run = common | {"session": "here", "prompt_id": "vol", "record_id": "older", "target": "thalamus"}
    collect(
        record("01", runs, measurements=[*rows, of_another_run]), tmp_path, rows_to_table("plan", planned, where="test")
    )
    found = read_table(tmp_path / "measurements", "measurements", columns=["session", "prompt_id"]).to_pylist()
    # of a prompt about all sessions the plan does not say which
    assert sorted(tuple(row.values()) for row in found) == [("gone", "growth"), ("here", "growth"), ("here", "vol")]


def test_duplicate_keys_are_refused_and_listed(tmp_path: Path) -> None:
    with pytest.raises(TableError, match=r"participant=01, session=None, prompt_id=vol"):
        collect(record("01", [run_row("01"), run_row("01")]), tmp_path)


def test_rows_of_another_participant_than_the_folder_are_refused(tmp_path: Path) -> None:
    with pytest.raises(TableError, match=r"sub-01/runs\.parquet: expected rows of participant 01, got '02'"):
        collect(record("01", [run_row("02")]), tmp_path)
    with pytest.raises(TableError, match="expected rows of dataset other, got 'demo'"):
        collect(record("01"), tmp_path, plan_of(["01"], dataset="other"))


def test_files_that_are_no_record_are_refused(tmp_path: Path) -> None:
    records = record("01")
    whole = records["01"]["runs"]
    for bad, words in (
        (whole[:-9], "damaged"),
        (b"", "damaged"),
        (records["01"]["measurements"], "expected table runs"),
    ):
        with pytest.raises(TableError, match=rf"^records/demo/sub-01/runs\.parquet: {words}"):
            collect({"01": records["01"] | {"runs": bad}}, tmp_path)


@pytest.mark.parametrize("dataset", ["01", "../up", "a=b", "", "demo\n"])
def test_dataset_names_that_are_no_folder_name_are_refused(dataset: str) -> None:
    with pytest.raises(TableError, match="expected a dataset name"):
        parts_of(plan_of(["01"], dataset=dataset))


def test_leftovers_of_an_earlier_collection_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(collect_module, "PLANNED_ROWS", 1)
    collect(record("01") | record("02"), tmp_path)
    collect({}, tmp_path, plan_of(["01"], dataset="gone"))
    remove_others(tmp_path, parts_of(plan_of(["01"])))
    found = sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*.parquet"))
    assert found == sorted(f"{name}/dataset=demo/part-0.parquet" for name in RECORDED)


def test_no_rows_still_have_columns(tmp_path: Path) -> None:
    collect({}, tmp_path, plan_of(["01"]))
    table = read_table(tmp_path / "measurements", "measurements")
    assert table.num_rows == 0
    assert "value" in table.column_names


def test_pandas_and_duckdb_read_the_folder_and_ids_stay_text(tmp_path: Path) -> None:
    collect(record("01"), tmp_path)
    frame = pd.read_parquet(tmp_path / "runs")
    assert (frame.loc[0, "participant"], str(frame.loc[0, "dataset"])) == ("01", "demo")
    query = "select dataset, participant from read_parquet(?, hive_partitioning = true)"
    assert duckdb.execute(query, [f"{tmp_path}/runs/*/*.parquet"]).fetchall() == [("demo", "01")]
