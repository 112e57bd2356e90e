"""What the targets of the vision network are measured with."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from vp_engine.anatomy import PARTS, STRUCTURES
from vp_engine.evaluation.vision import (
    WholeHead,
    draw_geometry,
    mean_dice,
    other_grids,
    percent_differences,
    regridded,
    seen_by,
    stream_scores,
    thick_slices,
    volumes_mm3,
    whole_heads,
)
from vp_engine.synthesis.label_maps import LabelMap
from vp_engine.volumes.geometry import axcodes_of, spacing_of
from vp_engine.volumes.volume import Volume


class LabelSegmenter:
    """Delineates part number n where the rounded image says n; two further scans help, unless one is noise."""

    known = PARTS

    def regions(
        self, volume: Volume, unions: Mapping[str, Sequence[str]], *, others: Sequence[Volume] = ()
    ) -> Iterator[tuple[str, Any]]:
        good = sum(np.array_equal(other.data.round(), volume.data.round()) for other in others)
        for name, parts in unions.items():
            inside = np.isin(volume.data.round(), [1 + PARTS.index(part) for part in parts])
            inside[: 2 - good] = False
            yield name, SimpleNamespace(start=(0, 0, 0), inside=inside)


def numbered_parts(shape: tuple[int, int, int] = (12, 10, 10)) -> tuple[np.ndarray, np.ndarray]:
    """Position + 1 of the part of each voxel, and its FreeSurfer number."""
    index = np.random.default_rng(0).integers(1, 34, shape)
    return index, np.array([0, *(STRUCTURES[name].label for name in PARTS)])[index]


def test_mean_dice_is_over_the_structures_that_are_there() -> None:
    truth = np.array([10, 10, 49, 0])
    assert mean_dice(np.array([10, 0, 49, 17]), truth) == pytest.approx((2 / 3 + 1) / 2)


def test_thick_slices_average_the_image_and_let_the_labels_vote() -> None:
    data = np.arange(2 * 3 * 11, dtype=np.float32).reshape(2, 3, 11)
    truth = np.zeros((2, 3, 11), np.int32)
    truth[..., 1:4] = 10
    truth[..., 5:7], truth[..., 7:9], truth[..., 9] = 49, 17, 2  # 17 and 49 tie
    affine = np.diag([1.0, 1.0, 1.0, 1.0])
    thick = thick_slices(WholeHead([Volume(data, affine)], truth), axis=2, slices=5)
    np.testing.assert_allclose(thick.scans[0].data, data[..., :10].reshape(2, 3, 2, 5).mean(-1))
    assert thick.scans[0].spacing_mm == (1, 1, 5)
    np.testing.assert_allclose(thick.scans[0].affine[:3, 3], [0, 0, 2])  # the middle of the first five slices
    np.testing.assert_array_equal(thick.truth, np.broadcast_to([10, 17], (2, 3, 2)))


def test_whole_heads_share_their_pose_and_differ_in_contrast() -> None:
    labels = np.zeros((40, 48, 40), np.int16)
    labels[8:32, 10:38, 8:32] = 2
    labels[14:26, 20:28, 14:26] = 10
    maps = [LabelMap(torch.from_numpy(labels), "01")]
    heads = list(whole_heads(maps, per_map=2, prior_contrasts=[0.0, 1.0], field_of_view_mm=(48, 48, 48)))
    again = next(whole_heads(maps, per_map=1, prior_contrasts=[0.0, 1.0], field_of_view_mm=(48, 48, 48)))
    assert len(heads) == 2
    assert [scan.shape for scan in heads[0].scans] == [heads[0].truth.shape] * 2
    assert heads[0].scans[0].spacing_mm == (1, 1, 1)
    assert np.isin(heads[0].truth, (2, 41)).any()
    assert not np.array_equal(heads[0].scans[0].data, heads[0].scans[1].data)
    np.testing.assert_array_equal(heads[0].scans[1].data, again.scans[1].data)
    assert not np.array_equal(heads[0].truth, heads[1].truth)


def test_streams_are_scored_alone_together_and_with_noise() -> None:
    index, truth = numbered_parts()
    scan = Volume(index.astype(np.float32), np.eye(4))
    scores = stream_scores(LabelSegmenter(), WholeHead([scan] * 3, truth), rng=np.random.default_rng(0))  # type: ignore[arg-type]
    assert scores.alone < scores.with_noise < scores.together == 1


def test_volumes_are_in_mm3_and_of_what_counts() -> None:
    data = np.zeros((8, 8, 8), np.float32)
    data[3:5, 3:5, 3:5] = 1 + PARTS.index("brainstem")
    data[7, 3, 3] = 1 + PARTS.index("left_thalamus")
    volume = Volume(data, np.diag([1.0, 2.0, 3.0, 1.0]))
    names = ("brainstem", "thalamus", "cerebrum")
    found = volumes_mm3(LabelSegmenter(), volume, names)  # type: ignore[arg-type]
    assert found == {"brainstem": pytest.approx(48), "thalamus": pytest.approx(6), "cerebrum": pytest.approx(6)}
    counted = np.zeros(volume.shape, bool)
    counted[:4] = True
    found = volumes_mm3(LabelSegmenter(), volume, names, counted=counted)  # type: ignore[arg-type]
    assert found == {"brainstem": pytest.approx(24), "thalamus": 0, "cerebrum": 0}


def test_what_another_scan_sees_is_found_through_the_transform() -> None:
    first = Volume(np.zeros((6, 6, 6), np.float32), np.diag([1.0, 1.0, 2.0, 1.0]))
    second = Volume(np.zeros((3, 6, 12), np.float32), np.diag([-1.0, 1.0, 1.0, 1.0]))
    there = np.eye(4)
    there[0, 3] = -5  # x of the first, 3 to 5, is x of the second, -2 to 0
    seen = seen_by(first, second, there)
    assert seen[3:].all()
    assert not seen[:3].any()


def test_differences_are_in_percent_of_the_mean() -> None:
    found = percent_differences({"a": 90.0, "b": 0.0}, {"a": 110.0, "b": 0.0})
    assert found == {"a": pytest.approx(20), "b": 0}


def test_the_same_head_on_other_grids_is_at_the_same_place() -> None:
    n = 33
    affine = np.diag([-1.0, 1.0, 1.0, 1.0])
    affine[:3, 3] = [16, -20, -12]
    index = np.stack(np.meshgrid(*[np.arange(n)] * 3, indexing="ij"), -1)
    centre = np.array([1.0, -3.0, 4.0])
    far = ((index @ affine[:3, :3].T + affine[:3, 3] - centre) ** 2).sum(-1)
    volume = Volume((np.exp(-far / 30) - 5).astype(np.float32), affine)
    grids = other_grids(volume)
    assert grids["resampled to 1.3 mm"].spacing_mm == pytest.approx((1.3, 1.3, 1.3))
    cosines = affine[:3, :3] * grids["rotated by 10°"].affine[:3, :3]
    assert np.rad2deg(np.arccos((cosines.sum() - 1) / 2)) == pytest.approx(10)
    moved = [g @ [*((np.array(s) - 1) / 2), 1] for g, s in ((affine, volume.shape), _grid(grids["shifted by 7 mm"]))]
    assert np.linalg.norm(moved[1] - moved[0]) == pytest.approx(7)
    for grid in grids.values():
        weight = grid.data.astype(float)
        assert weight.min() == 0  # no signal beyond the field of view
        places = np.stack(np.meshgrid(*map(np.arange, grid.shape), indexing="ij"), -1)
        mean = (weight[..., None] * places).sum((0, 1, 2)) / weight.sum()
        np.testing.assert_allclose(grid.affine[:3, :3] @ mean + grid.affine[:3, 3], centre, atol=0.1)


def _grid(volume: Volume) -> tuple[np.ndarray, tuple[int, int, int]]:
    return volume.affine, volume.shape


def test_geometries_are_those_of_scanners() -> None:
    drawn = [draw_geometry(np.random.default_rng(seed)) for seed in range(60)]
    assert {g.plane for g in drawn} == {"sagittal", "coronal", "axial"}
    for g in drawn:
        in_plane, middle, slices = sorted(g.spacing_mm)
        assert in_plane == middle
        assert 0.4 <= in_plane <= 2
        assert max(1, in_plane) <= slices <= 6
        np.testing.assert_allclose(g.axes.T @ g.axes, np.eye(3), atol=1e-12)
        affine = np.eye(4)
        affine[:3, :3] = g.axes
        across = axcodes_of(affine)[int(np.argmax(g.spacing_mm))]
        assert {"R": "sagittal", "A": "coronal", "S": "axial"}[across.translate(str.maketrans("LPI", "RAS"))] == g.plane
    volume = Volume(np.ones((20, 22, 24), np.float32), np.eye(4))
    scan = regridded(volume, axes=drawn[0].axes, spacing_mm=drawn[0].spacing_mm)
    np.testing.assert_allclose(spacing_of(scan.affine), drawn[0].spacing_mm)
