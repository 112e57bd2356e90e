"""Every call on a file of the output directory fails once; what is there stays whole, and a rerun makes it complete."""

from __future__ import annotations

import errno
import itertools
import random
import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.faults import study
from tests.faults.conftest import Stage
from tests.faults.jobs import Jobs, Outcome

FAULTS: dict[str, dict[str, Any]] = {
    "disk full, and it stays full": {"kind": errno.ENOSPC, "lasting": True},
    "I/O error": {"kind": errno.EIO},
    "quota used up": {"kind": errno.EDQUOT},
    "killed": {"kind": "KILL"},
    "one process killed": {"kind": "KILL_PROCESS"},
    "half a write": {"kind": "SHORT"},
}
pytestmark = pytest.mark.usefixtures("shim")

RETRY = 75
KILLED = -9


def check_recovery(jobs: Jobs, stage: Stage, fault: dict[str, Any]) -> Outcome:
    """Run a step with a fault, look at what is there, run it again, and compare with the clean run."""
    output = jobs.outputs / "faulty"
    shutil.rmtree(output, ignore_errors=True)
    shutil.copytree(stage.before, output)
    before, after = study.contents(stage.before), study.contents(stage.after)
    outcome = jobs.run(stage.config, output, [stage.step], **fault)
    about = f"{stage.config.name}, {stage.step}, call {fault['at']} ({outcome.failed}), {fault}: {outcome.said}"
    assert outcome.code in {0, RETRY, KILLED}, about
    found = study.contents(output)
    if outcome.code == 0:
        assert found == after, about
    if outcome.code == RETRY and "was ended by" in outcome.said:
        # the worker was killed and its parent recorded that: rows that are neither old nor new, in a record that holds
        assert study.broken_records(output) == [], about
    else:
        mixed = [name for name, sha in found.items() if sha not in {before.get(name), after.get(name)}]
        assert mixed == [], f"neither old nor new: {about}"
        assert before.keys() & after.keys() <= found.keys(), f"files that belong to both are gone: {about}"
    again = jobs.run(stage.config, output, [stage.step])
    assert again.code == 0, f"{again.said} after {about}"
    assert study.contents(output) == after, about
    left = [name for name in study.leftovers(output) if not stage.step.startswith("analyse") or "sub-" in name]
    assert [name for name in left if not name.startswith(".locks/.tmp")] == [], about
    return outcome


def sample(stages: list[Stage], per_stage: int) -> Iterator[tuple[Stage, str, int]]:
    """Calls spread over each step at random places, the kinds of fault in turn."""
    rng = random.Random(6)
    kinds = itertools.cycle(FAULTS)
    for stage in stages:
        for part in range(per_stage):
            first, last = (1 + stage.calls * place // per_stage for place in (part, part + 1))
            yield stage, next(kinds), rng.randrange(first, max(last, first + 1))


def test_every_kind_of_call_is_seen(stages: list[Stage]) -> None:
    seen = Counter[str]()
    for stage in stages:
        seen.update(stage.by_call)
    assert all(seen[call] > 20 for call in ("open", "read", "write", "sync", "rename", "unlink", "mkdir"))
    # each file is written, flushed and renamed, and so is its folder flushed
    assert seen["sync"] >= 2 * seen["rename"] - len(stages)


def test_steps_recover_from_a_sample_of_faults(jobs: Jobs, stages: list[Stage]) -> None:
    for stage, kind, at in sample(stages, per_stage=4):
        check_recovery(jobs, stage, FAULTS[kind] | {"at": at})


@pytest.mark.stress
@pytest.mark.timeout(4 * 3600)
@pytest.mark.parametrize("kind", FAULTS)
def test_steps_recover_from_every_fault(jobs: Jobs, stages: list[Stage], kind: str) -> None:
    codes: Counter[int] = Counter()
    for stage in stages:
        for at in range(1, stage.calls + 1):
            codes[check_recovery(jobs, stage, FAULTS[kind] | {"at": at}).code] += 1
    print(f"\n{kind}: {codes.total()} faults, all recovered; exit codes {dict(codes)}")


def test_whole_run_after_a_fault_equals_a_clean_one(
    study_folder: Path, jobs: Jobs, stages: list[Stage], clean: dict[str, str]
) -> None:
    total = sum(stage.calls for stage in stages[: len(study.STEPS)])
    for number, (kind, fault) in enumerate(FAULTS.items()):
        output = jobs.outputs / f"whole{number}"
        at = (2 * number + 1) * total // (2 * len(FAULTS))
        config = study_folder / "config.yaml"
        outcome = jobs.run(config, output, study.STEPS, at=at, **fault)
        assert outcome.failed, kind
        assert jobs.run(config, output, study.STEPS).code == 0
        assert study.contents(output) == clean, f"{kind} at call {at}: {outcome.failed}"
        assert study.leftovers(output) == []
