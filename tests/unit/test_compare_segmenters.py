"""The comparison script: other grids, other numbers, several segmenters side by side."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks import compare_segmenters
from vp_engine.errors import RequestRefused
from vp_engine.volumes.nifti import write_image, write_labels
from vp_engine.volumes.volume import Volume

AFFINE = np.diag([2.0, 2.0, 2.0, 1.0])
SHAPE = (8, 8, 8)


def test_label_maps_in_three_formats(tmp_path: Path) -> None:
    (tmp_path / "a.tsv").write_text("index\tname\tcolor\n3\tLeft-Thalamus\tx\n7\tbrain stem\ty\n9\t\tz\n")
    (tmp_path / "a.csv").write_text("\ufefflabel,name\n3,Left-Thalamus\n7,brain stem\n")
    (tmp_path / "a.json").write_text('{"3": "left thalamus", "7": "brainstem"}')
    for name in ("a.tsv", "a.csv", "a.json"):
        found = compare_segmenters.read_label_map(tmp_path / name)
        assert found == {3: "left_thalamus", 7: "brainstem"}


def test_label_maps_that_cannot_be_meant_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("number,name\n3,thalamus\n")
    with pytest.raises(ValueError, match="columns index"):
        compare_segmenters.read_label_map(tmp_path / "a.csv")
    (tmp_path / "a.json").write_text('{"3": "liver"}')
    with pytest.raises(RequestRefused, match="liver"):
        compare_segmenters.read_label_map(tmp_path / "a.json")


def test_labels_of_another_grid_are_taken_at_the_nearest_voxel() -> None:
    reference = Volume(np.zeros(SHAPE, np.int32), AFFINE)
    labels = np.zeros((16, 16, 8), np.int32)
    labels[:8] = 10
    fine = np.diag([1.0, 1.0, -2.0, 1.0])
    fine[:3, 3] = [-0.5, -0.5, 14]
    found = compare_segmenters.on_grid_of(reference, Volume(labels, fine))
    assert found.shape == SHAPE
    assert (found[:4] == 10).all()
    assert not found[4:].any()
    turned = np.diag([-2.0, 2.0, 2.0, 1.0])
    turned[0, 3] = 14
    found = compare_segmenters.on_grid_of(reference, Volume(found, turned))
    assert (found[4:] == 10).all()
    assert not found[:4].any()


def test_segmenters_stand_side_by_side(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    rng = np.random.default_rng(0)
    scan = Volume(rng.random(SHAPE, np.float32), AFFINE)
    reference = np.zeros(SHAPE, np.int32)
    reference[1:3], reference[4:6], reference[7] = 10, 49, 1003  # a parcel of the left cortex
    other = np.zeros(SHAPE, np.int32)
    other[1:3], other[4:5], other[7] = 1, 1, 5
    write_image(tmp_path / "scan.nii.gz", scan)
    write_labels(tmp_path / "aseg.nii.gz", reference, like=scan)
    write_labels(tmp_path / "other.nii.gz", other, like=scan)
    (tmp_path / "other.json").write_text('{"1": "thalamus", "5": "left cortex"}')
    monkeypatch.setattr(compare_segmenters.NetworkSegmenter, "from_pretrained", lambda folder: None)
    monkeypatch.setattr(compare_segmenters, "label_scan", lambda segmenter, volume: np.where(reference == 10, 10, 0))
    files = [str(tmp_path / name) for name in ("scan.nii.gz", "aseg.nii.gz")]
    more = [f"--labels=theirs={tmp_path}/other.nii.gz", f"--label-map=theirs={tmp_path}/other.json"]
    numbers, picture = tmp_path / "n.json", tmp_path / "p.png"
    monkeypatch.setattr(sys, "argv", ["compare", *files, *more, f"--json={numbers}", f"--picture={picture}"])
    compare_segmenters.main()
    printed = capsys.readouterr().out
    assert "| structure | ours: Dice | volume, % | theirs: Dice | volume, % |" in printed
    assert "| thalamus | 0.667 | -50.0 | 0.857 | -25.0 |" in printed
    assert "| cerebral cortex | not found |  | 1.000 | +0.0 |" in printed
    assert "| mean of the 1 that all found | 0.667 |  | 0.857 |  |" in printed
    assert json.loads(numbers.read_text())["theirs"]["thalamus"]["dice"] == pytest.approx(6 / 7)
    assert picture.stat().st_size > 0


def test_names_that_do_not_fit_are_told(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["compare", "scan.nii", "aseg.nii", "--labels", "theirs.nii.gz"])
    with pytest.raises(SystemExit):
        compare_segmenters.main()
    assert "expected NAME=FILE, got 'theirs.nii.gz'" in capsys.readouterr().err
