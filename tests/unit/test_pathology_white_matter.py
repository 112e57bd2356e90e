"""Lesions of white matter: from masks of patients and from noise, in white matter alone, each side its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.unit.pathology_phantom import (
    CHOROID,
    CORTEX,
    LEFT,
    VENTRICLE,
    beside,
    cuboid,
    distance_to,
    placed,
    small_head,
)
from vp_engine.synthesis.label_maps import LESION, WHITE_MATTER, brain_box, brain_points, voxels_of
from vp_engine.synthesis.lesion_masks import LesionMask, Placement, apply_placement, draw_placement, load_lesion_masks
from vp_engine.synthesis.ranges import SynthesisRanges
from vp_engine.synthesis.white_matter_lesions import (
    Grown,
    WhiteMatterLesions,
    apply_white_matter_lesions,
    draw_white_matter_lesions,
)


@pytest.fixture(scope="module")
def head() -> Tensor:
    return small_head()


@pytest.fixture(scope="module")
def box(head: Tensor) -> np.ndarray:
    return brain_box(brain_points(head))


@pytest.fixture(scope="module")
def mask() -> LesionMask:
    """One lesion on the left of the MNI brain, beside its middle."""
    return cuboid((-45, -34, 12), (24, 24, 20))


def test_lesions_of_white_matter_are_drawn_at_the_rates_asked_for(mask: LesionMask) -> None:
    ranges = SynthesisRanges(lesion_free=0.3, pasted_lesions=0.2, grown_lesions=0.6)
    drawn = [draw_white_matter_lesions(np.random.default_rng(seed), ranges, [mask]) for seed in range(400)]
    rates = [np.mean([bool(getattr(d, name)) for d in drawn]) for name in ("removed", "pasted", "grown")]
    assert rates == pytest.approx([0.3, 0.2, 0.6], abs=0.07)
    grown = [d.grown for d in drawn if d.grown]
    assert 0.0005 <= min(g.share for g in grown) < 0.001
    assert 0.04 < max(g.share for g in grown) <= 0.06
    assert all(0 <= g.ventricles <= 4 and -2 <= g.cortex <= 1.5 and 0 <= g.coarseness <= 1 for g in grown)
    always = replace(ranges, pasted_lesions=1.0)
    assert all(draw_white_matter_lesions(np.random.default_rng(s), always, []).pasted is None for s in range(9))


def test_placements_stay_within_their_half_widths(mask: LesionMask) -> None:
    drawn = [draw_placement(np.random.default_rng(s), mask, scaling=0.1, shift_mm=3, warp_mm=1.5) for s in range(200)]
    assert np.mean([p.mirrored for p in drawn]) == pytest.approx(0.5, abs=0.12)
    assert 0.08 < max(np.abs(p.scaling - 1).max() for p in drawn) <= 0.1
    assert 2.7 < max(np.abs(p.shift_mm).max() for p in drawn) <= 3
    assert np.std([p.warp_mm for p in drawn]) == pytest.approx(1.5, rel=0.03)


@pytest.mark.parametrize("mirrored", [False, True])
def test_pasted_lesions_replace_white_matter_of_their_own_side(
    head: Tensor, box: np.ndarray, mask: LesionMask, *, mirrored: bool
) -> None:
    pasted = apply_white_matter_lesions(WhiteMatterLesions(True, placed(mask, mirrored=mirrored)), head, box)
    cleared = apply_white_matter_lesions(WhiteMatterLesions(True), head, box)
    changed = pasted != cleared
    assert int(changed.sum()) > 500
    assert set(pasted[changed].tolist()) == {LESION[mirrored]}
    assert set(cleared[changed].tolist()) == {WHITE_MATTER[mirrored]}
    assert not voxels_of(cleared, LESION).any()
    assert torch.equal(cleared == LEFT, (head == LEFT) | (head == LESION[0]))


def test_lesions_across_the_midline_are_those_of_both_sides(head: Tensor, box: np.ndarray) -> None:
    across = placed(cuboid((-20, -60, 15), (40, 80, 30)))
    pasted = apply_white_matter_lesions(WhiteMatterLesions(True, across), head, box)
    x = voxels_of(pasted, LESION).nonzero()[:, 0]
    assert torch.equal((pasted[:48] == LESION[0]).sum(), (x < 48).sum())
    assert torch.equal((pasted[48:] == LESION[1]).sum(), (x >= 48).sum())
    assert (x < 48).any() and (x >= 48).any()  # noqa: PT018  # one statement


def test_a_mask_lies_where_it_does_in_mni_in_proportion_to_the_brain() -> None:
    """The MNI brain is 144 x 178 x 140 mm around (0, -17, 4.5); here it is half as large and elsewhere."""
    box = np.array([[10.0, 10, 10], [82, 99, 80]])
    block = cuboid((20, -17, 30), (20, 18, 10))  # 20 to 39, -17 to 0, 30 to 39 mm

    def inside(placement: Placement) -> Tensor:
        found = apply_placement(placement, (100, 110, 90), box)
        assert found is not None
        whole = torch.zeros(100, 110, 90)
        whole[found[0]] = found[1]
        return whole

    for mirrored, x in ((False, 46 + 29.5 / 2), (True, 46 - 29.5 / 2)):
        share = inside(placed(block, mirrored=mirrored))
        assert (share > 0.5).nonzero().float().mean(0).tolist() == pytest.approx([x, 54.5 + 8.5 / 2, 60.0], abs=0.6)
        assert float(share.sum()) == pytest.approx(20 * 18 * 10 / 8, rel=0.02)
    assert float(inside(placed(block, scaling=1.2)).sum()) == pytest.approx(1.2**3 * 450, rel=0.02)
    plain, warped = inside(placed(block)), inside(placed(block, warp_mm=4))
    assert float(warped.sum()) == pytest.approx(450, rel=0.3)
    assert 50 < float((warped - plain).abs().sum()) < 450
    assert apply_placement(replace(placed(block), shift_mm=np.array([0.0, 0, 300])), (100, 110, 90), box) is None


@pytest.mark.parametrize("share", [0.002, 0.05])
@pytest.mark.parametrize("coarseness", [0.0, 1.0])
def test_lesions_from_noise_have_the_share_asked_for(
    head: Tensor, box: np.ndarray, share: float, coarseness: float
) -> None:
    grown = Grown(seed=3, share=share, ventricles=1.0, cortex=0.0, coarseness=coarseness)
    ill = apply_white_matter_lesions(WhiteMatterLesions(True, grown=grown), head, box)
    cleared = apply_white_matter_lesions(WhiteMatterLesions(True), head, box)
    new = voxels_of(ill, LESION)
    assert int(new.sum()) == pytest.approx(share * int(voxels_of(cleared, WHITE_MATTER).sum()), abs=2)
    assert torch.equal(ill[~new], cleared[~new])
    assert torch.equal(ill == LESION[0], new & (cleared == LEFT))
    other = apply_white_matter_lesions(WhiteMatterLesions(True, grown=replace(grown, seed=4)), head, box)
    assert int((voxels_of(other, LESION) & new).sum()) < 0.5 * int(new.sum())


def test_lesions_grow_where_they_are_asked_to(head: Tensor, box: np.ndarray) -> None:
    def grow(*, ventricles: float = 0, cortex: float = 0, coarseness: float = 0.2) -> Tensor:
        grown = Grown(5, 0.02, ventricles, cortex, coarseness)
        return voxels_of(apply_white_matter_lesions(WhiteMatterLesions(True, grown=grown), head, box), LESION)

    fluid, surface = (VENTRICLE, 43, CHOROID, 163), (CORTEX, 42)
    free = grow()
    assert distance_to(head, fluid, grow(ventricles=4)) < 0.5 * distance_to(head, fluid, free)
    assert distance_to(head, surface, grow(cortex=4)) < 0.5 * distance_to(head, surface, free)
    assert distance_to(head, surface, grow(cortex=-2)) > 1.1 * distance_to(head, surface, free)

    def border(mask: Tensor) -> float:
        return float((beside(mask) & ~mask).sum())

    assert border(grow(coarseness=1.0)) < 0.8 * border(grow(coarseness=0.0)), "few large lesions have less border"


@pytest.mark.parametrize(
    ("name", "count", "middle", "tolerance"),
    [
        ("lesions_ms27_mni1mm_ccby", 27, (0, -20, 22), (10, 25, 20)),
        ("lesions_stroke131_mni1mm_apache2", 131, (-40, -15, 20), (10, 10, 10)),
    ],
)
def test_real_masks_lie_where_lesions_do_strokes_all_on_the_left(
    name: str, count: int, middle: Sequence[float], tolerance: Sequence[float]
) -> None:
    path = Path(__file__).resolve().parents[2].parent / f"shared/data/training/{name}.npz"
    if not path.exists():
        pytest.skip("the lesion masks are not here")
    masks = load_lesion_masks(path)
    assert len(masks) == count
    mean = np.mean([m.mask.nonzero().float().mean(0).numpy() + m.origin_mm for m in masks], axis=0)
    assert (np.abs(mean - middle) < tolerance).all()
