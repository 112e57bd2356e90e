"""The command `vp` with a stand-in for the models, and with fates for jobs; everything else is the product.

`installed` makes an environment of Python in which `vp` is this; `shell.prefix` of the Snakefile finds it there. The
file that `VP_TEST_FATES` names says what becomes of whom: ``{"shard-00001": "memory"}``. A fate falls at the fifth
question of a job, when its first participant is finished: `bug`, `memory`, `waits` (for whoever ends the first
attempt), `minute` (at each attempt), or a path that is waited for.
"""

from __future__ import annotations

import json
import os
import site
import sys
import time
import venv
from dataclasses import dataclass
from pathlib import Path

from tests.faults.study import PROGRAMS
from tests.unit.cohort_fakes import FixedPlanner, IntensitySegmenter, fake_engine
from vp_engine.agent.planner import Context, History
from vp_engine.cli import app
from vp_engine.cohort import engine, plan
from vp_engine.cohort.engine import Engine
from vp_engine.environment.instruction import Instruction

ROOT = Path(__file__).resolve().parents[2]
FATES = "VP_TEST_FATES"
NEEDS_MB = 1600
"""What a job with the fate `memory` uses, at each attempt, beside some hundred for the program."""

_JOB = "VP_TEST_JOB"
_FALLS_AT = 5


def installed(folder: Path) -> Path:
    """Make the environment of Python; its folder of commands."""
    venv.create(folder, with_pip=False)
    (packages,) = folder.glob("lib/python3*/site-packages")
    real = (path for path in site.getsitepackages() if Path(path).is_dir())
    (packages / "real.pth").write_text("".join(f"import site; site.addsitedir({path!r})\n" for path in real))
    (packages / "tests.pth").write_text(f"{ROOT}\n")
    command = folder / "bin" / "vp"
    command.write_text(f"#!{folder}/bin/python\nfrom tests.slurm import stand_in\n\nstand_in.main()\n")
    command.chmod(0o755)
    return folder / "bin"


def main() -> None:
    """Entry of the command."""
    told = dict(zip(sys.argv, sys.argv[1:], strict=False))
    shard, attempt = told.get("--shard", ""), int(told.get("--attempt", "1"))
    fate = json.loads(Path(os.environ[FATES]).read_text()).get(shard, "")
    os.environ[_JOB] = json.dumps({"shard": shard, "attempt": attempt, "fate": fate})
    _note("began", os.environ["SLURM_JOB_ID"])
    engine.load_engine = load
    plan.validate_dataset = lambda _root, **_options: []  # it has its own tests
    app.main()


def load(*_args: str, **_options: str) -> Engine:
    """In place of `load_engine`, in the process that analyses participants."""
    return fake_engine(Planner(PROGRAMS), IntensitySegmenter())


class Planner(FixedPlanner):
    """Fixed programs; the fifth time that it is asked its job meets its fate."""

    def next_instruction(self, context: Context, history: History) -> Instruction:
        instruction = super().next_instruction(context, history)
        _note("asked", context.prompt)
        if len(self.asked) == _FALLS_AT:
            job = json.loads(os.environ[_JOB])
            _meet(job["fate"], job["attempt"])
        return instruction


def _meet(fate: str, attempt: int) -> None:
    if fate:
        _note("meets", fate)
    match fate:
        case "bug":
            raise KeyError("a bug, made for a test")
        case "memory":
            taken = bytearray(NEEDS_MB * 2**20)
            taken[::4096] = b"x" * (len(taken) // 4096)
            time.sleep(3)  # usage is looked at once a second
        case "waits" if attempt == 1:
            time.sleep(3600)
        case "minute":
            time.sleep(60)
    while fate.startswith("/") and not Path(fate).exists():
        time.sleep(0.05)


@dataclass(frozen=True, slots=True)
class Note:
    """What happened in a job: `began` with its number in Slurm, `asked` a prompt, `meets` a fate."""

    shard: str
    attempt: int
    what: str
    detail: str


def _note(what: str, detail: str) -> None:
    job = json.loads(os.environ[_JOB])
    line = json.dumps([job["shard"], job["attempt"], what, detail])
    with Path(os.environ[FATES]).with_name("notes").open("a") as notes:
        notes.write(f"{line}\n")


def notes(fates: Path) -> list[Note]:
    """Everything that happened so far in the jobs of a file of fates."""
    file = fates.with_name("notes")
    return [Note(*json.loads(line)) for line in file.read_text().splitlines()] if file.exists() else []
