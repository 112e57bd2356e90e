"""Native space: on any grid a scanner uses, features and masks stay where the head is, at every level."""

from __future__ import annotations

from itertools import permutations, product
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from tests.unit.test_segmenter import threshold_segmenter
from vp_engine.anatomy import PARTS
from vp_engine.vision.network import VisionConfig, VisionNetwork, _pool, _to_grid
from vp_engine.vision.pooling import block_mean, pooled_affine, pooled_shape, pooled_spacing
from vp_engine.vision.segmenter import NetworkSegmenter
from vp_engine.vision.streams import sample
from vp_engine.volumes.geometry import from_canonical, to_canonical
from vp_engine.volumes.volume import Volume

ORIENTATIONS = [(order, signs) for order in permutations(range(3)) for signs in product((1, -1), repeat=3)]
Array = np.ndarray[Any, Any]


@st.composite
def affines(draw: st.DrawFn, coarsest_mm: float = 6) -> Array:
    """A sagittal, coronal or axial acquisition in any axis order, tilted by up to 25°: 0.4 to 2 mm within slices."""
    order, signs = draw(st.sampled_from(ORIENTATIONS))
    spacing = [draw(st.floats(0.4, 2))] * 3
    spacing[draw(st.integers(0, 2))] = draw(st.floats(max(1, spacing[0]), coarsest_mm))
    angles = [draw(st.floats(-25, 25)) for _ in range(3)]
    linear = np.zeros((3, 3))
    for axis, world in enumerate(order):
        linear[world, axis] = signs[axis]
    affine = np.eye(4)
    affine[:3, :3] = Rotation.from_euler("xyz", angles, degrees=True).as_matrix() @ linear * spacing
    affine[:3, 3] = [draw(st.floats(-100, 100)) for _ in range(3)]
    return affine


shapes = st.tuples(st.integers(5, 30), st.integers(5, 30), st.integers(5, 30))


def world_mm(affine: torch.Tensor, shape: Any) -> torch.Tensor:
    """World coordinates of every voxel centre, (3, X, Y, Z)."""
    index = torch.stack(torch.meshgrid(*(torch.arange(n, dtype=torch.float64) for n in shape), indexing="ij"))
    return torch.einsum("wa,axyz->wxyz", affine[:3, :3], index) + affine[:3, 3, None, None, None]


def corners_mm(affine: torch.Tensor, shape: Any) -> torch.Tensor:
    """World coordinates of the eight corners of the field of view, (8, 3)."""
    index = torch.tensor([[*corner, 1.0] for corner in product(*((-0.5, n - 0.5) for n in shape))], dtype=torch.float64)
    return (index @ affine.T)[:, :3]


@given(affine=affines(), shape=shapes)
def test_the_half_voxel_shift_is_held_at_every_level(affine: Array, shape: tuple[int, int, int]) -> None:
    grid = torch.from_numpy(affine)
    field_of_view = corners_mm(grid, shape)
    for _ in range(5):
        spacing = grid[:3, :3].norm(dim=0)
        new_shape = pooled_shape(shape, spacing.tolist())
        new_grid = pooled_affine(grid, shape, new_shape)
        torch.testing.assert_close(corners_mm(new_grid, new_shape), field_of_view, atol=1e-9, rtol=0)
        off = block_mean(world_mm(grid, shape)[None], new_shape)[0] - world_mm(new_grid, new_shape)
        for axis, (n, m) in enumerate(zip(shape, new_shape, strict=True)):
            # a ramp along this axis is exact where blocks are whole voxels; else a cut voxel is a step of the staircase
            along = torch.einsum("w,wxyz->xyz", grid[:3, axis] / spacing[axis], off).abs().max()
            assert along <= (1e-9 if n % m == 0 else spacing[axis] / 8 + 1e-9)
        grid, shape = new_grid, new_shape


@given(affine=affines(), shape=st.tuples(*[st.sampled_from([16, 32])] * 3))
def test_pooling_twice_adds_both_shifts(affine: Array, shape: tuple[int, int, int]) -> None:
    affine[:3, :3] /= np.linalg.norm(affine[:3, :3], axis=0)
    grids, features = [torch.from_numpy(affine)], [world_mm(torch.from_numpy(affine), shape)[None]]
    for _ in range(3):
        features.append(block_mean(features[-1], [n // 2 for n in features[-1].shape[2:]]))
        grids.append(_pool([features[-2]], [grids[-1]])[1][0])
        torch.testing.assert_close(features[-1][0], world_mm(grids[-1], features[-1].shape[2:]), atol=1e-9, rtol=0)


@given(spacing=st.tuples(*[st.floats(0.4, 6)] * 3))
def test_finest_axes_double_and_coarser_ones_wait_for_them(spacing: tuple[float, float, float]) -> None:
    shape = tuple(round(4000 / s) for s in spacing)
    for _ in range(5):
        expected = [max(s, 2 * min(spacing)) for s in spacing]
        new_shape = pooled_shape(shape, spacing)
        spacing, shape = pooled_spacing(shape, spacing, new_shape), new_shape
        assert spacing == pytest.approx(expected, rel=0.05)


@given(affine=affines(), shape=shapes)
def test_going_up_undoes_the_shift_of_going_down(affine: Array, shape: tuple[int, int, int]) -> None:
    grid = torch.from_numpy(affine)
    new_shape = pooled_shape(shape, grid[:3, :3].norm(dim=0).tolist())
    coarse = world_mm(pooled_affine(grid, shape, new_shape), new_shape)
    up = _to_grid(coarse[None], torch.empty(1, 1, *shape))[0]
    # beyond the centres of the outermost coarse voxels there is nothing to interpolate with
    inner = tuple(
        slice(edge, n - edge) for n, m in zip(shape, new_shape, strict=True) for edge in [int(np.ceil(n / m / 2))]
    )
    torch.testing.assert_close(up[:, *inner], world_mm(grid, shape)[:, *inner], atol=1e-9, rtol=0)


@given(affine=affines(), target=affines(), shape=shapes)
def test_streams_meet_at_the_same_place_of_the_world(affine: Array, target: Array, shape: tuple[int, int, int]) -> None:
    source, grid = torch.from_numpy(affine), torch.from_numpy(target)
    grid[:3, :3] *= source[:3, :3].norm(dim=0).min() / grid[:3, :3].norm(dim=0).max() / 2  # inside the source
    middle = corners_mm(source, shape).mean(0)
    grid[:3, 3] = middle - grid[:3, :3] @ torch.full((3,), 1.5, dtype=torch.float64)
    there = sample((world_mm(source, shape) - middle[:, None, None, None])[None].float(), source, (4, 4, 4), grid)[0]
    expected = world_mm(grid, (4, 4, 4)) - middle[:, None, None, None]
    torch.testing.assert_close(there.double(), expected, atol=2e-3, rtol=0)


@pytest.fixture(scope="module")
def segmenter() -> NetworkSegmenter:
    torch.manual_seed(0)
    network = VisionNetwork(VisionConfig(PARTS, channels=(8, 8, 16), fine_channels=4)).eval().requires_grad_(False)
    for exchange in [*network.down_exchange, *network.up_exchange]:  # zero at the start of training
        torch.nn.init.normal_(exchange.out.weight)
    torch.nn.init.normal_(network.fine_head[-1].weight)
    return NetworkSegmenter(network)


def everywhere(segmenter: NetworkSegmenter, volume: Volume, *others: Volume) -> Array:
    """Probabilities of three unions on the whole grid, (3, X, Y, Z)."""
    unions = {"first": PARTS[:1], "some": PARTS[5:12], "most": PARTS[:20]}
    full = np.zeros((len(unions), *volume.shape), np.float32)
    for k, (_, region) in enumerate(segmenter.regions(volume, unions, others=others)):
        where = tuple(slice(a, a + n) for a, n in zip(region.start, region.inside.shape, strict=True))
        full[k][where] = region.probability
    return full


def blobs(shape: tuple[int, int, int], affine: Array, seed: int = 0) -> Volume:
    coarse = torch.rand(1, 1, 5, 5, 5, generator=torch.manual_seed(seed))
    data = torch.nn.functional.interpolate(coarse, size=shape, mode="trilinear")[0, 0]
    return Volume(data.numpy(), affine)


# pooled once, one axis is 1.1 times as coarse as the others, which is where the box of the head takes even numbers
TIE = np.eye(4)
TIE[:3, :3] = Rotation.from_euler("xyz", [0, 2, 1.5], degrees=True).as_matrix() * [1, 0.609375, 0.609375]


@given(affine=affines(), shape=st.tuples(*[st.integers(10, 24)] * 3))
@example(affine=TIE, shape=(10, 10, 11))
@settings(max_examples=15)
def test_axis_order_and_pose_change_nothing_but_the_axis_order_of_the_mask(
    segmenter: NetworkSegmenter, affine: Array, shape: tuple[int, int, int]
) -> None:
    volume = blobs(shape, affine)
    canonical, orientation = to_canonical(volume)
    found = everywhere(segmenter, volume)
    assert found.max() > 0.1
    straight = Volume(canonical.data, np.diag([*canonical.spacing_mm, 1.0]))
    for scan in (canonical, straight):
        back = np.stack([from_canonical(p, orientation) for p in everywhere(segmenter, scan)])
        np.testing.assert_allclose(found, back, atol=2e-3)


@given(affine=affines(), other=affines(), shape=st.tuples(*[st.integers(10, 20)] * 3))
@settings(max_examples=15)
def test_axis_order_of_another_stream_changes_nothing(
    segmenter: NetworkSegmenter, affine: Array, other: Array, shape: tuple[int, int, int]
) -> None:
    other[:3, 3] += (affine - other) @ [*(np.array(shape) / 2), 1] @ np.eye(4)[:, :3]  # around the same place
    volume, companion = blobs(shape, affine), blobs(shape, other, seed=1)
    together = everywhere(segmenter, volume, companion)
    np.testing.assert_allclose(together, everywhere(segmenter, volume, to_canonical(companion)[0]), atol=2e-3)
    assert np.abs(together - everywhere(segmenter, volume)).max() > 1e-3


@given(affine=affines(), offset=st.tuples(*[st.floats(-6, 6)] * 3), fine=st.booleans())
@settings(max_examples=15)
def test_what_is_bright_is_found_where_it_is_on_any_grid(
    affine: Array, offset: tuple[float, float, float], *, fine: bool
) -> None:
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    shape = tuple(int(n) for n in np.ceil(50 / spacing))
    centre = affine @ [*((np.array(shape) - 1) / 2), 1]
    grid = world_mm(torch.from_numpy(affine), shape).numpy() - (centre[:3] + offset)[:, None, None, None]
    ball = np.linalg.norm(grid, axis=0) < 16
    ((_, region),) = threshold_segmenter(fine=fine).regions(
        Volume(ball.astype(np.float32), affine), {"ball": PARTS[:2]}
    )
    found = np.zeros(shape, bool)
    found[tuple(slice(a, a + n) for a, n in zip(region.start, region.inside.shape, strict=True))] = region.inside
    assert 2 * (found & ball).sum() / (found.sum() + ball.sum()) > 0.93
    np.testing.assert_allclose(grid[:, found].mean(1), grid[:, ball].mean(1), atol=0.35)
