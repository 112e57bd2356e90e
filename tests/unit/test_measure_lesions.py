"""Pieces of masks, what they touch, how wide and how bright they are, against shapes and images that are known."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from tests.unit.test_measure import GRIDS, IDENTITY, ball, drawn, oblique
from vp_engine.measure import lesions
from vp_engine.measure.arithmetic import UndefinedMeasure

SHAPE = (20, 18, 16)


def boxes(*spans: tuple[tuple[int, int], tuple[int, int], tuple[int, int]]) -> np.ndarray:
    mask = np.zeros(SHAPE, dtype=bool)
    for one in spans:
        mask[tuple(slice(*span) for span in one)] = True
    return mask


# pieces


def test_pieces_come_by_size_and_equal_ones_in_the_order_of_the_grid() -> None:
    mask = boxes(((1, 3), (1, 2), (1, 2)), ((8, 12), (8, 10), (8, 11)), ((15, 17), (1, 2), (1, 2)), ((5, 6),) * 3)
    found = lesions.pieces(mask)
    assert [piece.voxels for piece in found] == [24, 2, 2, 1]
    assert [piece.where[0].start for piece in found] == [8, 1, 15, 5]
    assert np.array_equal(sum(piece.full(SHAPE).astype(int) for piece in found), mask.astype(int))
    assert found[0].inside.shape == (4, 2, 3)


def test_voxels_that_share_a_corner_are_one_piece_and_others_in_its_box_are_not() -> None:
    mask = boxes(*(((at, at + 1),) * 3 for at in range(2, 7)))
    mask[2, 6, 2] = True
    first, second = lesions.pieces(mask)
    assert (first.voxels, second.voxels) == (5, 1)
    assert first.inside.sum() == 5


def test_nothing_has_no_pieces() -> None:
    assert lesions.pieces(np.zeros(SHAPE, bool)) == []
    with pytest.raises(UndefinedMeasure):
        lesions.as_piece(np.zeros(SHAPE, bool))


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_pieces_are_the_same_in_every_memory_layout(order: tuple[int, int, int]) -> None:
    mask = np.random.default_rng(3).random(SHAPE) < 0.1
    laid_out = mask.transpose(order).copy().transpose(np.argsort(order))
    for one, other in zip(lesions.pieces(mask), lesions.pieces(laid_out), strict=True):
        assert one.where == other.where
        assert np.array_equal(one.inside, other.inside)


@pytest.mark.parametrize(
    ("step", "touching"), [((1, 0, 0), True), ((1, -1, 0), True), ((1, 1, -1), True), ((2, 0, 0), False)]
)
def test_what_shares_a_face_an_edge_or_a_corner_touches(step: tuple[int, int, int], *, touching: bool) -> None:
    (piece,) = lesions.pieces(boxes(((6, 9),) * 3))
    corner = (8 + step[0], 8 + step[1], (6 if step[2] < 0 else 8) + step[2])
    assert lesions.touches(piece, boxes(tuple((at, at + 1) for at in corner))) is touching  # type: ignore[arg-type]


def test_what_overlaps_touches_and_the_border_of_the_grid_is_no_neighbour() -> None:
    (piece,) = lesions.pieces(boxes(((0, 2),) * 3))
    assert lesions.touches(piece, boxes(((1, 5),) * 3))
    assert not lesions.touches(piece, boxes(((18, 20), (16, 18), (14, 16))))
    assert not lesions.touches(piece, np.zeros(SHAPE, bool))


def test_a_hollow_of_the_box_is_not_touched() -> None:
    hollow = boxes(((2, 12), (2, 12), (2, 4))) & ~boxes(((4, 10), (4, 10), (2, 4)))
    (piece,) = lesions.pieces(hollow)
    assert not lesions.touches(piece, boxes(((6, 8), (6, 8), (2, 4))))
    assert lesions.touches(piece, boxes(((5, 8), (6, 8), (2, 4)))) is False
    assert lesions.touches(piece, boxes(((4, 8), (6, 8), (2, 4))))


@pytest.mark.parametrize("affine", GRIDS.values(), ids=GRIDS)
def test_pieces_of_a_length(affine: np.ndarray) -> None:
    mask, moved = drawn(ball(6.0), affine, 8.0)
    (piece,) = lesions.pieces(mask)
    assert lesions.at_least(piece, moved, length_mm=9)
    assert not lesions.at_least(piece, moved, length_mm=13)


def test_a_length_that_is_met_exactly_is_enough() -> None:
    (piece,) = lesions.pieces(boxes(((2, 8), (3, 4), (3, 4))))
    assert lesions.at_least(piece, np.diag([0.6, 1.0, 1.0, 1.0]), length_mm=3)


# the diameter across


def ellipsoid(half_axes_mm: tuple[float, float, float], affine: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Along the axes of the grid."""
    directions = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    axes = np.array(half_axes_mm)
    return drawn(lambda xyz: np.sum((xyz @ directions / axes) ** 2, axis=-1) <= 1, affine, max(half_axes_mm))


@pytest.mark.parametrize(
    ("affine", "across_mm"),
    [
        (IDENTITY, 20.0),
        (np.diag([-0.7, -0.7, 0.7, 1.0]), 20.0),
        (np.diag([0.5, 0.5, 3.0, 1.0]), 20.0),  # axial slices: axes 40 and 20
        (np.diag([3.0, 0.5, 0.5, 1.0]), 12.0),  # sagittal: 20 and 12
        (np.diag([0.5, 3.0, 0.5, 1.0]), 12.0),  # coronal: 40 and 12
        (oblique((0.5, 0.5, 3.0)), 20.0),
        (oblique((0.5, 3.0, 0.5)), 12.0),
    ],
)
def test_the_slices_of_the_file_decide_which_diameter_is_across(affine: np.ndarray, across_mm: float) -> None:
    mask, moved = ellipsoid((20.0, 10.0, 6.0), affine)
    assert lesions.perpendicular_diameter_mm(mask, moved) == pytest.approx(across_mm, abs=1.0)


def test_slices_hardly_thicker_are_not_taken_for_slices() -> None:
    assert lesions.slice_axis(np.diag([1.2, 1.0, 1.0, 1.0])) == 2
    assert lesions.slice_axis(np.diag([1.25, 1.0, 1.0, 1.0])) == 0
    swapped = np.array([[0.0, 1, 0, 0], [0, 0, -1, 0], [-1, 0, 0, 0], [0, 0, 0, 1]])
    assert lesions.slice_axis(swapped) == 0


@pytest.mark.parametrize(
    "affine", [np.diag([0.9, 1.07, 4.0, 1.0]), oblique((0.9, 1.07, 4.0)), np.diag([3.0, 0.8, 1.1, 1.0])]
)
@pytest.mark.parametrize("seed", range(4))
def test_it_is_the_longest_of_all_pairs_at_right_angles(affine: np.ndarray, seed: int) -> None:
    rng = np.random.default_rng(seed)
    mask = np.zeros((12, 12, 12), bool)
    for _ in range(4):
        low = rng.integers(0, 8, 3)
        mask[tuple(slice(a, a + n) for a, n in zip(low, rng.integers(1, 5, 3), strict=True))] = True
    axis = lesions.slice_axis(affine)
    half_mm = np.delete(np.linalg.norm(affine[:3, :3], axis=0), axis).max() / 2
    best = (-1.0, 0.0)
    for k in range(12):
        voxels = np.argwhere(mask)
        points = voxels[voxels[:, axis] == k] @ affine[:3, :3].T
        if len(points) == 0:
            continue
        steps = points[:, None] - points[None]
        lengths = np.linalg.norm(steps, axis=2)
        longest = lengths.max()
        if longest <= best[0] + 1e-9:
            continue
        ends = np.unravel_index(lengths.argmax(), lengths.shape)
        along = steps[ends] / longest
        right = np.abs(steps @ along) <= half_mm + 1e-6
        across = np.sqrt(np.maximum(lengths**2 - (steps @ along) ** 2, 0))
        best = (longest, across[right].max())
    assert lesions.perpendicular_diameter_mm(mask, affine) == pytest.approx(best[1], abs=1e-6)


def test_a_row_and_a_voxel_have_no_width_and_nothing_has_no_diameter() -> None:
    assert lesions.perpendicular_diameter_mm(boxes(((2, 9), (3, 4), (3, 4))), IDENTITY) == 0
    assert lesions.perpendicular_diameter_mm(boxes(((2, 3),) * 3), oblique((1.0, 1.0, 4.0))) == 0
    with pytest.raises(UndefinedMeasure):
        lesions.perpendicular_diameter_mm(np.zeros(SHAPE, bool), IDENTITY)


# against white matter


def head(affine: np.ndarray) -> tuple[np.ndarray, np.ndarray, tuple[np.ndarray, np.ndarray], np.ndarray]:
    """Lesion of 150 at the origin of a white matter that is 100 up to 10.5 mm from it and 40 beyond; left is x < 0."""
    lesion, moved = drawn(ball(4.0), affine, 20.0)
    index = np.stack(np.meshgrid(*map(np.arange, lesion.shape), indexing="ij"), axis=-1)
    world = index @ moved[:3, :3].T + moved[:3, 3]
    away = np.linalg.norm(world, axis=-1)
    image = np.where(away <= 14.5, 100.0, 40.0).astype(np.float32)
    image[lesion] = 150.0
    left = world[..., 0] < 0
    return image, lesion, (left & ~lesion, ~left & ~lesion), moved


@pytest.mark.parametrize("affine", GRIDS.values(), ids=GRIDS)
def test_a_lesion_is_compared_with_what_is_around_it(affine: np.ndarray) -> None:
    image, lesion, white, moved = head(affine)
    assert np.median(image[white[0] | white[1]]) == 40.0
    piece = lesions.as_piece(lesion)
    assert lesions.relative_intensity(image, piece, white, moved) == pytest.approx(1.5, abs=0.01)


def test_with_too_little_around_it_the_nearer_side_counts_then_both() -> None:
    image, lesion, _, moved = head(IDENTITY)
    piece = lesions.as_piece(lesion)
    index = np.stack(np.meshgrid(*map(np.arange, lesion.shape), indexing="ij"), axis=-1)
    world = index + moved[:3, 3]
    near = (np.abs(world - (6, 0, 0)) <= 1).all(axis=-1)
    left, right = world[..., 0] < -15, (world[..., 0] > 15) | near
    image[left], image[right] = 50.0, 75.0
    assert lesions.relative_intensity(image, piece, (left, right), moved) == pytest.approx(2.0)
    few = (np.abs(world - (6, 0, 0)) <= 2).all(axis=-1)
    assert 100 < few.sum() < 200
    assert lesions.relative_intensity(image, piece, (left, few), moved) == pytest.approx(3.0)
    with pytest.raises(UndefinedMeasure) as caught:
        lesions.relative_intensity(image, piece, (near, np.zeros_like(near)), moved)
    assert caught.value.code == "no_white_matter"


def test_white_matter_without_intensity_says_nothing() -> None:
    image, lesion, white, moved = head(IDENTITY)
    image[~lesion] = -5.0
    with pytest.raises(UndefinedMeasure) as caught:
        lesions.relative_intensity(image, lesions.as_piece(lesion), white, moved)
    assert caught.value.code == "zero_denominator"


def test_the_lesion_itself_is_no_white_matter() -> None:
    image, lesion, _, moved = head(IDENTITY)
    index = np.stack(np.meshgrid(*map(np.arange, lesion.shape), indexing="ij"), axis=-1)
    shell = np.linalg.norm(index + moved[:3, 3], axis=-1) <= 4.9
    assert 200 < (shell & ~lesion).sum() < lesion.sum()
    nothing = np.zeros_like(shell)
    assert lesions.relative_intensity(image, lesions.as_piece(lesion), (shell, nothing), moved) == pytest.approx(1.5)


def test_of_several_longest_diameters_the_order_of_the_grid_does_not_choose() -> None:
    mask = np.zeros((7, 7, 2), bool)
    mask[1:6, 3, :] = True  # a row in both slices, and a line across it in one
    mask[3, 2:5, 1] = True
    flipped = np.diag([1.0, 1.0, -1.0, 1.0])
    assert lesions.perpendicular_diameter_mm(mask, IDENTITY) == pytest.approx(2)
    assert lesions.perpendicular_diameter_mm(mask[:, :, ::-1], flipped) == pytest.approx(2)
