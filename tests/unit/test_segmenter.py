"""From a scan on its own grid to probabilities on that grid: nothing shifts, nothing swaps sides."""

from __future__ import annotations

from itertools import permutations, product

import numpy as np
import pytest
import torch

from vp_engine.anatomy import PARTS
from vp_engine.vision.network import VisionConfig, VisionNetwork
from vp_engine.vision.segmenter import NetworkSegmenter
from vp_engine.volumes.volume import Volume


class ThresholdNetwork(VisionNetwork):
    """Finds what is bright, left (first part) and right (second) of the middle of its box: as exact as its grid."""

    def trunk(self, images: list[torch.Tensor], affines: list[torch.Tensor]) -> list[torch.Tensor]:
        return [_with_sides(x) for x in images]

    def part_logits(self, x_NC: torch.Tensor) -> torch.Tensor:
        bright, side = x_NC.float().T
        logits = torch.full((len(self.phi) + 1, len(x_NC)), -20.0)
        logits[0] = (1 - bright).clamp(min=1e-6).log()
        for part, here in enumerate((side <= 0, side > 0), start=1):
            logits[part] = torch.where(here, bright, 1e-6).clamp(min=1e-6).log()
        return logits


class ThresholdFineLevel(torch.nn.Module):
    """The same at full resolution; the sides are the trunk's."""

    def forward(self, image: torch.Tensor, trunk: torch.Tensor) -> torch.Tensor:
        side = torch.nn.functional.interpolate(trunk[:, 1:].float(), size=image.shape, mode="trilinear")
        return torch.cat([image[None, None], side], 1)


def _with_sides(x: torch.Tensor) -> torch.Tensor:
    side = torch.linspace(-1, 1, x.shape[0])[:, None, None].expand(x.shape)
    return torch.stack([x, side])[None]


def threshold_segmenter(*, fine: bool) -> NetworkSegmenter:
    network = ThresholdNetwork(VisionConfig(PARTS, channels=(8, 8), fine_channels=8 * fine))
    if fine:
        network.fine = ThresholdFineLevel()
    return NetworkSegmenter(network)


def ball(orientation: tuple[tuple[int, ...], tuple[int, ...]], spacing: tuple[float, float, float]) -> Volume:
    """A bright ball of 30 mm around the origin, larger to the left, in some axis order."""
    axes, signs = orientation
    n = tuple(round(96 / s) for s in spacing)
    affine = np.zeros((4, 4))
    for axis, (world, sign) in enumerate(zip(axes, signs, strict=True)):
        affine[world, axis] = sign * spacing[axis]
        affine[world, 3] = -sign * spacing[axis] * (n[axis] - 1) / 2
    affine[3, 3] = 1
    grid = np.meshgrid(*(np.arange(m) for m in n), indexing="ij")
    world = [sum(affine[w, a] * grid[a] for a in range(3)) + affine[w, 3] for w in range(3)]
    x = np.where(world[0] < 0, world[0] / 1.3, world[0])
    return Volume((np.sqrt(x**2 + world[1] ** 2 + world[2] ** 2) < 30).astype(np.float32), affine)


ORIENTATIONS = [(axes, signs) for axes in permutations(range(3)) for signs in product((1, -1), repeat=3)]


@pytest.mark.parametrize("fine", [False, True])
@pytest.mark.parametrize("spacing", [(1, 1, 1), (0.9, 1.2, 1.0), (0.5, 0.5, 4), (1, 1, 1.5), (2, 2, 2)])
@pytest.mark.parametrize("orientation", ORIENTATIONS[::5])
def test_every_orientation_and_spacing_comes_back_in_place(
    orientation: tuple[tuple[int, ...], tuple[int, ...]], spacing: tuple[float, float, float], *, fine: bool
) -> None:
    volume = ball(orientation, spacing)
    segmenter = threshold_segmenter(fine=fine)
    masks = {}
    for name, region in segmenter.regions(volume, {"whole": PARTS[:2], PARTS[0]: PARTS[:1], PARTS[1]: PARTS[1:2]}):
        full = np.zeros(volume.shape, bool)
        where = tuple(slice(a, a + n) for a, n in zip(region.start, region.inside.shape, strict=True))
        full[where] = region.inside
        masks[name] = full
    overlap = 2 * (masks["whole"] & (volume.data > 0)).sum() / (masks["whole"].sum() + (volume.data > 0).sum())
    assert overlap > (0.97 if fine else 0.95)
    left, right = (np.argwhere(masks[name]).mean(0) @ volume.affine[0, :3] + volume.affine[0, 3] for name in PARTS[:2])
    assert left < -5 < 5 < right
    centre = np.argwhere(masks["whole"]).mean(0) - np.argwhere(volume.data > 0).mean(0)
    assert np.abs(centre * np.array(spacing)).max() < 0.35


def test_alone_and_among_others_is_the_same_to_the_bit() -> None:
    torch.manual_seed(0)
    volume = ball(((0, 1, 2), (1, 1, 1)), (1.5, 1.5, 1.5))
    segmenter = NetworkSegmenter(VisionNetwork(VisionConfig(PARTS, channels=(8, 8))).eval())
    everything = dict(segmenter.regions(volume, {part: (part,) for part in PARTS}))
    for part in PARTS[::8]:
        ((_, alone),) = segmenter.regions(volume, {part: (part,)})
        assert alone.start == everything[part].start
        assert np.array_equal(alone.probability, everything[part].probability)
        assert np.array_equal(alone.inside, everything[part].inside)


def test_parts_do_not_overlap_and_a_union_holds_its_parts() -> None:
    torch.manual_seed(1)
    volume = ball(((1, 0, 2), (1, -1, 1)), (1.3, 1.3, 3.0))
    segmenter = NetworkSegmenter(VisionNetwork(VisionConfig(PARTS, channels=(8, 8))).eval())
    taken, union = np.zeros(volume.shape, int), np.zeros(volume.shape, bool)
    for name, region in segmenter.regions(volume, {part: (part,) for part in PARTS} | {"first ten": PARTS[:10]}):
        where = tuple(slice(a, a + n) for a, n in zip(region.start, region.inside.shape, strict=True))
        if name == "first ten":
            union[where] = region.inside
        else:
            taken[where] += region.inside * (1 if name in PARTS[:10] else 100)
    assert set(np.unique(taken)) <= {0, 1, 100}
    assert (taken > 0).sum() > 100
    assert union[taken == 1].all()
