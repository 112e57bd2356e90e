"""Two runs on one output directory at the same time: one works, the other is refused at once and told by whom."""

from __future__ import annotations

import random
import re
import shutil
from collections import Counter
from pathlib import Path

import pytest

from tests.faults import study
from tests.faults.conftest import Stage
from tests.faults.jobs import Jobs

APART_S = 0.05


def check_rivals(jobs: Jobs, stages: list[Stage], *, times: int, seed: int) -> None:
    """Jobs on one shard that start together; the one that works goes on only when the other has ended."""
    rng = random.Random(seed)
    stage = next(stage for stage in stages if stage.step.startswith("analyse"))
    for number in range(times):
        output = jobs.outputs / f"rivals{seed}-{number}"
        shutil.copytree(stage.before, output)
        hold = str(output.with_suffix(".hold"))
        both = [{"steps": [stage.step], "hold": hold, "after": rng.uniform(0, APART_S)} for _ in range(2)]
        outcomes = jobs.together(stage.config, output, both)
        works, refused = sorted(outcomes, key=lambda outcome: outcome.code)
        assert (works.code, refused.code) == (0, 75), f"{number}: {works.said}\n{refused.said}"
        assert re.search(r"process \d+ on .+ holds tiny\.shard-00000 since \d{4}-", refused.said)
        assert refused.seconds < works.seconds
        assert study.contents(output) == study.contents(stage.after)
        assert study.leftovers(output) == []


def check_whole_runs(jobs: Jobs, config: Path, clean: dict[str, str], *, times: int, seed: int) -> Counter[str]:
    """Whole workflows that start at any time of each other; who is refused once ends there."""
    rng = random.Random(seed)
    lasts_s = jobs.run(config, jobs.outputs / f"lasts{seed}", study.STEPS).seconds
    fates: Counter[str] = Counter()
    for number in range(times):
        output = jobs.outputs / f"both{seed}-{number}"
        both = [{"steps": study.STEPS, "after": rng.uniform(0, lasts_s) * which} for which in range(2)]
        codes = sorted(outcome.code for outcome in jobs.together(config, output, both))
        assert codes in ([0, 75], [0, 0]), codes
        fates["one refused" if codes[1] else "one after the other"] += 1
        assert study.contents(output) == clean
        assert study.leftovers(output) == []
    return fates


def test_of_two_jobs_on_one_shard_exactly_one_works(jobs: Jobs, stages: list[Stage]) -> None:
    check_rivals(jobs, stages, times=5, seed=1)


def test_of_two_workflows_one_ends_well(study_folder: Path, jobs: Jobs, clean: dict[str, str]) -> None:
    fates = check_whole_runs(jobs, study_folder / "config.yaml", clean, times=3, seed=2)
    assert fates["one refused"]


@pytest.mark.stress
@pytest.mark.timeout(3600)
def test_of_two_rivals_exactly_one_works_every_time(
    study_folder: Path, jobs: Jobs, stages: list[Stage], clean: dict[str, str]
) -> None:
    check_rivals(jobs, stages, times=200, seed=3)
    fates = check_whole_runs(jobs, study_folder / "config.yaml", clean, times=50, seed=4)
    print(f"\n200 pairs of jobs: one worked, one refused; 50 pairs of workflows: {dict(fates)}")
