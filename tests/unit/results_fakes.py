"""An output folder without any scan: plan, records and tables of made-up participants."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from vp_engine.cohort.records import TaskRecord, record_folder, save_record, task_id
from vp_engine.tables.parquet import PARTITION, checked, file_metadata, publish_table, write_table
from vp_engine.tables.schema import arrow_schema

META = {"model_id": "fake-1"}
KEY = ("dataset", "participant", "session", "prompt_id")


def planned(dataset: str, participant: str, session: str | None, prompt_id: str, **changes: Any) -> dict[str, Any]:
    """A row of `plan`."""
    row: dict[str, Any] = dict.fromkeys(("status", "reason_code", "reason", "acquired", "days"))
    row |= {"prompt": f"Text of {prompt_id}.", "scope": "session", "images": ["T1w"], "scans": [], "streams": []}
    row |= dict(zip(KEY, (dataset, participant, session, prompt_id), strict=True))
    return row | {"left_out": [], "shard": 0} | changes


def run(dataset: str, participant: str, session: str | None, prompt_id: str, **changes: Any) -> dict[str, Any]:
    """A row of `runs`; ``reason`` as in the table."""
    row: dict[str, Any] = dict.fromkeys(("reason", "steps", "program", "device", "input_sha256", "model_id"))
    row |= {"prompt": f"Text of {prompt_id}.", "status": "ok", "seconds": 1.5, "vp_engine_version": "0"}
    row |= dict(zip(KEY, (dataset, participant, session, prompt_id), strict=True))
    return row | {"record_id": None} | changes


def number(
    dataset: str,
    participant: str,
    session: str | None,
    prompt_id: str,
    target: str,
    value: float | None,
    **changes: Any,
) -> dict[str, Any]:
    """A row of `measurements` with a volume."""
    row: dict[str, Any] = {"text": None, "unit": "mm3", "image": "T1w", "reference_session": None, "qc_score": 0.9}
    row |= dict(zip(KEY, (dataset, participant, session, prompt_id), strict=True))
    row |= {"target": target, "measure": "volume", "value": value, "flags": [], "model_id": "fake-1"}
    return row | {"program_sha256": "0" * 64, "record_id": "0"} | changes


def word(
    dataset: str, participant: str, session: str | None, prompt_id: str, text: str, **changes: Any
) -> dict[str, Any]:
    """A row of `measurements` with an answer about no structure."""
    row = number(dataset, participant, session, prompt_id, "", None)
    return row | {"target": None, "measure": "answer", "text": text, "unit": None, "qc_score": None} | changes


def term(statistic_id: str, target: str, name: str, method: str) -> dict[str, Any]:
    """A row of `statistics` without estimates."""
    row: dict[str, Any] = dict.fromkeys(arrow_schema("statistics").names)
    row |= {"statistic_id": statistic_id, "target": target, "measure": "volume", "term": name, "method": method}
    return row | {"model": "value ~ group", "analysis": "all", "estimator": "ols", "n": 0, "n_excluded": 0, "flags": []}


def write_tables(output: Path, runs: Sequence[Mapping[str, Any]], measurements: Sequence[Mapping[str, Any]]) -> Path:
    """Collected tables, one part per dataset."""
    for dataset in sorted({row["dataset"] for row in runs}):
        for name, rows in (("runs", runs), ("measurements", measurements)):
            folder = output / "tables" / name / f"dataset={dataset}"
            own = [row for row in rows if row["dataset"] == dataset]
            table = checked(name, own, where="made up").drop_columns([PARTITION])
            publish_table(folder / "part-0.parquet", table, file_metadata(name, META))
    return output


def write_plan(output: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """The plan."""
    write_table(output / "plan.parquet", "plan", list(rows), metadata={})


def write_record(output: Path, runs: Sequence[Mapping[str, Any]]) -> Path:
    """The record of one participant."""
    tasks = {
        task_id(row["session"], row["prompt_id"]): TaskRecord(
            "key", row["status"], {}, {"runs": [dict(row)], "measurements": [], "segmentations": []}
        )
        for row in runs
    }
    folder = record_folder(output, runs[0]["dataset"], runs[0]["participant"])
    save_record(folder, tasks, model_id="fake-1")
    return folder
