"""The cluster, once for all tests of this folder; a small study on it; Snakemake as users call it."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import yaml

from tests.faults import study
from tests.packages import absent
from tests.slurm import stand_in
from tests.slurm.cluster import Cluster, missing
from tests.slurm.stand_in import ROOT, Note
from tests.unit.cohort_fakes import write_scan

PATIENCE_S = 600.0
"""A free machine needs half a minute for what is waited for, one with much else to do ten times that."""
COLLECTED = "records/collected"
PER_JOB = 2
PROMPTS = ({"id": "vol", "text": study.VOLUMES, "images": ["T1w"]}, {"id": "liver", "text": "Segment the liver."})
QUICK = ("--slurm-init-seconds-before-status-checks", "3", "--max-status-checks-per-second", "1")
"""A cluster of one is asked more often than one of many."""


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    if lacks := missing():
        absent(f"Slurm ({', '.join(lacks)})")
    folder = Path(tempfile.mkdtemp(prefix="vp-slurm-", dir="/tmp"))  # paths of sockets must be short
    running = Cluster(folder)
    try:
        running.up()
        yield running
    finally:
        running.down()
        shutil.rmtree(folder, ignore_errors=True)


@dataclass
class Run:
    """Snakemake with the profile `slurm`, in a folder that holds the repository's workflow and a study.

    Attributes
    ----------
    folder : Path
    cluster : Cluster
    python : Path
        Folder with the commands `python` and `vp` of the jobs.
    """

    folder: Path
    cluster: Cluster
    python: Path
    started: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def fates(self) -> Path:
        return self.folder / "fates.json"

    def start(self, *options: str) -> subprocess.Popen[bytes]:
        """``snakemake --profile slurm``; its words go to the file ``said``."""
        command = [str(self.python / "python"), "-m", "snakemake", "--profile", "slurm", *options]
        environment = self.cluster.environment | {stand_in.FATES: str(self.fates), "OMP_NUM_THREADS": "1"}
        environment["PYTHONPATH"] = str(ROOT)  # this checkout, whatever is installed
        environment["PATH"] = f"{self.cluster.folder / 'bin'}:{os.environ['PATH']}"
        del environment["SLURM_CONF"]  # as on a machine where it is in its place
        with (self.folder / "said").open("ab") as said:
            process = subprocess.Popen(
                command, cwd=self.folder, env=environment, start_new_session=True,
                stdin=subprocess.DEVNULL, stdout=said, stderr=subprocess.STDOUT,
            )  # fmt: skip
        self.started.append(process)
        return process

    def run(self, *options: str) -> int:
        return self.ended(self.start(*options))

    def ended(self, process: subprocess.Popen[bytes]) -> int:
        """Exit code of Snakemake."""
        self.wait(lambda: process.poll() is not None, "the end of Snakemake", limit_s=PATIENCE_S)
        return process.returncode

    def end(self) -> None:
        """Leave nothing behind, however the test went."""
        for process in self.started:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        self.cancel()

    def cancel(self) -> None:
        """Cancel all jobs and wait until they are gone."""
        for name in self.names():
            self.cluster.ask("scancel", "--name", name)
        self.wait(lambda: not self.queued(), "an empty queue")

    def queued(self, *options: str) -> list[str]:
        """Numbers of the jobs that Slurm has of this run; of those with some state, ``-t R``."""
        names = self.names()
        return (
            self.cluster.ask("squeue", "-h", "-o", "%i", "--name", ",".join(names), *options).split() if names else []
        )

    def said(self) -> str:
        return (self.folder / "said").read_text(errors="replace")[-12_000:]

    def names(self) -> list[str]:
        """Names of the jobs of each start."""
        said = self.folder / "said"
        return re.findall(r"SLURM run ID: (\S+)", said.read_text(errors="replace")) if said.exists() else []

    def notes(self, what: str, shard: str = "") -> list[Note]:
        return [note for note in stand_in.notes(self.fates) if note.what == what and shard in {"", note.shard}]

    def wait(self, ready: Callable[[], object], what: str, *, limit_s: float = PATIENCE_S) -> None:
        until = time.monotonic() + limit_s
        while not ready():
            if time.monotonic() > until:
                pytest.fail(f"Expected {what} within {limit_s:g} s:\n{self.said()}\n{self.cluster.ask('squeue')}")
            time.sleep(0.2)

    def number(self, shard: str) -> str:
        """Slurm's number of the job that works on a shard."""
        return self.notes("began", shard)[-1].detail

    def contents(self) -> dict[str, str]:
        """Results without what Snakemake alone writes."""
        return {name: sha for name, sha in study.contents(self.folder / "results").items() if name != COLLECTED}

    def accounted(self, shard: str) -> list[dict[str, str]]:
        """What Slurm keeps of the jobs of a shard, in the order in which they began."""
        numbers = [note.detail for note in self.notes("began", shard)]
        names = ("State", "ReqMem", "TimelimitRaw", "ReqTRES", "NodeList")
        lines = self.cluster.ask("sacct", "-X", "-n", "-P", "-j", ",".join(numbers), "-o", ",".join(names))
        return [dict(zip(names, line.split("|"), strict=True)) for line in lines.splitlines()]


def checkout(folder: Path) -> None:
    """What `snakemake` reads of the repository, in another folder: a run leaves nothing in this one."""
    for name in ("Snakefile", "config.yaml"):
        shutil.copy(ROOT / name, folder / name)
    for name in ("workflow", "profiles"):
        shutil.copytree(ROOT / name, folder / name)
    shutil.copy(ROOT / "slurm", folder / "slurm", follow_symlinks=False)


def undisturbed(config: Path, output: Path, shards: int) -> dict[str, str]:
    """What a run without a cluster and without accidents leaves: name and sha256 of every result."""
    steps = ["index", *(f"analyse shard-{number:05d}" for number in range(shards)), "collect"]
    program = (
        "import sys\nfrom pathlib import Path\nfrom tests.faults import study\n"
        "with study.stand_in():\n    sys.exit(study.run(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3:]))\n"
    )
    command = [sys.executable, "-c", program, str(config), str(output), *steps]
    done = subprocess.run(
        command, cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return study.contents(output)


def write_study(folder: Path, participants: int, fates: Mapping[str, str]) -> None:
    """A cohort with two participants to a job, the last one with a broken scan."""
    labels = [f"{number:02d}" for number in range(1, participants + 1)]
    for label in labels:
        scan = write_scan(folder / f"tiny/sub-{label}/anat/sub-{label}_T1w.nii.gz", int(label), grown=int(label) % 3)
    scan.write_bytes(scan.read_bytes()[:-500])
    study.describe(folder / "tiny", [f"sub-{label}\t{60 + int(label)}" for label in labels])
    study.write_config(folder / "config.yaml", PROMPTS, subjects_per_job=PER_JOB)
    (folder / "fates.json").write_text(json.dumps(fates))


@pytest.fixture(scope="session")
def stand_ins(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return stand_in.installed(tmp_path_factory.mktemp("python") / "venv")


@pytest.fixture
def small(
    cluster: Cluster, stand_ins: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> Iterator[Callable[[int, Mapping[str, str]], Run]]:
    """`small(participants, fates)`: a run on a small study."""
    if any("demo" in getattr(item, "fixturenames", ()) for item in request.session.items):
        request.getfixturevalue("demo")  # goes on meanwhile, on a node of its own
    run = Run(tmp_path, cluster, stand_ins)

    def make(participants: int, fates: Mapping[str, str]) -> Run:
        checkout(tmp_path)
        write_study(tmp_path, participants, fates)
        return run

    yield make
    run.end()


@pytest.fixture
def real(cluster: Cluster, tmp_path: Path) -> Iterator[Run]:
    """A run with the released weights on the configuration of the repository."""
    yield from _real(cluster, tmp_path)


@pytest.fixture(scope="session")
def demo(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    """The same on three participants of the demo cohort and some of its prompts, in the partition `gpu`; begun."""
    for run in _real(cluster, tmp_path_factory.mktemp("demo")):
        file = run.folder / "config.yaml"
        config = yaml.safe_load(file.read_text())
        config["datasets"]["demo"]["participants"] = ["01", "05", "06"]
        wanted = {"hippvol", "ventgrowth", "liver"}
        config["prompts"] = [prompt for prompt in config["prompts"] if prompt["id"] in wanted]
        config["statistics"] = [config["statistics"][0] | {"model": "value ~ group"}]
        config["subjects_per_job"] = 2
        file.write_text(yaml.safe_dump(config))
        profile = run.folder / "profiles/slurm/profile.yaml"
        profile.write_text(profile.read_text().replace("# slurm_partition: gpu ", "slurm_partition: gpu "))
        run.start(*QUICK)
        yield run


def _real(cluster: Cluster, folder: Path) -> Iterator[Run]:
    checkout(folder)
    run = Run(folder, cluster, Path(sys.executable).parent)
    yield run
    run.end()
