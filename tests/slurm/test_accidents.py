"""A real cluster, all in one file as there is one: jobs that fail, are cancelled, exceed what they asked for; crashes.

Whatever happens, the results are in the end those of a run to which nothing happened, byte for byte, and nobody who was
finished is asked again.
"""

from __future__ import annotations

import json
import os
import signal
import time
from collections import Counter
from collections.abc import Callable, Mapping

import pytest

from tests.slurm.conftest import COLLECTED, QUICK, Run, undisturbed
from tests.slurm.demo_cohort import check_demo
from vp_engine.tables.parquet import read_table

pytestmark = pytest.mark.timeout(1800)

TARGET = f"results/{COLLECTED}"
Small = Callable[[int, Mapping[str, str]], Run]


def check_results(run: Run, participants: int) -> None:
    """Every prompt has its row, what cannot be done is told in it, and all is as if nothing had happened."""
    runs = read_table(run.folder / "results/tables/runs", "runs")
    assert runs.num_rows == participants * 2
    statuses = Counter(zip(runs["prompt_id"].to_pylist(), runs["status"].to_pylist(), strict=True))
    assert statuses == {
        ("vol", "ok"): participants - 1,
        ("liver", "refused"): participants,
        ("vol", "refused_input"): 1,
    }
    clean = undisturbed(run.folder / "config.yaml", run.folder / "undisturbed", shards=(participants + 1) // 2)
    assert run.contents() == clean


def test_jobs_that_fail(small: Small) -> None:
    failing, hungry, cancelled, fine = (f"shard-{number:05d}" for number in range(4))
    run = small(8, {failing: "bug", hungry: "memory", cancelled: "waits"})
    snakemake = run.start(TARGET, *QUICK, "--set-resources", "analyse:mem_mb=attempt*1400")
    run.wait(lambda: run.notes("meets", cancelled), "a job that waits")
    run.cluster.ask("scancel", run.number(cancelled))
    assert run.ended(snakemake) == 1

    jobs = {shard: run.accounted(shard) for shard in (failing, hungry, cancelled, fine)}
    states = {shard: [job["State"].split()[0] for job in jobs[shard]] for shard in jobs}
    assert states[failing] == ["FAILED"] * 2
    assert [note.attempt for note in run.notes("asked", failing) if note.attempt > 1] == [], "a bug is tried once"
    assert states[hungry] in (["FAILED", "COMPLETED"], ["OUT_OF_MEMORY", "COMPLETED"])
    assert [job["ReqMem"] for job in jobs[hungry]] == ["1400M", "2800M"]
    assert states[cancelled] == ["CANCELLED", "COMPLETED"]
    assert [job["TimelimitRaw"] for job in jobs[cancelled]] == ["240", "480"]
    assert states[fine] == ["COMPLETED"]
    check_first_is_kept(run, hungry, cancelled)

    run.fates.write_text("{}")
    before = len(run.notes("began"))
    assert run.run(TARGET, *QUICK) == 0, run.said()
    assert [note.shard for note in run.notes("began")[before:]] == [failing, ""], "what was done is not done again"
    check_results(run, 8)


def check_first_is_kept(run: Run, *shards: str) -> None:
    """The first participant of a job was finished when the job met its fate: it is asked for once."""
    for shard in shards:
        asked = [note for note in run.notes("asked", shard) if note.attempt == 1]
        again = [note for note in run.notes("asked", shard) if note.attempt > 1]
        assert len(asked) == 5
        assert len(again) == 4, "one participant"


def test_a_run_with_accidents(small: Small) -> None:
    shards = [f"shard-{number:05d}" for number in range(3)]
    run = small(6, {})
    go = run.folder / "go"
    run.fates.write_text(json.dumps(dict.fromkeys(shards, str(go))))
    snakemake = run.start(TARGET, *QUICK)
    run.wait(lambda: len(run.notes("meets")) == 2, "two jobs that wait")
    first, second = (note.shard for note in run.notes("meets"))
    (third,) = set(shards) - {first, second}
    assert run.queued("-t", "PD", "-o", "%r") == ["Resources"], "the partition has two GPUs"
    home, ill = (run.accounted(shard)[0]["NodeList"] for shard in (first, second))
    assert {home, ill} == {"c1", "c2"}

    run.cluster.kill(f"slurmd.{home}")
    run.cluster.start_node(home)
    run.cluster.crash(ill)
    run.cluster.start_node(ill)
    run.wait(lambda: run.notes("meets", third), "a job on the node that is back")
    run.wait(lambda: "failed due to a node failure" in run.said(), "Snakemake to notice the crash")
    assert run.number(first) in run.queued("-t", "R"), "outlives the daemon of its node"
    assert run.accounted(second)[0]["State"] == "NODE_FAIL"

    os.kill(snakemake.pid, signal.SIGKILL)
    snakemake.wait()
    time.sleep(1)
    assert run.number(first) in run.queued("-t", "R"), "goes on without Snakemake"
    run.cancel()

    go.touch()
    before = len(run.notes("began"))
    assert run.run("--unlock") == 0
    assert run.run(TARGET, *QUICK) == 0, run.said()
    assert sorted(note.shard for note in run.notes("began")[before:]) == ["", *shards]
    for shard in shards:
        assert "gres/gpu=1" in run.accounted(shard)[-1]["ReqTRES"].split(",")
        assert len(run.notes("asked", shard)) == 9, "the first participant once, the second one twice"
    check_results(run, 6)


@pytest.mark.timeout(3500)
def test_demo_cohort_with_the_released_weights(demo: Run) -> None:
    print("\n" + check_demo(demo))
