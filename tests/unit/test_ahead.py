"""Reading ahead changes nothing but time: the same images, refusals included, and a way on when it breaks."""

from __future__ import annotations

import errno
import multiprocessing
import os
import struct
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest

from tests.unit.cohort_fakes import FixedPlanner, IntensitySegmenter, fake_engine, wait_for, write_dataset
from vp_engine.cohort import ahead, plan, scans
from vp_engine.cohort.ahead import Images, ReadAhead, read_ahead, reader_count
from vp_engine.cohort.config import Config, DatasetConfig, PromptConfig
from vp_engine.cohort.participant import Job, Prepared, compute, prepare
from vp_engine.cohort.plan import write_plan
from vp_engine.cohort.tasks import read_tasks
from vp_engine.errors import InputRefused
from vp_engine.volumes.nifti import read_image

VOLUMES = "Measure the hippocampi."
PROGRAMS = {VOLUMES: 't1 = scan(current)\nreport(volume(segment(t1, "left_hippocampus")))\n'}
PROMPTS = (PromptConfig("vol", VOLUMES, images=("T1w",)), PromptConfig("liver", "Segment the liver."))
T1W = "sub-01/ses-{}/anat/sub-01_ses-{}_T1w.nii.gz"


def dies(_job: Job, _model_id: str) -> Iterator[Prepared | Images]:
    os._exit(1)
    yield {}


def fails(job: Job, model_id: str) -> Iterator[Prepared | Images]:
    yield prepare(job, model_id)
    raise MemoryError


def dies_in_the_middle(connection: Connection, job: Job, model_id: str) -> None:
    connection.send(prepare(job, model_id))
    os.write(connection.fileno(), struct.pack("!i", 1000) + b"the first bytes of a thousand")
    os._exit(1)


def hangs_at_images(job: Job, model_id: str) -> Iterator[Prepared | Images]:
    yield prepare(job, model_id)
    time.sleep(600)


@pytest.fixture
def job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Job:
    """Two sessions, with T1w and FLAIR, of which the T1w of the second is cut off."""
    monkeypatch.setattr(plan, "validate_dataset", lambda _root, **_options: [])
    root = write_dataset(tmp_path / "tiny")
    cut = root / T1W.format("02", "02")
    cut.write_bytes(cut.read_bytes()[:200])
    config = Config(tmp_path / "config.yaml", (DatasetConfig("tiny", root),), tmp_path / "results", PROMPTS)
    write_plan(config, config.output)
    return Job(tuple(read_tasks(config.output, "tiny")["01"]), root, config.output)


def asked_prepared(reading: ReadAhead, job: Job) -> Prepared:
    """What another process finds out about a participant."""
    reading.ask(job, "fake-1")
    begun = reading._asked[job.participant].prepared
    while multiprocessing.active_children() and not (begun.running() or begun.done()):
        time.sleep(0.01)
    return reading.prepared(job, "fake-1")


def asked(reading: ReadAhead, job: Job) -> tuple[Prepared, Images]:
    """The same, and the images it reads."""
    return asked_prepared(reading, job), reading.images(job)


def test_scans_that_open_tasks_start_with_are_read_through_the_gate(job: Job) -> None:
    with ReadAhead(1) as reading:
        prepared, images = asked(reading, job)
    there, cut = (T1W.format(session, session) for session in ("01", "02"))
    assert set(images) == {there, cut}
    image, refused = images[there], images[cut]
    expected = read_image(job.root / there, root=job.root)
    assert np.array_equal(image.data, expected.data)
    assert (image.flags, image.forms) == (expected.flags, expected.forms)
    assert isinstance(refused, InputRefused)
    with pytest.raises(InputRefused) as again:
        read_image(job.root / cut, root=job.root)
    assert (refused.code, refused.message) == (again.value.code, again.value.message)
    assert prepared.begun == prepare(job, "fake-1").begun


def test_what_was_read_ahead_is_not_read_again(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = fake_engine(FixedPlanner(PROGRAMS), IntensitySegmenter())
    prepared, images = map(cast, (Prepared, dict), read_ahead(job, engine.model_id))

    def read_again(path: Path, **_options: object) -> None:
        raise AssertionError(f"{path} is read again")

    monkeypatch.setattr(scans, "read_image", read_again)
    ran = compute(job, prepared, engine, images=lambda: images)
    statuses = {outcome.task.id: outcome.row["status"] for outcome in ran}
    assert statuses == {"01/vol": "ok", "02/vol": "refused_input", "01/liver": "refused", "02/liver": "refused"}


def test_no_more_is_read_than_is_kept(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ahead, "KEPT_BYTES", 1)
    _, images = read_ahead(job, "fake-1")
    assert set(cast("Images", images)) == {T1W.format("01", "01")}


@pytest.mark.parametrize(
    ("name", "instead", "warnings"),
    [("read_ahead", dies, 1), ("_answer", dies_in_the_middle, 1), ("read_ahead", fails, 0)],
)
def test_process_that_fails_costs_the_reading_ahead_alone(
    name: str,
    instead: Callable[..., Any],
    warnings: int,
    job: Job,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(ahead, name, instead)
    with ReadAhead(1) as reading:
        for _ in range(2):
            prepared, images = asked(reading, job)
            assert prepared.begun == prepare(job, "fake-1").begun
            assert images == {}
    assert len(caplog.records) == warnings, "told once"


def test_what_no_process_has_begun_is_not_waited_for(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ahead, "read_ahead", hangs_at_images)
    other = replace(job, tasks=tuple(replace(task, participant="02") for task in job.tasks))
    with ReadAhead(1) as reading:
        assert asked_prepared(reading, job).begun == prepare(job, "fake-1").begun, "known before images are read"
        reading.ask(other, "fake-1")
        assert reading.prepared(other, "fake-1").begun.participant == "02"
        assert reading.images(other) == {}


def test_goes_on_with_the_processes_there_are(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_process: object) -> None:
        raise BlockingIOError(errno.EAGAIN, "no more processes")

    monkeypatch.setattr(multiprocessing.context.ForkProcess, "start", full)
    with ReadAhead(2) as reading:
        prepared, images = asked(reading, job)
    assert (prepared.begun, images) == (prepare(job, "fake-1").begun, {})


def test_no_process_is_left(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ahead, "read_ahead", hangs_at_images)
    with ReadAhead(2) as reading:
        asked_prepared(reading, job)
        started = multiprocessing.active_children()
        assert len(started) == 2
        for process in started:  # the first to go where memory runs out
            wait_for(lambda pid=process.pid: Path(f"/proc/{pid}/oom_score_adj").read_text() == "1000\n")
    assert multiprocessing.active_children() == []


def test_reader_that_is_stuck_does_not_keep_a_connection_open() -> None:
    ours, theirs = Pipe()
    with ours, ReadAhead(1, foreign=(theirs,)):
        theirs.close()  # as the end of the process does, while the reader goes on
        assert ours.poll(10)
        with pytest.raises(EOFError):
            ours.recv()


@pytest.mark.parametrize(("processors", "expected"), [(1, 1), (2, 1), (4, 3), (64, 4)])
def test_number_of_processes_leaves_one_processor(
    processors: int, expected: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: set(range(processors)))
    assert reader_count() == expected
