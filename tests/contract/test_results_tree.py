"""The output tree that users script against, made with fake models and checked by the official validator."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from dataclasses import replace
from functools import partial
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tests.unit.cohort_fakes import FixedPlanner, IntensitySegmenter, fake_engine, write_dataset
from vp_engine.bids.validate import validate_dataset
from vp_engine.cli.reporting import make_report
from vp_engine.cohort.analyse import analyse_shard, one_by_one
from vp_engine.cohort.collect import collect_tables
from vp_engine.cohort.config import Config, load_config
from vp_engine.cohort.participant import analyse_participant
from vp_engine.cohort.plan import write_plan
from vp_engine.cohort.statistics import LOCATION, read_covariates, run_statistics
from vp_engine.cohort.verify import verify
from vp_engine.errors import ConfigError
from vp_engine.tables.parquet import read_table

CONFIG = """
datasets:
  tiny: {path: tiny}
output: results
prompts:
  - {id: hippvol, text: Volumes of the hippocampi., images: [T1w]}
  - {id: heads, text: "Everything in its head\\tand more."}
  - {id: both, text: Both contrasts., scope: participant}
subjects_per_job: 2
statistics:
  - {id: bygroup, rows: {prompt: hippvol, measure: volume}, model: value ~ age}
"""
PROGRAMS = {
    "Volumes of the hippocampi.": "t1 = scan(current)\n"
    'report(volume(segment(t1, "left_hippocampus")))\nreport(volume(segment(t1, "right_hippocampus")))\n',
    "Everything in its head\tand more.": "t1 = scan(current)\nfor m in parcels(t1):\n    report(volume(m))\n"
    'report(ratio(volume(segment(t1, "left_hippocampus")), volume(segment(t1, "intracranial_volume"))))\n',
    "Both contrasts.": "for s in sessions:\n"
    '    save(segment(image("T1w", s), "brainstem"))\n    save(segment(image("FLAIR", s), "lesion"))\n',
}


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Config:
    folder = tmp_path_factory.mktemp("study with spaces")
    write_dataset(folder / "tiny")
    (folder / "config.yaml").write_text(CONFIG)
    config = load_config(folder / "config.yaml")
    write_plan(config, config.output)
    for shard in json.loads((config.output / "plan.shards.json").read_text())["tiny"]:
        engine = fake_engine(FixedPlanner(PROGRAMS), IntensitySegmenter())
        analyse_shard(
            config,
            config.output,
            dataset="tiny",
            shard=shard,
            analyse=one_by_one(partial(analyse_participant, engine=engine)),
        )
    collect_tables(config, config.output)
    run_statistics(config, config.output)
    return config


def test_tree(study: Config) -> None:
    files = {path.relative_to(study.output).as_posix() for path in study.output.rglob("*") if path.is_file()}
    session = "derivatives/tiny/sub-01/ses-01"
    assert files >= {
        "plan.parquet",
        "plan.shards.json",
        "validation/tiny.json",
        "manifest.sha256",
        "derivatives/tiny/dataset_description.json",
        "derivatives/tiny/descriptions.tsv",
        "derivatives/tiny/.bidsignore",
        "derivatives/tiny/seg-hippvol_dseg.tsv",
        f"{session}/anat/sub-01_ses-01_space-orig_seg-hippvol_dseg.nii.gz",
        f"{session}/anat/sub-01_ses-01_space-orig_seg-hippvol_dseg.json",
        f"{session}/anat/sub-01_ses-01_space-orig_label-intracranialVolume_desc-heads_mask.nii.gz",
        f"{session}/anat/sub-01_ses-01_space-FLAIR_seg-both_dseg.nii.gz",
        f"{session}/sub-01_ses-01_hippvol_transcript.json",
        "derivatives/tiny/sub-01/sub-01_both_transcript.json",
        "records/tiny/sub-01/done.json",
        "records/tiny/sub-01/runs.parquet",
        "records/tiny/shard-00000.json",
        "records/tiny/shard-00001.json",
        "tables/runs/dataset=tiny/part-0.parquet",
        "tables/measurements/dataset=tiny/part-0.parquet",
        "tables/segmentations/dataset=tiny/part-0.parquet",
        "tables/statistics/part-0.parquet",
        "tables/exclusions/part-0.parquet",
        "tables/centiles/part-0.parquet",
    }
    assert not [name for name in files if "tmp" in name]


def test_derivatives_are_a_valid_bids_dataset(study: Config) -> None:
    assert validate_dataset(study.output / "derivatives" / "tiny") == []


def test_label_table_covers_all_participants(study: Config) -> None:
    lines = (study.output / "derivatives/tiny/seg-hippvol_dseg.tsv").read_text().splitlines()
    assert [line.split("\t")[:2] for line in lines] == [
        ["index", "name"],
        ["17", "left_hippocampus"],
        ["53", "right_hippocampus"],
    ]


def test_sidecar_names_its_scan(study: Config) -> None:
    folder = study.output / "derivatives/tiny/sub-01/ses-01/anat"
    sidecar = json.loads((folder / "sub-01_ses-01_space-FLAIR_seg-both_dseg.json").read_text())
    assert sidecar["SpatialReference"] == "bids:raw:sub-01/ses-01/anat/sub-01_ses-01_FLAIR.nii.gz"
    assert sidecar["Sources"] == [sidecar["SpatialReference"]]


def test_every_table_says_what_it_is(study: Config) -> None:
    for file in sorted((study.output / "tables").rglob("*.parquet")):
        metadata = pq.read_schema(file).metadata
        assert {b"schema_name", b"schema_version", b"vp_engine_version", b"model_id"} <= metadata.keys()
        assert metadata[b"schema_name"].decode() in file.as_posix()


def test_statistics_are_fitted(study: Config) -> None:
    rows = read_table(study.output / LOCATION, "statistics").to_pylist()
    assert {(row["target"], row["term"], row["n"]) for row in rows if row["estimate"] is not None} == {
        ("left_hippocampus", "Intercept", 3),
        ("left_hippocampus", "age", 3),
    }
    # equal in all participants, so there is nothing to fit: told, not left out
    assert [row["method"][:10] for row in rows if row["target"] == "right_hippocampus"] == ["not fitted"]


def test_done_json_covers_every_file_of_the_participant(study: Config) -> None:
    for path in study.output.glob("records/tiny/*/done.json"):
        done = json.loads(path.read_text())
        derivatives = study.output / "derivatives" / "tiny"
        listed = {file: sha for task in done["tasks"].values() for file, sha in task["outputs"].items()}
        found = {
            file.relative_to(derivatives).as_posix(): hashlib.sha256(file.read_bytes()).hexdigest()
            for file in (derivatives / path.parent.name).rglob("*")
            if file.is_file()
        }
        assert listed == found


def test_manifest_is_that_of_sha256sum_and_holds(study: Config) -> None:
    for line in (study.output / "manifest.sha256").read_text().splitlines():
        sha, name = line.split("  ", 1)
        assert hashlib.sha256((study.output / name).read_bytes()).hexdigest() == sha
    assert verify(study.output) == []


def test_report_shows_no_picture_of_an_earlier_run(study: Config, tmp_path: Path) -> None:
    moved = replace(study, output=tmp_path / "results")
    shutil.copytree(study.output, moved.output)
    (moved.output / "figures").mkdir()
    old = moved.output / "figures" / "tiny_sub-gone_hippvol.png"
    old.write_bytes(b"old")
    page = make_report(moved, moved.output).read_text(encoding="utf-8")
    assert re.findall("<p>Prompt <code>(.*?)</code>", page) == ["hippvol", "heads", "both"]
    assert "docs/tables.md says what it means" not in page
    assert list((moved.output / "figures").glob("tiny_sub-01*.png"))
    assert not old.exists()
    assert verify(moved.output) == []


def test_transcript_is_the_audit_trail(study: Config) -> None:
    path = study.output / "derivatives/tiny/sub-01/ses-01/sub-01_ses-01_hippvol_transcript.json"
    transcript = json.loads(path.read_text())
    assert transcript["prompt"] == "Volumes of the hippocampi."
    assert transcript["turns"][0]["program"] == PROGRAMS["Volumes of the hippocampi."]
    assert transcript["turns"][0]["observation"] == "done"


def test_columns_called_like_the_ids_of_the_tables_give_way(tmp_path: Path) -> None:
    root = write_dataset(tmp_path / "tiny")
    (root / "participants.tsv").write_text("participant_id\tparticipant\tage\nsub-01\tAnn\t60\n")
    (root / "sub-01" / "sub-01_sessions.tsv").write_text("session_id\tsession\tweight\nses-01\tfirst\t70\n")
    (tmp_path / "config.yaml").write_text(CONFIG)
    covariates = read_covariates(load_config(tmp_path / "config.yaml"))
    of_01 = covariates[covariates["participant"] == "01"]
    assert of_01[["age", "weight"]].fillna("").to_numpy().tolist() == [["60", ""], ["", "70"]]


def test_statistics_that_cannot_be_read_stop_before_the_first_scan(tmp_path: Path) -> None:
    root = write_dataset(tmp_path / "tiny")
    (root / "participants.tsv").write_text("participant_id\tage\nsub-01\t60\nsub-02\t61\nsub-03\t89+\n")
    (root / "sub-01" / "sub-01_sessions.tsv").write_text("session_id\tage\nses-01\n")
    (tmp_path / "config.yaml").write_text(CONFIG)
    config = load_config(tmp_path / "config.yaml")
    with pytest.raises(ConfigError, match=r"statistics\.bygroup: .*'age' holds numbers and also '89\+'"):
        write_plan(config, config.output)
    assert not config.output.exists()


def test_statistics_of_a_column_that_is_nowhere(study: Config) -> None:
    (study.file.parent / "other.yaml").write_text(CONFIG.replace("~ age", "~ weight"))
    with pytest.raises(ConfigError, match="weight"):
        load_config(study.file.parent / "other.yaml")
