"""Whom to look at first: scores, distances, order, and the cases of the viewer."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest

from tests.unit.report_fakes import head
from vp_engine.report import viewer
from vp_engine.report.quality import MIN_GROUP, ScanQuality, Structure, choose_cases, gallery_data, judge_scans
from vp_engine.report.viewer import MAX_FILLED_MM3, embed_scan, niivue_script
from vp_engine.tables.confidence import LOOK_BELOW
from vp_engine.volumes.nifti import read_image, read_labels


def scan(who: str, score: float | None, volume: float, *, session: str | None = None, seen: bool = True) -> ScanQuality:
    structures = (Structure("left_hippocampus", score, volume),)
    return ScanQuality(f"s{who}{session}", "demo", who, session, "T1w", structures, b"picture" if seen else None)


def group(count: int, far: float = 9000.0) -> list[ScanQuality]:
    ordinary = [scan(f"{n:02d}", 0.9 - n / 100, 3000.0 + n) for n in range(count - 1)]
    return [*ordinary, scan("far", 0.95, far)]


def test_outliers_come_first_then_low_scores() -> None:
    scans = [*group(MIN_GROUP), scan("low", 0.49, 3003.0), scan("none", None, 3004.0)]
    order = [one.participant for one in judge_scans(scans)]
    assert order[:2] == ["low", "far"]
    assert order[2] == f"{MIN_GROUP - 2:02d}"  # the lowest score of the others
    assert order[-1] == "none"


def test_the_distance_is_that_of_iglewicz_and_hoaglin() -> None:
    volumes = [float(value) for value in (*range(1, 13), 40)]
    judged = {one.participant: one for one in judge_scans([scan(f"{v:.0f}", 0.9, v) for v in volumes])}
    farthest = judged["40"].farthest
    assert farthest is not None
    assert farthest.z == pytest.approx(0.6745 * (40 - 7) / 3)
    assert judged["40"].suspicious
    assert not judged["12"].suspicious


@pytest.mark.parametrize("scans", [group(MIN_GROUP - 1), [scan(f"{n}", 0.9, 3000.0) for n in range(30)]])
def test_small_groups_and_equal_volumes_have_no_outliers(scans: list[ScanQuality]) -> None:
    assert [one.farthest for one in judge_scans(scans)] == [None] * len(scans)


def test_cases_are_the_lowest_and_typical_ones_of_different_people_with_a_picture() -> None:
    scans = [scan(f"{n:02d}", 0.50 + n / 100, 3000.0) for n in range(20)]
    scans += [scan("00", 0.10, 3000.0, session="2"), scan("gone", 0.05, 3000.0, seen=False)]
    chosen = [(one.participant, one.session, reason) for one, reason in choose_cases(judge_scans(scans))]
    reason = "one of the lowest scores"
    assert chosen[:3] == [("00", "2", reason), ("01", None, reason), ("02", None, reason)]
    assert [reason for _, _, reason in chosen[3:]] == ["typical, with a score in the middle"] * 3
    assert {who for who, _, _ in chosen[3:]} <= {f"{n:02d}" for n in range(7, 13)}
    assert choose_cases([]) == []


def test_a_case_is_said_to_be_chosen_for_what_it_is() -> None:
    scans = [*group(MIN_GROUP), scan("both", 0.3, 9500.0), scan("low", LOOK_BELOW - 0.01, 3003.0)]
    assert [(one.participant, reason) for one, reason in choose_cases(judge_scans(scans))[:3]] == [
        ("both", "a volume far from the others' and one of the lowest scores"),
        ("low", "one of the lowest scores"),
        ("far", "a volume far from the others'"),
    ]
    good = judge_scans([scan("a", 0.98, 3000.0)])
    assert [(one.suspicious, reason) for one, reason in choose_cases(good)] == [(False, "one of the lowest scores")]
    assert [reason for _, reason in choose_cases([scan("a", None, 3000.0)])] == ["no score"]


def test_guide_and_report_look_at_the_same_scans() -> None:
    guide = (Path(__file__).parents[2] / "docs" / "user-guide.md").read_text(encoding="utf-8")
    for section in ("## The report", "## How far to trust a mask"):
        text = guide[guide.index(section) :].partition("\n## ")[0]
        assert f"a `qc_score` below {LOOK_BELOW}" in text
    assert not scan("a", LOOK_BELOW, 3000.0).suspicious
    assert scan("a", LOOK_BELOW - 0.001, 3000.0).suspicious


def test_what_the_page_sorts_by() -> None:
    (row,) = gallery_data([scan("01", 0.25, 3000.0, session="2")])["scans"]
    assert row == ["demo: sub-01 ses-2", 0.25, 0, None, None, 1, "", {0: [0.25, None]}]


def test_embedded_volumes_lie_where_the_scan_lies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The centre of gravity of a structure in the world stays within a voxel, whatever the grid."""
    image, layers = head()
    ((labels, _),) = layers
    c, d = np.cos(0.2), np.sin(0.2)
    turned = np.array([[0, -1, 0], [c, 0, -d], [d, 0, c]])  # another axis order, oblique
    affine = np.eye(4)
    affine[:3, :3] = turned * [1.5, 2.0, 3.0]
    affine[:3, 3] = 40, -30, 7
    monkeypatch.setattr(viewer, "MAX_VOXELS", 4000)
    made = embed_scan(image, layers, affine)
    for name, content in (("image", made.image), ("labels", made.labels)):
        (tmp_path / f"{name}.nii.gz").write_bytes(content)
        assert gzip.decompress(content)[344:348] == b"n+1\0"
    small, coarse = read_labels(tmp_path / "labels.nii.gz"), read_image(tmp_path / "image.nii.gz")
    assert np.prod(coarse.shape) <= 4000
    assert np.array_equal(small.affine, coarse.affine)
    assert set(np.unique(small.data)) == {0, 1, 2}
    for label, colour in ((17, 1), (53, 2)):
        before = affine[:3, :3] @ np.argwhere(labels == label).mean(axis=0) + affine[:3, 3]
        after = small.affine[:3, :3] @ np.argwhere(small.data == colour).mean(axis=0) + small.affine[:3, 3]
        assert np.linalg.norm(before - after) < 1.0, (before, after)
    middle = np.linalg.inv(affine) @ [*made.centre_mm, 1.0]
    assert np.allclose(middle[:3], np.round(middle[:3]))
    assert made == embed_scan(image, layers, affine)


def test_structures_as_large_as_the_brain_are_filled_only_when_they_are_alone(tmp_path: Path) -> None:
    image, layers = head()
    brain = (image > 0).astype(np.int32)
    edge = 1.2 * (MAX_FILLED_MM3 / brain.sum()) ** (1 / 3)
    affine = np.diag([edge, edge, edge, 1.0])
    path = tmp_path / "labels.nii.gz"
    path.write_bytes(embed_scan(image, [(brain, {1: 2}), *layers], affine).labels)
    assert set(np.unique(read_labels(path).data)) == {0, 1, 2}
    path.write_bytes(embed_scan(image, [(brain, {1: 2})], affine).labels)
    assert set(np.unique(read_labels(path).data)) == {0, 3}


def test_the_script_of_the_viewer_is_the_one_that_was_looked_at() -> None:
    script = niivue_script()
    assert script.rstrip().splitlines()[-1].split("globalThis.Niivue = ")[1].rstrip(";").isidentifier()
    assert "eval(" not in script
    assert "new Function(" not in script


def test_another_build_of_the_script_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(viewer, "_SCRIPT", "ipyniivue/static/meshShaderNames.txt")
    with pytest.raises(RuntimeError, match=r"got another build in 2\.4\.4"):
        niivue_script()
