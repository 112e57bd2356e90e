"""Files appear whole or not at all."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from vp_engine.cohort import publish
from vp_engine.errors import InfrastructureError


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
