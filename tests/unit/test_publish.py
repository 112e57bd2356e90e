"""Files appear whole or not at all, and one writer holds a part of the output directory."""

from __future__ import annotations

import errno
import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from vp_engine.cohort import lock, publish
from vp_engine.errors import InfrastructureError, OutputInUse


def test_published_bytes_and_hash(tmp_path: Path) -> None:
    sha = publish.publish_bytes(tmp_path / "a" / "b.txt", b"hello")
    assert (tmp_path / "a" / "b.txt").read_bytes() == b"hello"
    assert sha == publish.sha256_of(tmp_path / "a" / "b.txt")


def test_failed_write_keeps_the_old_file_and_leaves_nothing(tmp_path: Path) -> None:
    target = tmp_path / "b.txt"
    target.write_text("old")

    def write_half() -> None:
        with publish.publishing(target) as temporary:
            temporary.write_text("half")
            raise KeyError

    with pytest.raises(KeyError):
        write_half()
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_temporary_keeps_the_ending_of_the_name(tmp_path: Path) -> None:
    with publish.publishing(tmp_path / "x.nii.gz") as temporary:
        assert temporary.name.endswith("x.nii.gz")
        assert publish.is_temporary(temporary)
        temporary.write_bytes(b"")


def test_full_disk_is_infrastructure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(InfrastructureError, match="No space left"):
        publish.publish_bytes(tmp_path / "b.txt", b"hello")
    assert list(tmp_path.iterdir()) == []


def test_sweep_removes_only_temporaries(tmp_path: Path) -> None:
    kept = tmp_path / "sub" / ".bidsignore"
    kept.parent.mkdir()
    for name in (".bidsignore", ".tmp-1-a.nii.gz", ".runs.parquet.0a.tmp"):
        (kept.parent / name).touch()
    assert len(publish.sweep(tmp_path)) == 2
    assert list(kept.parent.iterdir()) == [kept]
    assert publish.sweep(tmp_path / "absent") == []


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
    path.write_text(json.dumps({"part": "index", "alone": True, "since": "then"} | holder))
    return path


def test_holder_that_died_here_makes_way(tmp_path: Path) -> None:
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    _plant(tmp_path, host=socket.gethostname(), pid=child.pid, born="1")
    with lock.writing(tmp_path, "index", alone=True):
        pass


def test_later_process_with_the_number_of_the_dead_one_is_not_the_holder(tmp_path: Path) -> None:
    _plant(tmp_path, host=socket.gethostname(), pid=os.getpid(), born="another time")
    with lock.writing(tmp_path, "collect", alone=True):
        pass


def test_holder_elsewhere_is_believed_until_its_heart_stops(tmp_path: Path) -> None:
    path = _plant(tmp_path, host="elsewhere", pid=1, born="1")
    for part in ("index", "collect"):
        with pytest.raises(OutputInUse, match="elsewhere"), lock.writing(tmp_path, part, alone=True):
            pass
    assert path.exists()
    old = path.stat().st_mtime - lock.STALE_AFTER_S - 5
    os.utime(path, (old, old))
    with lock.writing(tmp_path, "index", alone=True):
        pass
