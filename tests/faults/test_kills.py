"""SIGKILL at random times, to the job with its worker or to the job alone; the next run makes the tree complete."""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path

import pytest

from tests.faults import study
from tests.faults.conftest import Stage
from tests.faults.jobs import Jobs


def check_kills(jobs: Jobs, config: Path, stages: list[Stage], clean: dict[str, str], *, times: int, seed: int) -> str:
    rng = random.Random(seed)
    own = [stage for stage in stages if stage.config == config]
    versions: dict[str, set[str]] = {}
    for stage in own:
        for name, sha in study.contents(stage.after).items():
            versions.setdefault(name, set()).add(sha)
    lasts_s = jobs.run(config, jobs.outputs / f"timed{seed}", study.STEPS).seconds
    fates: Counter[str] = Counter()
    for number in range(times):
        output = jobs.outputs / f"killed{seed}-{number}"
        when_s = rng.uniform(0, 0.6 * lasts_s)  # the timed run may have been a slow one
        killed = jobs.run(config, output, study.STEPS, kill_after=when_s, alone=bool(number % 2))
        fates["ended before" if killed.code == 0 else "killed"] += 1
        assert killed.code in {0, -9}, killed.said
        found = study.contents(output) if output.exists() else {}
        mixed = [name for name, sha in found.items() if sha not in versions.get(name, ())]
        assert mixed == [], f"kill {number}: files that no clean run has"
        again = jobs.run(config, output, study.STEPS)
        assert again.code == 0, again.said
        assert study.contents(output) == clean
        assert [name for name in study.leftovers(output) if not name.startswith(".locks/.tmp")] == []
    assert fates["killed"] >= times // 4
    return f"{times} runs, {fates['killed']} killed, all recovered"


def test_runs_that_are_killed_leave_whole_files(
    study_folder: Path, jobs: Jobs, stages: list[Stage], clean: dict[str, str]
) -> None:
    check_kills(jobs, study_folder / "config.yaml", stages, clean, times=8, seed=1)


@pytest.mark.stress
@pytest.mark.timeout(3600)
def test_many_runs_that_are_killed_leave_whole_files(
    study_folder: Path, jobs: Jobs, stages: list[Stage], clean: dict[str, str]
) -> None:
    print("\n" + check_kills(jobs, study_folder / "config.yaml", stages, clean, times=150, seed=2))
