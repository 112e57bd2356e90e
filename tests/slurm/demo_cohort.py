"""What is to come of `snakemake --profile slurm` on the demo cohort: results, and each step a job of Slurm."""

from __future__ import annotations

import subprocess
import sys
from collections import defaultdict
from typing import Any

import yaml

from tests.slurm.conftest import Run
from vp_engine.tables.parquet import read_table

STEPS = ("demo", "index", "analyse", "tables")
"""The last one is a group: `collect`, `statistics` and `report` are one job."""


def check_demo(run: Run) -> str:
    """Wait for the run and look at what came out and how Slurm accounts for it; the time that jobs took."""
    assert run.ended(run.started[0]) == 0, run.said()
    config = yaml.safe_load((run.folder / "config.yaml").read_text())
    runs = read_table(run.folder / "results/tables/runs", "runs").to_pylist()
    participants = {row["participant"] for row in runs}
    wanted = config["datasets"]["demo"]["participants"]
    assert len(participants) == (8 if wanted == "all" else len(wanted))
    assert {row["status"] for row in runs if row["prompt_id"] == "liver"} == {"refused"}
    assert {row["status"] for row in runs if row["prompt_id"] == "hippvol"} == {"ok"}
    assert (run.folder / "results/report.html").is_file()
    done = subprocess.run(
        [sys.executable, "-m", "vp_engine.cli.app", "verify", "results"],
        cwd=run.folder,
        check=False,
        capture_output=True,
    )
    assert done.returncode == 0, done.stdout
    return check_accounting(run)


def check_accounting(run: Run) -> str:
    """Every step was a job, those of `analyse` alone had a GPU, and no GPU had two of them at once."""
    names = ("Comment", "State", "ReqTRES", "AllocTRES", "NodeList", "Start", "End", "ElapsedRaw")
    lines = run.cluster.ask(
        "sacct", "-X", "-n", "-P", "-S", "now-2hours", "-o", ",".join(names), "--name", run.names()[0]
    )
    jobs: list[dict[str, Any]] = [dict(zip(names, line.split("|"), strict=True)) for line in lines.splitlines()]
    by_step = defaultdict(list)
    for job in jobs:
        assert job["State"] == "COMPLETED", job
        by_step[job["Comment"].removeprefix("rule_").partition("_")[0]].append(job)
    assert by_step.keys() == set(STEPS)
    for step in STEPS:
        assert all(("gres/gpu=1" in job["AllocTRES"]) == (step == "analyse") for job in by_step[step])
    for one in by_step["analyse"]:
        others = [job for job in by_step["analyse"] if job is not one and job["NodeList"] == one["NodeList"]]
        assert all(job["End"] <= one["Start"] or one["End"] <= job["Start"] for job in others), "one GPU, two jobs"
    took = {step: "+".join(job["ElapsedRaw"] for job in by_step[step]) for step in STEPS}
    return ", ".join(f"{step} {seconds} s" for step, seconds in took.items())
