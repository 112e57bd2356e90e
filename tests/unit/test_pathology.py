"""Pathology on label maps: each process changes the tissue that it should, where it should, and nothing else."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.unit.pathology_phantom import (
    BONE,
    CHOROID,
    CORTEX,
    CSF,
    LEFT,
    MIDDLE,
    RIGHT,
    SKIN,
    VENTRICLE,
    at,
    ball,
    beside,
    cuboid,
    placed,
    plain_head,
    small_head,
)
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
from vp_engine.synthesis.lesion_masks import LesionMask
from vp_engine.synthesis.lookalikes import Lookalikes, apply_lookalikes, draw_lookalikes
from vp_engine.synthesis.pathology import LesionSources, Pathology, apply_pathology, draw_pathology
from vp_engine.synthesis.ranges import DeformationRanges, SynthesisRanges
from vp_engine.synthesis.resection import Resection, apply_resection, draw_resection
from vp_engine.synthesis.scan import draw_head, draw_scan, synthesise
from vp_engine.synthesis.stroke import Stroke, apply_stroke, draw_stroke
from vp_engine.synthesis.tumor import Pattern, Tumor, apply_tumor, draw_tumor
from vp_engine.synthesis.white_matter_lesions import (
    WhiteMatterLesions,
    apply_white_matter_lesions,
    draw_white_matter_lesions,
)

FOCAL = (NECROSIS, ENHANCING, EDEMA, GLIOMA, STROKE_CAVITY, GLIOSIS, BLOOD, BLOOD_RIM, SURGICAL_CAVITY)
ILL = SynthesisRanges(lesion_free=0.5, pasted_lesions=0.5, grown_lesions=0.5, stroke=0.25, tumor=0.25,
                      hemorrhage=0.25, resection=0.25, lookalikes=0.5)  # fmt: skip


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


@pytest.fixture(scope="module")
def plain() -> Tensor:
    return plain_head()


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


def test_focal_lesions_have_the_sizes_and_shares_they_should(mask: LesionMask) -> None:
    rngs = [np.random.default_rng(seed) for seed in range(400)]
    for low, high, blobs in (
        (7, 28, [draw_tumor(rng).blob for rng in rngs]),
        (4, 24, [draw_hemorrhage(rng).blob for rng in rngs]),
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
    assert all(0.12 <= t.rim <= 0.4 and t.edema <= 1.2 and t.push <= 0.95 for t in tumors)
    assert np.mean([t.edema > 0 for t in tumors]) == pytest.approx(0.8, abs=0.06)
    assert np.mean([t.push > 0 for t in tumors]) == pytest.approx(0.75, abs=0.07)
    assert {bool(b.push) for b in bleedings if b.blob.radii_mm.mean() <= 8} == {False}
    assert all(0.4 <= b.push <= 0.95 for b in bleedings if b.blob.radii_mm.mean() > 8)
    strokes = [draw_stroke(rng, [mask]) for rng in rngs]
    assert np.mean([s.territory is not None for s in strokes]) == pytest.approx(0.8, abs=0.06)
    assert all(0.6 <= s.cavity <= 1 for s in strokes)
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
    assert np.mean([d.lookalikes.rim for d in drawn]) == pytest.approx(0.4, abs=0.06)
    # Oedema goes with any mass, tumour is left behind in cavities.
    together = ({NECROSIS, ENHANCING, EDEMA, GLIOMA}, {STROKE_CAVITY, GLIOSIS}, {BLOOD, BLOOD_RIM, EDEMA},
                {SURGICAL_CAVITY, ENHANCING, EDEMA})  # fmt: skip
    for seed in range(6):
        ill = apply_pathology(draw_pathology(np.random.default_rng(seed), ILL, LesionSources()), head, box)
        focal = set(ill.unique().tolist()) & set(FOCAL)
        assert focal
        assert any(focal <= kind for kind in together)


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
    site = at(head, torch.tensor([24, 48, 48]), (LEFT, RIGHT, CORTEX, 42))
    beside_cortex = Blob(site, np.full(3, 12.0), np.zeros((2, 2, 2)))
    ill = apply_tumor(Tumor(beside_cortex, "solid", 0.2, edema=1.0, push=0.0), head)
    core, swollen = ill == ENHANCING, ill == EDEMA
    assert core[24, 48, 48]
    assert {LEFT, CORTEX} <= set(head[core].tolist())
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


def test_mass_effect_dies_off(plain: Tensor) -> None:
    """Of grains of two tissues many change beside a mass; at 2.2 radii none, where 0.9 mm could be as well."""
    grains = torch.rand(plain.shape, generator=torch.Generator().manual_seed(0)) < 0.5
    speckled = torch.where((plain == LEFT) & grains, RIGHT, plain).to(plain.dtype)
    changed = push_aside(speckled, ball(14), MIDDLE, amount=0.9) != speckled
    n = torch.arange(97) - 48.0
    distance = (n[:, None, None] ** 2 + n[None, :, None] ** 2 + n[None, None, :] ** 2).sqrt() / 14
    assert float(changed[(distance > 1.2) & (distance < 1.5)].float().mean()) > 0.25
    assert not changed[(distance > 2.2) & (distance < 3)].any()


def test_mass_effect_leaves_the_skull_where_it_is(head: Tensor) -> None:
    near = torch.tensor([20, 48, 48])
    pushed = push_aside(head, ball(12), near, amount=0.9)
    for label in (0, BONE, SKIN):
        assert torch.equal(pushed == label, head == label)
    assert int((pushed == CSF).sum()) < 0.99 * int((head == CSF).sum()), "the fluid between gives way"
    site = at(head, near, (LEFT, RIGHT, CORTEX, 42))
    tumor = Tumor(Blob(site, np.full(3, 12.0), np.zeros((2, 2, 2))), "solid", rim=0.2, edema=0.0, push=0.9)
    with_mass, without = (apply_tumor(t, head) for t in (tumor, replace(tumor, push=0.0)))
    lost = [int((t == CORTEX).sum()) - int((head == CORTEX).sum()) for t in (with_mass, without)]
    assert lost[1] < lost[0] <= 0, "cortex is moved and not only replaced"


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
    beside_cortex = Blob(at(head, torch.tensor([20, 48, 48]), WHITE_MATTER), np.full(3, 12.0), np.zeros((2, 2, 2)))
    lobar = apply_hemorrhage(Hemorrhage(beside_cortex, rim=0.0, edema=0.0, push=0.0), head) == BLOOD
    assert {LEFT, CORTEX} <= set(head[lobar].tolist())
    assert of_brain(head)[lobar].all(), "none in the fluid outside"


def test_cavities_open_to_the_surface_and_leave_the_fluid_around(head: Tensor) -> None:
    site = at(head, torch.tensor([48, 48, 84]), (CORTEX, 42))
    blob = Blob(site, np.full(3, 12.0), np.zeros((2, 2, 2)))
    opened = apply_resection(Resection(blob, residual=0.0, edema=0.3), head)
    cavity = opened == SURGICAL_CAVITY
    for start in ((48, 48, 84), (48, 84, 48), (12, 48, 48)):
        small = Blob(at(head, torch.tensor(start), (CORTEX, 42)), np.full(3, 7.0), np.zeros((2, 2, 2)))
        assert apply_resection(Resection(small, 0.0, 0.0), head)[start] == SURGICAL_CAVITY
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


def test_lookalikes_are_white_matter_to_the_network(head: Tensor) -> None:
    odd = apply_lookalikes(Lookalikes(spaces=2e-3, rim=True, seed=0), head)
    spaces, rim = voxels_of(odd, PERIVASCULAR_SPACE), voxels_of(odd, BRIGHT_RIM)
    white = voxels_of(head, WHITE_MATTER)
    assert 2e-3 < float(spaces.sum() / white.sum()) < 8e-3
    assert white[spaces | rim].all()
    classes = torch.from_numpy(target_lookup())
    assert torch.equal(classes[odd.long()], classes[head.long()])
    ventricles = voxels_of(head, (VENTRICLE, 43, CHOROID, 163))
    assert torch.equal(rim | spaces, (beside(ventricles) & white) | spaces)
    assert apply_lookalikes(Lookalikes(0.0, False, 0), head) is head


def test_lookalikes_come_last_and_never_over_lesions(head: Tensor, box: np.ndarray) -> None:
    tumor = Tumor(ball(12), "ring", 0.2, 0.5, 0.0)
    lookalikes = Lookalikes(spaces=4e-3, rim=True, seed=1)
    without = apply_pathology(Pathology(WhiteMatterLesions(False), (tumor,)), head, box)
    odd = apply_pathology(Pathology(WhiteMatterLesions(False), (tumor,), lookalikes), head, box)
    ill = voxels_of(without, (*FOCAL, *LESION))
    assert ill.any()
    assert torch.equal(odd[ill], without[ill])
    assert voxels_of(odd, (*PERIVASCULAR_SPACE, *BRIGHT_RIM)).any()


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


def test_edema_reaches_as_far_as_asked_into_white_matter_and_lesions_alone(head: Tensor) -> None:
    distance = torch.zeros(97, 97, 97).fill_(1.2)
    distance[:, :24] = 0.5  # on both sides
    distance[:, 72:] = 1.6
    swollen = head.clone()
    grow_edema(swollen, distance, 0.5)
    assert torch.equal(swollen == EDEMA, voxels_of(head, (*WHITE_MATTER, *LESION)) & (distance == 1.2))
    none = head.clone()
    grow_edema(none, distance, 0.0)
    assert torch.equal(none, head)


def test_edema_does_not_cross_the_falx_unless_the_mass_does(head: Tensor) -> None:
    voxels = torch.stack(torch.meshgrid([torch.arange(97.0)] * 3, indexing="ij"), -1)
    for middle, sides in (((30.0, 48.0, 60.0), {LEFT}), ((48.0, 48.0, 60.0), {LEFT, RIGHT})):
        swollen = head.clone()
        grow_edema(swollen, (voxels - torch.tensor(middle)).norm(dim=-1) / 12, 2.0)
        assert set(head[swollen == EDEMA].tolist()) & set(WHITE_MATTER) == sides
