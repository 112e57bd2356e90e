"""One writer per part of an output directory, also across machines that share it.

A writer puts a file of its own into `<output>/.locks/`, which asks, and then looks at the files of the others. If none
of them is in its way, it says in its file that it holds; if one of them holds, it gives up; if one only asks, both step
back and ask again after a time drawn by lot. Of two that ask at once at least one sees the other, so that never both go
on. No file is ever shared, so that the remains of a dead writer can be removed without taking a living one's; network
file systems keep this, unlike `flock`.
The jobs of one run hold different parts (shards); steps that touch everything hold theirs alone. A second run on the
same directory stops at its first step that would write what another process is writing.
"""

from __future__ import annotations

import json
import logging
import os
import random
import secrets
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vp_engine.cohort.publish import is_temporary, publish_json, sweep_shared
from vp_engine.errors import OutputInUse

LOCK_FOLDER = ".locks"
HEARTBEAT_S = 20.0
STALE_AFTER_S = 180.0  # nine missed heartbeats; only believed for holders in other places

_PATIENCE_S = 10.0
_STEP_BACK_S = 0.5

_log = logging.getLogger(__name__)


@contextmanager
def writing(output: Path, part: str, *, alone: bool) -> Iterator[None]:
    """Hold the right to write one part of an output directory.

    If the right is lost on the way, because others believe this process to be dead (it was suspended for minutes),
    it ends at once, and with it the processes that end with their parent: not a byte more is written.

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
        "place": _place(),
        "pid": os.getpid(),
        "born": _born(os.getpid()),
        "since": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }
    stop = threading.Event()
    heart = threading.Thread(target=_beat, args=(own, stop), daemon=True)
    try:
        _acquire(own, holder)
        heart.start()
        if alone:
            sweep_shared(output)
        yield
    finally:
        stop.set()
        own.unlink(missing_ok=True)


@dataclass(frozen=True, slots=True)
class Holder:
    """Who writes a part of an output directory.

    Attributes
    ----------
    part, host, since : str
    pid : int
    alive : bool
        Whether it still shows that it lives.
    """

    part: str
    host: str
    pid: int
    since: str
    alive: bool


def holders(output: Path) -> list[Holder]:
    """Who writes to an output directory just now, by part; nothing is changed there."""
    found = []
    for path in sorted((output / LOCK_FOLDER).glob("*.json")):
        try:
            holder = _read(path)
            alive = not _stale(path, holder, now=time.time())
        except (OSError, ValueError):
            continue  # gone again, or for its next writer to complain about
        if holder.get("holds", True) and not is_temporary(path):
            told = {name: holder[name] for name in ("part", "host", "pid", "since")}
            found.append(Holder(**told, alive=alive))
    return found


def _acquire(own: Path, holder: Mapping[str, Any]) -> None:
    """Ask until nobody else does."""
    lots = random.Random()  # noqa: S311 - two processes must draw different times, that is all
    until = time.monotonic() + _PATIENCE_S
    while True:
        publish_json(own, {**holder, "holds": False})
        rival = _rival(own, holder)
        if rival is None:
            publish_json(own, {**holder, "holds": True})
            return
        own.unlink(missing_ok=True)
        path, other = rival
        if other.get("holds", True) or time.monotonic() > until:
            raise OutputInUse(
                f"Expected to be the only writer of {own.parent.parent}, but process {other['pid']} on "
                f"{other['host']} holds {other['part']} since {other['since']}. Wait for it; if it is surely gone, "
                f"remove {path}."
            )
        time.sleep(lots.uniform(0.1, 1.0) * _STEP_BACK_S)


def _rival(own: Path, holder: Mapping[str, Any]) -> tuple[Path, dict[str, Any]] | None:
    """Who is in the way, one that holds before one that asks; files of the dead are removed."""
    now = own.stat().st_mtime
    rivals = []
    for path in sorted(own.parent.iterdir()):
        if path == own:
            continue
        try:
            other = None if is_temporary(path) else _read(path)
            if _stale(path, other, now=now):
                path.unlink(missing_ok=True)
            elif other is not None and _excludes(other, holder):
                rivals.append((path, other))
        except FileNotFoundError:
            continue  # gone again
        except ValueError as error:
            raise OutputInUse(
                f"Expected {path} to say who writes to {own.parent.parent}, but it is damaged. If nobody does, "
                "remove it and run again."
            ) from error
    return min(rivals, key=lambda rival: not rival[1].get("holds", True), default=None)


def _read(path: Path) -> dict[str, Any]:
    holder = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(holder, dict) or not {"part", "alone", "host", "pid", "born", "since"} <= holder.keys():
        raise ValueError("not a holder")
    return holder


def _excludes(other: Mapping[str, Any], holder: Mapping[str, Any]) -> bool:
    return bool(holder["alone"] or other["alone"] or other["part"] == holder["part"])


def _stale(path: Path, holder: Mapping[str, Any] | None, *, now: float) -> bool:
    """Whether a holder is dead; `now` is read from the clock that stamps the files, which may not be ours.

    None stands for the holder of a file that is still being written.
    """
    if holder is not None and holder.get("place") == _place():
        return bool(_born(holder["pid"]) != holder["born"])
    return now - path.stat().st_mtime > STALE_AFTER_S


def _place() -> str:
    """Where process numbers mean the same: a machine since it was started, and a container on it.

    Names of machines do not tell: many are called ``localhost``, and containers share the name of their host.
    """
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return socket.gethostname()  # no /proc on this system


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


def _beat(path: Path, stop: threading.Event) -> None:
    while not stop.wait(HEARTBEAT_S):
        try:
            os.utime(path)
        except FileNotFoundError:
            if not stop.is_set():
                _log.error("%s is gone: somebody else may write there now, so this process ends", path)
                os._exit(os.EX_TEMPFAIL)
            return
        except OSError as error:
            _log.warning("%s: %s; others may soon believe this process to be dead", path, error)
