"""Regions and images that a study saves: named, hashed, proven, replaced and removed like everything else."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.unit.test_cohort_analyse import Study
from vp_engine.bids.validate import validate_dataset
from vp_engine.cohort.config import PromptConfig
from vp_engine.cohort.verify import verify
from vp_engine.volumes.nifti import read_image, read_labels

STRIP, PIECES, BOTH = "Strip the skull.", "Halves of the hippocampus.", "Crop both hippocampi."
PROGRAMS = {
    STRIP: 'img = scan(current)\nsave(isolate(img, segment(img, "intracranial_volume")))\n',
    PIECES: 'm = segment(scan(current), "left_hippocampus")\nfor p in [part(m, "anterior"), part(m, "posterior")]:\n'
    "    save(p)\n    report(volume(p))\n",
    BOTH: 'img = scan(current)\nsave(crop(img, segment(img, "left_hippocampus")))\n'
    'save(crop(img, segment(img, "right_hippocampus")))\n',
}
PROMPTS = (PromptConfig("strip", STRIP), PromptConfig("pieces", PIECES), PromptConfig("both", BOTH))
ANAT = "derivatives/tiny/sub-01/ses-01/anat/sub-01_ses-01_space-orig"


@pytest.fixture
def study(tmp_path: Path) -> Study:
    study = Study(tmp_path / "study")
    study.config = replace(study.config, prompts=PROMPTS)
    study.planner.programs = PROGRAMS
    study.run()
    return study


def test_regions_are_masks_with_rows(study: Study) -> None:
    rows = study.table("segmentations", prompt_id="pieces", participant="01", session="01")
    assert [(row["target"], row["label"], row["voxels"]) for row in rows] == [
        ("left_hippocampus", 17, 8),
        ("left_hippocampus_anterior_part", 1, 4),
        ("left_hippocampus_posterior_part", 1, 4),
    ]
    file = study.output / f"{ANAT}_label-leftHippocampusAnteriorPart_desc-pieces_mask.nii.gz"
    assert rows[1]["path"] == file.relative_to(study.output / "derivatives/tiny").as_posix()
    assert read_labels(file).data.sum() == 4
    numbers = study.table("measurements", prompt_id="pieces", participant="01", session="01")
    assert [(row["target"], row["value"]) for row in numbers] == [
        ("left_hippocampus_anterior_part", 48.0),
        ("left_hippocampus_posterior_part", 48.0),
    ]
    table = (study.output / "derivatives/tiny/seg-pieces_dseg.tsv").read_text()
    assert [line.split("\t")[1] for line in table.splitlines()[1:]] == ["left_hippocampus"]


def test_images_are_derivatives_without_rows(study: Study) -> None:
    stripped = study.output / f"{ANAT}_desc-strip_T1w.nii.gz"
    raw = read_image(study.root / "sub-01/ses-01/anat/sub-01_ses-01_T1w.nii.gz")
    image = read_image(stripped)
    assert np.array_equal(image.affine, raw.affine)
    assert image.forms == raw.forms
    assert np.array_equal(image.data[image.data != 0], raw.data[image.data != 0])
    assert 0 < np.count_nonzero(image.data) < raw.data.size / 2
    about = json.loads(stripped.with_name(stripped.name.replace(".nii.gz", ".json")).read_text())
    assert about["SkullStripped"] is True
    assert about["Sources"] == ["bids:raw:sub-01/ses-01/anat/sub-01_ses-01_T1w.nii.gz"]
    assert about["Description"] == "T1w, 0 outside intracranial_volume"
    # two of one scan need more of a name
    for side in ("Left", "Right"):
        crop = study.output / f"{ANAT}_desc-both{side}Hippocampus_T1w.nii.gz"
        assert max(read_image(crop).shape) <= 3
        assert json.loads(crop.with_name(crop.name.replace(".nii.gz", ".json")).read_text())["SkullStripped"] is False
    assert {row["target"] for row in study.table("segmentations", prompt_id="strip")} == {"intracranial_volume"}


def test_derivatives_are_valid(study: Study) -> None:
    assert validate_dataset(study.output / "derivatives/tiny") == []


def test_nothing_is_done_twice_and_the_same_inputs_give_the_same_bytes(study: Study) -> None:
    before, calls = study.hashes(), list(study.segmenter.calls)
    study.run()
    assert study.segmenter.calls == calls
    assert study.hashes() == before


@pytest.mark.parametrize(
    "name",
    ["desc-strip_T1w.nii.gz", "desc-strip_T1w.json", "label-leftHippocampusPosteriorPart_desc-pieces_mask.nii.gz"],
)
def test_what_is_damaged_is_named_and_made_again(study: Study, name: str) -> None:
    path = study.output / f"{ANAT}_{name}"
    good = path.read_bytes()
    path.write_bytes(b"broken")
    assert any(name in line for line in verify(study.output))
    study.run()
    assert path.read_bytes() == good
    assert not any(name in line for line in verify(study.output))


def test_what_is_no_longer_asked_for_is_removed(study: Study) -> None:
    study.config = replace(study.config, prompts=(PromptConfig("pieces", PIECES + " "),))
    study.planner.programs = {PIECES + " ": 'report(volume(segment(scan(current), "left_hippocampus")))\n'}
    study.run()
    names = [path.name for path in (study.output / "derivatives/tiny").rglob("sub-*.nii.gz")]
    assert names
    assert all("_dseg" in name for name in names)
