"""How much of a job's time the models compute: with reading ahead and writing behind, and all in one process.

    python -m benchmarks.throughput [--participants 8] [--device auto]

Runs the prompts of `config.yaml` on the demo cohort with the released weights, twice from nothing: in the processes of
a job, as `vp analyse` does, and one thing after another. Prints one JSON line for each:

- `seconds`: from the first participant to the last record, loading models left out
- `computing_s`, `share`: how long the models computed, and the share of `seconds`
- `overhead`: everything beside the models, relative to them

and a line for the start: Python, imports, verified weights, models, the first program and the first small scan.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cache, partial
from pathlib import Path

import yaml

from vp_engine.cohort.analyse import Analyse, Step, analyse_shard, one_by_one
from vp_engine.cohort.config import Config, load_config
from vp_engine.cohort.demo import make_demo
from vp_engine.cohort.engine import Engine, Models, load_engine
from vp_engine.cohort.messages import Computed
from vp_engine.cohort.participant import Job, analyse_participant
from vp_engine.cohort.plan import write_plan
from vp_engine.cohort.stopwatch import Stopwatch, timed
from vp_engine.cohort.supervisor import Supervisor

ROOT = Path(__file__).resolve().parents[1]
START = """
import numpy as np
from vp_engine.agent.planner import Context
from vp_engine.cohort.engine import load_engine
from vp_engine.volumes.volume import Volume
models = load_engine("default", device=DEVICE).load()
models.planner.next_instruction(Context("Measure the left hippocampus.", ("T1w",), 1, "session"), [])
head = np.random.default_rng(0).random((48, 48, 48), dtype=np.float32)
list(models.segmenter.regions(Volume(head, np.diag([2.0, 2.0, 2.0, 1.0])), {"brainstem": ("brainstem",)}))
"""


def start_up(device: str) -> tuple[float, float]:
    """Seconds of a new process from nothing to its first mask, and its seconds of processor time."""
    started, used = time.monotonic(), _processor_s()
    subprocess.run([sys.executable, "-c", START.replace("DEVICE", repr(device))], cwd=ROOT, check=True)
    return time.monotonic() - started, _processor_s() - used


def _processor_s() -> float:
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return children.ru_utime + children.ru_stime


def study(folder: Path, participants: int) -> Config:
    """The configuration of the repository on the demo cohort, planned as one job."""
    make_demo(folder / "demo")
    content = yaml.safe_load((ROOT / "config.yaml").read_text())
    names = sorted(path.name.removeprefix("sub-") for path in (folder / "demo").glob("sub-*"))[:participants]
    content["datasets"]["demo"]["participants"] = names
    (folder / "config.yaml").write_text(yaml.safe_dump(content | {"subjects_per_job": len(names)}))
    return load_config(folder / "config.yaml")


def run(config: Config, output: Path, analyse: Analyse) -> tuple[float, list[Computed]]:
    """Seconds of a job from its first participant to the last record, and what was told of the computing."""
    write_plan(config, output)
    begun: list[float] = []
    computed: list[Computed] = []

    def noted(jobs: Sequence[Job]) -> Iterator[Step]:
        for step in analyse(jobs):
            begun.append(time.monotonic())
            if step.computed is not None:
                computed.append(step.computed)
            yield step

    analyse_shard(config, output, dataset="demo", shard="shard-00000", analyse=noted)
    return time.monotonic() - begun[0], computed


def in_processes(config: Config, output: Path, engine: partial[Engine]) -> tuple[float, float]:
    """Seconds, and seconds of models."""
    with Supervisor(engine, deadline_s=config.deadline_s) as supervisor:
        seconds, computed = run(config, output, supervisor)
    return seconds - sum(one.loading_s for one in computed), sum(one.computing_s for one in computed)


def in_one(config: Config, output: Path, engine: Engine) -> tuple[float, float]:
    """Seconds, and seconds of models."""
    stopwatch = Stopwatch()
    models = timed(engine.load(), stopwatch)
    stopwatch.reset()

    @cache
    def load() -> Models:
        return models

    analyse = one_by_one(partial(analyse_participant, engine=replace(engine, load=load)))
    seconds, _ = run(config, output, analyse)
    return seconds, stopwatch.computing


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--participants", type=int, default=8)
    parser.add_argument("--device", default="auto")
    options = parser.parse_args()
    engine = partial(load_engine, "default", device=options.device)
    machine = f"{platform.machine()}, {len(os.sched_getaffinity(0))} processors"
    with tempfile.TemporaryDirectory() as name:
        config = study(Path(name), options.participants)
        for how, seconds, computing_s in (
            ("processes", *in_processes(config, Path(name) / "processes", engine)),
            ("one after another", *in_one(config, Path(name) / "one", engine())),
        ):
            found = {"seconds": seconds, "computing_s": computing_s, "share": computing_s / seconds}
            found["overhead"] = seconds / computing_s - 1
            rounded = {key: round(value, 3) for key, value in found.items()}
            print(json.dumps({"benchmark": "throughput", "how": how} | rounded | {"machine": machine}), flush=True)
    seconds, cpu_s = (round(value, 2) for value in min(start_up(options.device) for _ in range(3)))
    print(json.dumps({"benchmark": "start", "seconds": seconds, "cpu_s": cpu_s, "machine": machine}), flush=True)


if __name__ == "__main__":
    main()
