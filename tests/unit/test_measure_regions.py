"""Masks made of masks, against shapes whose size is known, on every kind of grid."""

from __future__ import annotations

import numpy as np
import pytest

from tests.unit.test_measure import SHEAR, ball, drawn, oblique
from vp_engine.measure import regions
from vp_engine.measure.arithmetic import UndefinedMeasure
from vp_engine.measure.shape import count_components
from vp_engine.measure.voxels import volume_mm3

GRIDS = {
    "one mm": np.eye(4),
    "anisotropic": np.diag([0.8, 1.5, 3.0, 1.0]),
    "left-handed": np.diag([-1.0, 1.0, 2.0, 1.0]),
    "oblique": oblique((1.0, 1.2, 2.0)),
    "sheared": SHEAR,
}


def box(shape: tuple[int, int, int], *spans: tuple[int, int]) -> np.ndarray:
    mask = np.zeros(shape, dtype=bool)
    mask[tuple(slice(*span) for span in spans)] = True
    return mask


def centres(mask: np.ndarray, affine: np.ndarray) -> np.ndarray:
    return np.argwhere(mask) @ affine[:3, :3].T + affine[:3, 3]


@pytest.mark.parametrize("affine", GRIDS.values(), ids=GRIDS)
@pytest.mark.parametrize("length_mm", [1.0, 3.0, 5.0])
def test_distances_are_those_of_every_pair_of_voxels(affine: np.ndarray, length_mm: float) -> None:
    rng = np.random.default_rng(7)
    mask, other = rng.random((2, 9, 8, 7)) < 0.05
    everything = np.ones_like(mask)
    away_mm = np.linalg.norm(centres(everything, affine)[:, None] - centres(mask, affine)[None], axis=2).min(1)
    expected = (away_mm <= length_mm + 1e-6).reshape(mask.shape)
    assert np.array_equal(regions.dilated(mask, affine, length_mm=length_mm), expected)
    assert np.array_equal(regions.within(other, mask, affine, length_mm=length_mm), other & expected)
    inverse = ~mask
    assert np.array_equal(regions.eroded(inverse, affine, length_mm=length_mm), ~expected)


@pytest.mark.parametrize("affine", GRIDS.values(), ids=GRIDS)
def test_a_ball_grows_and_shrinks_by_the_length(affine: np.ndarray) -> None:
    mask, moved = drawn(ball(12.0), affine, 20.0)
    for change_mm, found in (
        (5.0, regions.dilated(mask, moved, length_mm=5)),
        (-5.0, regions.eroded(mask, moved, length_mm=5)),
    ):
        expected = 4 / 3 * np.pi * (12.0 + change_mm) ** 3
        # the border is a voxel wide
        assert volume_mm3(found, moved) == pytest.approx(expected, rel=0.25 if change_mm < 0 else 0.1)
        assert np.linalg.norm(centres(found, moved), axis=1).max() <= 12.0 + change_mm + 0.01 + 2 * (change_mm < 0)


def test_a_length_below_the_spacing_changes_nothing_along_that_axis() -> None:
    mask = box((9, 9, 9), (3, 6), (3, 6), (3, 6))
    grown = regions.dilated(mask, np.diag([1.0, 1, 3, 1]), length_mm=2)
    assert grown.any(axis=(0, 1)).sum() == 3
    assert grown.any(axis=(1, 2)).sum() == 7
    shrunk = regions.eroded(mask, np.diag([1.0, 1, 3, 1]), length_mm=1)
    assert np.array_equal(shrunk, box((9, 9, 9), (4, 5), (4, 5), (3, 6)))


def test_nothing_grows_beyond_the_grid_or_shrinks_from_its_border() -> None:
    mask = box((4, 4, 4), (0, 4), (0, 4), (0, 2))
    assert regions.dilated(mask, np.eye(4), length_mm=20).all()
    assert np.array_equal(regions.eroded(mask, np.eye(4), length_mm=1), box((4, 4, 4), (0, 4), (0, 4), (0, 1)))
    assert regions.eroded(np.ones((3, 3, 3), bool), np.eye(4), length_mm=20).all()


def test_empty_masks_stay_empty() -> None:
    nothing, something = np.zeros((5, 5, 5), bool), box((5, 5, 5), (1, 3), (1, 3), (1, 3))
    affine = np.eye(4)
    assert not regions.dilated(nothing, affine, length_mm=5).any()
    assert not regions.eroded(nothing, affine, length_mm=5).any()
    assert not regions.within(something, nothing, affine, length_mm=5).any()
    assert not regions.within(nothing, something, affine, length_mm=5).any()
    assert not regions.largest_component(nothing).any()
    assert not regions.half(nothing, affine, axis=0, positive=True).any()
    assert not regions.nearer(something, nothing, something, affine).any()
    assert not regions.nearer(nothing, something, something, affine).any()
    assert np.array_equal(regions.nearer(something, something, nothing, affine), something)
    with pytest.raises(UndefinedMeasure):
        regions.cropped_image(np.zeros((5, 5, 5)), nothing, affine)


def test_operands_are_left_as_they_are() -> None:
    mask, other = box((6, 6, 6), (1, 3), (1, 3), (1, 3)), box((6, 6, 6), (4, 5), (4, 5), (4, 5))
    before = mask.copy(), other.copy()
    for made in (
        regions.dilated(mask, np.eye(4), length_mm=1),
        regions.eroded(mask, np.eye(4), length_mm=1),
        regions.within(mask, other, np.eye(4), length_mm=1),
        regions.nearer(mask, other, mask, np.eye(4)),
        regions.largest_component(mask),
        regions.half(mask, np.eye(4), axis=1, positive=False),
    ):
        assert made.dtype == np.bool_
        assert not np.shares_memory(made, mask)
    assert np.array_equal(mask, before[0])
    assert np.array_equal(other, before[1])


@pytest.mark.parametrize("affine", GRIDS.values(), ids=GRIDS)
def test_nearer_splits_a_mask_between_two_others(affine: np.ndarray) -> None:
    rng = np.random.default_rng(3)
    mask, to, than = (rng.random((10, 9, 8)) < share for share in (0.3, 0.03, 0.03))
    points = centres(mask, affine)
    near, far = (np.linalg.norm(points[:, None] - centres(o, affine)[None], axis=2).min(1) for o in (to, than))
    assert np.array_equal(regions.nearer(mask, to, than, affine)[mask], near <= far + 1e-6)


def test_ties_go_to_the_first() -> None:
    mask, left, right = (box((7, 3, 3), span, (1, 2), (1, 2)) for span in ((3, 4), (0, 1), (6, 7)))
    assert np.array_equal(regions.nearer(mask, left, right, np.eye(4)), mask)
    assert np.array_equal(regions.nearer(mask, right, left, np.eye(4)), mask)


def test_the_largest_piece_is_connected_by_corners_and_of_two_equals_the_first() -> None:
    mask = box((12, 6, 6), (0, 2), (0, 2), (0, 2)) | box((12, 6, 6), (2, 4), (2, 4), (2, 4))
    lonely = box((12, 6, 6), (6, 9), (1, 4), (1, 4))
    assert regions.largest_component(mask | lonely).sum() == 27
    lonely[6, 1:4, 1:4] = False
    assert np.array_equal(regions.largest_component(mask | lonely), lonely)
    twins = box((12, 6, 6), (1, 3), (1, 3), (4, 6)), box((12, 6, 6), (1, 3), (4, 6), (0, 2))
    # the second twin has the first voxel in Fortran order, the first in C order
    assert np.array_equal(regions.largest_component(twins[0] | twins[1]), twins[0])


@pytest.mark.parametrize("affine", GRIDS.values(), ids=GRIDS)
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_halves_share_nothing_and_lie_on_their_side(affine: np.ndarray, axis: int) -> None:
    mask, moved = drawn(ball(9.0), affine, 12.0)
    moved[:3, 3] += (40.0, -30.0, 20.0)
    low, high = (regions.half(mask, moved, axis=axis, positive=positive) for positive in (False, True))
    assert not (low & high).any()
    assert np.array_equal(low | high, mask)
    along = centres(mask, moved)[:, axis]
    middle = (along.min() + along.max()) / 2
    assert centres(high, moved)[:, axis].min() >= middle - 0.01
    assert centres(low, moved)[:, axis].max() < middle
    assert low.sum() > high.sum() / 2


def test_a_cut_goes_through_the_middle_of_the_extent_not_of_the_volume() -> None:
    mask = box((10, 4, 4), (0, 10), (1, 2), (1, 2)) | box((10, 4, 4), (0, 2), (0, 4), (0, 4))
    right = regions.half(mask, np.eye(4), axis=0, positive=True)
    assert np.array_equal(right, box((10, 4, 4), (5, 10), (1, 2), (1, 2)))
    left_handed = np.diag([-1.0, 1, 1, 1])
    assert np.array_equal(regions.half(mask, left_handed, axis=0, positive=False), right)


@pytest.mark.parametrize("affine", GRIDS.values(), ids=GRIDS)
def test_a_cropped_image_stays_where_it_was(affine: np.ndarray) -> None:
    image = np.arange(8 * 9 * 10, dtype=np.float32).reshape(8, 9, 10)
    mask = box(image.shape, (2, 5), (0, 4), (6, 10))
    small, moved = regions.cropped_image(image, mask, affine)
    assert small.shape == (3, 4, 4)
    assert not np.shares_memory(small, image)
    for index in np.ndindex(small.shape):
        place = moved @ [*index, 1]
        assert image[tuple(np.rint(np.linalg.solve(affine, place)[:3]).astype(int))] == small[index]


@pytest.mark.parametrize("shape", [(1, 1, 5), (5, 1, 1), (1, 9, 9), (3, 3, 3), (5, 4, 7)])
def test_single_voxels_as_close_as_can_be_are_pieces(shape: tuple[int, int, int]) -> None:
    mask = np.zeros(shape, bool)
    mask[::2, ::2, ::2] = True
    numbers = regions.numbered(mask)
    assert numbers[mask].tolist() == list(range(1, int(mask.sum()) + 1))
    assert not numbers[~mask].any()
    assert regions.largest_component(mask).sum() == 1
    assert count_components(mask) == mask.sum()
