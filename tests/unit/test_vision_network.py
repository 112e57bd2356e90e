"""The vision network: native-space pooling, streams, heads."""

from __future__ import annotations

import copy

import pytest
import torch

from vp_engine.anatomy import PARTS
from vp_engine.vision.codes import structure_codes
from vp_engine.vision.network import VisionConfig, VisionNetwork, entry_shape, voxel_rows
from vp_engine.vision.normalization import GroupNorm
from vp_engine.vision.pooling import block_mean, max_pool, pooled_affine, pooled_shape, pooled_spacing
from vp_engine.vision.precision import mixed_precision, softmax
from vp_engine.vision.streams import StreamExchange, sample


def affine_of(spacing: tuple[float, float, float], origin: tuple[float, float, float] = (0, 0, 0)) -> torch.Tensor:
    affine = torch.diag(torch.tensor([*spacing, 1.0], dtype=torch.float64))
    affine[:3, 3] = torch.tensor(origin, dtype=torch.float64)
    return affine


@pytest.fixture(scope="module")
def network() -> VisionNetwork:
    torch.manual_seed(0)
    net = VisionNetwork(VisionConfig(PARTS, channels=(8, 8, 16), fine_channels=4)).eval().requires_grad_(False)
    for exchange in [*net.down_exchange, *net.up_exchange]:  # zero at the start of training: nothing to test
        torch.nn.init.normal_(exchange.out.weight)
    return net


@pytest.mark.parametrize(
    ("spacing", "levels"),
    [
        ((1, 1, 1), [(1, 1), (2, 2), (4, 4), (8, 8), (16, 16), (32, 32)]),
        ((0.5, 0.5, 5), [(0.5, 5), (1, 5), (2, 5), (4, 5), (8, 8), (16, 16)]),
        ((1, 1, 3), [(1, 3), (2, 3), (4, 4), (8, 8), (16, 16), (32, 32)]),
    ],
)
def test_spacing_per_level_is_that_of_the_paper(spacing: tuple[float, ...], levels: list[tuple[float, float]]) -> None:
    shape = tuple(round(960 / s) for s in spacing)
    for in_plane, slices in levels:
        assert spacing == pytest.approx((in_plane, in_plane, slices), rel=1e-6)
        new_shape = pooled_shape(shape, spacing)
        spacing, shape = pooled_spacing(shape, spacing, new_shape), new_shape


@pytest.mark.parametrize(("new_shape", "tolerance_mm"), [((4, 6, 9), 1e-9), ((4, 4, 9), 1e-9), ((3, 5, 7), 0.3)])
def test_pooling_leaves_features_where_they_are_in_the_world(
    new_shape: tuple[int, int, int], tolerance_mm: float
) -> None:
    # Block faces that cut through voxels see a staircase, not the ramp: at most a tenth of the 3 mm slices.
    shape = (8, 12, 9)
    affine = affine_of((1.0, 0.8, 3.0), (-10, 20, 5))
    affine[:3, :3] @= torch.linalg.qr(torch.randn(3, 3, dtype=torch.float64, generator=torch.manual_seed(1)))[0]
    index = torch.stack(torch.meshgrid(*(torch.arange(n, dtype=torch.float64) for n in shape), indexing="ij"))
    world = torch.einsum("wa,axyz->wxyz", affine[:3, :3], index) + affine[:3, 3, None, None, None]
    pooled = block_mean(world[None], new_shape)[0]
    new_affine = pooled_affine(affine, shape, new_shape)
    new_index = torch.stack(torch.meshgrid(*(torch.arange(n, dtype=torch.float64) for n in new_shape), indexing="ij"))
    expected = torch.einsum("wa,axyz->wxyz", new_affine[:3, :3], new_index) + new_affine[:3, 3, None, None, None]
    torch.testing.assert_close(pooled, expected, atol=tolerance_mm, rtol=0)


def test_max_pool_takes_the_maximum_where_blocks_are_whole() -> None:
    x = torch.rand(1, 2, 8, 6, 5)
    pooled = max_pool(x, (4, 3, 5))
    torch.testing.assert_close(pooled, torch.nn.functional.max_pool3d(x, (2, 2, 1)))


def test_entry_level_is_the_nearest_in_octaves() -> None:
    assert entry_shape((256, 256, 180), affine_of((1, 1, 1)), 2.0) == (128, 128, 90)
    assert entry_shape((128, 128, 90), affine_of((2, 2, 2)), 2.0) == (128, 128, 90)
    assert entry_shape((480, 480, 30), affine_of((0.5, 0.5, 6)), 2.0) == (120, 120, 30)


def test_sample_moves_features_to_the_same_place_of_another_grid() -> None:
    source = affine_of((2, 2, 4), (-20, -20, -20))
    target = affine_of((4, 2, 2), (-14, -18, -16))
    index = torch.meshgrid(*(torch.arange(n).float() for n in (20, 20, 10)), indexing="ij")
    world = torch.stack([i * s - 20 for i, s in zip(index, (2, 2, 4), strict=True)])
    there = sample(world[None], source, torch.Size((6, 10, 8)), target)[0]
    new_index = torch.meshgrid(*(torch.arange(n).float() for n in (6, 10, 8)), indexing="ij")
    expected = torch.stack([i * s + o for i, s, o in zip(new_index, (4, 2, 2), (-14, -18, -16), strict=True)])
    torch.testing.assert_close(there, expected, atol=1e-4, rtol=0)


def test_streams_may_come_in_any_order_and_on_any_grid(network: VisionNetwork) -> None:
    generator = torch.manual_seed(2)
    images = [torch.rand(16, 16, 16, generator=generator), torch.rand(16, 16, 6, generator=generator)]
    affines = [affine_of((2, 2, 2)), affine_of((2, 2, 5))]
    forward = network.trunk(images, affines)
    backward = network.trunk(images[::-1], affines[::-1])
    assert [x.shape[2:] for x in forward] == [(16, 16, 16), (16, 16, 6)]
    for a, b in zip(forward, backward[::-1], strict=True):
        torch.testing.assert_close(a, b)
    alone = network.trunk(images[:1], affines[:1])[0]
    assert not torch.allclose(alone, forward[0])


def test_streams_that_say_the_same_change_nothing() -> None:
    torch.manual_seed(3)
    exchange = StreamExchange(8)
    torch.nn.init.normal_(exchange.out.weight)
    x = torch.rand(1, 8, 4, 4, 4)
    alone = exchange([x], [affine_of((2, 2, 2))])[0]
    twice = exchange([x, x], [affine_of((2, 2, 2))] * 2)
    torch.testing.assert_close(twice[0], alone)
    torch.testing.assert_close(twice[1], alone)


def test_mask_does_not_depend_on_what_else_is_asked(network: VisionNetwork) -> None:
    features = network.trunk([torch.rand(16, 16, 16, generator=torch.manual_seed(4))], [affine_of((2, 2, 2))])[0]
    together = network.log_probabilities(features, network.phi)
    for k in (0, 7, 31):
        assert torch.equal(network.log_probabilities(features, network.phi[k : k + 1])[0], together[k])


def test_parts_and_background_share_the_probability(network: VisionNetwork) -> None:
    features = network.trunk([torch.rand(16, 16, 16, generator=torch.manual_seed(5))], [affine_of((2, 2, 2))])[0]
    parts = network.log_probabilities(features, network.phi).exp().sum(0)
    background = network.log_probabilities(features, torch.zeros(1, 32)).exp()[0]
    torch.testing.assert_close(parts + background, torch.ones_like(parts), atol=1e-4, rtol=0)


def test_codes_stay_when_parts_are_added() -> None:
    codes = structure_codes(len(PARTS))
    assert (structure_codes(60)[: len(PARTS)] == codes).all()
    unit = codes / (codes**2).sum(1, keepdims=True) ** 0.5
    assert (unit @ unit.T - torch.eye(len(PARTS)).numpy()).max() < 0.85


def test_the_fine_level_starts_as_what_the_trunk_says_and_then_differs(network: VisionNetwork) -> None:
    image = torch.rand(16, 16, 16, generator=torch.manual_seed(6))
    trunk = network.trunk([block_mean(image[None, None], (8, 8, 8))[0, 0]], [affine_of((2, 2, 2))])[0]
    fine = network.fine(image, trunk)
    assert fine.shape == (1, 4 + 8, 16, 16, 16)
    wide = torch.nn.functional.interpolate(trunk, size=image.shape, mode="trilinear")
    said = network.part_logits(voxel_rows(wide))
    torch.testing.assert_close(network.part_logits(voxel_rows(fine)), said)
    sharper = copy.deepcopy(network)
    torch.nn.init.normal_(sharper.fine_head[-1].weight)
    assert not torch.allclose(sharper.part_logits(voxel_rows(fine)), said)


def test_any_number_of_threads_gives_the_same_bits() -> None:
    """Sums over voxels, small products of matrices and softmax of torch differ from two, three or five threads on."""
    torch.manual_seed(2)
    network = VisionNetwork(VisionConfig(PARTS, channels=(16, 24), fine_channels=8)).eval()
    image, affine = torch.rand(56, 48, 40), torch.diag(torch.tensor([2.0, 2.0, 2.0, 1.0], dtype=torch.float64))
    threads = torch.get_num_threads()
    found = []
    try:
        for number in (1, 2, 3, 5):
            torch.set_num_threads(number)
            with torch.inference_mode(), mixed_precision("cpu"):
                trunk = network.trunk([image], [affine])[0]
                fine = network.fine(torch.nn.functional.interpolate(image[None, None], scale_factor=2)[0, 0], trunk)
            with torch.inference_mode():
                found.append(softmax(network.part_logits(voxel_rows(fine))))
    finally:
        torch.set_num_threads(threads)
    for other in found[1:]:
        assert torch.equal(found[0], other)


def test_group_norm_in_fixed_order_is_that_of_torch() -> None:
    norm = GroupNorm(4, 16)
    torch.nn.init.normal_(norm.weight)
    torch.nn.init.normal_(norm.bias)
    x = torch.randn(1, 16, 40, 41, 42).contiguous(memory_format=torch.channels_last_3d) + 3
    double = (v.double() for v in (x, norm.weight, norm.bias))
    with torch.inference_mode():
        exact = torch.group_norm(next(double), 4, *double, eps=norm.eps)
        torch.testing.assert_close(norm(x).double(), exact, atol=1e-5, rtol=0)
        assert norm(x.bfloat16()).dtype == torch.bfloat16
