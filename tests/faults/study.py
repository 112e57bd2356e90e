"""A small study and a stand-in for the models: everything else that runs in these tests is the product.

The stand-in writes a fixed program for each prompt and delineates from voxel values; its clock stands still, so that
the column `seconds` is the same in every run and whole output trees can be compared byte for byte.
"""

from __future__ import annotations

import json
import math
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.unit.cohort_fakes import FixedPlanner, IntensitySegmenter, fake_engine, write_scan
from vp_engine.agent.planner import Context, History
from vp_engine.cli import app
from vp_engine.cohort import crew, engine, plan, worker, writer
from vp_engine.cohort.engine import Engine
from vp_engine.cohort.publish import is_temporary, sha256_of
from vp_engine.environment.instruction import Instruction

VOLUMES = "Measure the hippocampi."
SAVED = "The head on its own, and the thalami."
GROWTH = "How much did the hippocampus grow?"
EDITED = "Measure the thalami."
"""The text of the prompt `vol` in the second configuration."""
PROGRAMS = {
    VOLUMES: 't1 = scan(current)\nfor m in [segment(t1, "left_hippocampus"), segment(t1, "right_hippocampus")]:\n'
    "    report(volume(m))\n",
    SAVED: 't1 = scan(current)\nhead = segment(t1, "intracranial_volume")\nsave(isolate(t1, head))\nsave(head)\n'
    'save(segment(t1, "thalamus"))\n',
    GROWTH: 'report(change(volume(segment(scan(first), "left_hippocampus")), '
    'volume(segment(scan(last), "left_hippocampus"))))\n',
    EDITED: 't1 = scan(current)\nreport(volume(segment(t1, "thalamus")))\n',
}
PROMPTS = (
    {"id": "vol", "text": VOLUMES, "images": ["T1w"]},
    {"id": "saved", "text": SAVED},
    {"id": "growth", "text": GROWTH, "scope": "participant"},
)
SHARDS = ("shard-00000", "shard-00001")
STEPS = ("index", *(f"analyse {shard}" for shard in SHARDS), "collect", "stats", "report")
HOLD = "VP_TEST_HOLD"
"""Names a file that the stand-in waits for before its first answer: a job that takes as long as a test wants."""


_load_engine = engine.load_engine  # before anything is replaced


class Planner(FixedPlanner):
    """Fixed programs, given when the file named by `HOLD` is there."""

    def next_instruction(self, context: Context, history: History) -> Instruction:
        hold = os.environ.get(HOLD)
        while hold and not Path(hold).exists():
            time.sleep(0.005)
        return super().next_instruction(context, history)


def write_edited(config: Path) -> Path:
    """The configuration after an edit: one prompt asks something else, one is gone."""
    prompts = ({"id": "vol", "text": EDITED, "images": ["T1w"]}, PROMPTS[1])
    return write_config(config.with_name("edited.yaml"), prompts)


def write_study(folder: Path) -> Path:
    """Three participants, four scans, one of them cut off; return the configuration."""
    root = folder / "tiny"
    for participant, session, grown in (("01", "01", 0), ("01", "02", 1), ("02", "01", 1), ("03", "01", 0)):
        name = f"sub-{participant}/ses-{session}/anat/sub-{participant}_ses-{session}_T1w.nii.gz"
        scan = write_scan(root / name, 10 * int(participant) + int(session), grown=grown)
    scan.write_bytes(scan.read_bytes()[:-500])
    describe(root, [f"sub-0{number}\t{60 + number}" for number in (1, 2, 3)])
    return write_config(folder / "config.yaml", PROMPTS)


def describe(root: Path, participants: Sequence[str]) -> None:
    """The files of a BIDS dataset beside its scans; of each participant a line with its age."""
    about = {"Name": "tiny", "BIDSVersion": "1.10.0", "DatasetType": "raw", "License": "CC0"}
    (root / "dataset_description.json").write_text(json.dumps(about))
    (root / "README").write_text("A dataset made by a test, with nobody behind it.\n")
    (root / "participants.tsv").write_text("".join(f"{line}\n" for line in ("participant_id\tage", *participants)))


def write_config(path: Path, prompts: Sequence[Mapping[str, Any]], **more: Any) -> Path:
    """A configuration about the dataset ``tiny`` beside it, with two participants to a job."""
    statistic = {"id": "byage", "rows": {"prompt": "vol", "measure": "volume"}, "model": "value ~ age"}
    content = {"datasets": {"tiny": {"path": "tiny"}}, "output": "results", "prompts": list(prompts)}
    path.write_text(yaml.safe_dump(content | {"subjects_per_job": 2, "statistics": [statistic]} | more))
    return path


def load_still(model: str, planner: str, *, device: str) -> Engine:
    """The released models with a clock that stands still."""
    return replace(_load_engine(model, planner, device=device), clock=lambda: 0.0)


def load_stand_in(*_args: str, **_options: str) -> Engine:
    """In place of `load_engine`."""
    return fake_engine(Planner(PROGRAMS), IntensitySegmenter())


class Forked:
    """A child process with what a supervisor needs of `Popen`."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self._code: int | None = None

    def poll(self) -> int | None:
        if self._code is None:
            ended, status = os.waitpid(self.pid, os.WNOHANG)
            self._code = os.waitstatus_to_exitcode(status) if ended else None
        return self._code

    def wait(self, timeout: float | None = None) -> int:
        until = time.monotonic() + (math.inf if timeout is None else timeout)
        while (code := self.poll()) is None:
            if time.monotonic() > until:
                raise subprocess.TimeoutExpired("forked", timeout or 0)
            time.sleep(0.001)
        return code

    def kill(self) -> None:
        os.kill(self.pid, signal.SIGKILL)


def fork_process(role: str, channel: socket.socket) -> tuple[Forked, Connection]:
    """In place of `start_process`: the same process without starting Python and importing everything again."""
    ours, theirs = socket.socketpair()
    parent = os.getpid()
    pid = os.fork()
    if pid:
        theirs.close()
        return Forked(pid), Connection(ours.detach())
    try:
        descriptors = theirs.detach(), channel.detach()
        inherited = sorted({int(path.name) for path in Path("/proc/self/fd").iterdir()} - {0, 1, 2, *descriptors})
        for descriptor in inherited:
            with suppress(OSError):
                os.close(descriptor)
        {"worker": worker, "writer": writer}[role].main(*descriptors, parent)
    finally:
        os._exit(0)


@contextmanager
def stand_in(load: Callable[..., Engine] = load_stand_in) -> Iterator[None]:
    """The product with the models replaced, and without the official BIDS validator, which has its own tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(engine, "load_engine", load)
        patch.setattr(crew, "start_process", fork_process)
        patch.setattr(plan, "validate_dataset", lambda _root, **_options: [])
        yield


def run(config: Path, output: Path, steps: Sequence[str] = STEPS) -> int:
    """Run commands of `vp` one after another, as the rules of the workflow do, until one fails; its exit code."""
    for step in steps:
        command, *shard = step.split()
        options = ["--dataset", "tiny", "--shard", *shard] if shard else []
        sys.argv = ["vp", "--quiet", command, "--config", str(config), "--output", str(output), *options]
        try:
            app.main()
        except SystemExit as end:
            if end.code:
                return int(end.code)
    return 0


def contents(output: Path) -> dict[str, str]:
    """Name and sha256 of every file of an output directory that is a result: no temporary, lock or log of a run."""
    files = (path for path in sorted(output.rglob("*")) if path.is_file() and not is_temporary(path))
    shown = ((path.relative_to(output).as_posix(), path) for path in files)
    return {name: sha256_of(path) for name, path in shown if not name.startswith((".locks/", "logs/"))}


def leftovers(output: Path) -> list[str]:
    """Temporaries and locks in an output directory.

    A lock that was being written when its process was killed does not count: who wrote it is not known, so the next
    writers leave it alone until it is stale.
    """
    found = (path for path in output.rglob("*") if path.is_file())
    return sorted(p.relative_to(output).as_posix() for p in found if is_temporary(p) != (p.parent.name == ".locks"))


def broken_records(output: Path) -> list[str]:
    """Files that differ from the hash in the `done.json` of their participant."""
    broken = []
    for path in sorted(output.glob("records/*/*/done.json")):
        done = json.loads(path.read_text(encoding="utf-8"))
        derivatives = output / "derivatives" / path.parent.parent.name
        expected = {path.parent / name: sha for name, sha in done["tables"].items()}
        expected |= {
            derivatives / name: sha for task in done["tasks"].values() for name, sha in task["outputs"].items()
        }
        broken += [str(file) for file, sha in expected.items() if not file.is_file() or sha256_of(file) != sha]
    return broken


if __name__ == "__main__":
    # functions by the name under which a worker finds them, too
    from tests.faults import study

    loads = {"stand-in": study.load_stand_in, "released": study.load_still}
    with stand_in(loads[sys.argv[1]]):
        sys.exit(run(Path(sys.argv[2]), Path(sys.argv[3])))
