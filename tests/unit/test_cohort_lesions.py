"""Lesions one by one through a study: rows, words with their confidence, masks, and sentences."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from tests.unit.test_cohort_analyse import Study
from vp_engine.anatomy import PATHOLOGICAL_PARTS
from vp_engine.cohort.config import PromptConfig
from vp_engine.cohort.verify import verify
from vp_engine.volumes.nifti import read_labels

EACH, WHERE, NONE = "Each lesion.", "Where are they?", "Lesions of the frontal lobe."
LOOP = 'img = scan(current)\nfor m in pieces(segment(img, "lesion")):\n'
PROGRAMS = {
    EACH: f'{LOOP}    report(volume(m))\n    report(describe(img, m, "number"))\n    save(m)\n',
    WHERE: f'{LOOP}    report(describe(img, m, "place"))\n    report(describe(img, m, "signal"))\n'
    '    report(describe(img, m, "mass_effect"))\n',
    NONE: 'img = scan(current)\nreport(count(located(img, segment(img, "lesion"), "frontal_lobe")))\n',
}
PROMPTS = (PromptConfig("each", EACH), PromptConfig("where", WHERE), PromptConfig("none", NONE))
NAMES = [f"lesion_{number:03d}" for number in range(1, len(PATHOLOGICAL_PARTS) + 1)]
FIRST = {"participant": "01", "session": "01"}


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    study = Study(tmp_path_factory.mktemp("lesions") / "study")
    study.config = replace(study.config, prompts=PROMPTS)
    study.planner.programs = PROGRAMS
    study.run()
    return study


def test_every_lesion_has_rows_of_its_own(study: Study) -> None:
    rows = study.table("measurements", prompt_id="each", **FIRST)
    volumes = {row["target"]: row["value"] for row in rows if row["measure"] == "volume"}
    assert volumes == dict.fromkeys(NAMES, 96.0)


def test_a_word_is_a_row_with_measure_text_image_and_confidence(study: Study) -> None:
    row = study.table("measurements", prompt_id="each", measure="number", target="lesion_001", **FIRST)[0]
    assert {name: row[name] for name in ("text", "value", "unit", "image", "qc_score", "reference_session")} == {
        "text": "one",
        "value": None,
        "unit": None,
        "image": "T1w",
        "qc_score": 0.97,
        "reference_session": None,
    }


def test_what_the_images_do_not_tell_is_a_row_and_says_why(study: Study) -> None:
    rows = study.table("measurements", prompt_id="where", target="lesion_003", **FIRST)
    found = {row["measure"]: (row["text"], row["qc_score"], row["flags"]) for row in rows}
    assert found == {
        "place": ("unclear", 0.0, ["no_landmarks"]),
        "signal": ("unclear", 0.0, ["no_white_matter"]),
        "mass_effect": ("unclear", 0.0, []),
    }


def test_saved_lesions_are_masks_named_by_their_number(study: Study) -> None:
    rows = study.table("segmentations", prompt_id="each", **FIRST)
    assert [row["target"] for row in rows] == ["lesion", *NAMES]
    path = study.output / "derivatives/tiny" / rows[1]["path"]
    assert path.name == "sub-01_ses-01_space-orig_label-lesion001_desc-each_mask.nii.gz"
    assert read_labels(path).data.sum() == rows[1]["voxels"] == 8


def test_anatomy_that_places_rest_on_is_no_result_and_costs_no_pass(study: Study) -> None:
    assert {row["target"] for row in study.table("segmentations", prompt_id="where")} == {"lesion"}
    passes = [call for call in study.segmenter.calls if call != ("features",)]
    # once for each scan, the FLAIR of the first participant among them not
    assert len(passes) == 5
    assert all("left_thalamus" in call for call in passes)


def test_places_without_anatomy_are_refused_with_what_to_do(study: Study) -> None:
    (row,) = study.table("runs", prompt_id="none", **FIRST)
    assert (row["status"], row["reason"].split(":")[0]) == ("refused", "no_landmarks")
    assert "ask without a place" in row["reason"]


def test_the_answer_tells_each_lesion(study: Study) -> None:
    (path,) = study.output.rglob("sub-01_ses-01_where_transcript.json")
    text = json.loads(path.read_text())["answer"]
    assert text.startswith("Lesion 1: place, signal and mass effect unclear from these images. Lesion 2:")
    assert "too little anatomy was found" in text


def test_all_of_it_can_be_verified(study: Study) -> None:
    assert verify(study.output) == []
