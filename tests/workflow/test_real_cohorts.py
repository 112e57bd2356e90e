"""Real scans, where they are at hand: two people of a cohort, two patients with two visits, ten prompts."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
DATA = ROOT.parent / "shared" / "data"

pytestmark = pytest.mark.timeout(1200)

PROMPTS = [
    {"id": "hippvol", "text": "Measure the volume of the left and right hippocampus.", "images": ["T1w"]},
    {"id": "ventvol", "text": "How large are the ventricles?"},
    {"id": "thalasym", "text": "How asymmetric is the thalamus?", "images": ["T1w"]},
    {"id": "icvfraction", "text": "Give the volume of the hippocampus as a fraction of the ICV.", "images": ["T1w"]},
    {"id": "striatum", "text": "Outline the caudate and the putamen.", "images": ["T1w"]},
    {"id": "brainstem", "text": "What is the surface area of the brainstem?", "images": ["T1w"]},
    {"id": "flairwm", "text": "Mean intensity of the cerebral white matter.", "images": ["FLAIR"]},
    {
        "id": "ventgrowth",
        "text": "By how many percent did the volume of the ventricles change?",
        "scope": "participant",
    },
    {"id": "liver", "text": "Segment the liver."},
    {"id": "diagnosis", "text": "Does this patient have Alzheimer's disease?"},
]


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if not (DATA / "cohort_ds002748").is_dir() or not (DATA / "longitudinal_openms").is_dir():
        pytest.skip("the real scans of ../shared/data are not here")
    if not (ROOT / "vp_engine" / "models" / "default" / "weights.lock.json").is_file():
        pytest.skip("no default weights in this checkout")
    folder = tmp_path_factory.mktemp("real")
    config = {
        "datasets": {
            "ds002748": {"path": str(DATA / "cohort_ds002748"), "participants": ["01", "52"]},
            "openms": {"path": str(DATA / "longitudinal_openms")},
        },
        "output": "results",
        "prompts": PROMPTS,
        "statistics": [
            {"id": "hippocampusbyage", "rows": {"prompt": "hippvol", "measure": "volume"}, "model": "value ~ age"}
        ],
    }
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    command = [
        str(Path(sys.executable).with_name("snakemake")),
        *("--snakefile", str(ROOT / "Snakefile"), "--directory", str(folder), "--cores", "2"),
        *("--configfile", str(folder / "config.yaml")),
    ]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder / "results"


def test_every_planned_prompt_has_its_row(results: Path) -> None:
    key = ["dataset", "participant", "session", "prompt_id"]
    planned = pq.read_table(results / "plan.parquet").to_pandas()
    runs = pd.read_parquet(results / "tables" / "runs")
    assert len(planned) == 2 * 10 + 4 * 9 + 2
    assert sorted(map(str, runs[key].to_numpy())) == sorted(map(str, planned[key].to_numpy()))
    assert not set(runs["status"]) & {"failed", "no_record", "timeout", "interrupted"}


def test_what_cannot_be_done_says_why(results: Path) -> None:
    runs = pd.read_parquet(results / "tables" / "runs")
    assert set(runs[runs["prompt_id"].isin(["liver", "diagnosis"])]["status"]) == {"refused"}
    absent = runs[(runs["participant"] == "openms03") & (runs["session"] == "01") & (runs["prompt_id"] == "hippvol")]
    assert list(absent["status"]) == ["no_input"]
    one_visit = runs[(runs["dataset"] == "ds002748") & (runs["prompt_id"] == "ventgrowth")]
    assert set(one_visit["status"]) == {"refused"}
    assert set(runs[(runs["dataset"] == "ds002748") & (runs["prompt_id"] == "flairwm")]["status"]) == {"no_input"}


def test_numbers_are_of_human_size(results: Path) -> None:
    measurements = pd.read_parquet(results / "tables" / "measurements")
    whole = measurements[(measurements["prompt_id"] == "hippvol") & (measurements["dataset"] == "ds002748")]
    assert len(whole) == 4
    assert whole["value"].between(1000, 8000).all()
    growth = measurements[measurements["prompt_id"] == "ventgrowth"]
    assert set(growth["participant"]) == {"openms01", "openms03"}
    assert set(growth["measure"]) == {"percent_change"}
    fractions = measurements[(measurements["prompt_id"] == "icvfraction") & (measurements["dataset"] == "ds002748")]
    assert fractions["value"].between(0.001, 0.02).all()


def test_few_people_have_wide_intervals(results: Path) -> None:
    statistics = pd.read_parquet(results / "tables" / "statistics")
    ages = statistics[statistics["term"] == "age"]
    assert set(ages["target"]) == {"left_hippocampus", "right_hippocampus"}
    for row in ages.itertuples():
        assert row.ci_low < row.estimate < row.ci_high
        assert row.ci_high - row.ci_low > 50, "mm3 per year: three or four people of two cohorts say nothing of age"
        assert "few_participants" in row.flags
        assert "pooled over datasets ds002748, openms" in row.method
        assert row.effect_ci_low <= row.effect_size <= row.effect_ci_high


STUDY = {
    "datasets": {"ds002748": {"path": str(DATA / "cohort_ds002748")}},
    "output": "results",
    "prompts": [
        PROMPTS[0],
        {"id": "ventvol", "text": "How large are the ventricles?", "images": ["T1w"]},
        {"id": "head", "text": "Measure the intracranial volume.", "images": ["T1w"]},
    ],
    "statistics": [
        {
            "id": "bygroup",
            "rows": {"prompt": ["hippvol", "ventvol"], "measure": "volume"},
            "model": "value ~ group + age",
            "icv": {"method": "residual", "prompt": "head"},
            "standard_errors": "HC3",
            "permutations": 9999,
            "exclude": {"qc_below": 0.5, "outliers": 3.5},
        }
    ],
}


@pytest.mark.stress
def test_twelve_people_in_two_groups(tmp_path: Path) -> None:
    if not (DATA / "cohort_ds002748").is_dir():
        pytest.skip("the real scans of ../shared/data are not here")
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(STUDY))
    command = [
        str(Path(sys.executable).with_name("snakemake")),
        *("--snakefile", str(ROOT / "Snakefile"), "--directory", str(tmp_path), "--cores", "2"),
        *("--configfile", str(tmp_path / "config.yaml")),
    ]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    tables = tmp_path / "results" / "tables"
    found = pd.read_parquet(tables / "statistics").query("term == 'group[T.depr]'")
    assert set(zip(found["analysis"], found["target"], strict=True)) == {
        (analysis, target)
        for analysis in ("all", "excluded")
        for target in ("left_hippocampus", "right_hippocampus", "ventricles")
    }
    whole = found[found["analysis"] == "all"]
    assert set(whole["n"]) == {11}, "the scan of sub-56 cannot be used"
    assert (whole["effect_ci_high"] - whole["effect_ci_low"]).between(1.5, 4).all(), "standard deviations"
    assert (whole["p_permutation"] - whole["p"]).abs().max() < 0.1
    lost = pd.read_parquet(tables / "exclusions").query("analysis == 'all'")
    assert set(zip(lost["participant"], lost["reason"], strict=True)) == {("56", "refused:refused_input")}
