"""One writer per part of an output directory, also across machines that share it.

A writer holds a file in `<output>/.locks/`, made with `O_EXCL` (which network file systems honour, unlike `flock`).
The jobs of one run work on different shards and hold different files; steps that touch everything hold theirs alone.
So a second run on the same directory stops at its first step that would write what another process is writing.
"""

from __future__ import annotations

import json
import os
import socket
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from vp_engine.errors import InfrastructureError, OutputInUse

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
        Whether no other part may be written meanwhile.

    Raises
    ------
    OutputInUse
        When a living process holds a part that excludes this one; the message names it.
    InfrastructureError
        When the lock cannot be written.
    """
    folder = output / LOCK_FOLDER
    own = folder / f"{part}.json"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _create(own, alone=alone)
    except OSError as error:
        raise InfrastructureError(f"Expected to create {own}, got: {error}. Check the disk and its rights.") from error
    stop = threading.Event()
    heart = threading.Thread(target=_beat, args=(own, stop), daemon=True)
    try:
        # Create first, look afterwards: of two that come at once both may step back, but never do both go on.
        for other in sorted(folder.glob("*.json")):
            if other != own:
                _make_way(other, own, alone=alone)
        heart.start()
        yield
    finally:
        stop.set()
        own.unlink(missing_ok=True)


def _create(own: Path, *, alone: bool) -> None:
    document = {"host": socket.gethostname(), "pid": os.getpid(), "born": _born(os.getpid()), "alone": alone}
    text = json.dumps(document | {"since": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())})
    for _ in range(2):
        try:
            descriptor = os.open(own, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
        except FileExistsError:
            holder = _read(own)
            if not _stale(own, holder, now=_clock_of(own.parent)):
                raise _in_use(own, holder) from None
            own.unlink(missing_ok=True)
            continue
        with os.fdopen(descriptor, "w") as stream:
            stream.write(text)
        return
    raise _in_use(own, _read(own))


def _make_way(other: Path, own: Path, *, alone: bool) -> None:
    holder = _read(other)
    if not alone and not holder.get("alone", True):
        return
    if not _stale(other, holder, now=own.stat().st_mtime):
        raise _in_use(other, holder)
    other.unlink(missing_ok=True)


def _clock_of(folder: Path) -> float:
    """The time by the clock that stamps the files of a folder, which on a network disk is not ours."""
    with tempfile.NamedTemporaryFile(dir=folder, prefix=".clock-") as probe:
        return Path(probe.name).stat().st_mtime


def _stale(path: Path, holder: dict[str, Any], *, now: float) -> bool:
    if holder.get("host") == socket.gethostname():
        born = _born(int(holder.get("pid", -1)))
        return born is None or born != holder.get("born")
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


def _read(path: Path) -> dict[str, Any]:
    try:
        document = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}  # just being written, or gone: treated as held by an unknown holder until its age says otherwise
    return document if isinstance(document, dict) else {}


def _in_use(path: Path, holder: dict[str, Any]) -> OutputInUse:
    who = f"process {holder.get('pid', '?')} on {holder.get('host', 'an unknown machine')}"
    since = holder.get("since", "an unknown time")
    return OutputInUse(
        f"Expected to be the only writer of {path.parent.parent}, but {who} holds {path.stem} since {since}. "
        f"Wait for it; if it is surely gone, remove {path}."
    )


def _beat(path: Path, stop: threading.Event) -> None:
    while not stop.wait(HEARTBEAT_S):
        try:
            os.utime(path)
        except OSError:
            return  # removed by hand or the disk is gone; the next write will say so
