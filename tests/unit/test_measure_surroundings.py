"""Telling a stripped brain from a head, on balls: brain, fluid, skull, scalp."""

from __future__ import annotations

import numpy as np
import pytest

from vp_engine.measure.arithmetic import UndefinedMeasure
from vp_engine.measure.surroundings import head_share, is_skull_stripped

MRI = {"air": 0.0, "brain": 1.0, "fluid": 0.3, "skull": 0.1, "scalp": 1.4}
CONTRASTS = {
    "T1w": MRI,
    "fat suppressed": MRI | {"scalp": 0.35, "fluid": 0.1},
    "T2w": MRI | {"fluid": 2.0},
    "CT": {"air": -1000.0, "brain": 35.0, "fluid": 5.0, "skull": 1000.0, "scalp": -60.0},
}
SPACING_MM = 2.5


def radius_mm(spacing_mm: tuple[float, float, float] = (SPACING_MM,) * 3) -> np.ndarray:
    """Distance of every voxel of a field of view of 140 mm from its middle; (X, Y, Z)."""
    axes = [(np.arange(n := round(140 / s)) - (n - 1) / 2) * s for s in spacing_mm]
    x, y, z = np.meshgrid(*axes, indexing="ij")
    return np.sqrt(x**2 + y**2 + z**2)


def head(contrast: dict[str, float], radius: np.ndarray) -> np.ndarray:
    edges = (("scalp", 56.0), ("skull", 50.0), ("fluid", 44.0), ("brain", 40.0))
    image = np.full(radius.shape, contrast["air"])
    for tissue, end in edges:
        image[radius < end] = contrast[tissue]
    return image


RADIUS = radius_mm()
BRAIN = RADIUS < 40
AFFINE = np.diag([SPACING_MM, SPACING_MM, SPACING_MM, 1.0])


@pytest.mark.parametrize("name", CONTRASTS)
@pytest.mark.parametrize("keeps_fluid", [True, False])
def test_head_and_stripped_brain_in_every_contrast(name: str, keeps_fluid: bool) -> None:
    image = head(CONTRASTS[name], RADIUS)
    assert head_share(image, BRAIN, AFFINE) > 0.9
    assert not is_skull_stripped(image, BRAIN, AFFINE)
    kept = RADIUS < 44 if keeps_fluid else BRAIN
    for background in (CONTRASTS[name]["air"], 0.0, 0.4 * CONTRASTS[name]["brain"], 3 * CONTRASTS[name]["brain"]):
        stripped = np.where(kept, image, background)
        assert head_share(stripped, BRAIN, AFFINE) < 0.05
        assert is_skull_stripped(stripped, BRAIN, AFFINE)


@pytest.mark.parametrize("noise", [0.02, 0.05, 0.1])
def test_noise_in_the_background_is_no_head(noise: float) -> None:
    rng = np.random.default_rng(0)
    stripped = np.where(RADIUS < 44, head(MRI, RADIUS), 0)
    noisy = np.hypot(stripped + noise * rng.standard_normal(RADIUS.shape), noise * rng.standard_normal(RADIUS.shape))
    assert is_skull_stripped(noisy, BRAIN, AFFINE)


def test_defaced_and_air_set_to_zero_is_still_a_head() -> None:
    image = head(MRI, RADIUS)
    middle = RADIUS.shape[1] // 2
    image[:, middle:, :middle][RADIUS[:, middle:, :middle] > 44] = 0
    assert head_share(image, BRAIN, AFFINE) > 0.9


def test_field_of_view_that_ends_in_the_skull_at_both_sides() -> None:
    sides = np.abs(np.arange(RADIUS.shape[0]) - (RADIUS.shape[0] - 1) / 2) * SPACING_MM < 48
    assert head_share(head(MRI, RADIUS)[sides], BRAIN[sides], AFFINE) == 1.0


def test_fluid_of_5_mm_is_no_head_whatever_the_voxels() -> None:
    radius = radius_mm((1.7, 1.7, 1.7))
    image = np.where(radius < 45.5, 1.0, 0.0)
    assert head_share(image, radius < 40, np.diag([1.7, 1.7, 1.7, 1.0])) == 0.0


def test_cropped_field_of_view() -> None:
    image = head(MRI, RADIUS)
    tight = (slice(10, 46),) * 3
    assert not is_skull_stripped(image[tight], BRAIN[tight], AFFINE)
    stripped = np.where(RADIUS < 44, image, 0)[tight]
    assert is_skull_stripped(stripped, BRAIN[tight], AFFINE)
    inside = (slice(19, 37),) * 3
    assert head_share(image[inside], BRAIN[inside], AFFINE) == 0.0


@pytest.mark.parametrize("spacing_mm", [(1.0, 1.0, 5.0), (4.0, 1.2, 1.2)])
def test_thick_slices(spacing_mm: tuple[float, float, float]) -> None:
    radius = radius_mm(spacing_mm)
    image, affine = head(MRI, radius), np.diag([*spacing_mm, 1.0])
    assert not is_skull_stripped(image, radius < 40, affine)
    assert head_share(np.where(radius < 44, image, 0), radius < 40, affine) == 0.0


def test_up_is_read_from_the_affine() -> None:
    image = head(MRI, RADIUS)
    half = RADIUS.shape[2] // 2
    image[:, :, :half][RADIUS[:, :, :half] > 44] = 0
    assert head_share(image, BRAIN, AFFINE) > 0.9
    upside_down = np.diag([1.0, 1.0, -1.0, 1.0]) @ AFFINE
    assert head_share(image, BRAIN, upside_down) < 0.1
    turned = np.moveaxis(image, 2, 0), np.moveaxis(BRAIN, 2, 0), AFFINE[:, [2, 0, 1, 3]]
    assert head_share(*turned) == pytest.approx(head_share(image, BRAIN, AFFINE))


def test_no_brain_no_answer() -> None:
    with pytest.raises(UndefinedMeasure):
        is_skull_stripped(head(MRI, RADIUS), np.zeros(RADIUS.shape, bool), AFFINE)
