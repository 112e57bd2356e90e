"""The command `vp` with a stand-in for the models, and with fates for jobs; everything else is the product.

`installed` makes an environment of Python in which `vp` is this; `shell.prefix` of the Snakefile finds it there. The
file that `VP_TEST_FATES` names says what becomes of whom: ``{"shard-00001": "memory"}``. A fate falls at each attempt,
when the first participant of a job is finished: `bug`, `memory`, `minute`, a path that is waited for; or, at the first
attempt only, `waits` (for whoever ends it).
"""

from __future__ import annotations

import json
import os
import site
import sys
import venv
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from vp_engine.cli import app

if TYPE_CHECKING:
    from vp_engine.cohort.engine import Engine

ROOT = Path(__file__).resolve().parents[2]
FATES = "VP_TEST_FATES"
_JOB = "VP_TEST_JOB"


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
    os.environ[_JOB] = json.dumps([shard, attempt, fate])
    note("began", os.environ["SLURM_JOB_ID"])
    if shard:
        from vp_engine.cohort import engine

        engine.load_engine = load
    else:
        from vp_engine.cohort import plan

        plan.validate_dataset = lambda _root, **_options: []  # it has its own tests
    app.main()


def load(*_args: str, **_options: str) -> Engine:
    """In place of `load_engine`, in the process that analyses participants."""
    from tests.slurm import fates

    return fates.load()


def this_job() -> tuple[str, int, str]:
    """Shard, attempt and fate of the job in which this runs."""
    shard, attempt, fate = json.loads(os.environ[_JOB])
    return shard, attempt, fate


@dataclass(frozen=True, slots=True)
class Note:
    """What happened in a job: `began` with its number in Slurm, `asked` a prompt, `meets` a fate."""

    shard: str
    attempt: int
    what: str
    detail: str


def note(what: str, detail: str) -> None:
    """Write down what happens in this job."""
    shard, attempt, _ = this_job()
    line = json.dumps([shard, attempt, what, detail])
    with Path(os.environ[FATES]).with_name("notes").open("a") as file:
        file.write(f"{line}\n")


def notes(fates: Path) -> list[Note]:
    """Everything that happened so far in the jobs of a file of fates."""
    file = fates.with_name("notes")
    return [Note(*json.loads(line)) for line in file.read_text().splitlines()] if file.exists() else []
