"""A process that has everything imported and forks a job for each request: thousands of runs without a start-up each.

Started with the shim preloaded by `started`; reads requests as lines of JSON and answers each with one.
"""

from __future__ import annotations

import gc
import json
import mmap
import os
import shutil
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

ROOT = Path(__file__).resolve().parents[2]
CALLS = ("open", "read", "write", "sync", "rename", "unlink", "mkdir", "truncate")
KINDS = {"KILL": -1, "KILL_PROCESS": -2, "SHORT": -3}
"""Faults that are no error number: SIGKILL to the job and its children, or to the one process; half a write."""

_STATE = struct.Struct(f"=5q{len(CALLS)}q512s")  # as `struct state` of shim.c
_PATIENCE_S = 250.0
_TAKE_OFF_S = 0.2


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a job ended.

    Attributes
    ----------
    code : int
        Exit code, negative for a signal.
    calls : int
        Calls below the output folder.
    by_call : mapping of str to int
    failed : str
        The call that was made to fail; empty when none was.
    said : str
        End of its output.
    seconds : float
        On the clock.
    cpu_s : float
        Of the processor, with the children that it waited for.
    """

    code: int
    calls: int
    by_call: Mapping[str, int]
    failed: str
    said: str
    seconds: float
    cpu_s: float


class Jobs:
    """Requests to the process; see `started`."""

    def __init__(self, process: subprocess.Popen[str], outputs: Path) -> None:
        self._process = process
        self.outputs = outputs
        """Faults are injected below this folder alone."""

    def run(self, config: Path, output: Path, steps: Sequence[str], **options: Any) -> Outcome:
        """One job: `at`, `kind`, `lasting` fail a call, `kill_after` (s) ends it; or another `umask`, `cwd` or `tz`."""
        return self.together(config, output, [{"steps": list(steps)} | options])[0]

    def together(self, config: Path, output: Path, jobs: Sequence[Mapping[str, Any]]) -> list[Outcome]:
        """Jobs at once, each `after` so many seconds; `hold`: a file that is made when the first has ended."""
        request = {"config": str(config), "output": str(output), "jobs": list(jobs)}
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        assert answer, "the process of the jobs has ended"
        return [Outcome(**one) for one in json.loads(answer)]


def compiled(folder: Path) -> Path | None:
    """The shim as a shared library; None where no C compiler is."""
    compiler = next(filter(None, map(shutil.which, ("cc", "gcc", "clang"))), None)
    if compiler is None:
        return None
    library = folder / "shim.so"
    source = Path(__file__).with_name("shim.c")
    subprocess.run([compiler, "-shared", "-fPIC", "-O2", "-o", str(library), str(source), "-ldl"], check=True)
    return library


@contextmanager
def started(folder: Path, shim: Path | None) -> Iterator[Jobs]:
    """The process, with a folder of its own for outputs; without the shim it cannot inject faults."""
    outputs = folder / "outputs"
    outputs.mkdir()
    state = folder / "state"
    state.write_bytes(bytes(_STATE.size))
    environment = os.environ | {
        "PYTHONPATH": str(ROOT),
        "VP_FAULT_ROOT": str(outputs),
        "VP_FAULT_STATE": str(state),
        # a process with threads cannot be forked safely
        "OMP_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
    }
    if shim is not None:
        environment["LD_PRELOAD"] = str(shim)
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.faults.jobs"],
        cwd=ROOT, env=environment, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip
    try:
        yield Jobs(process, outputs)
    finally:
        assert process.stdin is not None
        process.stdin.close()
        process.wait(30)


def serve(requests: IO[str], answers: IO[str]) -> None:
    """Answer requests until there are no more."""
    _import_all()
    with Path(os.environ["VP_FAULT_STATE"]).open("r+b") as file, mmap.mmap(file.fileno(), 0) as state:
        gc.freeze()  # what is never collected is never copied for a child
        for line in requests:
            request = json.loads(line)
            print(json.dumps(_answer(request, state)), file=answers, flush=True)


def _answer(request: dict[str, Any], state: mmap.mmap) -> list[dict[str, Any]]:
    config, output = Path(request["config"]), Path(request["output"])
    jobs = request["jobs"]
    logs = [output.parents[1] / f"{output.name}.{number}.log" for number in range(len(jobs))]
    fault = jobs[0]
    _STATE.pack_into(
        state, 0, 0, fault.get("at", 0), _kind(fault), fault.get("lasting", False), 0, *[0] * len(CALLS), b""
    )
    started = time.monotonic() + (_TAKE_OFF_S if len(jobs) > 1 else 0)
    running = {
        _forked(config, output, job | {"log": logs[number], "at_time": started + job.get("after", 0)}): number
        for number, job in enumerate(jobs)
    }
    endings: dict[int, tuple[int, float, float]] = {}
    while running:
        for pid, number in list(running.items()):
            passed = time.monotonic() - started
            ended, status, used = os.wait4(pid, os.WNOHANG)
            if ended:
                endings[number] = os.waitstatus_to_exitcode(status), passed, used.ru_utime + used.ru_stime
                del running[pid]
                if "hold" in jobs[number]:
                    Path(jobs[number]["hold"]).touch()
            elif passed > jobs[number].get("kill_after", _PATIENCE_S):
                _kill(pid, alone=jobs[number].get("alone", False))
        time.sleep(0.001)
    calls, _, _, _, fired, *by_call, what = _STATE.unpack_from(state, 0)
    failed = what.rstrip(b"\0").decode() if fired else ""
    return [
        {
            "code": endings[number][0],
            "calls": calls,
            "by_call": dict(zip(CALLS, by_call, strict=True)),
            "failed": failed,
            # who is killed at once has said nothing yet
            "said": logs[number].read_text(errors="replace")[-3000:] if logs[number].exists() else "",
            "seconds": endings[number][1],
            "cpu_s": endings[number][2],
        }
        for number in range(len(jobs))
    ]


def _kind(fault: Mapping[str, Any]) -> int:
    kind = fault.get("kind", 0)
    return KINDS[kind] if isinstance(kind, str) else int(kind)


def _kill(pid: int, *, alone: bool) -> None:
    try:
        (os.kill if alone else os.killpg)(pid, signal.SIGKILL)
    except ProcessLookupError:
        return  # not yet a group of its own, or gone


def _forked(config: Path, output: Path, job: Mapping[str, Any]) -> int:
    from tests.faults import study

    pid = os.fork()
    if pid:
        return pid
    code = 99  # what no command of ours ends with
    try:
        os.setsid()
        descriptor = os.open(job["log"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(descriptor, 1)
        os.dup2(descriptor, 2)
        if "hold" in job:
            os.environ[study.HOLD] = job["hold"]
        os.umask(job.get("umask", 0o022))
        os.chdir(job.get("cwd", "."))
        os.environ["TZ"] = job.get("tz", "UTC")
        time.tzset()
        time.sleep(max(0.0, job["at_time"] - time.monotonic()))
        with study.stand_in():
            code = study.run(config, output, job["steps"])
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(code)


def _import_all() -> None:
    """What the commands import when they need it."""
    import torch

    import tests.faults.study
    import vp_engine.cli.reporting
    import vp_engine.cohort.analyse
    import vp_engine.cohort.collect
    import vp_engine.cohort.results
    import vp_engine.cohort.statistics
    import vp_engine.volumes.registration

    del vp_engine, tests
    torch.set_num_threads(1)


if __name__ == "__main__":
    serve(sys.stdin, sys.stdout)
