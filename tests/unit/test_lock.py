"""One writer holds a part of the output directory, whoever else comes at the same moment."""

from __future__ import annotations

import errno
import json
import os
import socket
import subprocess
import sys
import threading
from collections import Counter
from pathlib import Path

import pytest

from vp_engine.cohort import lock
from vp_engine.errors import InfrastructureError, OutputInUse


def test_jobs_of_one_run_share_and_steps_exclude(tmp_path: Path) -> None:
    with (
        lock.writing(tmp_path, "demo.shard-00000", alone=False),
        lock.writing(tmp_path, "demo.shard-00001", alone=False),
    ):
        with pytest.raises(OutputInUse, match=rf"process {os.getpid()} on {socket.gethostname()}"):
            lock.writing(tmp_path, "demo.shard-00000", alone=False).__enter__()
        with pytest.raises(OutputInUse), lock.writing(tmp_path, "collect", alone=True):
            pass
    with lock.writing(tmp_path, "collect", alone=True), pytest.raises(OutputInUse):
        lock.writing(tmp_path, "demo.shard-00000", alone=False).__enter__()
    assert list((tmp_path / lock.LOCK_FOLDER).iterdir()) == []


def test_lock_on_a_full_disk_is_infrastructure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(InfrastructureError):
        lock.writing(tmp_path, "index", alone=True).__enter__()


def _plant(output: Path, **holder: object) -> Path:
    path = output / lock.LOCK_FOLDER / "index.0.json"
    path.parent.mkdir()
    path.write_text(json.dumps({"part": "index", "alone": True, "since": "then", "host": "elsewhere"} | holder))
    return path


def test_holder_that_died_here_makes_way(tmp_path: Path) -> None:
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    _plant(tmp_path, place=lock._place(), pid=child.pid, born="1")
    with lock.writing(tmp_path, "index", alone=True):
        pass


def test_later_process_with_the_number_of_the_dead_one_is_not_the_holder(tmp_path: Path) -> None:
    _plant(tmp_path, place=lock._place(), pid=os.getpid(), born="another time")
    with lock.writing(tmp_path, "collect", alone=True):
        pass


@pytest.mark.parametrize("place", [{"place": "elsewhere"}, {"host": socket.gethostname(), "place": "container"}, {}])
def test_holder_elsewhere_is_believed_until_its_heart_stops(tmp_path: Path, place: dict[str, str]) -> None:
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    path = _plant(tmp_path, pid=child.pid, born="1", **place)
    for part in ("index", "collect"):
        with pytest.raises(OutputInUse, match=f"process {child.pid} on"), lock.writing(tmp_path, part, alone=True):
            pass
    assert path.exists()
    old = path.stat().st_mtime - lock.STALE_AFTER_S - 5
    os.utime(path, (old, old))
    with lock.writing(tmp_path, "index", alone=True):
        pass


@pytest.mark.parametrize("alone", [True, False])
def test_of_many_that_come_at_once_exactly_one_works(tmp_path: Path, alone: bool) -> None:
    many, rounds = 4, 5
    start, end = threading.Barrier(many), threading.Barrier(many)
    outcomes: list[str] = []

    def come() -> None:
        for _ in range(rounds):
            start.wait(60)
            try:
                with lock.writing(tmp_path, "index", alone=alone):
                    outcomes.append("works")
                    end.wait(60)
            except OutputInUse:
                outcomes.append("told")
                end.wait(60)

    threads = [threading.Thread(target=come) for _ in range(many)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert Counter(outcomes) == {"works": rounds, "told": rounds * (many - 1)}
    assert list((tmp_path / lock.LOCK_FOLDER).iterdir()) == []


def test_both_step_back_when_both_ask(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = _plant(tmp_path, place=lock._place(), pid=os.getpid(), born=lock._born(os.getpid()), holds=False)
    seen: list[list[str]] = []

    def waited(_seconds: float) -> None:
        seen.append([other.name for other in path.parent.iterdir()])
        path.unlink()  # the other one has stepped back, too

    monkeypatch.setattr(lock.time, "sleep", waited)
    with lock.writing(tmp_path, "collect", alone=True):
        pass
    assert seen == [[path.name]], "nothing of ours was there while we waited"


def test_file_being_written_is_no_holder_and_goes_when_old(tmp_path: Path) -> None:
    path = tmp_path / lock.LOCK_FOLDER / ".tmp-1-index.0.json"
    path.parent.mkdir()
    path.touch()
    with lock.writing(tmp_path, "index", alone=True):
        assert path.exists()
    os.utime(path, (1, 1))
    with lock.writing(tmp_path, "index", alone=True):
        assert not path.exists()


@pytest.mark.parametrize("content", ["", "[]", "{}"])
def test_damaged_lock_is_named(tmp_path: Path, content: str) -> None:
    path = _plant(tmp_path)
    path.write_text(content)
    with pytest.raises(OutputInUse, match=r"index\.0\.json"), lock.writing(tmp_path, "index", alone=True):
        pass
    assert list(path.parent.iterdir()) == [path]


LOSER = """
import sys, time
from pathlib import Path
from vp_engine.cohort import lock

lock.HEARTBEAT_S = 0.01
with lock.writing(Path(sys.argv[1]), "index", alone=True):
    print("holds", flush=True)
    time.sleep(60)
"""


def test_who_loses_the_lock_ends_at_once(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", LOSER, str(tmp_path)], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"holds\n"
        (own,) = (tmp_path / lock.LOCK_FOLDER).iterdir()
        own.unlink()
        assert process.wait(30) == 75


def test_who_is_alone_sweeps_what_all_share(tmp_path: Path) -> None:
    shared = (".plan.parquet.0a.tmp", "records/.tmp-1-shards.json", "records/demo/.tmp-1-shard-00000.json")
    shared += ("tables/runs/dataset=demo/.part-0.parquet.0a.tmp", "derivatives/demo/.descriptions.tsv.0a.tmp")
    others = ("derivatives/demo/sub-01/ses-01/.tmp-1-sub-01_T1w.nii.gz", "records/demo/sub-01/.runs.parquet.0a.tmp")
    kept = ("derivatives/demo/.bidsignore", f"{lock.LOCK_FOLDER}/.tmp-1-index.0a.json", *others)
    for name in (*shared, *kept, f"{lock.LOCK_FOLDER}/.tmp-2-index.0b.json"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    os.utime(tmp_path / lock.LOCK_FOLDER / ".tmp-2-index.0b.json", (0, 0))
    with lock.writing(tmp_path, "demo.shard-00000", alone=False):
        assert all((tmp_path / name).exists() for name in (*shared, *kept))
    with lock.writing(tmp_path, "collect", alone=True):
        pass
    assert {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file()} == set(kept)
