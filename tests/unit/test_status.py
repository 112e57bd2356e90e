"""`vp status`, the log of a participant and the pace of a job: what those who wait can see."""

from __future__ import annotations

import io
import json
import logging
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest
from typer.testing import CliRunner

from tests.unit.cohort_fakes import FixedPlanner, IntensitySegmenter, fake_engine, write_dataset
from tests.unit.results_fakes import META, number, planned, run, term, write_plan, write_record, write_tables
from vp_engine.cli import progress
from vp_engine.cli.app import app
from vp_engine.cohort import plan, records
from vp_engine.cohort.analyse import analyse_shard, one_by_one
from vp_engine.cohort.config import Config, DatasetConfig, PromptConfig
from vp_engine.cohort.lock import LOCK_FOLDER, writing
from vp_engine.cohort.messages import Computed
from vp_engine.cohort.participant import Job, analyse_participant
from vp_engine.cohort.status import read_status
from vp_engine.cohort.watching import Pace, participants_of, subject_log_path, watched
from vp_engine.errors import ConfigError
from vp_engine.tables.parquet import write_table

TRUNCATED = "truncated: Expected 9 bytes, got 8; copy it again."


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """Six participants in two jobs; 01 answered, 02 broken, 03 half recorded, the others not yet."""
    rows = [
        planned("a", f"0{one}", session, prompt, shard=int(one > 3))
        for one in range(1, 7)
        for session, prompt in (("1", "vol"), ("1", "liver"), (None, "growth"))
    ]
    write_plan(tmp_path, rows)
    liver = {"status": "refused", "reason": "unknown_structure: No liver; ask for a structure of the brain."}
    write_record(
        tmp_path, [run("a", "01", "1", "vol"), run("a", "01", "1", "liver", **liver), run("a", "01", None, "growth")]
    )
    broken = {"status": "refused_input", "reason": TRUNCATED}
    write_record(
        tmp_path,
        [
            run("a", "02", "1", "vol", **broken),
            run("a", "02", "1", "liver", **liver),
            run("a", "02", None, "growth", **broken),
        ],
    )
    write_record(tmp_path, [run("a", "03", "1", "vol")])
    return tmp_path


@pytest.fixture(autouse=True)
def _logging_as_it_was() -> Iterator[None]:
    """`vp` takes over the root logger."""
    loggers = [logging.getLogger(name) for name in ("", "vp", "vp_engine")]
    before = [(logger, logger.handlers[:], logger.level) for logger in loggers]
    yield
    for logger, handlers, level in before:
        logger.handlers[:] = handlers
        logger.setLevel(level)


def shown(results: Path, *options: str) -> str:
    done = CliRunner().invoke(app, ["status", str(results), *options])
    assert done.exit_code == 0, done.output
    return done.stdout


def test_counts_are_of_what_is_planned(results: Path) -> None:
    status = read_status(results)
    assert (status.participants, status.recorded, status.prompts) == (6, 2, 18)
    assert status.outcomes == {"ok": 3, "refused": 2, "refused_input": 2}
    assert shown(results).splitlines()[:2] == [
        "2 of 6 participants recorded (33 %), no job is running",
        "prompts: 3 ok, 2 refused, 2 refused_input, 11 not yet",
    ]


def test_reasons_come_with_what_to_do_and_who_has_most_trouble(results: Path) -> None:
    text = shown(results)
    assert (
        "  2 x refused_input, truncated (growth, vol)\n      a sub-02: Expected 9 bytes, got 8; copy it again.\n"
        in text
    )
    assert "      a sub-01: No liver; ask for a structure of the brain.\n" in text
    assert read_status(results).troubled == [(("a", "02"), 2)], (
        "a prompt that nobody can be asked is no trouble of theirs"
    )


def test_prompts_no_longer_planned_do_not_count(results: Path) -> None:
    write_plan(results, [planned("a", "01", "1", "vol"), planned("a", "02", "1", "other")])
    status = read_status(results)
    assert (status.participants, status.recorded) == (2, 1)
    assert status.outcomes == {"ok": 1}


def test_jobs_that_run_are_told_from_those_that_died(results: Path) -> None:
    with writing(results, "a.shard-00000", alone=False), writing(results, "a.shard-00001", alone=False):
        subject_log_path(results, "a", "03").parent.mkdir(parents=True)
        subject_log_path(results, "a", "03").touch()
        dead = next((results / LOCK_FOLDER).glob("a.shard-00001*"))
        holder = json.loads(dead.read_text())
        dead.write_text(json.dumps(holder | {"born": "-1"}))
        before = sorted((path, path.stat().st_mtime_ns) for path in results.rglob("*") if ".json" not in path.name)
        status = read_status(results)
        text = shown(results)
        assert before == sorted(
            (path, path.stat().st_mtime_ns) for path in results.rglob("*") if ".json" not in path.name
        )
    (job,) = status.running
    assert (job.holder.part, job.finished, job.participants, job.current) == ("a.shard-00000", 2, 3, "03")
    assert [holder.part for holder in status.others] == ["a.shard-00001"]
    assert "1 job running" in text
    assert "no sign of life" in text
    assert status.unfinished == [], "it is worked on"
    assert read_status(results).unfinished == [("a", "03")]
    assert str(subject_log_path(results, "a", "03")) in shown(results)


def test_speed_is_that_of_the_last_ones(results: Path) -> None:
    now = time.time()
    for participant, ago in (("01", 120), ("02", 60)):
        os.utime(results / "records" / "a" / f"sub-{participant}" / "done.json", (now - ago, now - ago))
    os.utime(results / "plan.parquet", (now - 300, now - 300))
    with writing(results, "a.shard-00000", alone=False):
        status = read_status(results)
    assert status.per_minute == pytest.approx(0.5, rel=0.05)
    assert status.minutes_left == pytest.approx(8, rel=0.05)
    assert read_status(results).minutes_left is None, "nothing runs"


def test_records_older_than_the_plan_are_looked_at_again(results: Path) -> None:
    record, receipt = results / "records/a/sub-01/done.json", results / "records/a/shard-00000.json"
    os.utime(record, (1, 1))
    assert read_status(results).outdated == 1
    receipt.touch()
    os.utime(receipt, (time.time() + 5,) * 2)
    assert read_status(results).outdated == 0


def test_tables_tell_what_to_look_at(results: Path) -> None:
    rows = [
        number(
            "a", f"{one:02d}", "1", "vol", target, 1.0, qc_score=one / 10, flags=["flag_units", f"fix_non_finite:{one}"]
        )
        for one in range(1, 8)
        for target in ("edema", "caudate")
    ]
    write_tables(results, [run("a", "01", "1", "vol")], rows)
    status = read_status(results)
    assert status.doubtful == 12
    assert [(row["participant"], row["target"]) for row in status.lowest[:2]] == [("01", "caudate"), ("01", "edema")]
    assert len(status.lowest) == 5
    assert status.flags == {"flag_units": 7, "fix_non_finite": 7}
    assert status.uncollected == 0
    os.utime(results / "tables/measurements/dataset=a/part-0.parquet", (1, 1))
    assert read_status(results).uncollected == 2
    text = shown(results)
    assert "tables: 2 records are newer" in text
    assert "  a sub-01 ses-1 vol caudate: 0.10\n" in text
    (results / "tables/measurements/dataset=a/part-0.parquet").write_bytes(b"being replaced")
    assert read_status(results).lowest == []


def test_models_that_were_not_fitted_are_told_with_their_reason(results: Path) -> None:
    rows = [
        term("byage", "caudate", "age", "ordinary least squares"),
        *(term("bygroup", target, "n/a", "not fitted: group is A for everyone; left out: 3") for target in ("a", "b")),
        term("bygroup", "c", "n/a", "not fitted: every value is 0"),
    ]
    write_table(results / "tables/statistics/part-0.parquet", "statistics", rows, metadata=META)
    lines = ["bygroup: 2 models not fitted: group is A for everyone", "bygroup: 1 model not fitted: every value is 0"]
    assert [line for line in shown(results).splitlines() if "not fitted" in line] == lines
    assert json.loads(shown(results, "--json"))["not_fitted"][1] == {
        "statistic_id": "bygroup",
        "models": 1,
        "reason": "every value is 0",
    }


def test_json_has_it_all(results: Path) -> None:
    told = json.loads(shown(results, "--json"))
    assert told["outcomes"] == {"ok": 3, "refused": 2, "refused_input": 2}
    assert told["troubled"] == [[["a", "02"], 2]]
    assert told["minutes_left"] is None


def test_without_a_plan_it_says_so(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"is not an output folder of the workflow \(no plan\.parquet\)"):
        read_status(tmp_path)


class Tiny:
    """A tiny study with one job."""

    def __init__(self, folder: Path) -> None:
        prompts = (PromptConfig("vol", "Measure."), PromptConfig("liver", "Segment the liver."))
        datasets = (DatasetConfig("tiny", write_dataset(folder / "tiny")),)
        self.config = Config(folder / "config.yaml", datasets, folder / "results", prompts, subjects_per_job=3)
        self.output = self.config.output
        planner = FixedPlanner({"Measure.": 'report(volume(segment(scan(current), "left_hippocampus")))\n'})
        self.engine = fake_engine(planner, IntensitySegmenter())

    def run(self, analyse: Callable[[Job], str] | None = None) -> list[str]:
        """The pace after each participant."""
        paces: list[str] = []
        pace = Pace(participants_of(self.output, "tiny", "shard-00000"))
        seen = watched(
            one_by_one(analyse or partial(analyse_participant, engine=self.engine)),
            pace,
            lambda one: paces.append(str(one)),
        )
        analyse_shard(self.config, self.output, dataset="tiny", shard="shard-00000", analyse=seen)
        return paces

    def log(self, participant: str) -> list[str]:
        lines = subject_log_path(self.output, "tiny", participant).read_text().splitlines()
        return [line.partition("Z ")[2] if line[:1] != " " else line for line in lines]


@pytest.fixture
def tiny(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Tiny:
    monkeypatch.setattr(plan, "validate_dataset", lambda _root, **_options: [])
    study = Tiny(tmp_path)
    plan.write_plan(study.config, study.output)
    return study


def test_each_participant_has_a_log_and_the_job_a_pace(tiny: Tiny) -> None:
    logging.getLogger("vp_engine").setLevel(logging.INFO)
    handlers = logging.getLogger().handlers[:]
    paces = tiny.run()
    assert [pace.partition(",")[0] for pace in paces] == [f"{one} of 3 participants" for one in (1, 2, 3)]
    assert paces[-1].endswith("all done")
    lines = tiny.log("03")
    assert lines[0] == "info begun"
    assert "info sub-03: 1 ok, 1 refused (0 kept)" in lines
    assert "info 01/vol ok, 0 s" in lines
    assert [line for line in lines if line.startswith("info 01/liver refused, 0 s: out_of_domain: ")]
    assert not [line for line in lines if "sub-01" in line or "sub-02" in line], "each its own"
    tiny.run()
    assert tiny.log("03")[: len(lines)] == lines, "the earlier attempt is kept"
    assert "info sub-03: 1 ok, 1 refused (2 kept)" in tiny.log("03")[len(lines) :]
    assert logging.getLogger().handlers == handlers


def test_log_says_why_a_participant_was_not_finished(tiny: Tiny) -> None:
    def fails(job: Job) -> str:
        logging.getLogger("vp_engine").warning("one line\n2026-01-01T00:00:00Z info forged")
        if job.participant == "02":
            raise ZeroDivisionError("by nothing")
        return analyse_participant(job, engine=tiny.engine)

    with pytest.raises(ZeroDivisionError):
        tiny.run(fails)
    lines = tiny.log("02")
    assert "info not finished" in lines
    assert "    ZeroDivisionError: by nothing" in lines
    assert "info forged" not in lines, "no text looks like a line of the log"
    assert read_status(tiny.output).unfinished == [("tiny", "02")]


def test_log_that_cannot_be_written_costs_nothing_else(tiny: Tiny, caplog: pytest.LogCaptureFixture) -> None:
    tiny.output.joinpath("logs").write_text("in the way")
    assert len(tiny.run()) == 3
    assert "no log in" in caplog.text


def test_pace_is_told_now_and_then(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    clock = iter([0.0, 30.0, 61.0, 61.0, 70.0, 80.0])
    monkeypatch.setattr(progress, "time", SimpleNamespace(monotonic=lambda: next(clock)))
    ends = iter(range(0, 150, 30))
    pace = Pace(4, clock=lambda: next(ends))
    with progress.showing(4) as show:
        for computing_s in (None, 27.0, 29.0, 30.0):
            pace.add(None if computing_s is None else Computed("01", 30.0, computing_s))
            show(pace)
    assert caplog.messages == [
        "2 of 4 participants, 2 per minute, about 1 minute left, models at work for 90% of the time",
        "4 of 4 participants, 2 per minute, all done, models at work for 96% of the time",
    ]


def test_bar_on_a_terminal_and_log_lines_above_it(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    handler = logging.StreamHandler(terminal)
    monkeypatch.setattr(logging.getLogger(), "handlers", [handler])
    monkeypatch.setattr(progress, "_log", logging.getLogger("vp.test"))
    progress._log.setLevel(logging.INFO)
    ends = iter((0.0, 60.0))
    pace = Pace(2, clock=lambda: next(ends))
    with progress.showing(2) as show:
        pace.add()
        show(pace)
        progress._log.info("a line [bold]of[/bold] the log")
    text = terminal.getvalue()
    assert "0 of 2 participants" in text
    assert "1 of 2 participants, 1 per minute, about 1 minute left" in text
    assert "a line [bold]of[/bold] the log\n" in text
    assert handler.stream is terminal


@pytest.mark.stress
@pytest.mark.timeout(1800)
def test_large_cohort_in_seconds(tmp_path: Path) -> None:
    people, prompts = 10_000, 20
    rows = [
        planned("a", f"{one:05d}", session, f"prompt{prompt}", shard=one // 64)
        for one in range(people)
        for session in ("1", "2")
        for prompt in range(prompts)
    ]
    write_plan(tmp_path, rows)
    entry = {"key": "k" * 64, "status": "ok", "reason": None, "outputs": {"x" * 60: "0" * 64}}
    tasks = {f"{session}/prompt{prompt}": entry for session in ("1", "2") for prompt in range(prompts)}
    tasks["1/prompt0"] = entry | {"status": "refused", "reason": "unknown_structure"}
    document = {"format": records.FORMAT, "tables": {}, "tasks": tasks}
    text = json.dumps(document | {"sha256": records.task_key(**document)})
    for one in range(people):
        folder = tmp_path / "records" / "a" / f"sub-{one:05d}"
        folder.mkdir(parents=True)
        (folder / "done.json").write_text(text)
    program = (
        "import re, sys, time; from pathlib import Path; from vp_engine.cohort.status import read_status\n"
        "start = time.monotonic(); status = read_status(Path(sys.argv[1]))\n"
        "assert status.recorded == status.outcomes['refused'] == 10_000, (status.recorded, status.outcomes)\n"
        "spent = time.monotonic() - start\n"
        "peak = int(re.search(r'VmHWM:\\s+(\\d+)', Path('/proc/self/status').read_text())[1]) / 1024\n"
        "print(f'{status.participants} participants, {status.prompts} prompts: {spent:.1f} s, '\n"
        "      f'{time.process_time():.1f} s of CPU, {peak:.0f} MB')\n"
        "assert peak < 500\n"
    )
    done = subprocess.run([sys.executable, "-c", program, str(tmp_path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    print(done.stdout)  # noqa: T201 - the numbers of `make stress`
