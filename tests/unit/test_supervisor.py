"""Whatever the process that analyses participants does, it costs the participant it worked on and no other."""

from __future__ import annotations

import json
import os
import pickle
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml

from tests.unit.cohort_fakes import wait_for, write_dataset
from tests.unit.worker_fakes import BEHAVIOUR, CALLS, GO, TOLD, VOLUMES
from vp_engine.cohort import plan
from vp_engine.cohort.collect import collect_tables
from vp_engine.cohort.config import load_config
from vp_engine.cohort.plan import write_plan
from vp_engine.cohort.publish import is_temporary
from vp_engine.cohort.talking import portable
from vp_engine.errors import ConfigError, InputRefused
from vp_engine.tables.parquet import read_table

STOP_S = 10.0
"""Longest that a job may take to stop."""

ROOT = Path(__file__).resolve().parents[2]
PROMPTS = [{"id": "liver", "text": "Segment the liver."}, {"id": "vol", "text": VOLUMES, "images": ["T1w"]}]


class Study:
    """Three participants in one job."""

    def __init__(self, folder: Path) -> None:
        write_dataset(folder / "tiny")
        self.file = folder / "config.yaml"
        self.write(deadline_s=600)
        self.output = folder / "results"
        self.calls = folder / "calls"
        self.calls.touch()
        self.started: list[subprocess.Popen[str]] = []
        write_plan(load_config(self.file), self.output)

    def write(self, **more: Any) -> None:
        content = {"datasets": {"tiny": {"path": "tiny"}}, "output": "results", "prompts": PROMPTS}
        self.file.write_text(yaml.safe_dump(content | {"subjects_per_job": 3} | more))

    def start(self, behaviour: str = "nothing 0", *options: str) -> subprocess.Popen[str]:
        self.calls.write_text("")
        program = "from tests.unit.worker_fakes import main; main()"
        job = ["analyse", "--config", str(self.file), "--dataset", "tiny", "--shard", "shard-00000"]
        process = subprocess.Popen(
            [sys.executable, "-c", program, *options, *job],
            cwd=ROOT,
            env=os.environ | {BEHAVIOUR: behaviour, CALLS: str(self.calls)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.started.append(process)
        return process

    def run(self, behaviour: str = "nothing 0", *options: str) -> tuple[int, str]:
        process = self.start(behaviour, *options)
        torch, said = process.communicate(timeout=240)
        assert torch == "False\n", "the parent loads no models"
        return process.returncode, said

    def workers(self) -> list[int]:
        return list(dict.fromkeys(map(int, self.calls.read_text().split())))

    def statuses(self, participant: str) -> dict[tuple[str, str], str]:
        rows = read_table(self.output / "records" / "tiny" / participant / "runs.parquet", "runs").to_pylist()
        return {(row["session"], row["prompt_id"]): row["status"] for row in rows}

    def reasons(self, participant: str, status: str) -> set[str]:
        rows = read_table(self.output / "records" / "tiny" / participant / "runs.parquet", "runs").to_pylist()
        return {row["reason"] for row in rows if row["status"] == status}

    def receipt(self) -> dict[str, str] | None:
        path = self.output / "records" / "tiny" / "shard-00000.json"
        return json.loads(path.read_text()) if path.exists() else None

    def leftovers(self) -> list[str]:
        found = [path for path in self.output.rglob("*") if path.is_file() and is_temporary(path)]
        return sorted(path.name for path in [*found, *(self.output / ".locks").glob("*")])


FINE = {("01", "liver"): "refused", ("02", "liver"): "refused", ("01", "vol"): "ok", ("02", "vol"): "ok"}


def ended(status: str) -> dict[tuple[str, str], str]:
    """Of the participant in work: what was finished, and the task at which it was ended."""
    return FINE | {("02", "vol"): status}


@pytest.fixture
def study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Study]:
    monkeypatch.setattr(plan, "validate_dataset", lambda _root, **_options: [])
    study = Study(tmp_path)
    yield study
    for process in study.started:
        process.kill()  # and what it started ends with it


@pytest.mark.parametrize("seconds", [0, -1, 1.5, "soon", 10**9])
def test_deadline_is_a_number_of_seconds(study: Study, seconds: object) -> None:
    assert load_config(study.file).deadline_s == 600
    study.write()
    assert load_config(study.file).deadline_s == 3600
    study.write(deadline_s=seconds)
    with pytest.raises(ConfigError, match="deadline_s"):
        load_config(study.file)


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_participant_that_hangs_gets_timeout_and_its_neighbours_go_on(study: Study) -> None:
    study.write(deadline_s=12)
    code, said = study.run("hang 4", "--log-json")
    assert code == 0, said
    assert study.statuses("sub-01") == FINE
    assert study.statuses("sub-02") == ended("timeout"), "its second scan is the fourth of all"
    assert study.statuses("sub-03") == {("01", "liver"): "refused", ("01", "vol"): "ok"}
    (reason,) = study.reasons("sub-02", "timeout")
    assert reason.startswith("deadline: not finished within 12 s, at 02/vol")
    assert set(study.receipt() or ()) == {"01", "02", "03"}
    assert len(study.workers()) == 2, "one process for all until it is ended, then a new one"
    assert not any(map(alive, study.workers()))
    assert study.leftovers() == []
    messages = [json.loads(line)["message"] for line in said.splitlines()]  # also what the process says is JSON
    assert [m for m in messages if m.startswith("sub-01")] == ["sub-01: 2 ok, 2 refused (0 kept)"]
    code, said = study.run()
    assert code == 0, said
    assert study.statuses("sub-02") == FINE
    assert len(study.calls.read_text().split()) == 1, "only what had no result is done again"


def test_process_that_is_ended_from_outside_is_infrastructure(study: Study) -> None:
    code, said = study.run("crash 4")
    assert code == 75, said
    assert study.statuses("sub-02") == ended("interrupted")
    (reason,) = study.reasons("sub-02", "interrupted")
    assert reason.startswith("worker_ended:")
    assert "SIGSEGV" in reason
    assert study.statuses("sub-03")["01", "vol"] == "ok", "neighbours are finished first"
    assert study.receipt() is None
    assert study.leftovers() == []


def test_process_that_is_ended_in_the_middle_of_a_message_is_noticed_at_once(study: Study) -> None:
    code, said = study.run("tear 4")
    assert code == 75, said
    assert study.statuses("sub-02") == ended("interrupted")
    assert study.statuses("sub-03")["01", "vol"] == "ok"
    assert study.leftovers() == []


def with_one_more(study: Study) -> None:
    """Everything is on record, then a prompt is added."""
    assert study.run()[0] == 0
    study.write(deadline_s=10, prompts=[*PROMPTS, {"id": "more", "text": VOLUMES, "images": ["T1w"]}])
    write_plan(load_config(study.file), study.output)


def test_who_cannot_be_read_keeps_what_is_on_record(study: Study) -> None:
    with_one_more(study)
    files = set((study.output / "derivatives").rglob("*_dseg.nii.gz"))
    code, said = study.run("stuck read_image")
    assert code == 0, said
    assert study.statuses("sub-02")["02", "more"] == "ok"
    recorded = {("01", "liver"): "refused", ("01", "vol"): "ok"}
    assert study.statuses("sub-03") == recorded | {("01", "more"): "timeout"}
    assert files <= set((study.output / "derivatives").rglob("*_dseg.nii.gz"))


def test_whose_record_and_scans_cannot_be_compared_keeps_the_record(study: Study) -> None:
    with_one_more(study)
    before = (study.output / "records" / "tiny" / "sub-03" / "done.json").read_bytes()
    code, said = study.run("stuck prepare")
    assert code == 75, said
    assert "what is recorded of it stands" in said
    assert study.statuses("sub-02")["02", "more"] == "ok"
    assert (study.output / "records" / "tiny" / "sub-03" / "done.json").read_bytes() == before


def test_who_was_never_read_gets_timeout(study: Study) -> None:
    study.write(deadline_s=10)
    code, said = study.run("stuck prepare")
    assert code == 0, said
    assert study.statuses("sub-03") == {("01", "liver"): "timeout", ("01", "vol"): "timeout"}


def test_time_in_which_a_job_is_suspended_does_not_count(study: Study) -> None:
    study.write(deadline_s=10)
    process = study.start("wait 1")
    wait_for(lambda: len(study.calls.read_text().split()) == 1)
    job = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
    for member in job:
        member.suspend()
    time.sleep(14)
    for member in job:
        member.resume()
    study.calls.with_name(GO).touch()
    _, said = process.communicate(timeout=240)
    assert process.returncode == 0, said
    assert study.statuses("sub-01") == FINE


UNWRITTEN = [("01", "vol"), ("02", "liver"), ("02", "vol")]
"""Of the first participant: what comes with or after its first scan."""


def writers() -> dict[int, int]:
    """Parent → process that writes."""
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if b"cohort.writer" in (folder / "cmdline").read_bytes():
                found[int((folder / "stat").read_text().rpartition(")")[2].split()[1])] = int(folder.name)
    return found


def signal_writer(study: Study, number: signal.Signals) -> subprocess.Popen[str]:
    """Start a job, of which the writer gets a signal when its first task is written and its first scan computed."""
    process = study.start("wait 1")
    told = study.calls.with_name(TOLD)
    wait_for(lambda: told.exists() and told.read_text() == "sub-01/01/liver\n")
    wait_for(lambda: len(study.calls.read_text().split()) == 1)
    os.kill(writers()[process.pid], number)
    study.calls.with_name(GO).touch()
    return process


def test_disk_that_hangs_costs_who_is_written(study: Study) -> None:
    study.write(deadline_s=10)
    process = signal_writer(study, signal.SIGSTOP)
    _, said = process.communicate(timeout=240)
    assert process.returncode == 0, said
    assert study.statuses("sub-01") == FINE | dict.fromkeys(UNWRITTEN, "timeout")
    assert study.statuses("sub-02") == FINE, "computed already, and begun again"
    assert study.statuses("sub-03") == {("01", "liver"): "refused", ("01", "vol"): "ok"}
    assert study.leftovers() == []


def test_writer_that_is_ended_is_infrastructure(study: Study) -> None:
    process = signal_writer(study, signal.SIGKILL)
    _, said = process.communicate(timeout=240)
    assert process.returncode == 75, said
    assert study.statuses("sub-01") == FINE | dict.fromkeys(UNWRITTEN, "interrupted")
    assert study.statuses("sub-02") == FINE
    code, said = study.run()
    assert code == 0, said
    assert study.statuses("sub-01") == FINE
    assert study.leftovers() == []


class Unsendable(Exception):
    """Cannot be made again from what it was made of."""

    def __init__(self, first: str, second: str) -> None:
        super().__init__(f"{first} and {second}")


@pytest.mark.parametrize("error", [ZeroDivisionError("by zero"), Unsendable("one", "two"), InputRefused("m", code="c")])
def test_error_of_the_process_is_told_with_its_traceback(error: Exception) -> None:
    try:
        raise error
    except Exception as raised:  # noqa: BLE001
        told = pickle.loads(pickle.dumps(portable(raised)))  # noqa: S301
    assert "in test_error_of_the_process_is_told" in told.__notes__[0]
    if isinstance(error, Unsendable):
        assert str(told) == "Unsendable: one and two"
    else:
        assert (type(told), str(told), vars(told).get("code")) == (type(error), str(error), vars(error).get("code"))


@pytest.mark.parametrize("number", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.stress)])
def test_signal_stops_within_seconds_and_the_next_run_goes_on(study: Study, number: signal.Signals) -> None:
    process = study.start("hang 4")
    wait_for(lambda: len(study.calls.read_text().split()) == 4)
    told = study.calls.with_name(TOLD)
    wait_for(lambda: told.exists() and "sub-02/02/liver" in told.read_text())
    asked = time.monotonic()
    process.send_signal(number)
    _, said = process.communicate(timeout=60)
    assert time.monotonic() - asked < STOP_S
    assert process.returncode == 75, said
    assert study.statuses("sub-01") == FINE
    assert study.statuses("sub-02") == ended("interrupted")
    assert study.reasons("sub-02", "interrupted") == {
        f"stopped: The job was asked to stop by {number.name}; run it again to go on where it was."
    }
    assert not (study.output / "records" / "tiny" / "sub-03").exists()
    assert study.receipt() is None
    assert study.leftovers() == []
    assert not any(map(alive, study.workers()))
    table = collect_tables(load_config(study.file), study.output)
    assert table == {"interrupted": 1, "no_record": 2, "ok": 3, "refused": 4}
    code, said = study.run()
    assert code == 0, said
    assert study.statuses("sub-02") == FINE
    assert len(study.calls.read_text().split()) == 2, "the rest of one participant, and the other"


def test_one_run_at_a_time_and_the_process_does_not_outlive_its_parent(study: Study) -> None:
    first = study.start("hang 4")
    wait_for(lambda: len(study.calls.read_text().split()) == 4)
    (worker,) = study.workers()
    second = study.start()
    _, said = second.communicate(timeout=240)
    assert second.returncode == 75
    assert f"process {first.pid} on" in said
    assert "holds tiny.shard-00000" in said
    assert study.workers() == [], "nothing was worked on"
    assert alive(worker)
    first.kill()
    first.communicate(timeout=60)
    wait_for(lambda: not alive(worker), seconds=30)
    code, said = study.run()  # the lock of the dead one is no obstacle
    assert code == 0, said
    assert study.statuses("sub-02") == FINE
    assert study.leftovers() == []
