"""One writer per part of an output directory, also across machines that share it.

A writer puts a file of its own into `<output>/.locks/` and then looks at the files of the others: of two that come at
once both may step back, but never do both go on. No file is ever shared, so that the remains of a dead writer can be
removed without taking a living one's; network file systems keep this, unlike `flock`.
The jobs of one run hold different parts (shards); steps that touch everything hold theirs alone. A second run on the
same directory stops at its first step that would write what another process is writing.
"""

from __future__ import annotations

import json
import os
import secrets
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from vp_engine.cohort.publish import is_temporary, publish_json, sweep_shared
from vp_engine.errors import OutputInUse

LOCK_FOLDER = ".locks"
HEARTBEAT_S = 20.0
STALE_AFTER_S = 180.0  # nine missed heartbeats; only believed for holders on other machines


@contextmanager
def writing(output: Path, part: str, *, alone: bool) -> Iterator[None]:
    """Hold the right to write one part of an output directory.

    Parameters
    ----------
    output : Path
        The output directory.
    part : str
        What is written, as a file name: ``index``, ``collect``, or ``demo.shard-0001``.
    alone : bool
        Whether no other part may be written meanwhile; what killed processes left in shared folders is then removed.

    Raises
    ------
    OutputInUse
        When a living process holds a part that excludes this one; the message names it.
    InfrastructureError
        When the lock cannot be written.
    """
    folder = output / LOCK_FOLDER
    own = folder / f"{part}.{secrets.token_hex(8)}.json"
    holder = {
        "part": part,
        "alone": alone,
        "host": socket.gethostname(),
        "pid": os.getpid(),
        "born": _born(os.getpid()),
    }
    publish_json(own, holder | {"since": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())})
    stop = threading.Event()
    heart = threading.Thread(target=_beat, args=(own, stop), daemon=True)
    try:
        for other in sorted(folder.glob("*.json")):
            # a temporary, which `*` matches too, is of a process that will see ours when it looks
            if other != own and not is_temporary(other):
                _make_way(other, own, part=part, alone=alone)
        heart.start()
        if alone:
            _sweep(folder, now=own.stat().st_mtime)
            sweep_shared(output)
        yield
    finally:
        stop.set()
        own.unlink(missing_ok=True)


def _make_way(other: Path, own: Path, *, part: str, alone: bool) -> None:
    holder = _read(other)
    if holder is None or not (alone or holder["alone"] or holder["part"] == part):
        return
    if _stale(other, holder, now=own.stat().st_mtime):
        other.unlink(missing_ok=True)
        return
    raise OutputInUse(
        f"Expected to be the only writer of {own.parent.parent}, but process {holder['pid']} on {holder['host']} "
        f"holds {holder['part']} since {holder['since']}. Wait for it; if it is surely gone, remove {other}."
    )


def _sweep(folder: Path, *, now: float) -> None:
    """Remove locks that were never finished; a young one may be another process that is just coming."""
    for path in folder.glob(".*"):
        with suppress(FileNotFoundError):
            if is_temporary(path) and now - path.stat().st_mtime > STALE_AFTER_S:
                path.unlink()


def _stale(path: Path, holder: dict[str, Any], *, now: float) -> bool:
    """Whether a holder is dead; `now` is read from the clock that stamps the files, which may not be ours."""
    if holder["host"] == socket.gethostname():
        return bool(_born(holder["pid"]) != holder["born"])
    try:
        return now - path.stat().st_mtime > STALE_AFTER_S
    except FileNotFoundError:
        return True


def _born(pid: int) -> str | None:
    """When a process of this machine started, which tells it from a later one with its number; None if it is gone."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return fields[19]
    except OSError:
        pass  # no /proc on this system, or no such process
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return None
    except PermissionError:
        return "unknown"
    return None if Path("/proc/self/stat").exists() else "unknown"


def _read(path: Path) -> dict[str, Any] | None:
    """Who holds a lock; None when it is gone again."""
    try:
        document: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    return document


def _beat(path: Path, stop: threading.Event) -> None:
    while not stop.wait(HEARTBEAT_S):
        try:
            os.utime(path)
        except OSError:
            return  # removed by hand or the disk is gone; the next write will say so
