"""What takes minutes on a real cluster: outages of its servers, limits of time, ways to stop Snakemake, many jobs."""

from __future__ import annotations

import os
import signal
import time

import pytest

from tests.slurm.conftest import QUICK, Run
from tests.slurm.demo_cohort import check_demo
from tests.slurm.test_accidents import TARGET, Small, check_results

pytestmark = [pytest.mark.stress, pytest.mark.timeout(3500)]

FIRST, SECOND = "shard-00000", "shard-00001"


@pytest.mark.parametrize("server", ["slurmctld", "slurmdbd"])
def test_a_server_is_away_for_a_minute(small: Small, server: str) -> None:
    run = small(4, {})
    run.fates.write_text(f'{{"{FIRST}": "{run.folder / "go"}"}}')
    snakemake = run.start(TARGET, *QUICK)
    run.wait(lambda: run.notes("meets", FIRST), "a job that waits")
    run.cluster.kill(server)
    (run.folder / "go").touch()
    time.sleep(60)
    run.cluster.up()
    assert run.ended(snakemake) == 0, run.said()
    assert [len(run.notes("began", shard)) for shard in (FIRST, SECOND)] == [1, 1]
    check_results(run, 4)


def test_retries_until_there_is_time_enough(small: Small) -> None:
    run = small(4, {FIRST: "minute"})
    assert run.run(TARGET, *QUICK, "--set-resources", "analyse:runtime=attempt", "--retries", "9") == 0, run.said()
    jobs = run.accounted(FIRST)
    assert [job["State"] for job in jobs] == ["TIMEOUT"] * (len(jobs) - 1) + ["COMPLETED"]
    assert len(jobs) > 1
    assert [job["TimelimitRaw"] for job in jobs] == [str(number + 1) for number in range(len(jobs))]
    check_results(run, 4)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_stopped_by_a_person(small: Small, number: signal.Signals) -> None:
    run = small(4, {FIRST: "waits", SECOND: "waits"})
    snakemake = run.start(TARGET, *QUICK)
    run.wait(lambda: len(run.notes("meets")) == 2, "two jobs that wait")
    os.kill(snakemake.pid, number)
    if number == signal.SIGTERM:  # takes no new jobs and waits for those that run
        time.sleep(5)
        assert run.queued()
        run.cancel()
    assert run.ended(snakemake) == 1
    run.wait(lambda: not run.queued(), "an empty queue")
    run.fates.write_text("{}")
    assert run.run(TARGET, *QUICK) == 0, run.said()
    check_results(run, 4)


def test_sacct_does_not_show_who_was_cancelled(small: Small) -> None:
    """Why the profile says squeue; when this fails, look whether the plugin can use sacct now."""
    run = small(4, {FIRST: "waits"})
    snakemake = run.start(TARGET, *QUICK, "--slurm-status-command", "sacct")
    run.wait(lambda: run.notes("meets", FIRST), "a job that waits")
    run.cluster.ask("scancel", run.number(FIRST))
    time.sleep(180)
    assert snakemake.poll() is None
    assert len(run.notes("began", FIRST)) == 1


def test_many_jobs(small: Small) -> None:
    run = small(60, {})
    began = time.monotonic()
    assert run.run(TARGET, *QUICK) == 0, run.said()
    took_s = time.monotonic() - began
    check_results(run, 60)
    jobs = [run.accounted(f"shard-{number:05d}") for number in range(30)]
    assert all(len(attempts) == 1 for attempts in jobs)
    print(f"\n32 jobs, two at a time, in {took_s:.0f} s")


def test_demo_cohort_as_it_is(real: Run) -> None:
    real.start()  # snakemake --profile slurm, and nothing else
    print("\n" + check_demo(real))
