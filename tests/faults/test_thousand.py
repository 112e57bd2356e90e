"""A cohort with one scan in twenty broken in twenty ways: a row for everything asked, the right code for each."""

from __future__ import annotations

from pathlib import Path

import pyarrow.compute as pc
import pytest

from tests.faults import study
from tests.faults.jobs import Jobs
from tests.security.intake_cases import CASES
from tests.unit.cohort_fakes import write_scan
from vp_engine.cohort.verify import verify
from vp_engine.tables.parquet import read_table

PER_JOB = 64
WAYS = {case.label: case for case in CASES}
BROKEN = [
    WAYS[label]
    for label in (
        *("empty", "webPage", "notAnImage", "cutInData", "cutInTrailer", "wrongCrc", "offsetFar", "claims30000"),
        *("frames", "oneSlice", "allNan", "constant", "slopeInf", "hugeValue", "rgb", "zeroAffine", "sheared"),
        *("turnedBy6", "zoomsOff", "annexLink"),
    )
]
PROMPTS = (
    {"id": "vol", "text": study.VOLUMES, "images": ["T1w"]},
    {"id": "thalami", "text": study.EDITED},
)


def write_cohort(folder: Path, size: int, n_broken: int) -> tuple[Path, dict[str, str]]:
    """A cohort; its configuration, and the code that each broken participant must get."""
    root = folder / "tiny"
    templates = [write_scan(folder / f"{grown}.nii.gz", grown, grown=grown).read_bytes() for grown in range(3)]
    every, codes = size // n_broken, {}
    for number in range(size):
        label = f"{number:04d}"
        if number % every == every // 2:
            case = BROKEN[number // every % len(BROKEN)]
            case.make(root, label)
            codes[label] = str(case.code)
        else:
            path = root / f"sub-{label}/anat/sub-{label}_T1w.nii.gz"
            path.parent.mkdir(parents=True)
            path.write_bytes(templates[number % 3])
    study.describe(root, [f"sub-{number:04d}\t{20 + number % 60}" for number in range(size)])
    return study.write_config(folder / "cohort.yaml", PROMPTS, subjects_per_job=PER_JOB), codes


def check_cohort(jobs: Jobs, folder: Path, size: int, n_broken: int) -> str:
    config, codes = write_cohort(folder, size, n_broken)
    assert len(codes) == n_broken
    assert len(set(codes.values())) > 15
    output = jobs.outputs / f"cohort{size}"
    shards = [f"analyse shard-{number:05d}" for number in range(-(-size // PER_JOB))]
    done = jobs.run(config, output, ["index", *shards, "collect", "stats", "report"], kill_after=3000)
    assert done.code == 0, done.said
    runs = read_table(output / "tables/runs", "runs")
    assert runs.num_rows == size * len(PROMPTS)
    assert len({tuple(row.values()) for row in runs.select(["participant", "prompt_id"]).to_pylist()}) == runs.num_rows
    for row in runs.filter(pc.not_equal(runs.column("status"), "ok")).to_pylist():
        assert row["status"] == "refused_input"
        assert row["reason"].split(":")[0] == codes[row["participant"]], row
    assert pc.sum(pc.equal(runs.column("status"), "ok")).as_py() == (size - n_broken) * len(PROMPTS)
    measured = read_table(output / "tables/measurements", "measurements")
    assert not set(measured.column("participant").to_pylist()) & codes.keys()
    assert verify(output) == []
    took = f"{done.seconds:.0f} s, {done.cpu_s:.0f} s of one processor"
    return f"{size} participants, {n_broken} broken in {len(BROKEN)} ways: {runs.num_rows} rows in {took}"


def test_every_broken_scan_is_a_row_with_its_code(jobs: Jobs, tmp_path: Path) -> None:
    print(check_cohort(jobs, tmp_path, size=120, n_broken=20))


@pytest.mark.stress
@pytest.mark.timeout(3600)
def test_a_thousand_participants(jobs: Jobs, tmp_path: Path) -> None:
    print("\n" + check_cohort(jobs, tmp_path, size=1000, n_broken=50))
