"""How fast the parts are on this machine: one JSON line per measurement, to compare by eye or by script."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def help_command() -> None:
    """`vp --help`, which is to stay under half a second."""
    subprocess.run(
        [sys.executable, "-m", "vp_engine.cli.app", "--help"], cwd=ROOT, stdout=subprocess.DEVNULL, check=True
    )


def demo_cohort() -> None:
    """The demo cohort, written from the template."""
    from vp_engine.cohort.demo import make_demo

    with _folder() as folder:
        make_demo(folder / "demo")


def dry_run() -> None:
    """What Snakemake needs before the first job of the default configuration."""
    snakemake = Path(sys.executable).with_name("snakemake")
    subprocess.run([snakemake, "-n", "--quiet", "all"], cwd=ROOT, stdout=subprocess.DEVNULL, check=True)


@contextmanager
def _folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder)


def measure(benchmark: Callable[[], None], *, repeats: int) -> dict[str, object]:
    """Best and median seconds of a few runs, and the machine they came from."""
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        benchmark()
        seconds.append(time.perf_counter() - start)
    seconds.sort()
    return {
        "benchmark": benchmark.__name__,
        "best_s": round(seconds[0], 3),
        "median_s": round(seconds[len(seconds) // 2], 3),
        "repeats": repeats,
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}",
    }


def main() -> None:
    """Run all, or those named on the command line."""
    chosen = [(help_command, 5), (dry_run, 3), (demo_cohort, 1)]
    for benchmark, repeats in chosen:
        if len(sys.argv) == 1 or benchmark.__name__ in sys.argv[1:]:
            print(json.dumps(measure(benchmark, repeats=repeats)), flush=True)


if __name__ == "__main__":
    main()
