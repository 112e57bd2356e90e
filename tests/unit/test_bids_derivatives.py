"""Derivative datasets as written here, judged by the official validator."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from vp_engine.anatomy import STRUCTURES
from vp_engine.bids.dataset import index_dataset
from vp_engine.bids.derivatives import (
    dseg_name,
    mask_name,
    output_path,
    sidecar,
    transcript_name,
    write_dataset_description,
    write_dseg_tsv,
)
from vp_engine.bids.text_tables import read_tsv
from vp_engine.bids.validate import validate_dataset
from vp_engine.errors import ConfigError, InfrastructureError, InputRefused
from vp_engine.volumes.nifti import read_image, write_labels

PROMPTS = {"hippvol": 'Measure the "hippocampus"\tand\n<b>more</b>', "all": "Measure everything."}


def _derivatives(root: Path, raw: Path) -> Path:
    write_dataset_description(root, source_name="tiny", source_path=raw, version="0.1.0", prompts=PROMPTS)
    for prompt_id, structures in (("hippvol", ["right_hippocampus", "left_hippocampus"]), ("all", STRUCTURES)):
        write_dseg_tsv(root, prompt_id, structures)
    for session in index_dataset(raw):
        for scan in session.scans:
            image = read_image(raw / scan.path, root=raw)
            where = (session.participant, session.session, "hippvol")
            space = "orig" if scan.suffix == "T1w" else scan.suffix
            for name in (
                dseg_name(*where, scan.entities, space=space),
                mask_name(*where, "left_hippocampus", scan.entities, space=space),
            ):
                path = output_path(root, name)
                path.parent.mkdir(parents=True, exist_ok=True)
                write_labels(path, (image.data > 500).astype(np.uint8), like=image)
                path.with_name(path.name.replace(".nii.gz", ".json")).write_text(json.dumps(sidecar(image=scan.path)))
            output_path(root, transcript_name(*where)).write_text("{}")
    output_path(root, transcript_name("02", None, "all")).write_text("{}")
    return root


def test_derivatives_have_no_validator_errors(tiny_dataset: Path, tmp_path: Path) -> None:
    assert validate_dataset(tiny_dataset) == []
    root = _derivatives(tmp_path / "results/derivatives/tiny", tiny_dataset)
    assert validate_dataset(root) == []
    assert sum(1 for _ in root.rglob("*_dseg.nii.gz")) == 4
    description = json.loads((root / "dataset_description.json").read_text())
    assert description["DatasetType"] == "derivative"
    assert description["GeneratedBy"][0]["Description"] == "Research software. Not a medical device."
    assert description["DatasetLinks"]["raw"] == description["SourceDatasets"][0]["URL"]
    assert str(tmp_path) not in (root / "dataset_description.json").read_text()


def test_without_the_ignore_file_the_validator_would_complain(tiny_dataset: Path, tmp_path: Path) -> None:
    root = _derivatives(tmp_path / "derivatives", tiny_dataset)
    (root / ".bidsignore").unlink()
    assert {finding.code for finding in validate_dataset(root)} >= {"NOT_INCLUDED"}


def test_label_table(tmp_path: Path) -> None:
    write_dseg_tsv(tmp_path, "p1", ["right_hippocampus", "lesion", "brain", "left_hippocampus", "lesion"])
    table = read_tsv(tmp_path, "seg-p1_dseg.tsv")
    assert list(table.columns) == ["index", "name", "abbreviation", "color", "mapping"]
    assert table.column("index") == ["17", "53", "2001", "3001"]
    assert table.column("name") == ["left_hippocampus", "right_hippocampus", "brain", "lesion"]
    assert table.column("mapping") == ["9", "9", "n/a", "7"]
    assert all(re.fullmatch("#[0-9a-f]{6}", str(color)) for color in table.column("color"))
    assert len(set(table.column("color"))) == 4
    with pytest.raises(InputRefused):
        write_dseg_tsv(tmp_path, "p/1", ["brain"])


def test_prompt_texts_survive_the_table(tmp_path: Path) -> None:
    write_dataset_description(tmp_path, source_name="x", source_path=tmp_path, version="1", prompts=PROMPTS)
    table = read_tsv(tmp_path, "descriptions.tsv")
    assert table.column("desc_id") == ["desc-all", "desc-hippvol"]
    assert table.column("description")[1] == 'Measure the "hippocampus" and <b>more</b>'
    with pytest.raises(InputRefused):
        write_dataset_description(tmp_path, source_name="x", source_path=tmp_path, version="1", prompts={"a_b": ""})


def test_writing_again_changes_nothing_and_leaves_nothing(tmp_path: Path) -> None:
    def write() -> dict[str, tuple[bytes, int]]:
        write_dataset_description(tmp_path, source_name="x", source_path=tmp_path, version="1", prompts=PROMPTS)
        write_dseg_tsv(tmp_path, "all", STRUCTURES)
        return {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in sorted(tmp_path.iterdir())}

    first = write()
    assert list(first) == [".bidsignore", "dataset_description.json", "descriptions.tsv", "seg-all_dseg.tsv"]
    assert write() == first


def test_sidecar_names_every_source_once() -> None:
    got = sidecar(image="sub-01/anat/sub-01_T1w.nii.gz", sources=["a.nii.gz", "sub-01/anat/sub-01_T1w.nii.gz"])
    assert got["SpatialReference"] == "bids:raw:sub-01/anat/sub-01_T1w.nii.gz"
    assert got["Sources"] == ["bids:raw:sub-01/anat/sub-01_T1w.nii.gz", "bids:raw:a.nii.gz"]


def test_validator_reports_errors_and_on_request_warnings(tiny_dataset: Path) -> None:
    (tiny_dataset / "sub-01/anat/sub-01_notes.txt").write_text("x")
    errors = validate_dataset(tiny_dataset)
    assert [(finding.code, finding.path) for finding in errors] == [("NOT_INCLUDED", "sub-01/anat/sub-01_notes.txt")]
    findings = validate_dataset(tiny_dataset, warnings=True)
    assert findings[0] == errors[0]
    assert {finding.severity for finding in findings} == {"error", "warning"}


def test_more_than_a_thousand_participants_are_no_false_mismatch(tiny_dataset: Path) -> None:
    others = [f"sub-x{number}\t1" for number in range(1100)]
    lines = ["participant_id\tage", *others, "sub-01\t1", "sub-02\t1"]
    (tiny_dataset / "participants.tsv").write_text("\n".join(lines) + "\n")
    assert "PARTICIPANT_ID_MISMATCH" not in {finding.code for finding in validate_dataset(tiny_dataset)}


def test_missing_validator_and_missing_folder_are_clear(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match="folder"):
        validate_dataset(tmp_path / "absent")
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    with pytest.raises(ConfigError, match="pip install bids-validator-deno") as missing:
        validate_dataset(tmp_path)
    assert missing.value.code == "validator_missing"
    fake = tmp_path / "bids-validator-deno"
    fake.write_text("no program")
    fake.chmod(0o755)
    with pytest.raises(InfrastructureError, match="cannot be run"):
        validate_dataset(tmp_path)
    fake.write_text("#!/bin/sh\nkill -9 $$\n")
    with pytest.raises(InfrastructureError, match="signal 9"):
        validate_dataset(tmp_path)


def test_a_dataset_that_the_validator_gives_up_on_is_not_valid(
    tiny_dataset: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tiny_dataset / os.fsdecode(b"sub-01/anat/sub-01_acq-\xff_T1w.nii.gz")).touch()
    assert [(found.code, found.severity) for found in validate_dataset(tiny_dataset)] == [("validator_failed", "error")]
    monkeypatch.setattr("vp_engine.bids.validate._LONGEST_SECONDS", 0.001)
    assert [found.code for found in validate_dataset(tiny_dataset)] == ["validator_failed"]


def test_validator_leaves_real_data_as_it_is(shared_data: Callable[[str], Path]) -> None:
    root = shared_data("longitudinal_openms")
    before = sorted(root.rglob("*"))
    assert validate_dataset(root) == []
    assert sorted(root.rglob("*")) == before
