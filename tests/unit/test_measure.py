"""Measures against shapes whose size is known, on every kind of grid."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np
import pytest

from vp_engine.measure import arithmetic, shape, voxels
from vp_engine.measure.arithmetic import UndefinedMeasure

Shape = Callable[[np.ndarray], np.ndarray]
IDENTITY = np.eye(4)
SHEAR = np.array([[1.0, 0.4, 0.2, 7.0], [0.0, 0.9, 0.3, -3.0], [0.0, 0.0, 1.1, 5.0], [0.0, 0.0, 0.0, 1.0]])
ROTATION = np.array([[0.36, 0.48, -0.8], [-0.8, 0.6, 0.0], [0.48, 0.64, 0.6]])


def oblique(spacing_mm: tuple[float, float, float]) -> np.ndarray:
    affine = np.eye(4)
    affine[:3, :3] = ROTATION @ np.diag(spacing_mm)
    affine[:3, 3] = (4.0, -9.0, 2.0)
    return affine


def drawn(inside: Shape, affine: np.ndarray, half_mm: float) -> tuple[np.ndarray, np.ndarray]:
    """Mask of a shape around the world origin, given by a function of (..., 3) mm, and the affine moved there."""
    inverse = np.linalg.inv(affine[:3, :3])
    reach = np.ceil(half_mm * np.linalg.norm(inverse, axis=1)).astype(int) + 2
    ijk = np.stack(np.meshgrid(*[np.arange(-r, r + 1) for r in reach], indexing="ij"), axis=-1)
    moved = affine.copy()
    moved[:3, 3] = -affine[:3, :3] @ reach
    return inside(ijk @ affine[:3, :3].T), moved


def ball(radius_mm: float) -> Shape:
    def inside(xyz: np.ndarray) -> np.ndarray:
        near: np.ndarray = np.linalg.norm(xyz, axis=-1) <= radius_mm
        return near

    return inside


GRIDS = {
    "1 mm": IDENTITY,
    "0.7 mm": np.diag([0.7, 0.7, 0.7, 1.0]),
    "thick slices": np.diag([1.0, 1.0, 3.0, 1.0]),
    "flipped": np.diag([-1.0, 1.0, -1.0, 1.0]),
    "swapped": np.array([[0.0, -1, 0, 0], [0, 0, 1.5, 0], [1, 0, 0, 0], [0, 0, 0, 1]]),
    "oblique": oblique((0.8, 1.0, 1.2)),
    "sheared": SHEAR,
}


@pytest.mark.parametrize("affine", GRIDS.values(), ids=GRIDS.keys())
def test_ball_on_every_grid(affine: np.ndarray) -> None:
    mask, moved = drawn(ball(12.0), affine, 12.0)
    assert voxels.volume_mm3(mask, moved) == pytest.approx(4 / 3 * np.pi * 12**3, rel=0.03)
    assert shape.surface_area_mm2(mask, moved) == pytest.approx(4 * np.pi * 144, rel=0.03)
    assert shape.sphericity(mask, moved) == pytest.approx(1.0, abs=0.03)
    assert shape.max_diameter_mm(mask, moved) == pytest.approx(24.0, abs=1.0)
    assert shape.mean_thickness_mm(mask, moved) == pytest.approx(24.0, rel=0.2)
    assert voxels.centroid_ras_mm(mask, moved) == pytest.approx([0, 0, 0], abs=1e-6)


@pytest.mark.parametrize(("radius_mm", "tolerance"), [(5, 0.04), (8, 0.03), (20, 0.02)])
def test_surface_of_balls_without_the_steps_of_voxels(radius_mm: int, tolerance: float) -> None:
    mask, moved = drawn(ball(radius_mm), IDENTITY, radius_mm)
    assert shape.surface_area_mm2(mask, moved) == pytest.approx(4 * np.pi * radius_mm**2, rel=tolerance)


def test_ellipsoid() -> None:
    half_axes = np.array([20.0, 10.0, 6.0])
    mask, moved = drawn(lambda xyz: np.sum((xyz / half_axes) ** 2, axis=-1) <= 1, oblique((0.8, 0.8, 1.0)), 20.0)
    a, b, c = half_axes**1.6075
    thomsen_mm2 = 4 * np.pi * ((a * b + a * c + b * c) / 3) ** (1 / 1.6075)
    assert voxels.volume_mm3(mask, moved) == pytest.approx(4 / 3 * np.pi * half_axes.prod(), rel=0.01)
    assert shape.surface_area_mm2(mask, moved) == pytest.approx(thomsen_mm2, rel=0.03)
    assert shape.max_diameter_mm(mask, moved) == pytest.approx(40.0, abs=1.0)
    assert 9.0 < shape.mean_thickness_mm(mask, moved) < 12.0  # between the mean of a flat body and the inscribed ball


@pytest.mark.parametrize("affine", GRIDS.values(), ids=GRIDS.keys())
def test_torus_on_every_grid(affine: np.ndarray) -> None:
    ring_mm, tube_mm = 20.0, 7.0

    def torus(xyz: np.ndarray) -> np.ndarray:
        around = np.linalg.norm(xyz[..., :2], axis=-1) - ring_mm
        inside: np.ndarray = np.hypot(around, xyz[..., 2]) <= tube_mm
        return inside

    mask, moved = drawn(torus, affine, ring_mm + tube_mm)
    few = 0.06 if affine[2, 2] == 3.0 else 0.03  # five slices of 3 mm hit a tube of 14 mm
    assert voxels.volume_mm3(mask, moved) == pytest.approx(2 * np.pi**2 * ring_mm * tube_mm**2, rel=few)
    assert shape.surface_area_mm2(mask, moved) == pytest.approx(4 * np.pi**2 * ring_mm * tube_mm, rel=few + 0.01)
    assert shape.max_diameter_mm(mask, moved) == pytest.approx(2 * (ring_mm + tube_mm), abs=1.2)
    assert shape.mean_thickness_mm(mask, moved) == pytest.approx(2 * tube_mm, rel=0.2)
    assert voxels.centroid_ras_mm(mask, moved) == pytest.approx([0, 0, 0], abs=1e-6)  # in the hole
    assert shape.count_components(mask) == 1


def test_box_with_anisotropic_voxels_has_its_exact_numbers() -> None:
    mask = np.zeros((30, 30, 12), bool)
    mask[3:23, 4:24, 2:8] = True
    affine = np.diag([1.0, 1.0, 2.0, 1.0])
    assert voxels.volume_mm3(mask, affine) == pytest.approx(20 * 20 * 12)
    assert shape.surface_area_mm2(mask, affine) == pytest.approx(2 * 400 + 4 * 240, rel=0.05)
    assert shape.max_diameter_mm(mask, affine) == pytest.approx(np.sqrt(19**2 + 19**2 + 10**2))
    assert voxels.centroid_ras_mm(mask, affine) == pytest.approx([12.5, 13.5, 9.0])


@pytest.mark.parametrize("thickness", [1, 2, 3, 4, 7])
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_thickness_of_a_sheet(thickness: int, axis: int) -> None:
    mask = np.moveaxis(np.zeros((60, 60, 12), bool), 2, axis)
    sheet = np.moveaxis(mask, axis, 2)
    sheet[2:-2, 2:-2, 3 : 3 + thickness] = True
    spacing = np.ones(3)
    spacing[axis] = 1.5
    assert shape.mean_thickness_mm(mask, np.diag([*spacing, 1.0])) == pytest.approx(1.5 * thickness, rel=0.05)


def test_thickness_of_a_curved_sheet_in_a_large_box() -> None:
    def shell(xyz: np.ndarray) -> np.ndarray:
        radius = np.linalg.norm(xyz, axis=-1)
        between: np.ndarray = (radius >= 50) & (radius < 54)
        return between

    mask, moved = drawn(shell, IDENTITY, 54.0)
    assert mask.size > shape._LATTICE_POINTS / 8
    assert shape.mean_thickness_mm(mask, moved) == pytest.approx(4.0, rel=0.1)


def test_every_flip_and_swap_of_the_axes_gives_the_same_numbers() -> None:
    rng = np.random.default_rng(7)
    mask = np.zeros((14, 16, 12), bool)
    mask[3:9, 4:12, 2:8] = True
    mask[9:12, 4:7, 5:9] = True
    image = rng.normal(size=mask.shape)
    affine = oblique((1.0, 1.3, 2.0))

    def numbers(mask: np.ndarray, image: np.ndarray, affine: np.ndarray) -> list[float]:
        return [
            voxels.volume_mm3(mask, affine),
            *voxels.centroid_ras_mm(mask, affine),
            voxels.mean_intensity(image, mask),
            shape.surface_area_mm2(mask, affine),
            shape.max_diameter_mm(mask, affine),
            shape.mean_thickness_mm(mask, affine),
            shape.distance_mm(mask, _far_corner(mask, affine), affine),
        ]

    expected = numbers(mask, image, affine)
    for order in itertools.permutations(range(3)):
        for flips in itertools.product((1, -1), repeat=3):
            to_old = np.zeros((4, 4))
            to_old[3, 3] = 1
            for new, old in enumerate(order):
                to_old[old, new] = flips[new]
                to_old[old, 3] = mask.shape[old] - 1 if flips[new] < 0 else 0
            step = tuple(slice(None, None, flip) for flip in flips)
            turned = numbers(mask.transpose(order)[step], image.transpose(order)[step], affine @ to_old)
            assert turned == pytest.approx(expected, rel=1e-3), (order, flips)


def _far_corner(mask: np.ndarray, affine: np.ndarray) -> np.ndarray:
    """Small mask around one world position, whatever the order of the axes."""
    ijk = np.stack(np.meshgrid(*map(np.arange, mask.shape), indexing="ij"), axis=-1)
    world = ijk @ affine[:3, :3].T + affine[:3, 3]
    original = oblique((1.0, 1.3, 2.0))
    corner = original[:3, :3] @ (12, 14, 10) + original[:3, 3]
    near: np.ndarray = np.linalg.norm(world - corner, axis=-1) < 1.1
    return near


@pytest.mark.parametrize(
    ("points", "expected"),
    [
        ([(2, 2, 2)], 0.0),
        ([(2, 2, 2), (2, 2, 7)], 10.0),
        ([(0, 0, 0), (3, 4, 0), (0, 4, 0)], 5.0),
        ([(0, 0, 0), (2, 2, 2), (1, 1, 1)], np.sqrt(24)),
    ],
    ids=["one voxel", "straight", "flat", "diagonal"],
)
def test_diameter_of_degenerate_sets(points: list[tuple[int, int, int]], expected: float) -> None:
    mask = np.zeros((9, 9, 9), bool)
    mask[tuple(np.array(points).T)] = True
    assert shape.max_diameter_mm(mask, np.diag([1.0, 1.0, 2.0, 1.0])) == pytest.approx(expected)


def test_single_voxel_has_every_measure() -> None:
    mask = np.zeros((3, 3, 3), bool)
    mask[0, 2, 1] = True
    assert voxels.volume_mm3(mask, IDENTITY) == 1.0
    assert 1.0 < shape.surface_area_mm2(mask, IDENTITY) < 6.0
    assert shape.mean_thickness_mm(mask, IDENTITY) == pytest.approx(1.0)
    assert shape.count_components(mask) == 1


def test_components_join_over_corners() -> None:
    mask = np.zeros((6, 6, 6), bool)
    mask[0, 0, 0] = mask[1, 1, 1] = mask[4, 4, 4] = True
    assert shape.count_components(mask) == 2
    assert shape.count_components(np.zeros_like(mask)) == 0


def test_distance_between_faces() -> None:
    a, b = np.zeros((12, 12, 12), bool), np.zeros((12, 12, 12), bool)
    a[2:4, 2:4, 2:4] = True
    affine = np.diag([1.0, 2.0, 3.0, 1.0])
    for position, expected in [((4, 4, 4), 0.0), ((5, 3, 3), 1.0), ((3, 3, 6), 6.0), ((6, 6, 3), np.sqrt(4 + 16))]:
        b[:] = False
        b[position] = True
        assert shape.distance_mm(a, b, affine) == pytest.approx(expected), position
        assert shape.distance_mm(b, a, affine) == pytest.approx(expected), position
    assert shape.distance_mm(a, a, affine) == 0.0


def test_distance_of_balls_on_a_sheared_grid() -> None:
    mask, moved = drawn(ball(6.0), SHEAR, 40.0)
    other, _ = drawn(lambda xyz: np.linalg.norm(xyz - (25.0, 0.0, 0.0), axis=-1) <= 6.0, SHEAR, 40.0)
    assert shape.distance_mm(mask, other, moved) == pytest.approx(13.0, abs=1.5)


def test_intensities() -> None:
    image = np.arange(27, dtype=np.float32).reshape(3, 3, 3)
    mask = np.zeros((3, 3, 3), np.uint8)
    mask[0, 0] = 1
    mask[2, 2, 2] = 4
    assert voxels.mean_intensity(image, mask) == pytest.approx(29 / 4)
    assert voxels.median_intensity(image, mask) == pytest.approx(1.5)
    assert voxels.std_intensity(image, mask) == pytest.approx(np.std([0, 1, 2, 26]))
    with pytest.raises(ValueError, match="one grid"):
        voxels.mean_intensity(image, mask[1:])


EMPTY = np.zeros((4, 4, 4), bool)


@pytest.mark.parametrize(
    "measure",
    [
        lambda: shape.surface_area_mm2(EMPTY, IDENTITY),
        lambda: shape.sphericity(EMPTY, IDENTITY),
        lambda: shape.max_diameter_mm(EMPTY, IDENTITY),
        lambda: shape.mean_thickness_mm(EMPTY, IDENTITY),
        lambda: voxels.centroid_ras_mm(EMPTY, IDENTITY),
        lambda: voxels.mean_intensity(EMPTY.astype(float), EMPTY),
        lambda: voxels.median_intensity(EMPTY.astype(float), EMPTY),
        lambda: voxels.std_intensity(EMPTY.astype(float), EMPTY),
        lambda: shape.distance_mm(EMPTY, ~EMPTY, IDENTITY),
    ],
)
def test_empty_mask_is_an_error_with_a_code_never_nan(measure: Callable[[], float]) -> None:
    with pytest.raises(UndefinedMeasure) as caught:
        measure()
    assert caught.value.code == "empty_mask"


def test_empty_mask_has_volume_zero() -> None:
    assert voxels.volume_mm3(EMPTY, IDENTITY) == 0.0


def test_arithmetic() -> None:
    assert arithmetic.asymmetry(3.0, 5.0) == pytest.approx(-0.5)
    assert arithmetic.ratio(1.0, 4.0) == 0.25
    assert arithmetic.change(10.0, 8.0) == -2.0
    assert arithmetic.percent_change(10.0, 8.0) == pytest.approx(-20.0)
    assert arithmetic.annual_rate(10.0, 8.0, 0.5) == pytest.approx(-4.0)


@pytest.mark.parametrize(
    "undefined",
    [
        lambda: arithmetic.asymmetry(0.0, 0.0),
        lambda: arithmetic.ratio(1.0, 0.0),
        lambda: arithmetic.percent_change(0.0, 3.0),
        lambda: arithmetic.annual_rate(1.0, 2.0, 0.0),
    ],
)
def test_zero_denominator_has_its_code(undefined: Callable[[], float]) -> None:
    with pytest.raises(UndefinedMeasure) as caught:
        undefined()
    assert caught.value.code == "zero_denominator"
