"""Choosing scans, delineating them once, and sharing label images."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest

from tests.unit.cohort_fakes import AFFINE, SHAPE, Box, IntensitySegmenter, write_scan
from vp_engine.anatomy import PARTS, STRUCTURES
from vp_engine.cohort.choice import PlannedScan, choose
from vp_engine.cohort.naming import structure_named
from vp_engine.cohort.packing import pack
from vp_engine.cohort.scans import Scans, delineate
from vp_engine.cohort.segment import segment_file
from vp_engine.cohort.world import CohortWorld
from vp_engine.errors import ConfigError, InputRefused, RequestRefused
from vp_engine.volumes.nifti import read_labels, write_image
from vp_engine.volumes.volume import Volume


def _scan(suffix: str, entities: str = "", session: str | None = "01", **more: object) -> PlannedScan:
    return PlannedScan(session, suffix, f"{session}/{entities}_{suffix}", entities, **more)  # type: ignore[arg-type]


def test_first_run_of_the_plainest_series_and_a_flag() -> None:
    scans = [
        _scan("T1w", "ce-gadolinium"),
        _scan("T1w", "acq-a_run-1"),
        _scan("T1w", "run-10"),
        _scan("T1w", "run-2"),
        _scan("FLAIR", "ce-gadolinium"),
    ]
    chosen = choose(scans)
    assert [(c.scan.suffix, c.scan.entities, c.flags) for c in chosen] == [
        ("T1w", "run-2", ("flag_several_scans",)),
        ("FLAIR", "ce-gadolinium", ("flag_contrast_agent",)),
    ]


def test_order_of_the_prompt_wins_and_unknown_suffixes_come_last() -> None:
    scans = [_scan("angio"), _scan("FLAIR"), _scan("T1w"), _scan("T2w")]
    assert [c.scan.suffix for c in choose(scans)] == ["T1w", "T2w", "FLAIR", "angio"]
    assert [c.scan.suffix for c in choose(scans, ("FLAIR", "T1w"))] == ["FLAIR", "T1w"]


def test_sessions_in_time_order_not_in_the_order_of_labels() -> None:
    scans = [_scan("T1w", session="1", days=90.0), _scan("T1w", session="10", days=0.0)]
    assert [c.scan.session for c in choose(scans)] == ["10", "1"]
    undated = [_scan("T1w", session="10"), _scan("T1w", session="2")]
    assert [c.scan.session for c in choose(undated)] == ["2", "10"]


@pytest.fixture
def scan(tmp_path: Path) -> Path:
    return write_scan(tmp_path / "x_T1w.nii.gz")


def _world(scan: Path, segmenter: IntensitySegmenter, **options: object) -> tuple[CohortWorld, Scans]:
    scans = Scans(scan.parent, segmenter)
    choices = choose([PlannedScan(None, "T1w", scan.name, days=0.0)])
    return CohortWorld(choices, scans, **options), scans  # type: ignore[arg-type]


class WithoutTumors(IntensitySegmenter):
    known = tuple(part for part in PARTS if part not in STRUCTURES["tumor"].parts)


def test_all_announced_structures_in_one_call(scan: Path) -> None:
    segmenter = WithoutTumors()
    world, scans = _world(scan, segmenter)
    scans.want(scan.name, ["hippocampus", "left_hippocampus", "tumor"])
    (session,) = world.sessions
    image = world.image(session, "T1w")
    both = world.segment(image, "hippocampus")
    left = world.segment(image, "left_hippocampus")
    assert segmenter.calls == [("hippocampus", "left_hippocampus")]
    assert (int(left.data.sum()), int(both.data.sum())) == (8, 16)
    assert not (left.data & ~both.data).any()
    assert left.qc_score == pytest.approx(0.88, abs=0.03)
    assert set(world.delineated) == {(scan.name, "hippocampus"), (scan.name, "left_hippocampus")}


def test_scan_is_read_once(scan: Path) -> None:
    world, _ = _world(scan, IntensitySegmenter())
    first = world.image(world.sessions[0], "T1w").data
    scan.unlink()
    assert world.image(world.sessions[0], "T1w").data is first


def test_vector_that_means_something_else_is_refused(scan: Path) -> None:
    world, _ = _world(scan, IntensitySegmenter(), agrees=lambda _phi, name: name == "brainstem")
    image = world.image(world.sessions[0], "T1w")
    assert world.segment(image, "brainstem", phi=np.zeros(32)).data.sum() == 8
    with pytest.raises(RequestRefused, match="something else") as caught:
        world.segment(image, "left_thalamus", phi=np.zeros(32))
    assert caught.value.code == "phi_disagrees"


def test_refused_scan_is_remembered(tmp_path: Path) -> None:
    (tmp_path / "x_T1w.nii.gz").write_bytes(b"<html>not an image</html>")
    world, scans = _world(tmp_path / "x_T1w.nii.gz", IntensitySegmenter())
    with pytest.raises(InputRefused):
        world.image(world.sessions[0], "T1w")
    with pytest.raises(InputRefused):
        scans.delineation("x_T1w.nii.gz", "brainstem")


def test_unsupported_and_missing_are_refused(scan: Path) -> None:
    world, _ = _world(scan, WithoutTumors())
    image = world.image(world.sessions[0], "T1w")
    with pytest.raises(RequestRefused):
        world.segment(image, "tumor")
    with pytest.raises(RequestRefused, match="FLAIR"):
        world.image(world.sessions[0], "FLAIR")
    assert "tumor" not in world.structures
    assert {"cerebellum", "hippocampus", "white_matter_lesion"} <= world.structures


def test_landmarks_take_one_call_and_are_no_results(scan: Path) -> None:
    segmenter = WithoutTumors()
    world, _ = _world(scan, segmenter)
    image = world.image(world.sessions[0], "T1w")
    found = world.landmarks(image, ["left_thalamus", "brainstem", "tumor"])
    assert {name: int(mask.data.sum()) for name, mask in found.items()} == {"left_thalamus": 8, "brainstem": 8}
    assert world.landmarks(image, ["brainstem"])["brainstem"].image is image
    assert segmenter.calls == [("brainstem", "left_thalamus")]
    assert not world.delineated


def test_composites_get_their_own_image_and_no_voxel_is_lost(scan: Path) -> None:
    _, scans = _world(scan, IntensitySegmenter())
    names = ["intracranial_volume", "left_hippocampus", "hippocampus", "brainstem"]
    found = {name: scans.delineation(scan.name, name) for name in names}
    packed = pack(found)
    assert packed.shared == ("brainstem", "left_hippocampus")
    assert packed.alone == ("hippocampus", "intracranial_volume")
    assert packed.labels is not None
    for name in packed.shared:
        np.testing.assert_array_equal(packed.labels == STRUCTURES[name].label, found[name].full())


def test_parts_that_touch_the_same_voxel_are_kept_apart(scan: Path) -> None:
    volume = Volume(np.zeros(SHAPE, np.float32), AFFINE)

    class Everywhere(IntensitySegmenter):
        def regions(
            self, volume: Volume, unions: Mapping[str, Sequence[str]], *, others: Sequence[Volume] = ()
        ) -> Iterator[tuple[str, Box]]:
            for name in unions:
                yield name, Box((0, 0, 0), np.ones(volume.shape))

    packed = pack(delineate(volume, ["brainstem", "csf"], Everywhere()))
    assert (packed.shared, packed.alone) == (("brainstem",), ("csf",))


def test_structure_that_is_not_there_has_no_score() -> None:
    found = delineate(Volume(np.full(SHAPE, -5, np.float32), AFFINE), ["brainstem"], IntensitySegmenter())["brainstem"]
    assert (found.voxels, found.qc_score) == (0, None)
    assert not found.full().any()
    assert found.full().shape == SHAPE


@pytest.mark.parametrize(
    ("typed", "name"),
    [
        ("Left hippocampus", "left_hippocampus"),
        ("hippocampi", "hippocampus"),
        ("lateral ventricles, rh", "right_lateral_ventricle"),
        ("Thalamus (L)", "left_thalamus"),
        ("ICV", "intracranial_volume"),
        ("white matter of the cerebrum", "cerebral_white_matter"),
        ("right_hemisphere", "right_hemisphere"),
    ],
)
def test_typed_names(typed: str, name: str) -> None:
    assert structure_named(typed) == name


def test_unknown_name_gets_the_nearest() -> None:
    with pytest.raises(RequestRefused, match="left_hippocampus"):
        structure_named("left hipocampuss")
    with pytest.raises(RequestRefused, match="vp ops"):
        structure_named("liver")


def test_segment_file(scan: Path, tmp_path: Path) -> None:
    rows = segment_file(scan, ["brain", "left hippocampus", "csf"], tmp_path / "out", segmenter=IntensitySegmenter())
    assert [row.structure for row in rows] == ["brain", "left_hippocampus", "csf"]
    hippocampus = rows[1]
    assert (hippocampus.voxels, hippocampus.volume_mm3) == (8, 96.0)
    labels = read_labels(hippocampus.path)
    np.testing.assert_allclose(labels.affine, AFFINE)
    assert int((labels.data == hippocampus.label).sum()) == 8
    assert rows[0].path != hippocampus.path
    assert (tmp_path / "out" / "x_T1w_dseg.tsv").read_text().splitlines()[1:] == [
        "17\tleft_hippocampus\tLHippocampus",
        "24\tcsf\tCsf",
    ]


def test_segment_file_without_names_delineates_all_parts_in_one_label_image(scan: Path, tmp_path: Path) -> None:
    segmenter = IntensitySegmenter()
    rows = segment_file(scan, [], tmp_path / "out", segmenter=segmenter)
    assert [row.structure for row in rows] == list(PARTS)
    assert {row.path.name for row in rows} == {"x_T1w_dseg.nii.gz"}
    assert all(row.voxels for row in rows)
    assert len(segmenter.calls) == 1


def test_segment_file_reads_other_contrasts_together_with_the_scan(scan: Path, tmp_path: Path) -> None:
    segmenter = IntensitySegmenter()
    other = tmp_path / "x_FLAIR.nii.gz"
    shape = (7, 8, 9)
    write_image(other, Volume(np.random.default_rng(0).random(shape, np.float32), np.diag([-4.0, 4.0, 4.0, 1.0])))
    rows = segment_file(scan, ["csf"], tmp_path / "out", segmenter=segmenter, others=[other])
    assert [[volume.shape for volume in others] for others in segmenter.others] == [[shape]]
    assert rows[0].path.name == "x_T1w_dseg.nii.gz"


def test_segment_file_refuses_a_contrast_of_another_place(scan: Path, tmp_path: Path) -> None:
    away = np.diag([-2.0, 2.0, 3.0, 1.0])
    away[0, 3] = 500
    write_image(tmp_path / "far_T2w.nii.gz", Volume(np.random.default_rng(0).random(SHAPE, np.float32), away))
    with pytest.raises(ConfigError, match="register far_T2w"):
        segment_file(scan, [], tmp_path, segmenter=IntensitySegmenter(), others=[tmp_path / "far_T2w.nii.gz"])
