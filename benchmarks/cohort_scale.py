"""What a cohort of thousands costs beside the analysis itself: index, plan, jobs of the workflow, tables, statistics.

    python -m benchmarks.cohort_scale [--sizes 1000 3000 10000] [--folder FOLDER] [--json FILE] [--picture PNG]

Participants with two sessions of tiny scans and 20 prompts of five structures each: of 10,000, 400,000 runs and two
million measurements. Nobody is behind them, and their records come from a **stand-in for the networks**
(`simulated_cohort.py`), so that the analysis is no part of this. Each step is a process of its own, `vp` or `snakemake`
as a user starts it; told are seconds on the clock, seconds of the processor with all children, and the largest memory
of one process. On a machine that others use, those of the processor are the ones to compare.
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
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks.simulated_cohort import Mould, analyse_with_stand_in, write_dataset
from vp_engine.cohort.config import load_config
from vp_engine.cohort.plan import write_plan
from vp_engine.cohort.publish import sha256_of

ROOT = Path(__file__).resolve().parents[1]
STEPS = ("index", "dag", "collect", "collect again", "one changed", "statistics")
ANALYSED = 20
"""Participants that the product analyses with the stand-in, to say what that is."""


# a process of its own: what it starts would begin with the memory of this one, which has loaded everything
_LAUNCHER = """
import json, os, subprocess, sys, time
start = time.monotonic()
process = subprocess.Popen(sys.argv[1:], stdout=sys.stderr)
_, status, used = os.wait4(process.pid, 0)
print(json.dumps([time.monotonic() - start, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024]))
sys.exit(os.waitstatus_to_exitcode(status))
"""


@dataclass(frozen=True, slots=True)
class Cost:
    """What one step took.

    Attributes
    ----------
    step : str
    participants : int
    clock_s, processor_s, memory_mb : float
    """

    step: str
    participants: int
    clock_s: float
    processor_s: float
    memory_mb: float


def cost_of(step: str, participants: int, command: Sequence[str]) -> Cost:
    """Run a command to its good end."""
    with tempfile.TemporaryFile("w+") as said:
        done = subprocess.run(
            [sys.executable, "-S", "-c", _LAUNCHER, *command],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=said,
            check=False,
        )
        said.seek(0)
        if done.returncode:
            raise RuntimeError(f"{step}: exit code {done.returncode}\n{said.read()[-2000:]}")
    return Cost(step, participants, *json.loads(done.stdout))


def costs(folder: Path, participants: int) -> Iterator[Cost]:
    """Costs of the steps on a cohort that is made for it."""
    mould = Mould(folder / "mould")
    config = write_dataset(folder, participants)
    output = folder / "results"
    beside = Path(sys.executable).parent
    options = ["--config", str(config)]

    def step(name: str, command: str, *more: str) -> Cost:
        return cost_of(name, participants, [str(beside / command), *more])

    yield step("index", "vp", "index", *options)
    yield step("dag", "snakemake", "-n", "--quiet", "--configfile", str(config))
    _simulate(mould, output, participants)
    yield step("collect", "vp", "collect", *options)
    yield step("collect again", "vp", "collect", *options)
    first = _contents(output / "tables")
    mould.cast(output, participants // 2, seed=1)
    yield step("one changed", "vp", "collect", *options)
    if _contents(output / "tables") == first:
        raise RuntimeError("expected other tables with another record, got the same")
    mould.cast(output, participants // 2)
    step("changed back", "vp", "collect", *options)
    if _contents(output / "tables") != first:
        raise RuntimeError("expected the tables of the first collection from the records it had, got others")
    yield step("statistics", "vp", "stats", *options)


def _simulate(mould: Mould, output: Path, participants: int) -> None:
    for number in range(participants):
        mould.cast(output, number)


def _contents(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): sha256_of(path) for path in sorted(folder.rglob("*.parquet"))}


def analysis(folder: Path) -> Cost:
    """The product on a few participants, with the stand-in."""
    settings = load_config(write_dataset(folder, ANALYSED))
    write_plan(settings, settings.output)
    shards = json.loads((settings.output / "plan.shards.json").read_text())["tiny"]
    before, started = _processor_s(), time.monotonic()
    for shard in shards:
        analyse_with_stand_in(settings, settings.output, shard)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return Cost("analysis (stand-in)", ANALYSED, time.monotonic() - started, _processor_s() - before, peak)


def _processor_s() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def markdown(measured: Sequence[Cost]) -> Iterator[str]:
    """Lines of the table: processor, clock and memory of each step by size."""
    sizes = sorted({cost.participants for cost in measured if cost.step in STEPS})
    yield f"| step | {' | '.join(f'{size:,} participants' for size in sizes)} | growth |"
    yield f"|---|{'---|' * (len(sizes) + 1)}"
    by = {(cost.step, cost.participants): cost for cost in measured}
    for name in STEPS:
        own = [by[name, size] for size in sizes]
        cells = [f"{cost.processor_s:.1f} s ({cost.clock_s:.0f} s), {cost.memory_mb:.0f} MB" for cost in own]
        ratio = own[-1].processor_s / own[0].processor_s
        yield f"| {name} | {' | '.join(cells)} | {ratio:.1f} for {sizes[-1] / sizes[0]:.1f} |"


def draw(measured: Sequence[Cost], path: Path) -> None:
    """Processor seconds and memory over the number of participants, with a line that grows as they do."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
    panels: list[tuple[str, Callable[[Cost], float]]] = [
        ("seconds of one core", lambda cost: cost.processor_s),
        ("memory of the largest process, MB", lambda cost: cost.memory_mb),
    ]
    for axis, (label, value) in zip(axes, panels, strict=True):
        for number, name in enumerate(STEPS):
            own = sorted((cost for cost in measured if cost.step == name), key=lambda cost: cost.participants)
            marker = "osD^vPX"[number]
            axis.plot([cost.participants for cost in own], [value(cost) for cost in own], marker=marker, label=name)
        axis.set(xscale="log", yscale="log", xlabel="participants", ylabel=label)
    sizes = sorted({cost.participants for cost in measured if cost.step in STEPS})
    axes[0].plot(sizes, [size / 500 for size in sizes], color="black", linestyle=":", label="linear")
    axes[0].legend(fontsize=7, ncols=2)
    figure.savefig(path, dpi=150, metadata={"Software": None})


def machine() -> str:
    """In words."""
    names = [line.partition(":")[2].strip() for line in _cpuinfo() if line.startswith("model name")]
    cores = len(os.sched_getaffinity(0))
    return f"{names[0] if names else platform.machine()}, {cores} core(s) used, Python {platform.python_version()}"


def _cpuinfo() -> list[str]:
    path = Path("/proc/cpuinfo")
    return path.read_text().splitlines() if path.exists() else []


def main() -> None:
    """Measure, print, draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[1000, 3000, 10_000])
    parser.add_argument("--folder", type=Path, help="where the cohorts are made, and removed again")
    parser.add_argument("--json", type=Path, help="file of the numbers")
    parser.add_argument("--picture", type=Path)
    given = parser.parse_args()
    measured: list[Cost] = []
    with tempfile.TemporaryDirectory(dir=given.folder) as folder:
        measured.append(analysis(Path(folder)))
        print(json.dumps(asdict(measured[0])), flush=True)
    for size in given.sizes:
        with tempfile.TemporaryDirectory(dir=given.folder) as folder:
            for cost in costs(Path(folder), size):
                measured.append(cost)
                print(json.dumps(asdict(cost)), flush=True)
    print(machine(), *markdown(measured), sep="\n")
    if given.json is not None:
        numbers = [{k: round(v, 2) if isinstance(v, float) else v for k, v in asdict(c).items()} for c in measured]
        given.json.write_text(json.dumps({"machine": machine(), "costs": numbers}, indent=2) + "\n")
    if given.picture is not None:
        draw(measured, given.picture)


if __name__ == "__main__":
    main()
