"""Geometry over all 48 orientations, anisotropic and oblique grids."""

# nibabel is published with annotations for some of its functions only
# mypy: disable-error-code="no-untyped-call,attr-defined"

from __future__ import annotations

from itertools import permutations, product
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from tests.unit.cohort_fakes import FixedPlanner, IntensitySegmenter, brain, run_study
from vp_engine.cohort.config import Config, DatasetConfig, PromptConfig
from vp_engine.tables.parquet import read_table
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


PROGRAM = """t1 = scan(current)
l = segment(t1, "left_hippocampus")
r = segment(t1, "right_hippocampus")
b = segment(t1, "brain")
report(asymmetry(volume(l), volume(r)))
report(volume(part(b, "anterior")))
report(surface_area(b))
report(sphericity(l))
report(max_diameter(b))
report(mean_thickness(b))
report(count(b))
report(centroid_x(l))
report(centroid_y(l))
report(centroid_z(l))
report(distance(l, r))
report(mean_intensity(t1, b))
report(volume(dilate(l, "3mm")))
report(volume(l))
report(volume(r))
"""


def test_every_orientation_gives_the_same_measurements(tmp_path: Path) -> None:
    """48 participants, one brain: what a file calls its axes changes no number."""
    root = tmp_path / "raw"
    right = nib.Nifti1Image(brain(0), nib.affines.from_matvec(np.diag([2.0, 2.0, 3.0]), [-15, -20, -18]))
    for order, signs in ORIENTATIONS:
        image = right.as_reoriented(np.column_stack([order, signs]))
        image.set_sform(image.affine, code=1)
        image.set_qform(image.affine, code=1)
        path = root / f"sub-{''.join(axcodes_of(image.affine))}" / "anat"
        path.mkdir(parents=True)
        nib.save(image, path / f"{path.parent.name}_T1w.nii.gz")
    datasets, prompts = (DatasetConfig("tiny", root),), (PromptConfig("all", "Everything."),)
    config = Config(tmp_path / "config.yaml", datasets, tmp_path / "results", prompts, subjects_per_job=64)
    run_study(config, FixedPlanner({"Everything.": PROGRAM}), IntensitySegmenter())
    runs = read_table(config.output / "tables/runs", "runs").to_pylist()
    assert [(run["status"], run["reason"]) for run in runs] == [("ok", None)] * 48
    of: dict[str, dict[tuple[str, str], float]] = {}
    for row in read_table(config.output / "tables/measurements", "measurements").to_pylist():
        of.setdefault(row["participant"], {})[row["target"], row["measure"]] = row["value"]
    assert len(of["RAS"]) == PROGRAM.count("report(")
    for axes, measured in of.items():
        assert measured == pytest.approx(of["RAS"], rel=1e-5), axes
