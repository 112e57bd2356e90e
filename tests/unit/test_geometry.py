"""Geometry and resampling on examples that can be checked by hand."""

from __future__ import annotations

import numpy as np
import pytest

from vp_engine.volumes.geometry import (
    axcodes_of,
    orientation_of,
    shear_of,
    to_canonical,
    voxel_volume_mm3,
)
from vp_engine.volumes.resampling import resample
from vp_engine.volumes.volume import SpatialForms, Volume


def test_las_image_is_mirrored_to_ras() -> None:
    affine = np.diag([-2.0, 1, 1, 1])
    data = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    forms = SpatialForms(1, (1, 2, 1, 1), 1, (0,) * 6, 0, (0,) * 12)
    canonical, orientation = to_canonical(Volume(data, affine, flags=("flag_units",), lateralised=False, forms=forms))
    assert orientation.flips == (True, False, False)
    np.testing.assert_array_equal(canonical.data, data[::-1])
    np.testing.assert_array_equal(canonical.affine, [[2, 0, 0, -2], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
    assert canonical.flags == ("flag_units",)
    assert not canonical.lateralised
    assert canonical.forms is None


def test_sagittal_slices() -> None:
    affine = np.zeros((4, 4))
    affine[1, 0], affine[2, 1], affine[0, 2], affine[3, 3] = -1, -1, 5, 1
    assert axcodes_of(affine) == ("P", "I", "R")
    assert orientation_of(affine).axes == (2, 0, 1)


def test_a_tilt_between_two_axes_keeps_each_axis_once() -> None:
    tilt = np.radians(50)
    affine = np.eye(4)
    affine[1:3, 1:3] = [[np.cos(tilt), -np.sin(tilt)], [np.sin(tilt), np.cos(tilt)]]
    assert sorted(orientation_of(affine).axes) == [0, 1, 2]


def test_voxel_volume_of_a_sheared_grid_is_its_determinant() -> None:
    affine = np.diag([2.0, 3, 4, 1])
    affine[0, 1] = 1
    assert voxel_volume_mm3(affine) == pytest.approx(24)
    assert shear_of(affine) == pytest.approx(1 / np.sqrt(10))
    assert shear_of(np.diag([-2.0, 3, 4, 1])) == 0


def test_resampling_by_half_a_voxel_is_a_mean_of_neighbours() -> None:
    data = np.array([0, 10, 20, 40], np.float32).reshape(4, 1, 1)
    target = np.eye(4)
    target[0, 3] = 0.5
    got = resample(data, np.eye(4), shape=(4, 1, 1), target_affine=target, order=1)
    assert got.dtype == np.float32
    np.testing.assert_allclose(got.ravel(), [5, 15, 30, 40])


def test_outside_of_the_source_is_zero_but_its_outer_half_voxels_are_not() -> None:
    data = np.full((2, 2, 2), 7, np.int16)
    target = np.diag([0.5, 0.5, 0.5, 1.0])
    target[:3, 3] = -0.75
    got = resample(data, np.eye(4), shape=(6, 6, 6), target_affine=target, order=0)
    assert got.dtype == np.int16
    expected = np.zeros((6, 6, 6), np.int16)
    expected[1:5, 1:5, 1:5] = 7
    np.testing.assert_array_equal(got, expected)


def test_cubic_interpolation_is_not_offered() -> None:
    with pytest.raises(ValueError, match="order"):
        resample(np.zeros((2, 2, 2)), np.eye(4), shape=(2, 2, 2), target_affine=np.eye(4), order=3)
