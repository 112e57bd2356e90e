"""What a record keeps, and when it is not believed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from vp_engine import __version__
from vp_engine.cohort.publish import publish_bytes
from vp_engine.cohort.records import (
    TaskRecord,
    derivative_folder,
    load_record,
    read_done,
    record_folder,
    remove_strays,
    save_record,
    task_id,
    task_key,
)
from vp_engine.cohort.verify import verify, write_manifest
from vp_engine.errors import ConfigError


def _run(session: str | None, prompt_id: str, status: str = "ok") -> dict[str, Any]:
    return {
        "dataset": "tiny",
        "participant": "01",
        "session": session,
        "prompt_id": prompt_id,
        "prompt": "Measure it.",
        "status": status,
        "reason": None,
        "steps": 1,
        "program": "pass",
        "seconds": 0.5,
        "device": "cpu",
        "input_sha256": "0" * 64,
        "model_id": "fake",
        "vp_engine_version": __version__,
        "record_id": "r",
    }


def _measurement(session: str | None, prompt_id: str) -> dict[str, Any]:
    names = ("text", "image", "reference_session", "qc_score")
    return dict.fromkeys(names) | {
        "dataset": "tiny",
        "participant": "01",
        "session": session,
        "prompt_id": prompt_id,
        "target": "brainstem",
        "measure": "volume",
        "value": 1.0,
        "unit": "mm3",
        "flags": [],
        "model_id": "fake",
        "program_sha256": "0" * 64,
        "record_id": "r",
    }


def _task(
    output: Path, session: str | None, prompt_id: str, *, status: str = "ok", about: str | None = None
) -> TaskRecord:
    name = f"sub-01/{session}_{prompt_id}.txt"
    sha = publish_bytes(derivative_folder(output, "tiny") / name, prompt_id.encode())
    rows = {
        "runs": [_run(session, prompt_id, status)],
        "measurements": [_measurement(about or session, prompt_id)],
        "segmentations": [],
    }
    return TaskRecord(task_key(prompt=prompt_id), status, {name: sha}, rows)


@pytest.fixture
def saved(tmp_path: Path) -> dict[str, TaskRecord]:
    tasks = {
        task_id("01", "a"): _task(tmp_path, "01", "a"),
        task_id("01", "b"): _task(tmp_path, "01", "b"),
        task_id(None, "growth"): _task(tmp_path, None, "growth", about="02"),
    }
    save_record(record_folder(tmp_path, "tiny", "01"), tasks, model_id="fake")
    return tasks


def test_round_trip_also_of_rows_about_another_session(tmp_path: Path, saved: dict[str, TaskRecord]) -> None:
    assert load_record(tmp_path, "tiny", "01") == saved


def test_absent_record_is_empty(tmp_path: Path) -> None:
    assert load_record(tmp_path, "tiny", "01") == {}


def test_damaged_output_costs_its_task_only(tmp_path: Path, saved: dict[str, TaskRecord]) -> None:
    (derivative_folder(tmp_path, "tiny") / "sub-01/01_a.txt").write_text("other")
    assert set(load_record(tmp_path, "tiny", "01")) == {"01/b", "/growth"}


@pytest.mark.parametrize("name", ["runs.parquet", "done.json"])
def test_damaged_record_costs_everything(tmp_path: Path, saved: dict[str, TaskRecord], name: str) -> None:
    path = record_folder(tmp_path, "tiny", "01") / name
    path.write_bytes(path.read_bytes()[:-20])
    assert load_record(tmp_path, "tiny", "01") == {}


def test_no_flipped_bit_of_the_record_is_believed(tmp_path: Path, saved: dict[str, TaskRecord]) -> None:
    path = record_folder(tmp_path, "tiny", "01") / "done.json"
    good = path.read_bytes()
    for place in range(0, len(good), 3):
        path.write_bytes(good[:place] + bytes([good[place] ^ 1 << place % 8]) + good[place + 1 :])
        if read_done(path) is not None:  # a space for another
            assert json.loads(path.read_bytes()) == json.loads(good)
    path.write_bytes(good)
    assert load_record(tmp_path, "tiny", "01") == saved


@pytest.mark.parametrize("status", ["timeout", "interrupted"])
def test_interrupted_task_is_not_final(tmp_path: Path, status: str) -> None:
    tasks = {"01/a": _task(tmp_path, "01", "a", status=status), "01/b": _task(tmp_path, "01", "b", status="failed")}
    save_record(record_folder(tmp_path, "tiny", "01"), tasks, model_id="fake")
    assert set(load_record(tmp_path, "tiny", "01")) == {"01/b"}


def test_strays_go_and_empty_folders_with_them(tmp_path: Path, saved: dict[str, TaskRecord]) -> None:
    folder = derivative_folder(tmp_path, "tiny") / "sub-01"
    (folder / "ses-09" / "anat").mkdir(parents=True)
    ours = (
        "x_seg-old_dseg.nii.gz",
        "x_seg-old_dseg.json",
        "x_label-brain_desc-old_mask.nii.gz",
        "x_old_transcript.json",
    )
    for name in ours:
        (folder / "ses-09" / "anat" / name).touch()
    (folder / "notes.txt").touch()
    strays = remove_strays(folder.parent, "01", saved)
    assert {path.name for path in strays} == set(ours)
    kept = [path.name for path in sorted(folder.rglob("*"))]
    assert kept == ["01_a.txt", "01_b.txt", "None_growth.txt", "notes.txt"]


def test_key_depends_on_every_part() -> None:
    keys = {task_key(prompt="a", model="m"), task_key(prompt="b", model="m"), task_key(prompt="a", model="n")}
    assert len(keys) == 3
    assert task_key(a=1, b=2) == task_key(b=2, a=1)


def test_verify_names_what_differs(tmp_path: Path, saved: dict[str, TaskRecord]) -> None:
    with pytest.raises(ConfigError, match=r"nowhere is not an output folder of the workflow \(no plan\.parquet\)"):
        verify(tmp_path / "nowhere")
    assert verify(tmp_path) == ["manifest.sha256: missing or damaged; run `vp collect`"]
    write_manifest(tmp_path)
    assert verify(tmp_path) == []
    derivatives = derivative_folder(tmp_path, "tiny")
    (derivatives / "sub-01/01_a.txt").write_text("other")
    (derivatives / "sub-01/01_b.txt").unlink()
    (tmp_path / "report.html").touch()
    done = record_folder(tmp_path, "tiny", "01") / "done.json"
    done.write_text(json.dumps(json.loads(done.read_text())))
    assert verify(tmp_path) == [
        "derivatives/tiny/sub-01/01_a.txt: changed",
        "derivatives/tiny/sub-01/01_b.txt: missing",
        "records/tiny/sub-01/done.json: changed",
        "report.html: not in manifest.sha256",
    ]
