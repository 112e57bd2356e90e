"""The cohort of the benchmark has records that the product takes for its own."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.cohort_scale import STEPS, Cost, markdown
from benchmarks.simulated_cohort import PROMPTS, SESSIONS, TARGETS, Mould, write_dataset
from vp_engine.cohort import plan
from vp_engine.cohort.collect import collect_tables
from vp_engine.cohort.config import load_config
from vp_engine.tables.parquet import read_table


def test_simulated_records_are_collected(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan, "validate_dataset", lambda _root, **_options: [])
    mould = Mould(tmp_path / "mould")
    config = load_config(write_dataset(tmp_path, 3))
    plan.write_plan(config, config.output)
    hashes = [mould.cast(config.output, number) for number in range(3)]
    assert collect_tables(config, config.output) == {"ok": 3 * len(SESSIONS) * PROMPTS}
    rows = read_table(config.output / "tables" / "measurements", "measurements")
    assert rows.num_rows == 3 * len(SESSIONS) * PROMPTS * TARGETS
    assert len(set(rows.column("value").to_pylist())) > rows.num_rows / 2, "participants differ"
    assert [mould.cast(config.output, number) for number in range(3)] == hashes
    assert mould.cast(config.output, 1, seed=1) != hashes[1]


def test_table_tells_every_step_and_how_it_grows() -> None:
    measured = [Cost(step, size, 9.0, size / 100, 50.0) for step in STEPS for size in (100, 1000)]
    lines = list(markdown([Cost("analysis", 5, 1.0, 1.0, 1.0), *measured]))
    assert [line.split(" | ")[0] for line in lines[2:]] == [f"| {step}" for step in STEPS]
    assert lines[2].endswith("| 10.0 s (9 s), 50 MB | 10.0 for 10.0 |")
