"""Pathology on label maps: each process changes the tissue that it should, where it should, and nothing else."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from vp_engine.anatomy import PARTS, PATHOLOGICAL_PARTS
from vp_engine.synthesis.blobs import Blob, apply_blob, draw_blob, middle_of, push_aside
from vp_engine.synthesis.edema import grow_edema
from vp_engine.synthesis.hemorrhage import Hemorrhage, apply_hemorrhage, draw_hemorrhage
from vp_engine.synthesis.label_maps import (
    BLOOD,
    BLOOD_RIM,
    BRIGHT_RIM,
    EDEMA,
    ENHANCING,
    GLIOMA,
    GLIOSIS,
    LESION,
    NECROSIS,
    PERIVASCULAR_SPACE,
    STROKE_CAVITY,
    SURGICAL_CAVITY,
    WHITE_MATTER,
    LabelMap,
    brain_box,
    brain_points,
    of_brain,
    target_lookup,
    voxels_of,
)
from vp_engine.synthesis.lesion_masks import LesionMask, Placement, apply_placement, draw_placement, load_lesion_masks
from vp_engine.synthesis.lookalikes import Lookalikes, apply_lookalikes, draw_lookalikes
from vp_engine.synthesis.pathology import LesionSources, Pathology, apply_pathology, draw_pathology
from vp_engine.synthesis.ranges import DeformationRanges, SynthesisRanges
from vp_engine.synthesis.resection import Resection, apply_resection, draw_resection
from vp_engine.synthesis.scan import draw_head, draw_scan, synthesise
from vp_engine.synthesis.stroke import Stroke, apply_stroke, draw_stroke
from vp_engine.synthesis.tumor import Pattern, Tumor, apply_tumor, draw_tumor
from vp_engine.synthesis.white_matter_lesions import (
    Grown,
    WhiteMatterLesions,
    apply_white_matter_lesions,
    draw_white_matter_lesions,
)

LEFT, RIGHT, CORTEX, VENTRICLE, CHOROID, CSF, BONE, SKIN = 2, 41, 3, 4, 136, 24, 515, 511
MIDDLE = torch.tensor([48, 48, 48])
FOCAL = (NECROSIS, ENHANCING, EDEMA, GLIOMA, STROKE_CAVITY, GLIOSIS, BLOOD, BLOOD_RIM, SURGICAL_CAVITY)
ILL = SynthesisRanges(lesion_free=0.5, pasted_lesions=0.5, grown_lesions=0.5, stroke=0.25, tumor=0.25,
                      hemorrhage=0.25, resection=0.25, lookalikes=0.5)  # fmt: skip


@pytest.fixture(scope="module")
def head() -> Tensor:
    """White matter of two sides around ventricles with plexus, cortex, fluid, bone, skin; one lesion on the left."""
    n = torch.arange(97) - 48.0
    x, y, z = torch.meshgrid(n, n, n, indexing="ij")
    radius = (x**2 + y**2 + z**2).sqrt()
    left = x < 0
    labels = torch.where(left, LEFT, RIGHT)
    labels[radius >= 34] = CORTEX
    labels[(radius >= 34) & ~left] = 42
    for inner, label in ((38, CSF), (41, BONE), (43, SKIN), (46, 0)):
        labels[radius >= inner] = label
    ventricle = (((x.abs() - 6) / 4) ** 2 + (y / 14) ** 2 + (z / 5) ** 2 < 1) & (x != 0)
    labels[ventricle & left], labels[ventricle & ~left] = VENTRICLE, 43
    labels[ventricle & (z < -2) & left], labels[ventricle & (z < -2) & ~left] = CHOROID, 163
    labels[(x + 20) ** 2 + y**2 + (z - 14) ** 2 < 25] = 25
    return labels.to(torch.int16)


@pytest.fixture(scope="module")
def plain() -> Tensor:
    """White matter of one side in a thin skull."""
    n = torch.arange(97) - 48.0
    radius = (n[:, None, None] ** 2 + n[None, :, None] ** 2 + n[None, None, :] ** 2).sqrt()
    return torch.where(radius < 44, LEFT, torch.where(radius < 46, BONE, 0)).to(torch.int16)


@pytest.fixture(scope="module")
def box(head: Tensor) -> np.ndarray:
    return brain_box(brain_points(head))


def cuboid(start_mm: Sequence[float], size: Sequence[int], name: str = "one") -> LesionMask:
    return LesionMask(F.pad(torch.ones(*size, dtype=torch.bool), [2] * 6), np.array(start_mm) - 2, name)


@pytest.fixture(scope="module")
def mask() -> LesionMask:
    """One lesion on the left of the MNI brain, beside its middle."""
    return cuboid((-45, -34, 12), (24, 24, 20))


def placed(mask: LesionMask, *, mirrored: bool = False, scaling: float = 1, warp_mm: float = 0) -> Placement:
    warp = warp_mm * np.random.default_rng(0).standard_normal((3, 4, 4, 4))
    return Placement(mask, mirrored, np.full(3, scaling), np.zeros(3), warp)


def ball(radius_mm: float) -> Blob:
    return Blob(0.5, np.full(3, radius_mm), np.zeros((2, 2, 2)))


def at(labels: Tensor, middle: Tensor, allowed: Sequence[int]) -> float:
    """Site of a blob whose middle is the place nearest to a voxel."""
    places = 4 * voxels_of(labels[::4, ::4, ::4], allowed).nonzero()
    nearest = int((places - middle).float().norm(dim=1).argmin())
    return (nearest + 0.5) / (len(places) - 1)


def distance_to(labels: Tensor, chosen: Sequence[int], where: Tensor) -> float:
    """Mean distance of some voxels from the nearest one with one of some labels, mm."""
    return float(
        torch.cdist(where.nonzero()[::11].float(), voxels_of(labels, chosen).nonzero()[::3].float()).amin(1).mean()
    )


def beside(mask: Tensor) -> Tensor:
    """A mask and the voxels that share a face, an edge or a corner with it."""
    return F.max_pool3d(mask[None, None].float(), 3, stride=1, padding=1)[0, 0] > 0


Process = Callable[[np.random.Generator, Tensor, np.ndarray], Tensor]


def _lesions(rng: np.random.Generator, head: Tensor, box: np.ndarray, mask: LesionMask) -> Tensor:
    return apply_white_matter_lesions(draw_white_matter_lesions(rng, ILL, [mask]), head, box)


def _stroke(rng: np.random.Generator, head: Tensor, box: np.ndarray, mask: LesionMask) -> Tensor:
    return apply_stroke(draw_stroke(rng, [mask]), head, box)


PROCESSES: dict[str, Process] = {
    "white-matter lesions": partial(_lesions, mask=cuboid((-45, -34, 12), (24, 24, 20))),
    "stroke": partial(_stroke, mask=cuboid((-60, -34, 12), (30, 40, 20))),
    "tumor": lambda rng, head, _: apply_tumor(draw_tumor(rng), head),
    "hemorrhage": lambda rng, head, _: apply_hemorrhage(draw_hemorrhage(rng), head),
    "resection": lambda rng, head, _: apply_resection(draw_resection(rng), head),
    "lookalikes": lambda rng, head, _: apply_lookalikes(draw_lookalikes(rng, ILL), head),
}


@pytest.mark.parametrize("name", sorted(PROCESSES))
def test_same_draws_give_the_same_labels_and_leave_the_map_and_the_skull_alone(
    head: Tensor, box: np.ndarray, name: str
) -> None:
    before, process = head.clone(), PROCESSES[name]
    outside = voxels_of(head, (0, BONE, SKIN))
    changed = 0
    for seed in range(3):
        once, again = (process(np.random.default_rng(seed), head, box) for _ in range(2))
        assert torch.equal(once, again)
        assert once.dtype == head.dtype
        assert torch.equal(once[outside], head[outside])
        changed += not torch.equal(once, head)
    assert torch.equal(head, before)
    assert changed >= 2


# --- what is drawn


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


def test_focal_lesions_have_the_sizes_and_shares_they_should(mask: LesionMask) -> None:
    rngs = [np.random.default_rng(seed) for seed in range(400)]
    for low, high, blobs in (
        (5, 26, [draw_tumor(rng).blob for rng in rngs]),
        (3, 24, [draw_hemorrhage(rng).blob for rng in rngs]),
        (7, 26, [draw_resection(rng).blob for rng in rngs]),
        (2.5, 7, [draw_stroke(rng, ()).lacune for rng in rngs]),
    ):
        radii = [b.radii_mm.prod() ** (1 / 3) for b in blobs]
        assert low <= min(radii) < 1.1 * low
        assert 0.9 * high < max(radii) <= high
        assert max((b.radii_mm.max() / b.radii_mm.min()) for b in blobs) < np.exp(0.6)
    tumors, bleedings = [draw_tumor(rng) for rng in rngs], [draw_hemorrhage(rng) for rng in rngs]
    patterns = Counter(t.pattern for t in tumors)
    assert [patterns[p] / 400 for p in ("ring", "solid", "non_enhancing")] == pytest.approx([0.5, 0.25, 0.25], abs=0.07)
    assert all(0.12 <= t.rim <= 0.4 and t.edema <= 1.2 and t.push <= 0.9 for t in tumors)
    assert np.mean([t.edema > 0 for t in tumors]) == pytest.approx(0.8, abs=0.06)
    assert np.mean([t.push > 0 for t in tumors]) == pytest.approx(0.7, abs=0.07)
    assert {bool(b.push) for b in bleedings if b.blob.radii_mm.mean() <= 8} == {False}
    assert all(0.3 <= b.push <= 0.9 for b in bleedings if b.blob.radii_mm.mean() > 8)
    strokes = [draw_stroke(rng, [mask]) for rng in rngs]
    assert np.mean([s.territory is not None for s in strokes]) == pytest.approx(0.8, abs=0.06)
    assert all(0.45 <= s.cavity <= 1 for s in strokes)
    assert all(draw_stroke(rng, ()).territory is None for rng in rngs[:20])


def test_a_recipe_gets_its_shares_and_as_many_focal_lesions_as_it_draws(head: Tensor, box: np.ndarray) -> None:
    ranges = SynthesisRanges(stroke=0.1, tumor=0.3, hemorrhage=0.2, resection=0.15, lookalikes=0.4)
    drawn = [draw_pathology(np.random.default_rng(seed), ranges, LesionSources()) for seed in range(600)]
    assert max(len(d.focal) for d in drawn) == 1
    kinds = Counter(type(next(iter(d.focal), None)) for d in drawn)
    found = [kinds[kind] / 600 for kind in (Stroke, Tumor, Hemorrhage, Resection, type(None))]
    several = [
        draw_pathology(np.random.default_rng(seed), replace(ranges, focal_draws=4), LesionSources()).focal
        for seed in range(300)
    ]
    assert np.mean([len(focal) for focal in several]) == pytest.approx(4 * 0.75, abs=0.2)
    assert all(len(focal) <= 4 for focal in several)
    assert found == pytest.approx([0.1, 0.3, 0.2, 0.15, 0.25], abs=0.05)
    assert np.mean([d.lookalikes.spaces > 0 for d in drawn]) == pytest.approx(0.4, abs=0.06)
    assert np.mean([d.lookalikes.rim_mm > 0 for d in drawn]) == pytest.approx(0.4, abs=0.06)
    # Oedema goes with any mass, tumour is left behind in cavities.
    together = ({NECROSIS, ENHANCING, EDEMA, GLIOMA}, {STROKE_CAVITY, GLIOSIS}, {BLOOD, BLOOD_RIM, EDEMA},
                {SURGICAL_CAVITY, ENHANCING, EDEMA})  # fmt: skip
    for seed in range(6):
        ill = apply_pathology(draw_pathology(np.random.default_rng(seed), ILL, LesionSources()), head, box)
        focal = set(ill.unique().tolist()) & set(FOCAL)
        assert focal
        assert any(focal <= kind for kind in together)


# --- lesions of white matter


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
    """The MNI brain is 144 x 178 x 140 mm around (0, -17, 10); here it is half as large and elsewhere."""
    box = np.array([[10.0, 10, 10], [82, 99, 80]])
    block = cuboid((20, -17, 30), (20, 18, 10))  # 20 to 39, -17 to 0, 30 to 39 mm
    for mirrored, x in ((False, 46 + 29.5 / 2), (True, 46 - 29.5 / 2)):
        found = apply_placement(placed(block, mirrored=mirrored), (100, 110, 90), box)
        assert found is not None
        where, share = found
        inside = torch.zeros(100, 110, 90)
        inside[where] = share
        centre = (inside > 0.5).nonzero().float().mean(0)
        assert centre.tolist() == pytest.approx([x, 54.5 + 8.5 / 2, 45 + 24.5 / 2], abs=0.6)
        assert float(inside.sum()) == pytest.approx(20 * 18 * 10 / 8, rel=0.02)
    larger = apply_placement(placed(block, scaling=1.2), (100, 110, 90), box)
    warped = apply_placement(placed(block, warp_mm=4), (100, 110, 90), box)
    assert larger is not None
    assert warped is not None
    assert float(larger[1].sum()) == pytest.approx(1.2**3 * 450, rel=0.02)
    assert float(warped[1].sum()) == pytest.approx(450, rel=0.3)
    assert warped[1].shape != share.shape or not torch.allclose(warped[1], share, atol=0.2)
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


def test_lesions_grow_where_they_are_asked_to(head: Tensor, box: np.ndarray) -> None:
    def grow(**how: float) -> Tensor:
        grown = replace(Grown(seed=5, share=0.02, ventricles=0, cortex=0, coarseness=0.2), **how)
        return voxels_of(apply_white_matter_lesions(WhiteMatterLesions(True, grown=grown), head, box), LESION)

    ventricles, cortex = (VENTRICLE, 43, CHOROID, 163), (CORTEX, 42)
    free = grow()
    assert distance_to(head, ventricles, grow(ventricles=4)) < 0.5 * distance_to(head, ventricles, free)
    assert distance_to(head, cortex, grow(cortex=4)) < 0.5 * distance_to(head, cortex, free)
    assert distance_to(head, cortex, grow(cortex=-2)) > 1.1 * distance_to(head, cortex, free)

    def border(mask: Tensor) -> float:
        return float((beside(mask) & ~mask).sum())

    assert border(grow(coarseness=1.0)) < 0.8 * border(grow(coarseness=0.0)), "few large lesions have less border"


# --- stroke


def test_a_territory_is_a_cavity_in_gliosis_and_leaves_fluid_and_plexus(head: Tensor, box: np.ndarray) -> None:
    large = placed(cuboid((-70, -60, -30), (70, 80, 60)))
    struck = apply_stroke(Stroke(large, ball(5), cavity=0.8), head, box)
    cavity, new = struck == STROKE_CAVITY, voxels_of(struck, (GLIOSIS, STROKE_CAVITY))
    assert torch.equal(struck[~new], head[~new])
    assert cavity.sum() > 500
    assert not (beside(cavity) & voxels_of(struck, WHITE_MATTER)).any(), "gliosis lies between"
    for label in (VENTRICLE, 43, CHOROID, 163, CSF, BONE):
        assert torch.equal(struck == label, head == label)
    assert int((new & voxels_of(head, (CORTEX,))).sum()) > 500
    scarred = apply_stroke(Stroke(large, ball(5), cavity=1.0), head, box)
    assert not (scarred == STROKE_CAVITY).any()
    assert torch.equal(scarred == GLIOSIS, new)


def test_a_lacune_is_a_small_ball(plain: Tensor) -> None:
    struck = apply_stroke(Stroke(None, ball(6), cavity=0.6), plain, np.zeros((2, 3)))
    cavity, new = struck == STROKE_CAVITY, voxels_of(struck, (GLIOSIS, STROKE_CAVITY))
    assert int(new.sum()) == pytest.approx(4 / 3 * np.pi * 6**3, rel=0.05)
    assert int(cavity.sum()) == pytest.approx(4 / 3 * np.pi * (0.6 * 6) ** 3, rel=0.1)
    assert not (beside(cavity) & (struck == LEFT)).any()


# --- masses


def test_blobs_have_the_volume_of_their_radii_and_begin_where_they_may(head: Tensor) -> None:
    blob = Blob(0.3, np.array([5.0, 8.0, 11.0]), np.zeros((3, 3, 3)))
    where, distance = apply_blob(blob, MIDDLE, (97, 97, 97))
    assert int((distance < 1).sum()) == pytest.approx(4 / 3 * np.pi * 5 * 8 * 11, rel=0.03)
    extent = [int(i.max() - i.min()) for i in (distance < 1).nonzero().T]
    assert extent == [8, 14, 20]
    assert all(0 <= span.start < span.stop <= 97 for span in where)
    for site in (0.0, 0.4, 1.0):
        middle = middle_of(replace(blob, site=site), head, (CORTEX, 42))
        assert middle is not None
        assert int(head[tuple(middle)]) in (CORTEX, 42)
    assert middle_of(blob, head, (16,)) is None
    rough, smooth = (draw_blob(np.random.default_rng(1), radius_mm=(9, 9), roughness=r) for r in (0.3, 0.0))
    uneven, even = (apply_blob(b, MIDDLE, (97, 97, 97))[1] for b in (rough, smooth))
    assert 0.03 < float((uneven - even).std()) < 0.4


@pytest.mark.parametrize(
    ("pattern", "inside"), [("ring", {ENHANCING, NECROSIS}), ("solid", {ENHANCING}), ("non_enhancing", {GLIOMA})]
)
def test_patterns_of_tumors(plain: Tensor, pattern: Pattern, inside: set[int]) -> None:
    blob = ball(12)
    ill = apply_tumor(Tumor(blob, pattern, rim=0.25, edema=0.5, push=0.0), plain)
    core = voxels_of(ill, (ENHANCING, NECROSIS, GLIOMA))
    assert set(ill[core].tolist()) == inside
    assert int(core.sum()) == pytest.approx(4 / 3 * np.pi * 12**3, rel=0.02)
    if pattern == "ring":
        necrosis = ill == NECROSIS
        assert int(necrosis.sum()) == pytest.approx(4 / 3 * np.pi * 9**3, rel=0.03)
        assert not (beside(necrosis) & ~core).any()
    swollen = ill == EDEMA
    assert int((swollen | core).sum()) == pytest.approx(4 / 3 * np.pi * 18**3, rel=0.02)
    assert not (apply_tumor(Tumor(blob, pattern, 0.25, 0.0, 0.0), plain) == EDEMA).any()


def test_tumors_stay_in_the_brain_and_edema_in_white_matter(head: Tensor) -> None:
    beside_cortex = Blob(
        at(head, torch.tensor([24, 48, 48]), (LEFT, RIGHT, CORTEX, 42)), np.full(3, 12.0), np.zeros((2,) * 3)
    )
    ill = apply_tumor(Tumor(beside_cortex, "solid", 0.2, edema=1.0, push=0.0), head)
    core, swollen = ill == ENHANCING, ill == EDEMA
    assert set(head[core].tolist()) == {LEFT, CORTEX, 25} | set(head[core].tolist()) - {25}
    assert core[24, 48, 48]
    assert of_brain(head)[core].all()
    assert set(head[swollen].tolist()) <= {LEFT, RIGHT, *LESION}
    assert swollen.sum() > 1000
    untouched = ~(core | swollen)
    assert torch.equal(ill[untouched], head[untouched])


@pytest.mark.parametrize("amount", [0.3, 0.9])
def test_mass_effect_moves_tissue_as_if_it_could_not_be_compressed(plain: Tensor, amount: float) -> None:
    """A border at r goes to the cube root of r³ + amount · R³ within 1.5 radii R, and stays from 3 R on."""
    radius = 12.0
    along = (torch.arange(97) - 48.0)[:, None, None].expand(97, 97, 97)
    for at_mm in (9, 12, 14):
        split = torch.where((plain == LEFT) & (along >= at_mm), RIGHT, plain).to(plain.dtype)
        pushed = push_aside(split, ball(radius), MIDDLE, amount=amount)
        first = int((pushed[48:, 48, 48] == RIGHT).nonzero()[0])
        assert first == pytest.approx((at_mm**3 + amount * radius**3) ** (1 / 3), abs=1)
        assert first > at_mm
    far = torch.where((plain == LEFT) & (along >= 37), RIGHT, plain).to(plain.dtype)
    assert torch.equal(push_aside(far, ball(radius), MIDDLE, amount=amount), far)
    assert torch.equal(push_aside(split, ball(radius), MIDDLE, amount=0.0), split)
    # It dies off: of grains of two tissues, fewer and fewer change.
    grains = torch.rand(plain.shape, generator=torch.Generator().manual_seed(0)) < 0.5
    speckled = torch.where((plain == LEFT) & grains, RIGHT, plain).to(plain.dtype)
    changed = push_aside(speckled, ball(radius), MIDDLE, amount=amount) != speckled
    n = torch.arange(97) - 48.0
    distance = (n[:, None, None] ** 2 + n[None, :, None] ** 2 + n[None, None, :] ** 2).sqrt() / radius
    near, far_off = (changed[(distance > low) & (distance < low + 0.3)].float().mean() for low in (1.2, 2.7))
    assert float(near) > 0.25
    assert float(far_off) < 0.05


def test_mass_effect_leaves_the_skull_where_it_is(head: Tensor) -> None:
    near = torch.tensor([20, 48, 48])
    pushed = push_aside(head, ball(12), near, amount=0.9)
    for label in (0, BONE, SKIN):
        assert torch.equal(pushed == label, head == label)
    assert int((pushed == CSF).sum()) < 0.99 * int((head == CSF).sum()), "the fluid between gives way"
    assert int((pushed == CORTEX).sum()) != int((head == CORTEX).sum())
    tumor = Tumor(
        Blob(at(head, near, (LEFT, RIGHT, CORTEX, 42)), np.full(3, 12.0), np.zeros((2,) * 3)), "solid", 0.2, 0.0, 0.9
    )
    with_mass, without = (apply_tumor(t, head) for t in (tumor, replace(tumor, push=0.0)))
    assert (
        torch.equal(with_mass == ENHANCING, without == ENHANCING)
        or (with_mass == ENHANCING).sum() >= (without == ENHANCING).sum()
    ), "a mass that pushes covers at least as much"
    assert not torch.equal(with_mass, without)


def test_blood_has_a_rim_and_edema_and_pushes(head: Tensor, plain: Tensor) -> None:
    bleeding = Hemorrhage(ball(10), rim=0.3, edema=0.4, push=0.0)
    ill = apply_hemorrhage(bleeding, plain)
    blood, rim = ill == BLOOD, ill == BLOOD_RIM
    assert int((blood | rim).sum()) == pytest.approx(4 / 3 * np.pi * 10**3, rel=0.02)
    assert int(blood.sum()) == pytest.approx(4 / 3 * np.pi * 7**3, rel=0.06)
    assert not (beside(blood) & ~(blood | rim)).any()
    assert int((ill == EDEMA).sum()) == pytest.approx(4 / 3 * np.pi * (14**3 - 10**3), rel=0.03)
    assert not voxels_of(apply_hemorrhage(replace(bleeding, rim=0.0, edema=0.0), plain), (BLOOD_RIM, EDEMA)).any()
    pushed, still = (apply_hemorrhage(replace(bleeding, push=push), head) for push in (0.9, 0.0))
    assert not torch.equal(pushed, still)
    assert of_brain(head)[still == BLOOD].all()


def test_cavities_open_to_the_surface_and_leave_the_fluid_around(head: Tensor) -> None:
    site = at(head, torch.tensor([48, 48, 84]), (CORTEX, 42))
    blob = Blob(site, np.full(3, 12.0), np.zeros((2, 2, 2)))
    opened = apply_resection(Resection(blob, residual=0.0, edema=0.3), head)
    cavity = opened == SURGICAL_CAVITY
    assert (beside(cavity) & (opened == CSF)).any()
    assert of_brain(head)[cavity].all()
    assert set(head[opened == EDEMA].tolist()) <= {LEFT, RIGHT, *LESION}
    assert not (opened == ENHANCING).any()
    left_behind = apply_resection(Resection(blob, residual=0.2, edema=0.3), head)
    tumor = left_behind == ENHANCING
    assert tumor.any()
    assert cavity[tumor].all()
    assert (beside(tumor) & ~cavity).any(), "on the wall"
    assert torch.equal(left_behind[~tumor], opened[~tumor])
    assert (tumor.nonzero()[:, 2].max() <= cavity.nonzero()[:, 2].float().mean() + 1).all(), "not at the surface above"


# --- lookalikes


def test_lookalikes_are_white_matter_to_the_network(head: Tensor) -> None:
    odd = apply_lookalikes(Lookalikes(spaces=2e-3, rim_mm=2, seed=0), head)
    spaces, rim = voxels_of(odd, PERIVASCULAR_SPACE), voxels_of(odd, BRIGHT_RIM)
    white = voxels_of(head, WHITE_MATTER)
    assert 2e-3 < float(spaces.sum() / white.sum()) < 8e-3
    assert white[spaces | rim].all()
    classes = torch.from_numpy(target_lookup())
    assert torch.equal(classes[odd.long()], classes[head.long()])
    ventricles = voxels_of(head, (VENTRICLE, 43, CHOROID, 163))
    assert torch.equal(rim | spaces, (beside(beside(ventricles)) & white) | spaces)
    assert apply_lookalikes(Lookalikes(0.0, 0, 0), head) is head


def test_lookalikes_come_last_and_never_over_lesions(head: Tensor, box: np.ndarray) -> None:
    tumor = Tumor(ball(12), "ring", 0.2, 0.5, 0.0)
    lookalikes = Lookalikes(spaces=4e-3, rim_mm=2, seed=1)
    without = apply_pathology(Pathology(WhiteMatterLesions(False), (tumor,)), head, box)
    odd = apply_pathology(Pathology(WhiteMatterLesions(False), (tumor,), lookalikes), head, box)
    ill = voxels_of(without, (*FOCAL, *LESION))
    assert ill.any()
    assert torch.equal(odd[ill], without[ill])
    assert voxels_of(odd, (*PERIVASCULAR_SPACE, *BRIGHT_RIM)).any()


# --- heads


def test_every_stream_of_a_head_sees_the_same_lesions(head: Tensor) -> None:
    ranges = SynthesisRanges(deformation=DeformationRanges(shift_mm=2), cropped_field_of_view=0, ct=0, skull_strip=0,
                             deface=0, thick_slices=0, field_of_view_mm=((90.0,) * 3,) * 2, tumor=1.0, stroke=0,
                             spacing_mm=(1.2, 1.3))  # fmt: skip
    rng = np.random.default_rng(2)
    drawn = draw_head(rng, ranges)
    drawn = replace(drawn, pathology=replace(drawn.pathology, focal=(Tumor(ball(12), "ring", 0.3, 0.5, 0.5),)))
    scans = [draw_scan(rng, r) for r in (ranges, replace(ranges, spacing_mm=(1.8, 2.0)))]
    made = synthesise(LabelMap(head, "head"), drawn, scans)
    one, other = made.targets
    assert one.shape != other.shape
    ill = torch.tensor([1 + PARTS.index(name) for name in PATHOLOGICAL_PARTS])
    voxels = torch.stack(torch.meshgrid([torch.arange(n) for n in other.shape], indexing="ij"), -1).double()
    to_one = torch.linalg.inv(made.affines[0]) @ made.affines[1]
    at_one = (voxels @ to_one[:3, :3].T + to_one[:3, 3]).round().long()
    inside = ((at_one >= 0) & (at_one < torch.tensor(one.shape))).all(-1)
    seen = torch.zeros_like(other)
    seen[inside] = one[tuple(at_one[inside].T)]
    for part in ("enhancing_tumor", "non_enhancing_tumor", "edema"):
        a, b = (x == 1 + PARTS.index(part) for x in (seen, other))
        assert int(b.sum()) > 100
        assert 2 * int((a & b).sum()) / int(a.sum() + b.sum()) > 0.8
    assert torch.isin(one, ill).any()


def test_lesions_of_heads_are_reproduced_with_them(head: Tensor, mask: LesionMask) -> None:
    sources = LesionSources([mask], [mask])
    drawn = [draw_head(np.random.default_rng(4), ILL, lesions=sources).pathology for _ in range(2)]
    box = brain_box(brain_points(head))
    assert torch.equal(*(apply_pathology(d, head, box) for d in drawn))


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


def test_edema_reaches_as_far_as_asked_into_white_matter_and_lesions_alone(head: Tensor) -> None:
    distance = torch.zeros(97, 97, 97).fill_(1.2)
    distance[:24] = 0.5
    distance[72:] = 1.6
    swollen = head.clone()
    grow_edema(swollen, distance, 0.5)
    assert torch.equal(swollen == EDEMA, voxels_of(head, (*WHITE_MATTER, *LESION)) & (distance == 1.2))
    none = head.clone()
    grow_edema(none, distance, 0.0)
    assert torch.equal(none, head)
