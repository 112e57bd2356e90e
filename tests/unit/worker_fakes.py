"""`vp` with a stand-in for the models that misbehaves when told: it hangs or is ended."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vp_engine.cli import app
from vp_engine.cohort import ahead, engine
from vp_engine.cohort.participant import Begun, Finished, Job, Known

if TYPE_CHECKING:
    from vp_engine.cohort.engine import Engine

VOLUMES = "Measure the hippocampi."
PROGRAMS = {VOLUMES: 't1 = scan(current)\nreport(volume(segment(t1, "left_hippocampus")))\n'}
BEHAVIOUR, CALLS = "VP_TEST_BEHAVIOUR", "VP_TEST_CALLS"
"""Environment: ``hang 4`` (at the fourth scan of all) or ``stuck prepare`` (at the third participant, that function of
those that read ahead), and the file that counts the scans over all processes."""
TOLD, GO = "told", "go"
"""Files beside it: which tasks the parent was told to be written, and what ends the behaviour ``wait``."""


def load_stand_in(*_arguments: Any, **_options: Any) -> Engine:
    """An engine that counts the scans, and at one of them does what it was told."""
    from tests.unit.cohort_fakes import FixedPlanner, IntensitySegmenter, fake_engine  # with them comes torch

    class Misbehaving(IntensitySegmenter):
        def regions(self, *arguments: Any, **options: Any) -> Any:
            calls = Path(os.environ[CALLS])
            with calls.open("a") as file:
                file.write(f"{os.getpid()}\n")
            what, at = os.environ.get(BEHAVIOUR, "nothing 0").split()
            if str(len(calls.read_text().splitlines())) == at:
                _misbehave(what, calls.with_name(GO))
            return super().regions(*arguments, **options)

    return fake_engine(FixedPlanner(PROGRAMS), Misbehaving())


def _misbehave(what: str, go: Path) -> None:
    match what:
        case "hang":
            # in a library, with the lock of the interpreter held: no signal handler of Python runs any more
            ctypes.PyDLL(None).sleep(600)
        case "wait":
            while not go.exists():
                time.sleep(0.02)
        case "crash":
            os.kill(os.getpid(), signal.SIGSEGV)
        case "tear":
            Connection._send = _half  # type: ignore[attr-defined]


def _half(connection: Connection, message: bytes) -> None:
    """Send half of a message, then be killed, as by a system that is out of memory."""
    os.write(connection.fileno(), bytes(message)[: len(message) // 2])
    os.kill(os.getpid(), signal.SIGKILL)


def _stuck(name: str) -> None:
    """Have a function of those that read ahead hang at the third participant."""
    usual = getattr(ahead, name)

    def stuck(job: Job | Path, *arguments: Any, **options: Any) -> Any:
        participant = job.participant if isinstance(job, Job) else job.name
        if "03" in participant:
            time.sleep(600)
        return usual(job, *arguments, **options)

    setattr(ahead, name, stuck)


if (behaviour := os.environ.get(BEHAVIOUR, "")).startswith("stuck "):  # before the processes that read are forked
    _stuck(behaviour.split()[1])


def _noting(add: Callable[[Known, Begun | Finished], None]) -> Callable[[Known, Begun | Finished], None]:
    def noted(self: Known, message: Begun | Finished) -> None:
        add(self, message)
        if isinstance(message, Finished):
            with Path(os.environ[CALLS]).with_name(TOLD).open("a") as file:
                file.write(f"sub-{message.participant}/{message.task}\n")

    return noted


def main() -> None:
    """Run `vp`, then say whether this process has loaded torch."""
    engine.load_engine = load_stand_in
    Known.add = _noting(Known.add)  # type: ignore[method-assign]
    try:
        app.main()
    finally:
        sys.stdout.write(f"{'torch' in sys.modules}\n")
