"""Images of one session read together: registered once, moved by their affine, and named where they are left out."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813 - as its documentation does

from tests.unit.cohort_fakes import FixedPlanner, IntensitySegmenter, run_study
from tests.unit.head_phantom import grid_of, head_on, motion_of
from vp_engine.bids.validate import validate_dataset
from vp_engine.cohort.choice import PlannedScan, choose
from vp_engine.cohort.config import Config, DatasetConfig, PromptConfig
from vp_engine.cohort.records import load_record
from vp_engine.cohort.tasks import Task
from vp_engine.cohort.verify import verify
from vp_engine.tables.parquet import read_table
from vp_engine.volumes import registration
from vp_engine.volumes.nifti import read_image, read_labels, write_image
from vp_engine.volumes.volume import Volume

MOVED = motion_of(6, (5, -4, 6), (1, 1, 2))
T1W, FLAIR = "The brainstem on the T1w.", "The brainstem on the FLAIR."
PROGRAMS = {
    T1W: 'report(volume(segment(image("T1w", current), "brainstem")))\n',
    FLAIR: 'report(volume(segment(image("FLAIR", current), "brainstem")))\n',
}
ANAT = "sub-01/ses-01/anat"


@dataclass
class Study:
    """One patient who moved before the FLAIR, with a T2w of noise and half a PDw; and one with a T1w alone."""

    root: Path
    config: Config
    segmenter: IntensitySegmenter = field(default_factory=IntensitySegmenter)
    registered: int = 0

    @property
    def derivatives(self) -> Path:
        return self.config.output / "derivatives" / "tiny"

    def run(self) -> None:
        run_study(self.config, FixedPlanner(PROGRAMS), self.segmenter)

    def scan(self, suffix: str) -> Volume:
        return read_image(self.root / ANAT / f"sub-01_ses-01_{suffix}.nii.gz")

    def rows(self, table: str) -> list[dict[str, Any]]:
        return read_table(self.config.output / "tables" / table, table).to_pylist()

    def keys(self, participant: str) -> dict[str, str]:
        records = load_record(self.config.output, "tiny", participant)
        return {name: record.key for name, record in records.items()}


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Study]:
    """The study, run once with streams together; the tests go on with it in their order."""
    folder = tmp_path_factory.mktemp("streams")
    root = folder / "tiny"
    scans = {
        f"{ANAT}/sub-01_ses-01_T1w": head_on(grid_of((3, 3, 3)), "T1w"),
        f"{ANAT}/sub-01_ses-01_FLAIR": head_on(grid_of((2, 2, 5)), "T2w", MOVED, seed=1),
        f"{ANAT}/sub-01_ses-01_T2w": Volume(
            np.random.default_rng(0).random((60, 60, 60), np.float32), grid_of((3, 3, 3)).affine
        ),
        f"{ANAT}/sub-01_ses-01_PDw": head_on(grid_of((3, 3, 3)), "T2w"),
        "sub-02/ses-01/anat/sub-02_ses-01_T1w": head_on(grid_of((3, 3, 3)), "T1w", seed=2),
    }
    for name, volume in scans.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        write_image(root / f"{name}.nii.gz", volume)
    half = root / ANAT / "sub-01_ses-01_PDw.nii.gz"
    half.write_bytes(half.read_bytes()[:5000])
    description = {"Name": "tiny", "BIDSVersion": "1.10.0", "DatasetType": "raw", "License": "CC0"}
    (root / "dataset_description.json").write_text(json.dumps(description))
    prompts = (PromptConfig("one", T1W, images=("T1w",)), PromptConfig("other", FLAIR, images=("FLAIR",)))
    config = Config(
        folder / "config.yaml", (DatasetConfig("tiny", root),), folder / "results", prompts, streams="together"
    )
    study = Study(root, config)
    really = registration.register

    def counting(fixed: Volume, moving: Volume) -> registration.Registration:
        study.registered += 1
        return really(fixed, moving)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("vp_engine.cohort.plan.validate_dataset", lambda _root, **_options: [])
        patch.setattr(registration, "register", counting)
        study.run()
        yield study


def test_the_others_reach_the_network_where_they_belong(study: Study) -> None:
    beside_t1w, beside_flair, beside_nothing = study.segmenter.others
    (flair,), (t1w,) = beside_t1w, beside_flair
    assert beside_nothing == []
    own = {suffix: study.scan(suffix) for suffix in ("T1w", "FLAIR")}
    np.testing.assert_array_equal(flair.data, own["FLAIR"].data)
    np.testing.assert_array_equal(t1w.data, own["T1w"].data)
    for placed, true in ((flair, np.linalg.inv(MOVED) @ own["FLAIR"].affine), (t1w, MOVED @ own["T1w"].affine)):
        corners = np.array([(*(np.array(placed.shape) * end), 1) for end in np.ndindex(2, 2, 2)]).T
        assert np.linalg.norm((placed.affine - true) @ corners, axis=0).max() < 1.0  # mm, 160 mm from the centre
    # one transform, there and back
    np.testing.assert_allclose(
        t1w.affine @ np.linalg.inv(own["T1w"].affine) @ flair.affine, own["FLAIR"].affine, atol=1e-3
    )


def test_each_pair_once(study: Study) -> None:
    assert study.registered == 3  # T1w, FLAIR and the noise; what the gate refuses is not tried


def test_rows_name_what_was_left_out(study: Study) -> None:
    flags = {(row["participant"], row["image"]): row["flags"] for row in study.rows("measurements")}
    left_out = ["registration_failed:T2w", "stream_refused:PDw"]
    assert {key: [flag for flag in got if flag.startswith(("reg", "stream"))] for key, got in flags.items()} == {
        ("01", "T1w"): left_out,
        ("01", "FLAIR"): left_out,
        ("02", "T1w"): [],
    }


def test_masks_stay_on_their_own_grid_and_name_their_sources(study: Study) -> None:
    for prompt_id, suffix, other in (("one", "T1w", "FLAIR"), ("other", "FLAIR", "T1w")):
        path = study.derivatives / ANAT / f"sub-01_ses-01_space-orig_seg-{prompt_id}_dseg.nii.gz"
        np.testing.assert_array_equal(read_labels(path).affine, study.scan(suffix).affine)
        sidecar = json.loads(path.with_name(path.name.replace(".nii.gz", ".json")).read_text())
        assert sidecar["SpatialReference"] == f"bids:raw:{ANAT}/sub-01_ses-01_{suffix}.nii.gz"
        assert sidecar["Sources"] == [
            f"bids:raw:{ANAT}/sub-01_ses-01_{suffix}.nii.gz",
            f"bids:raw:{ANAT}/sub-01_ses-01_{other}.nii.gz",
            f"bids::{ANAT}/sub-01_ses-01_from-FLAIR_to-T1w_mode-image_xfm.txt",
        ]


def test_transforms_are_derivatives(study: Study) -> None:
    found = {path.name for path in study.derivatives.rglob("*_xfm.*")}
    stem = "sub-01_ses-01_from-FLAIR_to-T1w_mode-image_xfm"
    refused = {
        "sub-01_ses-01_from-T2w_to-T1w_mode-image_xfm.json",
        "sub-01_ses-01_from-FLAIR_to-T2w_mode-image_xfm.json",
    }
    assert found == {f"{stem}.txt", f"{stem}.json"} | refused
    read = sitk.ReadTransform(str(study.derivatives / ANAT / f"{stem}.txt"))
    content = json.loads((study.derivatives / ANAT / f"{stem}.json").read_text())
    matrix = np.array(content["FixedToMoving"])
    point = np.array([30.0, -20.0, 50.0])
    expected = matrix[:3, :3] @ point + matrix[:3, 3]
    np.testing.assert_allclose(
        np.array(read.TransformPoint((point * [-1, -1, 1]).tolist())) * [-1, -1, 1], expected, atol=1e-9
    )
    assert (content["Accepted"], content["Reasons"], content["FixedImage"]) == (
        True,
        [],
        f"bids:raw:{ANAT}/sub-01_ses-01_T1w.nii.gz",
    )
    for name in refused:
        content = json.loads((study.derivatives / ANAT / name).read_text())
        assert not content["Accepted"]
        assert content["Reasons"]
    assert validate_dataset(study.derivatives) == []
    assert verify(study.config.output) == []


def test_edited_prompt_finds_the_registrations_on_record(study: Study) -> None:
    before = {path: path.read_bytes() for path in study.derivatives.rglob("*_xfm.*")}
    calls = len(study.segmenter.calls)
    first, second = study.config.prompts
    study.config = replace(study.config, prompts=(first, replace(second, text=T1W, images=("T1w",))))
    study.run()
    assert len(study.segmenter.calls) == calls + 2
    assert len(study.segmenter.others[-2]) == 1
    assert study.registered == 3
    after = {path: path.read_bytes() for path in study.derivatives.rglob("*_xfm.*")}
    assert {path: before[path] for path in after} == after
    assert verify(study.config.output) == []


def test_alone_is_computed_anew_only_where_it_differs(study: Study) -> None:
    before = {participant: study.keys(participant) for participant in ("01", "02")}
    study.config = replace(study.config, streams="alone")
    study.run()
    assert study.segmenter.others[-1] == []
    assert all(study.keys("01")[name] != key for name, key in before["01"].items())
    assert study.keys("02") == before["02"]
    assert not list(study.derivatives.rglob("*_xfm.*"))
    assert verify(study.config.output) == []


def test_result_rests_on_the_content_of_the_others() -> None:
    t1w, flair = (PlannedScan(None, suffix, suffix) for suffix in ("T1w", "FLAIR"))
    task = Task(
        dataset="tiny",
        participant="01",
        session=None,
        prompt_id="one",
        prompt=T1W,
        images=("T1w",),
        scope="session",
        choices=tuple(choose([t1w], beside=[t1w, flair])),
        left_out=(),
        status=None,
        reason=None,
    )
    prints = [task.fingerprint({"T1w": "a", "FLAIR": sha}, "fake-1") for sha in ("b", "c")]
    assert prints[0].key != prints[1].key
    assert prints[0].input_sha256 != prints[1].input_sha256


def test_plainest_of_each_other_contrast_of_the_same_session() -> None:
    def scan(suffix: str, entities: str = "", session: str = "01") -> PlannedScan:
        return PlannedScan(session, suffix, f"{session}/{entities}_{suffix}", entities)

    scans = [scan("T1w"), scan("T1w", "ce-gadolinium"), scan("FLAIR", "run-2"), scan("FLAIR", "run-1"), scan("T2w")]
    (choice,) = choose(scans, ("T2w",), beside=[*scans, scan("PDw", session="02")])
    assert [(other.suffix, other.entities) for other in choice.others] == [("T1w", ""), ("FLAIR", "run-1")]
    assert [choice.others for choice in choose(scans)] == [(), (), ()]
