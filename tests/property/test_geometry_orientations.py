"""Geometry over all 48 orientations, anisotropic and oblique grids."""

# nibabel is published with annotations for some of its functions only
# mypy: disable-error-code="no-untyped-call,attr-defined"

from __future__ import annotations

from itertools import permutations, product
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from vp_engine.volumes.geometry import (
    axcodes_of,
    from_canonical,
    spacing_of,
    to_canonical,
    voxel_volume_mm3,
)
from vp_engine.volumes.nifti import read_image, write_image, write_labels
from vp_engine.volumes.resampling import resample
from vp_engine.volumes.volume import Volume

ORIENTATIONS = [(order, signs) for order in permutations(range(3)) for signs in product((1, -1), repeat=3)]
Array = np.ndarray[Any, Any]


@st.composite
def affines(draw: st.DrawFn, max_tilt_deg: float = 20) -> Array:
    """One of 48 orientations, spacing 0.4 to 7 mm per axis, tilted, anywhere within half a metre."""
    order, signs = draw(st.sampled_from(ORIENTATIONS))
    spacing = [draw(st.floats(0.4, 7)) for _ in range(3)]
    angles = [draw(st.floats(-max_tilt_deg, max_tilt_deg)) for _ in range(3)]
    linear = np.zeros((3, 3))
    for axis, world in enumerate(order):
        linear[world, axis] = signs[axis]
    affine = np.eye(4)
    affine[:3, :3] = Rotation.from_euler("xyz", angles, degrees=True).as_matrix() @ linear * spacing
    affine[:3, 3] = [draw(st.floats(-500, 500)) for _ in range(3)]
    return affine


shapes = st.tuples(st.integers(2, 6), st.integers(2, 6), st.integers(2, 6))


def _volume(shape: tuple[int, int, int], affine: Array) -> Volume:
    return Volume(np.random.default_rng(0).permutation(np.prod(shape)).reshape(shape).astype(np.float32), affine)


def _world(affine: Array, index: Any) -> Array:
    point: Array = (affine @ [*index, 1])[:3]
    return point


def test_there_are_48_orientations() -> None:
    assert len({axcodes_of(_signed(order, signs)) for order, signs in ORIENTATIONS}) == 48


def _signed(order: tuple[int, ...], signs: tuple[int, ...]) -> Array:
    affine = np.eye(4)
    affine[:3, :3] = 0
    for axis, world in enumerate(order):
        affine[world, axis] = signs[axis]
    return affine


@given(affine=affines(), shape=shapes)
def test_canonical_and_back_is_exact(affine: Array, shape: tuple[int, int, int]) -> None:
    volume = _volume(shape, affine)
    canonical, orientation = to_canonical(volume)
    assert canonical.axcodes == ("R", "A", "S")
    assert canonical.data.flags.c_contiguous
    back = from_canonical(canonical.data, orientation)
    assert back.flags.c_contiguous
    np.testing.assert_array_equal(back, volume.data)
    np.testing.assert_allclose(sorted(canonical.spacing_mm), sorted(volume.spacing_mm))
    again, identity = to_canonical(canonical)
    assert identity.axes == (0, 1, 2)
    assert identity.flips == (False, False, False)
    np.testing.assert_array_equal(again.data, canonical.data)


@given(affine=affines(), shape=shapes, data=st.data())
def test_a_marked_voxel_stays_where_it_is_in_the_world(
    affine: Array, shape: tuple[int, int, int], data: st.DataObject
) -> None:
    index = tuple(data.draw(st.integers(0, n - 1)) for n in shape)
    marked = np.zeros(shape, np.float32)
    marked[index] = 1
    canonical, _ = to_canonical(Volume(marked, affine))
    moved = np.argwhere(canonical.data == 1)[0]
    np.testing.assert_allclose(_world(canonical.affine, moved), _world(affine, index), atol=1e-9)


@given(affine=affines())
def test_axes_and_sizes_agree_with_nibabel(affine: Array) -> None:
    assert axcodes_of(affine) == nib.aff2axcodes(affine)
    assert np.allclose(spacing_of(affine), nib.affines.voxel_sizes(affine))
    np.testing.assert_allclose(voxel_volume_mm3(affine), np.prod(spacing_of(affine)))


@given(affine=affines(), shape=shapes)
def test_resampling_to_the_canonical_grid_moves_voxels_only(affine: Array, shape: tuple[int, int, int]) -> None:
    volume = _volume(shape, affine)
    canonical, _ = to_canonical(volume)
    for order in (0, 1):
        got = resample(volume.data, affine, shape=canonical.shape, target_affine=canonical.affine, order=order)
        np.testing.assert_allclose(got, canonical.data, atol=1e-3)


@given(affine=affines(), target=affines(), factors=st.floats(0.3, 0.9))
def test_trilinear_resampling_reproduces_a_ramp_through_the_world(affine: Array, target: Array, factors: float) -> None:
    shape = (7, 8, 9)
    index = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), axis=-1)
    direction = np.array([0.3, -0.5, 0.8])
    ramp = (index @ affine[:3, :3].T + affine[:3, 3]) @ direction
    target = target.copy()
    target[:3, :3] *= factors * spacing_of(affine).min() / spacing_of(target)
    centre = _world(affine, (3, 3.5, 4))
    target[:3, 3] = centre - target[:3, :3] @ [1, 1, 1]
    got = resample(ramp, affine, shape=(3, 3, 3), target_affine=target, order=1)
    places = np.stack(np.meshgrid(*map(np.arange, (3, 3, 3)), indexing="ij"), axis=-1)
    expected = (places @ target[:3, :3].T + target[:3, 3]) @ direction
    np.testing.assert_allclose(got, expected, atol=1e-2)


@given(affine=affines(), shape=shapes)
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_labels_are_written_in_the_geometry_of_the_image(
    affine: Array, shape: tuple[int, int, int], tmp_path: Path
) -> None:
    source, target = tmp_path / "image.nii.gz", tmp_path / "labels.nii.gz"
    write_image(source, _volume(shape, affine))
    volume = read_image(source)
    canonical, orientation = to_canonical(volume)
    labels = (canonical.data > canonical.data.mean()).astype(np.uint8)
    write_labels(target, from_canonical(labels, orientation), like=volume)
    image, written = nib.load(source), nib.load(target)
    assert written.shape == image.shape == shape
    np.testing.assert_array_equal(written.affine, image.affine)
    np.testing.assert_array_equal(np.asarray(written.dataobj), volume.data > volume.data.mean())
    np.testing.assert_allclose(image.affine, affine, atol=1e-4)
