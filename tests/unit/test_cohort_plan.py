"""Every prompt on every session gets a row, settled or with its scans, and a job that stays its own."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from tests.unit.cohort_fakes import write_dataset, write_scan
from vp_engine.cohort import plan as plan_module
from vp_engine.cohort.config import Config, DatasetConfig, PromptConfig
from vp_engine.cohort.plan import assign_shards, write_plan
from vp_engine.cohort.tasks import read_tasks
from vp_engine.errors import ConfigError
from vp_engine.tables.parquet import read_table

PROMPTS = (
    PromptConfig("vol", "Measure the volume of the hippocampi.", images=("T1w",)),
    PromptConfig("flair", "Measure the lesion load.", images=("FLAIR",)),
    PromptConfig("growth", "How much did the ventricles grow?", scope="participant"),
)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write_dataset(tmp_path / "tiny")


def _config(root: Path, **options: Any) -> Config:
    dataset = DatasetConfig("tiny", root, **options)
    return Config(root.parent / "config.yaml", (dataset,), root.parent / "results", PROMPTS)


def _rows(config: Config) -> dict[tuple[str, str | None, str], dict[str, Any]]:
    write_plan(config, config.output)
    rows = read_table(config.output / "plan.parquet", "plan").to_pylist()
    return {(row["participant"], row["session"], row["prompt_id"]): row for row in rows}


def test_every_prompt_on_every_session(root: Path) -> None:
    config = _config(root)
    rows = _rows(config)
    sessions = [("01", "01"), ("01", "02"), ("02", "01"), ("02", "02"), ("03", "01")]
    assert set(rows) == {(p, s, i) for p, s in sessions for i in ("vol", "flair")} | {
        (p, None, "growth") for p in ("01", "02", "03")
    }
    assert [scan["path"] for scan in rows["01", None, "growth"]["scans"]] == [
        "sub-01/ses-01/anat/sub-01_ses-01_FLAIR.nii.gz",
        "sub-01/ses-01/anat/sub-01_ses-01_T1w.nii.gz",
        "sub-01/ses-02/anat/sub-01_ses-02_FLAIR.nii.gz",
        "sub-01/ses-02/anat/sub-01_ses-02_T1w.nii.gz",
    ]
    assert rows["02", "01", "flair"]["status"] == "no_input"
    assert rows["02", "01", "flair"]["reason"] == "Expected FLAIR, found T1w."
    assert rows["01", "02", "vol"]["days"] == 365
    assert json.loads((config.output / "validation" / "tiny.json").read_text()) is not None


def test_duplicates_and_bad_names_are_refused_not_skipped(root: Path) -> None:
    anat = root / "sub-01" / "ses-01" / "anat"
    write_scan(anat / "sub-01_ses-01_T1w.nii")
    write_scan(root / "sub-03" / "ses-01" / "anat" / "sub-03_ses-01_acq-b_d_T1w.nii.gz")
    rows = _rows(_config(root))
    refused = rows["01", "01", "vol"]
    assert (refused["status"], refused["reason_code"], refused["scans"]) == ("refused_input", "duplicate_scan", [])
    # the FLAIR is there, but the prompt would rather have had the T1w that cannot be told apart
    assert rows["01", None, "growth"]["status"] == "refused_input"
    assert rows["01", "01", "flair"]["status"] is None
    assert rows["03", "01", "vol"]["status"] is None


def test_session_that_only_stands_in_the_table_gets_rows(root: Path) -> None:
    shutil.rmtree(root / "sub-02" / "ses-02")
    rows = _rows(_config(root))
    assert rows["02", "02", "vol"]["status"] == "no_input"
    assert rows["02", None, "growth"]["status"] is None


def test_who_only_stands_in_participants_tsv_gets_rows(root: Path) -> None:
    with (root / "participants.tsv").open("a") as table:
        table.write("sub-99\t50\tcontrol\nn/a\t51\tcontrol\nsub-a b\t52\tcontrol\n")
    config = _config(root)
    rows = _rows(config)
    assert {key[0] for key in rows} == {"01", "02", "03", "99"}
    assert [row["status"] for key, row in rows.items() if key[0] == "99"] == ["no_input"] * len(PROMPTS)
    assert rows["99", None, "vol"]["reason"] == "Expected T1w, found no image."
    assert read_tasks(config.output, "tiny", 3)["99"][0].status == "no_input"
    found = json.loads((config.output / "validation" / "tiny.json").read_text())
    odd = [one["message"] for one in found if one["code"] == "invalid_entity"]
    assert [message.partition("in row ")[2].partition(";")[0] for message in odd] == ["6", "7"]
    assert {key[0] for key in _rows(_config(root, participants=("01", "02")))} == {"01", "02"}
    assert {key[0] for key in _rows(_config(root, exclude=("99", "01")))} == {"02", "03"}


def test_labels_that_are_none_do_not_become_sessions(root: Path) -> None:
    with (root / "sub-02" / "sub-02_sessions.tsv").open("a") as table:
        table.write("n/a\tn/a\nses-a b\tn/a\nses-../up\tn/a\n")
    config = _config(root)
    assert {key[1] for key in _rows(config) if key[0] == "02"} == {"01", "02", None}
    found = json.loads((config.output / "validation" / "tiny.json").read_text())
    odd = [one for one in found if one["code"] == "invalid_entity"]
    assert [one["path"] for one in odd] == ["sub-02/sub-02_sessions.tsv"] * 3


def test_table_that_cannot_be_read_is_one_finding(root: Path) -> None:
    (root / "participants.tsv").write_text("participant_id\tparticipant_id\n")
    (root / "sub-02" / "sub-02_sessions.tsv").write_bytes(b"")
    config = _config(root)
    assert {key[0] for key in _rows(config)} == {"01", "02", "03"}
    found = json.loads((config.output / "validation" / "tiny.json").read_text())
    assert sorted(one["path"] for one in found if one["code"] == "bad_tsv") == [
        "participants.tsv",
        "sub-02/sub-02_sessions.tsv",
    ]


def test_sessions_left_out_are_named(root: Path) -> None:
    (root / "sub-01" / "ses-02" / "anat" / "sub-01_ses-02_T1w.nii.gz").unlink()
    config = replace(_config(root), prompts=(replace(PROMPTS[2], images=("T1w",)),))
    rows = _rows(config)
    assert {key[0]: row["left_out"] for key, row in rows.items()} == {"01": ["02"], "02": [], "03": []}


def test_participants_chosen_and_excluded(root: Path) -> None:
    assert {key[0] for key in _rows(_config(root, participants=("02",)))} == {"02"}
    assert {key[0] for key in _rows(_config(root, exclude=("02",)))} == {"01", "03"}


def test_unreadable_dataset_is_a_configuration_error(root: Path) -> None:
    with pytest.raises(ConfigError):
        write_plan(_config(root.parent / "absent"), root.parent / "results")


def test_newcomers_come_in_new_jobs(root: Path) -> None:
    config = _config(root, exclude=("02",))
    assert {row["participant"]: row["shard"] for row in _rows(config).values()} == {"01": 0, "03": 1}
    later = _config(root)
    assert {row["participant"]: row["shard"] for row in _rows(later).values()} == {"01": 0, "03": 1, "02": 2}
    shards = json.loads((config.output / "plan.shards.json").read_text())
    assert shards == {"tiny": ["shard-00000", "shard-00001", "shard-00002"]}


def test_large_cohorts_share_jobs() -> None:
    many = [f"{number:04d}" for number in range(201)]
    shards = assign_shards(many, size=None, known={})
    assert sorted(set(shards.values())) == [0, 1, 2, 3]
    assert max(list(shards.values()).count(number) for number in range(4)) == 64
    assert assign_shards(many[:200], size=None, known={})["0199"] == 199


def test_tasks_of_a_shard(root: Path) -> None:
    config = _config(root)
    _rows(config)
    (participant,) = tasks = read_tasks(config.output, "tiny", 0)
    assert participant == "01"
    growth = next(task for task in tasks["01"] if task.prompt_id == "growth")
    assert [(c.scan.session, c.scan.suffix) for c in growth.choices] == [
        ("01", "T1w"),
        ("01", "FLAIR"),
        ("02", "T1w"),
        ("02", "FLAIR"),
    ]
    with pytest.raises(ConfigError, match="shard 9"):
        read_tasks(config.output, "tiny", 9)


def test_plan_made_some_participants_at_a_time_is_the_same(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = _config(root)
    write_plan(config, config.output)
    whole = read_table(config.output / "plan.parquet", "plan")
    monkeypatch.setattr(plan_module, "ROWS_AT_ONCE", 1)
    summary = write_plan(config, config.output)
    file = pq.ParquetFile(config.output / "plan.parquet")
    assert file.num_row_groups == 3
    assert read_table(config.output / "plan.parquet", "plan").equals(whole)
    assert (summary.rows, summary.settled) == (whole.num_rows, whole.num_rows - whole.column("status").null_count)


def test_job_reads_only_what_may_be_its_own(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan_module, "ROWS_AT_ONCE", 1)
    config = replace(_config(root), subjects_per_job=1)
    config = replace(config, datasets=(replace(config.datasets[0], name="later"), *config.datasets))
    write_plan(config, config.output)
    tasks = {(name, shard): read_tasks(config.output, name, shard) for name in ("later", "tiny") for shard in range(3)}
    assert {of: list(own) for of, own in tasks.items()} == {
        (name, shard): [f"0{shard + 1}"] for name in ("later", "tiny") for shard in range(3)
    }
    read: list[list[int]] = []
    monkeypatch.setattr(pq.ParquetFile, "read_row_groups", _told(pq.ParquetFile.read_row_groups, read))
    (participant,) = read_tasks(config.output, "tiny", 1)
    assert (participant, read) == ("02", [[4]])


def _told(read: Callable[..., Any], groups: list[list[int]]) -> Callable[..., Any]:
    def reading(file: pq.ParquetFile, wanted: list[int], **options: Any) -> Any:
        groups.append(wanted)
        return read(file, wanted, **options)

    return reading
