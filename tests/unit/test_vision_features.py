"""What the network sees inside a mask: pooled right on every grid, the same each time."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from vp_engine.anatomy import PARTS
from vp_engine.environment.values import FEATURES
from vp_engine.vision.features import ScanFeatures
from vp_engine.vision.network import VisionConfig, VisionNetwork
from vp_engine.vision.segmenter import NetworkSegmenter
from vp_engine.volumes.volume import Volume


def seen(
    values_NC: np.ndarray, shape: tuple[int, int, int], affine: np.ndarray, box: tuple[tuple[int, int], ...]
) -> ScanFeatures:
    rows = torch.from_numpy(values_NC)
    return ScanFeatures(rows, 2 * rows, shape, box, (8, 8, 8), affine)


def test_pooling_is_the_mean_and_spread_of_the_voxels_inside() -> None:
    values = np.random.default_rng(0).normal(size=(8**3, 3)).astype(np.float32)
    mask = np.zeros((8, 8, 8), bool)
    mask[1:4, 2:7, 3:5] = True
    pooled = seen(values, (8, 8, 8), np.eye(4), ((0, 8),) * 3).inside(mask)
    inside = values[mask.ravel()]
    assert pooled.dtype == np.float32
    assert np.allclose(pooled, np.concatenate([inside.mean(0), 2 * inside.mean(0), 2 * inside.std(0)]), atol=1e-5)


def test_coarse_voxels_count_by_the_share_the_mask_fills() -> None:
    values = np.zeros((4**3, 1), np.float32)
    values.reshape(4, 4, 4)[0, 0, 0], values.reshape(4, 4, 4)[1, 0, 0] = 1.0, 5.0
    mask = np.zeros((8, 8, 8), bool)
    mask[1:4, 0, 0] = True  # an eighth of the first voxel, two eighths of the second
    mean = seen(values, (4, 4, 4), np.eye(4), ((0, 8),) * 3).inside(mask)[0]
    assert mean == pytest.approx((1 * 1 + 2 * 5) / 3)


def test_a_flipped_scan_and_a_box_inside_it_find_the_same_voxels() -> None:
    values = np.arange(4 * 8 * 8, dtype=np.float32)[:, None]
    box = ((2, 6), (0, 8), (0, 8))
    mask = np.zeros((8, 8, 8), bool)
    mask[3, 4, 5] = True
    expected = values.reshape(4, 8, 8)[1, 4, 5]
    assert seen(values, (4, 8, 8), np.eye(4), box).inside(mask)[0] == expected
    flipped = np.diag([-1.0, 1, 1, 1])
    assert seen(values, (4, 8, 8), flipped, box).inside(mask[::-1])[0] == expected


def test_nothing_is_seen_in_an_empty_mask_or_outside_the_box() -> None:
    features = seen(np.ones((4 * 8 * 8, 2), np.float32), (4, 8, 8), np.eye(4), ((2, 6), (0, 8), (0, 8)))
    outside = np.zeros((8, 8, 8), bool)
    assert not features.inside(outside).any()
    outside[0] = True
    assert not features.inside(outside).any()
    assert features.inside(outside).shape == (6,)


@pytest.mark.parametrize("fine", [0, 4])
def test_features_of_a_network(fine: int) -> None:
    torch.manual_seed(0)
    config = VisionConfig(PARTS, channels=(8, 8), fine_channels=fine)
    segmenter = NetworkSegmenter(VisionNetwork(config).eval())
    data = np.random.default_rng(1).uniform(0, 100, (30, 28, 26)).astype(np.float32)
    data[:15] *= 0.3
    scan = Volume(data, np.diag([-1.0, 1.0, 1.2, 1.0]))
    left, right = np.zeros((2, *data.shape), bool)
    left[2:12, 5:20, 5:20], right[18:28, 5:20, 5:20] = True, True
    features = segmenter.features(scan)
    first, second = features.inside(left), features.inside(right)
    assert first.shape == (config.pooled_length,)
    assert first.dtype == np.float32
    assert np.isfinite(first).all()
    assert np.abs(first - second).max() > 0.01
    assert np.array_equal(segmenter.features(scan).inside(left), first)
    turned = Volume(
        np.ascontiguousarray(data[::-1]), np.array([[1.0, 0, 0, -29], [0, 1, 0, 0], [0, 0, 1.2, 0], [0, 0, 0, 1]])
    )
    assert np.allclose(segmenter.features(turned).inside(left[::-1]), first, atol=1e-3)
    beside = segmenter.features(scan, others=[Volume(data.max() - data, scan.affine)])
    assert beside.inside(left).shape == first.shape


def test_the_length_is_that_of_the_network() -> None:
    assert VisionConfig(PARTS).pooled_length == FEATURES
