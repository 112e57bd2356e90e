"""The whole house on two datasets of small people, one of them with a broken scan, through Snakemake."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import duckdb
import pandas as pd
import pyarrow.parquet as pq
import pytest
import yaml

from vp_engine.cohort import demo

ROOT = Path(__file__).resolve().parents[2]

# half a minute on two free cores; a busy machine may need many times that
pytestmark = pytest.mark.timeout(1200)

CONFIG = {
    "datasets": {"demo": {"path": "demo", "participants": ["01", "05", "06"]}, "other": {"path": "other"}},
    "output": "results",
    "prompts": [
        {"id": "hippvol", "text": "Measure the volume of the left and right hippocampus.", "images": ["T1w"]},
        {"id": "striatum", "text": "Outline the caudate and the putamen.", "images": ["T1w"]},
        {
            "id": "ventgrowth",
            "text": "By how many percent did the volume of the ventricles change between the first and the last visit?",
            "scope": "participant",
        },
        {"id": "liver", "text": "Segment the liver."},
        {"id": "flair", "text": "Measure the brainstem.", "images": ["FLAIR"]},
    ],
    "statistics": [{"id": "bygroup", "rows": {"prompt": "hippvol", "measure": "volume"}, "model": "value ~ group"}],
}


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [
        str(Path(sys.executable).with_name("snakemake")),
        *("--snakefile", str(ROOT / "Snakefile"), "--directory", str(folder)),
        *("--configfile", str(folder / "config.yaml")),
        *("--cores", "2", *arguments),
    ]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "2"}
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=560
    )


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if not (ROOT / "vp_engine" / "models" / "default" / "weights.lock.json").is_file():
        pytest.skip("no default weights in this checkout")
    folder = tmp_path_factory.mktemp("study")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(demo, "_SPACING_MM", 3.0)
        demo.make_demo(folder / "demo")
    # another site, without session folders, and with somebody of the same label
    other = folder / "other"
    (other / "sub-01" / "anat").mkdir(parents=True)
    shutil.copy(folder / "demo/sub-02/ses-01/anat/sub-02_ses-01_T1w.nii.gz", other / "sub-01/anat/sub-01_T1w.nii.gz")
    shutil.copy(folder / "demo/dataset_description.json", other)
    (other / "README").write_text("One person of the demo cohort under another name, as if from another site.\n")
    (other / "participants.tsv").write_text("participant_id\tgroup\nsub-01\tcontrol\n")
    broken = folder / "demo/sub-06/ses-01/anat/sub-06_ses-01_T1w.nii.gz"
    broken.write_bytes(broken.read_bytes()[:-2000])
    (folder / "config.yaml").write_text(yaml.safe_dump(CONFIG))
    done = run(folder)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def table(study: Path, name: str) -> pd.DataFrame:
    return pd.read_parquet(study / "results" / "tables" / name)


def test_every_planned_prompt_has_its_row(study: Path) -> None:
    planned = pq.read_table(study / "results" / "plan.parquet").to_pandas()
    runs = table(study, "runs")
    key = ["dataset", "participant", "session", "prompt_id"]
    wanted = {tuple(map(str, row)) for row in planned[key].to_numpy()}
    got = [tuple(map(str, row)) for row in runs[key].to_numpy()]
    assert len(wanted) == 6 * 4 + 4, "six sessions with four prompts, four participants with one"
    assert sorted(got) == sorted(wanted)


def test_outcomes(study: Path) -> None:
    runs = table(study, "runs")

    def statuses(participant: str, prompt_id: str, dataset: str = "demo") -> set[str]:
        own = runs[(runs["dataset"] == dataset) & (runs["participant"] == participant)]
        return set(own[own["prompt_id"] == prompt_id]["status"])

    assert statuses("01", "hippvol") == {"ok"}
    assert statuses("01", "striatum") == {"ok"}
    assert statuses("01", "ventgrowth") == {"ok"}
    assert statuses("01", "liver") == {"refused"}
    assert statuses("01", "flair") == {"no_input"}
    assert statuses("06", "hippvol") == {"refused_input"}
    assert statuses("01", "hippvol", "other") == {"ok"}
    assert statuses("01", "ventgrowth", "other") == {"refused"}
    assert runs[runs["status"] != "ok"]["reason"].str.len().gt(10).all()


def test_numbers_and_masks(study: Path) -> None:
    measurements = table(study, "measurements")
    volumes = measurements[measurements["prompt_id"] == "hippvol"]
    assert set(volumes["target"]) == {"left_hippocampus", "right_hippocampus"}
    assert set(volumes["unit"]) == {"mm3"}
    assert volumes["value"].gt(0).all()
    change = measurements[(measurements["prompt_id"] == "ventgrowth") & (measurements["participant"] == "01")]
    assert list(change["measure"]) == ["percent_change"]
    for row in table(study, "segmentations").itertuples():
        assert (study / "results" / "derivatives" / str(row.dataset) / str(row.path)).is_file()


def test_tables_answer_in_duckdb(study: Path) -> None:
    files = str(study / "results" / "tables" / "measurements" / "**" / "*.parquet")
    rows = duckdb.execute(
        "SELECT participant, session, target, value, unit FROM read_parquet(?, hive_partitioning = true) "
        "WHERE prompt_id = 'hippvol' ORDER BY ALL",
        [files],
    ).fetchall()
    assert [row[:3] for row in rows[:2]] == [("01", "01", "left_hippocampus"), ("01", "01", "right_hippocampus")]
    wide = (
        pd.read_parquet(study / "results" / "tables" / "measurements")
        .query("prompt_id == 'hippvol'")
        .pivot(index=["dataset", "participant", "session"], columns="target", values="value")
    )
    assert wide.shape == (len(rows) // 2, 2)


def test_report_and_proof(study: Path) -> None:
    report = (study / "results" / "report.html").read_text(encoding="utf-8")
    assert "Not a medical device" in report
    command = [sys.executable, "-m", "vp_engine.cli.app", "verify", str(study / "results")]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_snakemake_lists_the_report_its_figures_and_its_numbers(study: Path) -> None:
    done = run(study, "--report", str(study / "overview.zip"))
    assert done.returncode == 0, done.stdout + done.stderr
    with zipfile.ZipFile(study / "overview.zip") as archive:
        names = {Path(name).name for name in archive.namelist()}
        index = archive.read("overview/report.html").decode()
    assert names == {
        "report.html", "bygroup_terms.tsv", "bygroup_volume_effects.svg", "bygroup_volume_trajectories.svg",
        "bygroup_volume_values.svg",
    }  # fmt: skip
    assert "estimates with 95 % intervals" in index  # the captions


def test_datasets_are_kept_apart(study: Path) -> None:
    volumes = table(study, "measurements").query("prompt_id == 'hippvol' and participant == '01'")
    assert set(zip(volumes["dataset"], volumes["session"].fillna(""), strict=True)) == {
        ("demo", "01"),
        ("demo", "02"),
        ("other", ""),
    }
    assert volumes.groupby("dataset")["record_id"].nunique().to_dict() == {"demo": 2, "other": 1}
    assert set(table(study, "statistics")["n"]) == {3}, "01 and 05 of demo, 01 of other"


def test_the_planted_loss_is_inside_the_interval(study: Path) -> None:
    """With three people the interval is wide; `test_demo_effects.py` has all of them."""
    truth = pd.read_csv(study / "demo" / demo.MARKER, sep="\t").query("session_id == 'ses-01'")
    factor = truth.set_index("participant_id")["hippocampus_factor"]
    planted = factor["sub-01"] - (factor["sub-05"] + factor["sub-02"]) / 2  # sub-02 is the one of `other`
    volumes = table(study, "measurements").query("prompt_id == 'hippvol' and session != '02'")
    terms = table(study, "statistics").set_index(["target", "term"])
    for target, own in volumes.groupby("target"):
        whole = own.set_index(["dataset", "participant"])["value"][("demo", "05")] / factor["sub-05"]
        found = terms.loc[(target, "group[T.patient]")]
        assert found["ci_low"] < planted * whole < found["ci_high"]
        assert found["estimate"] < 0
        assert list(found["flags"]) == ["few_participants", "high_leverage:demo/sub-01"], "the only patient"
        assert pd.isna(found["effect_size"]), "of one degree of freedom"


def test_who_is_in_no_model_is_told(study: Path) -> None:
    found = table(study, "exclusions")
    told = set(zip(found["participant"], found["session"], found["reason"], strict=True))
    assert told == {
        ("01", "02", "further_session"),
        ("05", "02", "further_session"),
        ("06", "01", "refused:refused_input"),
    }


def vp(study: Path, *arguments: str) -> str:
    command = [sys.executable, "-m", "vp_engine.cli.app", *arguments]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=study, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_status_logs_and_export(study: Path) -> None:
    told = vp(study, "status", "results")
    assert told.startswith("4 of 4 participants recorded (100 %)\n")
    assert "refused_input" in told
    log = (study / "results" / "logs" / "other" / "sub-01.log").read_text()
    assert " info hippvol ok, " in log
    vp(study, "export", "results", "-o", "wide.csv")
    wide = pd.read_csv(study / "wide.csv", dtype=str)
    other = wide[wide["dataset"] == "other"].to_dict("records")
    assert [row["participant_id"] for row in other] == ["sub-01"]
    assert other[0]["group"] == "control"
    assert float(other[0]["hippvol.left_hippocampus.volume.T1w"]) > 0
    assert "liver: refused" in other[0]["not_answered"]


def test_derivatives_are_valid_bids(study: Path) -> None:
    validator = Path(sys.executable).with_name("bids-validator-deno")
    if not validator.exists():
        pytest.skip("bids-validator-deno is not installed beside this Python")
    for dataset in ("demo", "other"):
        command = [
            str(validator),
            str(study / "results" / "derivatives" / dataset),
            "--max-rows",
            "-1",
            "--ignoreWarnings",
            "--format",
            "json",
        ]
        found = json.loads(subprocess.run(command, capture_output=True, check=False, text=True).stdout)
        assert found["issues"]["issues"] == []


def test_nothing_is_done_twice_and_an_edited_prompt_alone_is_redone(study: Path) -> None:
    def of_prompt(name: str, prompt_id: str, column: str) -> list[object]:
        rows = table(study, name)
        return list(rows[rows["prompt_id"] == prompt_id][column].dropna())

    again = run(study)
    assert again.returncode == 0, again.stderr
    assert "Nothing to be done" in again.stdout + again.stderr
    before = of_prompt("runs", "hippvol", "seconds")
    text = (study / "config.yaml").read_text()
    (study / "config.yaml").write_text(text.replace("Outline the caudate and the putamen", "Outline the thalamus"))
    assert run(study).returncode == 0
    assert of_prompt("runs", "hippvol", "seconds") == before
    assert all("thalamus" in str(name) for name in of_prompt("segmentations", "striatum", "target"))
