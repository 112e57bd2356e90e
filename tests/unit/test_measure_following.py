"""Lesions of two sessions: matched across split and merge, named by what became of them, carried between grids."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pytest

from tests.unit.head_phantom import Matrix, motion_of
from vp_engine.environment.vocabulary import FATES as WORDS
from vp_engine.measure.following import FATES, Lesion, followed, linked_pieces
from vp_engine.measure.regions import numbered
from vp_engine.volumes.carrying import carried_labels, seen_by

Ball = tuple[tuple[float, float, float], float]
"""Centre and radius in mm, in the world of the earlier session."""


@dataclass(frozen=True)
class Grid:
    """Where voxels lie."""

    shape: tuple[int, int, int]
    affine: Matrix


def oblique(spacing_mm: tuple[float, float, float], turn: Matrix, extent_mm: float = 90.0) -> Grid:
    """A turned grid around the origin."""
    x, y, z = (round(extent_mm / mm) for mm in spacing_mm)
    affine = np.diag([-spacing_mm[0], spacing_mm[1], spacing_mm[2], 1.0])
    affine[:3, 3] = -affine[:3, :3] @ ((np.array((x, y, z)) - 1) / 2)
    return Grid((x, y, z), turn @ affine)


def balls(found: Sequence[Ball], grid: Grid, motion: Matrix | None = None) -> np.ndarray:
    """Mask of balls that have moved with the head."""
    to_head = np.linalg.inv(np.eye(4) if motion is None else motion) @ grid.affine
    points = to_head[:3, :3] @ np.indices(grid.shape).reshape(3, -1) + to_head[:3, 3:]
    inside = [np.linalg.norm(points - np.array(centre)[:, None], axis=0) <= radius for centre, radius in found]
    return np.any(inside, axis=0).reshape(grid.shape) if found else np.zeros(grid.shape, bool)


FIRST = oblique((1.0, 1.0, 3.0), motion_of(12, (0, 0, 0), (1, 0, 0.3)))
SECOND = oblique((0.9, 0.9, 2.5), motion_of(-8, (2, 0, 1), (0, 1, 0.5)))
MOTION = motion_of(6, (4, -3, 5), (1, 2, -1))
"""World of the first session → world of the second."""


def follow_balls(
    earlier: Sequence[Ball], later: Sequence[Ball], *, error_mm: float = 0.0, first: Grid = FIRST, second: Grid = SECOND
) -> tuple[Lesion, ...]:
    """Lesions of two sessions on two grids, aligned up to an error along x."""
    found = motion_of(0, (error_mm, 0, 0), (1, 0, 0)) @ MOTION
    placed = found @ first.affine
    before, _ = seen_by(balls(earlier, first), placed, second.shape, second.affine)
    after, _ = seen_by(balls(later, second, MOTION), second.affine, first.shape, placed)
    numbers = numbered(before), numbered(after)
    carried = carried_labels(numbers[0], placed, second.shape, second.affine)
    links = linked_pieces(carried, numbers[1], second.affine)
    return followed(*numbers, links, earlier_affine=first.affine, later_affine=second.affine)


def ball_mm3(radius: float) -> float:
    return 4 / 3 * np.pi * radius**3


@pytest.mark.parametrize("spacing_mm", [(1.0, 1.0, 1.0), (1.0, 1.0, 3.0), (4.0, 4.0, 4.0)])
def test_pieces_that_share_a_face_are_one_lesion_on_any_grid(spacing_mm: tuple[float, float, float]) -> None:
    first, second, apart = (np.zeros((12, 12, 12), int) for _ in range(3))
    first[3:5, 3:6, 3:6], second[3:5, 3:6, 6:8], apart[3:5, 3:6, 8:10] = 1, 1, 1
    for seed in range(20):  # a step of exactly the tolerance is longer or shorter by rounding
        turn, _ = np.linalg.qr(np.random.default_rng(seed).standard_normal((3, 3)))
        affine = np.eye(4)
        affine[:3, :3] = turn * spacing_mm
        assert linked_pieces(first, second, affine) == ((1, 1),)
        assert linked_pieces(first, apart, affine) == ()


@pytest.mark.parametrize("error_mm", [0.0, 0.54])
@pytest.mark.parametrize(
    ("earlier", "later", "fate"),
    [
        ([], [((10.0, 5.0, -8.0), 4.0)], "new"),
        ([((10.0, 5.0, -8.0), 4.0)], [], "gone"),
        ([((10.0, 5.0, -8.0), 5.0)], [((10.0, 5.0, -8.0), 7.0)], "grown"),
        ([((10.0, 5.0, -8.0), 7.0)], [((10.0, 5.0, -8.0), 5.0)], "shrunk"),
        ([((10.0, 5.0, -8.0), 6.0)], [((10.0, 5.0, -8.0), 6.2)], "stable"),
        ([((10.0, 5.0, -8.0), 2.0)], [((10.0, 5.0, -8.0), 2.2)], "stable"),
    ],
)
def test_fate_of_a_ball_on_two_oblique_grids(
    earlier: list[Ball], later: list[Ball], fate: str, error_mm: float
) -> None:
    (lesion,) = follow_balls(earlier, later, error_mm=error_mm)
    assert lesion.fate == fate
    for found, true in ((lesion.earlier_mm3, earlier), (lesion.later_mm3, later)):
        few_voxels = any(radius < 3 for _, radius in true)
        assert found == pytest.approx(sum(ball_mm3(radius) for _, radius in true), rel=0.3 if few_voxels else 0.12)


def test_split_and_merge_are_one_lesion_each() -> None:
    dumb_bell: list[Ball] = [((x, 0.0, 0.0), 6.0) for x in (-20.0, -13.0, -6.0, 1.0)]
    (split,) = follow_balls(dumb_bell, [dumb_bell[0], dumb_bell[-1]])
    assert (len(split.earlier), len(split.later), split.fate) == (1, 2, "shrunk")
    (merged,) = follow_balls([dumb_bell[0], dumb_bell[-1]], dumb_bell)
    assert (len(merged.earlier), len(merged.later), merged.fate) == (2, 1, "grown")
    assert (merged.earlier_mm3, merged.later_mm3) == pytest.approx((split.later_mm3, split.earlier_mm3), rel=0.1)


def test_chain_of_overlaps_is_one_lesion() -> None:
    earlier: list[Ball] = [((-10.0, 0.0, 0.0), 4.0), ((4.0, 0.0, 0.0), 4.0)]
    later: list[Ball] = [((-3.0, 0.0, 0.0), 4.5), ((11.0, 0.0, 0.0), 4.5)]
    (lesion,) = follow_balls(earlier, later)
    assert (len(lesion.earlier), len(lesion.later)) == (2, 2)


def test_many_lesions_each_by_itself_largest_first() -> None:
    earlier: list[Ball] = [((-25.0, 0.0, 0.0), 6.0), ((0.0, 20.0, 0.0), 5.0), ((0.0, -20.0, 8.0), 3.0)]
    later: list[Ball] = [((-25.0, 0.0, 0.0), 6.0), ((0.0, 20.0, 0.0), 7.5), ((25.0, 0.0, 0.0), 4.0)]
    lesions = follow_balls(earlier, later)
    assert [lesion.fate for lesion in lesions] == ["grown", "stable", "new", "gone"]
    sizes = [max(lesion.earlier_mm3, lesion.later_mm3) for lesion in lesions]
    assert sizes == sorted(sizes, reverse=True)


def test_pieces_within_the_tolerance_are_one_lesion_and_farther_ones_are_two() -> None:
    near, far = (np.zeros((20, 10, 10), np.int32) for _ in range(2))
    first = near.copy()
    first[2:5, 4:6, 4:6], near[5:8, 4:6, 4:6], far[6:9, 4:6, 4:6] = 1, 1, 1
    assert linked_pieces(first, near, np.eye(4)) == ((1, 1),)
    assert linked_pieces(first, far, np.eye(4)) == ()
    assert linked_pieces(first, far, np.diag([0.5, 0.5, 0.5, 1.0])) == ((1, 1),)
    sheared = np.eye(4)
    sheared[0, 1] = 3.0
    assert linked_pieces(first, near, sheared) == ((1, 1),)


@pytest.mark.parametrize(("slices", "fate"), [(14, "shrunk"), (15, "stable"), (25, "stable"), (26, "grown")])
def test_large_lesions_have_to_change_by_more_than_a_quarter(slices: int, fate: str) -> None:
    earlier, later = (np.zeros((30, 30, 30), np.int32) for _ in range(2))
    earlier[2:22, 2:22, 2:22], later[2:22, 2:22, 2 : 2 + slices] = 1, 1
    (lesion,) = followed(earlier, later, [(1, 1)], earlier_affine=np.eye(4), later_affine=np.eye(4))
    assert (lesion.earlier_mm3, lesion.later_mm3, lesion.fate) == (8000.0, 400.0 * slices, fate)


def test_small_lesions_need_more_than_a_quarter() -> None:
    small, larger = (np.zeros((9, 9, 9), bool) for _ in range(2))
    small[3:6, 3:6, 3:6] = True
    larger[3:6, 3:6, 3:7] = True  # a third more
    lesions = followed(numbered(small), numbered(larger), [(1, 1)], earlier_affine=np.eye(4), later_affine=np.eye(4))
    assert [lesion.fate for lesion in lesions] == ["stable"]


def test_nothing_becomes_nothing() -> None:
    assert follow_balls([], []) == ()


def test_what_the_other_session_does_not_show_is_left_out() -> None:
    low = Grid((90, 90, 15), oblique((1.0, 1.0, 3.0), np.eye(4)).affine)  # ends at z = 0
    lesion: Ball = ((0.0, 0.0, 20.0), 5.0)
    assert follow_balls([lesion], [], second=low) == ()
    placed = MOTION @ FIRST.affine
    kept, cut = seen_by(balls([lesion], FIRST), placed, low.shape, low.affine)
    assert cut
    assert not kept.any()
    kept, cut = seen_by(balls([lesion], FIRST), placed, SECOND.shape, SECOND.affine)
    assert not cut
    np.testing.assert_array_equal(kept, balls([lesion], FIRST))


def test_a_lesion_between_two_thick_slices_is_not_lost() -> None:
    labels = np.zeros((20, 20, 20), np.int32)
    labels[9:11, 9:11, 12] = 3
    labels[2:8, 2:8, 2:8] = 1
    thick = np.diag([1.0, 1.0, 5.0, 1.0])  # slices at z = 10 and 15
    carried = carried_labels(labels, np.eye(4), (20, 20, 4), thick)
    assert set(np.unique(carried)) == {0, 1, 3}
    assert carried[9, 9, 2] == 3
    np.testing.assert_array_equal(carried[..., 1] == 1, labels[..., 5] == 1)


def test_two_grids_are_refused() -> None:
    with pytest.raises(ValueError, match="one grid"):
        linked_pieces(np.zeros((3, 3, 3), int), np.zeros((3, 3, 4), int), np.eye(4))


def test_the_language_has_the_same_words() -> None:
    assert FATES == WORDS
