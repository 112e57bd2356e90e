"""Putting files into the output directory so that a reader never sees half of one.

Every file is written under a temporary name in its own directory, flushed to the disk, renamed, and the directory is
flushed too. A process killed at any moment leaves the old file, the new file, or a temporary that the next run sweeps.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from vp_engine.errors import InfrastructureError

TEMPORARY_PREFIX = ".tmp-"


@contextmanager
def publishing(path: Path) -> Iterator[Path]:
    """Give a temporary path beside `path`; what was written there becomes `path` when the block ends well.

    The temporary keeps the ending of the name, as writers choose their format by it.

    Raises
    ------
    InfrastructureError
        When the file system refuses (disk full, quota, I/O error).
    """
    temporary = path.with_name(f"{TEMPORARY_PREFIX}{os.getpid()}-{path.name}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        _flush(temporary)
        temporary.replace(path)
        _flush(path.parent)
    except OSError as error:
        raise InfrastructureError(
            f"Expected to write {path}, but the file system answered: {error.strerror or error}. "
            "Make room or repair it, then run again: finished subjects are kept."
        ) from error
    finally:
        _discard(temporary)


def publish_bytes(path: Path, data: bytes) -> str:
    """Write `data` to `path` in one step and return its sha256 in hexadecimal."""
    with publishing(path) as temporary:
        temporary.write_bytes(data)
    return hashlib.sha256(data).hexdigest()


def publish_json(path: Path, document: Any) -> str:
    """Write a JSON document with sorted keys in one step and return the sha256 of the file."""
    text = json.dumps(document, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False)
    return publish_bytes(path, f"{text}\n".encode())


def is_temporary(path: Path) -> bool:
    """Whether a file is one being written, by this module or by the tables room."""
    return path.name.startswith(TEMPORARY_PREFIX) or (path.name.startswith(".") and path.name.endswith(".tmp"))


def sweep(folder: Path) -> list[Path]:
    """Remove the temporaries that a killed process left below `folder`; only the folder's one writer may call it."""
    stale = sorted(path for path in folder.rglob(".*") if is_temporary(path)) if folder.is_dir() else []
    for path in stale:
        path.unlink(missing_ok=True)
    return stale


def sweep_shared(output: Path) -> list[Path]:
    """Remove what killed processes left in the folders that all participants share; not while others write to them."""
    folders = [output / "tables", output / "figures"]
    stale = {path for folder in folders if folder.is_dir() for path in folder.rglob(".*") if is_temporary(path)}
    for pattern in (".*", "validation/.*", "records/.*", "records/*/.*", "derivatives/*/.*"):
        stale.update(path for path in output.glob(pattern) if is_temporary(path))
    for path in stale:
        path.unlink(missing_ok=True)
    return sorted(stale)


def sha256_of(path: Path) -> str:
    """sha256 of a file in hexadecimal, read in pieces.

    Raises
    ------
    OSError
        If the file cannot be read.
    """
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _discard(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError:
        return  # the next run sweeps it; the error that brought us here is the one to report
