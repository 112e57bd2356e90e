"""The same inputs give the same bytes: in a second run, and in six surroundings that must not matter."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.faults import study
from tests.faults.jobs import ROOT, Jobs
from vp_engine.cohort import demo
from vp_engine.volumes.nifti import read_labels

PLAIN = {"LC_ALL": "C.UTF-8", "TZ": "UTC", "PYTHONHASHSEED": "0", "OMP_NUM_THREADS": "1"}


def run_in(surroundings: dict[str, str], config: Path, output: Path, *, models: str) -> None:
    """Run the study in a new process."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.faults.study", models, str(config), str(output)],
        cwd=ROOT,
        env=os.environ | PLAIN | surroundings,
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("other", [{}, {"umask": 0o077}, {"tz": "Pacific/Kiritimati"}, {"cwd": "/"}])
def test_same_bytes_again_and_with_other_umask_time_zone_or_working_directory(
    other: dict[str, Any], study_folder: Path, jobs: Jobs, clean: dict[str, str]
) -> None:
    output = jobs.outputs / "-".join(["again", *other])
    assert jobs.run(study_folder / "config.yaml", output, study.STEPS, **other).code == 0
    assert study.contents(output) == clean


@pytest.mark.parametrize("other", [{"LC_ALL": "C"}, {"PYTHONHASHSEED": "4321"}, {"OMP_NUM_THREADS": "2"}])
def test_same_bytes_with_other_locale_hash_seed_or_threads(
    other: dict[str, str], study_folder: Path, jobs: Jobs, clean: dict[str, str]
) -> None:
    output = jobs.outputs / "-".join(other)
    run_in(other, study_folder / "config.yaml", output, models="stand-in")
    assert study.contents(output) == clean


@pytest.mark.stress
@pytest.mark.timeout(3600)
def test_released_weights_give_the_same_bytes_and_with_other_threads_the_same_labels(tmp_path: Path) -> None:
    if not (ROOT / "vp_engine" / "models" / "default" / "weights.lock.json").is_file():
        pytest.skip("no default weights in this checkout")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(demo, "_SPACING_MM", 3.0)
        demo.make_demo(tmp_path / "tiny")
    prompts = (
        {"id": "vol", "text": "Measure the volume of the left and right hippocampus.", "images": ["T1w"]},
        {"id": "growth", "text": "How did the volume of the ventricles change?", "scope": "participant"},
    )
    config = study.write_config(
        tmp_path / "config.yaml",
        prompts,
        datasets={"tiny": {"path": "tiny", "participants": ["01", "05"]}},
        subjects_per_job=1,
    )
    for name, surroundings in {
        "first": {},
        "second": {"PYTHONHASHSEED": "7"},
        "threads": {"OMP_NUM_THREADS": "2"},
    }.items():
        run_in(surroundings, config, tmp_path / name, models="released")
    first, threads = study.contents(tmp_path / "first"), study.contents(tmp_path / "threads")
    assert first == study.contents(tmp_path / "second")
    assert first.keys() == threads.keys()
    labels = [name for name in first if name.endswith("_dseg.nii.gz")]
    assert len(labels) == 8
    for name in labels:
        one, other = (read_labels(tmp_path / which / name).data for which in ("first", "threads"))
        assert one.any()
        np.testing.assert_array_equal(one, other)
    print(f"\n{len(first)} files the same in two runs; {len(labels)} label maps the same with one and two threads")
