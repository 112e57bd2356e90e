"""Lesions followed over two sessions of a whole study: rows, sentences, transforms on record, and refusals."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.unit.cohort_fakes import Box, FixedPlanner, IntensitySegmenter, run_study
from tests.unit.head_phantom import Matrix, grid_of, head_on, motion_of
from vp_engine.cohort.config import Config, DatasetConfig, PromptConfig
from vp_engine.cohort.verify import verify
from vp_engine.tables.parquet import read_table
from vp_engine.volumes import registration
from vp_engine.volumes.nifti import read_labels, write_image
from vp_engine.volumes.volume import Volume

MOVED = motion_of(7, (62, 30, -12), (1, -1, 2))
"""World of the first session → world of the second: another scanner, whose origin is elsewhere."""

LESION = 250.0
PAIR = 'earlier = segment(scan(first), "white_matter_lesion")\nlater = segment(scan(last), "white_matter_lesion")\n'
PROGRAMS = {
    "Follow.": f"{PAIR}follow(earlier, later)\n",
    "Save.": f'{PAIR}save(changed(earlier, later, "new"))\nsave(changed(earlier, later, "gone"))\n',
    "Backwards.": f"{PAIR}follow(later, earlier)\n",
}
FIRST = {"stable": ((30, 10, 20), 6), "grown": ((-30, 0, 10), 5), "gone": ((10, -30, 30), 5)}
LAST = {"stable": ((30, 10, 20), 6), "grown": ((-30, 0, 10), 8), "new": ((-12, 30, 25), 4)}
Balls = Mapping[str, tuple[tuple[int, int, int], int]]


class BrightSegmenter(IntensitySegmenter):
    """Lesions are what is brighter than anything in a head."""

    def regions(
        self, volume: Volume, unions: Mapping[str, Sequence[str]], *, others: Sequence[Volume] = ()
    ) -> Iterator[tuple[str, Box]]:
        self.calls.append(tuple(unions))
        for name in unions:
            yield name, Box((0, 0, 0), np.where(volume.data > LESION - 20, 0.9, 0.1))


def patient(grid: Volume, balls: Balls, motion: Matrix | None = None, *, seed: int) -> Volume:
    """A head with lesions, in one session."""
    head = head_on(grid, "T2w", motion, seed=seed)
    to_head = np.linalg.inv(np.eye(4) if motion is None else motion) @ grid.affine
    points = to_head[:3, :3] @ np.indices(grid.shape).reshape(3, -1) + to_head[:3, 3:]
    data = head.data.copy()
    for centre, radius in balls.values():
        inside = np.linalg.norm(points - np.array(centre)[:, None], axis=0) <= radius
        data[inside.reshape(grid.shape)] = LESION
    return Volume(data, grid.affine)


@dataclass
class Study:
    """One patient in two sessions, and one whose second image is noise."""

    root: Path
    config: Config
    segmenter: BrightSegmenter = field(default_factory=BrightSegmenter)
    registered: int = 0

    @property
    def derivatives(self) -> Path:
        return self.config.output / "derivatives" / "tiny"

    def run(self) -> None:
        run_study(self.config, FixedPlanner(PROGRAMS), self.segmenter)

    def rows(self, table: str, participant: str, prompt_id: str) -> list[dict[str, Any]]:
        rows = read_table(self.config.output / "tables" / table, table).to_pylist()
        return [row for row in rows if (row["participant"], row["prompt_id"]) == (participant, prompt_id)]

    def transcript(self, participant: str, prompt_id: str) -> dict[str, Any]:
        (path,) = self.derivatives.glob(f"sub-{participant}/**/*{prompt_id}*_transcript.json")
        content: dict[str, Any] = json.loads(path.read_text())
        return content


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Study]:
    folder = tmp_path_factory.mktemp("following")
    root = folder / "tiny"
    turned = grid_of((2.5, 2.5, 3), turn=motion_of(9, (0, 0, 0), (1, 0, 0)))
    moved = grid_of((2.2, 2.2, 3))
    moved = Volume(moved.data, MOVED @ motion_of(-6, (0, 0, 0), (0, 1, 0)) @ moved.affine)
    noise = np.random.default_rng(0).random((60, 60, 60), np.float32)
    scans = {
        ("01", "01"): patient(turned, FIRST, seed=1),
        ("01", "02"): patient(moved, LAST, MOVED, seed=2),
        ("02", "01"): patient(grid_of((3, 3, 3)), FIRST, seed=3),
        ("02", "02"): Volume(noise, grid_of((3, 3, 3)).affine),
    }
    for (participant, session), volume in scans.items():
        anat = root / f"sub-{participant}/ses-{session}/anat"
        anat.mkdir(parents=True)
        write_image(anat / f"sub-{participant}_ses-{session}_FLAIR.nii.gz", volume)
        table = "session_id\tacq_time\nses-01\t2020-01-01T00:00:00\nses-02\t2022-01-01T00:00:00\n"
        (root / f"sub-{participant}/sub-{participant}_sessions.tsv").write_text(table)
    description = {"Name": "tiny", "BIDSVersion": "1.10.0", "DatasetType": "raw", "License": "CC0"}
    (root / "dataset_description.json").write_text(json.dumps(description))
    prompts = tuple(PromptConfig(text[:-1].lower(), text, scope="participant") for text in PROGRAMS)
    study = Study(root, Config(folder / "config.yaml", (DatasetConfig("tiny", root),), folder / "results", prompts))
    really = registration.register

    def counting(fixed: Volume, moving: Volume, **options: Any) -> registration.Registration:
        study.registered += 1
        return really(fixed, moving, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("vp_engine.cohort.plan.validate_dataset", lambda _root, **_options: [])
        patch.setattr(registration, "register", counting)
        study.run()
        yield study


def test_every_lesion_has_its_rows(study: Study) -> None:
    rows = study.rows("measurements", "01", "follow")
    fates = {row["target"]: row["text"] for row in rows if row["measure"] == "fate"}
    assert fates == {f"white_matter_lesion_00{n}": fate for n, fate in enumerate(("grown", "stable", "gone", "new"), 1)}
    of_grown = {(row["session"], row["measure"]): row for row in rows if row["target"] == "white_matter_lesion_001"}
    assert {key: (row["unit"], row["reference_session"]) for key, row in of_grown.items()} == {
        ("01", "volume"): ("mm3", None),
        ("02", "volume"): ("mm3", None),
        ("02", "change"): ("mm3", "01"),
        ("02", "percent_change"): ("%", "01"),
        ("02", "annual_rate"): ("mm3/year", "01"),
        ("02", "fate"): (None, None),
    }
    value = {key: row["value"] for key, row in of_grown.items()}
    for session, radius in (("01", 5), ("02", 8)):
        assert value[session, "volume"] == pytest.approx(4 / 3 * np.pi * radius**3, rel=0.1)
    assert value["02", "change"] == pytest.approx(value["02", "volume"] - value["01", "volume"])
    assert value["02", "annual_rate"] == pytest.approx(value["02", "change"] / (731 / 365.25))
    assert {row["image"] for row in rows} == {"FLAIR"}
    assert all("mask_resampled" in row["flags"] for row in rows)


def test_a_new_lesion_had_no_volume_and_a_lost_one_has_none(study: Study) -> None:
    rows = {(row["target"], row["session"], row["measure"]): row for row in study.rows("measurements", "01", "follow")}
    assert rows["white_matter_lesion_004", "01", "volume"]["value"] == 0
    assert rows["white_matter_lesion_003", "02", "volume"]["value"] == 0
    assert rows["white_matter_lesion_003", "02", "percent_change"]["value"] == -100
    undefined = rows["white_matter_lesion_004", "02", "percent_change"]
    assert (undefined["value"], "zero_denominator" in undefined["flags"]) == (None, True)


def test_totals_of_each_fate(study: Study) -> None:
    rows = study.rows("measurements", "01", "follow")
    totals = {(row["target"], row["measure"]): row for row in rows if row["reference_session"] and row["unit"] != "%"}
    for fate, number in {"new": 1, "gone": 1, "grown": 1, "shrunk": 0, "stable": 1}.items():
        count, volume = (totals[f"white_matter_lesion_{fate}", measure] for measure in ("count", "volume"))
        assert (count["value"], count["session"], count["reference_session"]) == (number, "02", "01")
        assert (volume["value"] > 0) == (number > 0)


def test_the_answer_tells_it(study: Study) -> None:
    answer = study.transcript("01", "follow")["answer"]
    assert answer.startswith("From session 01 to session 02, of the white matter lesions: 1 new (")
    assert " mm3 before), 1 grown (" in answer
    assert " mm3 now), none shrunk, 1 stable (" in answer
    assert "Number 1 of the white matter lesions has grown from " in answer
    assert "Number 3 of the white matter lesions is gone: it had " in answer
    assert "has no value" not in answer


def test_masks_lie_where_the_lesions_do(study: Study) -> None:
    rows = {row["target"]: row for row in study.rows("segmentations", "01", "save")}
    for fate, session, balls in (("new", "02", LAST), ("gone", "01", FIRST)):
        row = rows[f"white_matter_lesion_{fate}"]
        assert row["session"] == session
        mask = read_labels(study.derivatives / row["path"])
        centre = mask.affine @ np.append(np.argwhere(mask.data).mean(axis=0), 1)
        true = np.append(np.array(balls[fate][0]), 1)
        assert np.linalg.norm(centre - (MOVED @ true if session == "02" else true)) < 1.5
        sources = json.loads((study.derivatives / row["path"].replace(".nii.gz", ".json")).read_text())["Sources"]
        assert any(source.endswith("_from-ses02FLAIR_to-FLAIR_mode-image_xfm.txt") for source in sources)


def test_one_transform_for_all_prompts_is_on_record(study: Study) -> None:
    assert study.registered == 2  # one per participant
    anat = study.derivatives / "sub-01/ses-01/anat"
    stem = "sub-01_ses-01_from-ses02FLAIR_to-FLAIR_mode-image_xfm"
    written = registration.read_transform(anat / f"{stem}.txt")
    corners = np.array([(x, y, z, 1) for x in (-60, 60) for y in (-70, 70) for z in (-50, 60)]).T
    assert np.linalg.norm((written @ corners - MOVED @ corners)[:3], axis=0).max() < 1.5
    assert json.loads((anat / f"{stem}.json").read_text())["Accepted"] is True
    assert verify(study.config.output) == []


def test_sessions_that_cannot_be_aligned_are_refused(study: Study) -> None:
    (row,) = study.rows("runs", "02", "follow")
    assert row["status"] == "refused"
    assert row["reason"].startswith("not_aligned: ")
    assert "session 01" in row["reason"]
    assert "session 02" in row["reason"]
    assert "no structure lies on its counterpart" in row["reason"]
    assert study.rows("measurements", "02", "follow") == []
    folder = study.derivatives / "sub-02/ses-01/anat"
    sidecar = json.loads((folder / "sub-02_ses-01_from-ses02FLAIR_to-FLAIR_mode-image_xfm.json").read_text())
    assert (sidecar["Accepted"], "flat_peak" in sidecar["Reasons"]) == (False, True)
    assert list(folder.glob("*_xfm.txt")) == []


def test_the_later_session_comes_second(study: Study) -> None:
    (row,) = study.rows("runs", "01", "backwards")
    assert row["status"] == "failed"
    assert "session_order" in row["reason"]


def test_a_new_prompt_takes_the_transform_from_the_record(study: Study) -> None:
    before = study.registered
    text = "New ones."
    PROGRAMS[text] = f'{PAIR}report(count(changed(earlier, later, "new")))\n'
    prompts = (*study.config.prompts, PromptConfig("new", text, scope="participant"))
    study.config = replace(study.config, prompts=prompts)
    study.run()
    assert study.registered == before
    (row,) = study.rows("measurements", "01", "new")
    assert (row["target"], row["measure"], row["value"]) == ("white_matter_lesion_new", "count", 1)
