"""Label maps to images: reproducible, consistent, and with left on the left."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from vp_engine.anatomy import PARTS, PATHOLOGICAL_PARTS, STRUCTURES
from vp_engine.synthesis.label_maps import LabelMap, load_label_maps, mirror_lookup, target_lookup, tissue_of_label
from vp_engine.synthesis.lesion_masks import LesionMask, Placement
from vp_engine.synthesis.pathology import Pathology
from vp_engine.synthesis.ranges import DeformationRanges, SynthesisRanges
from vp_engine.synthesis.rigid import Rigid, rotation_matrix
from vp_engine.synthesis.scan import SyntheticHead, draw_head, draw_scan, draw_scans, random_head, synthesise
from vp_engine.synthesis.skull_strip import SkullStrip, apply_skull_strip
from vp_engine.synthesis.white_matter_lesions import WhiteMatterLesions
from vp_engine.volumes.intensity import rescale

STILL = DeformationRanges(rotation_deg=0, scaling=0, shear=0, shift_mm=0, elastic_mm=0)
PLAIN = SynthesisRanges(
    deformation=STILL, thick_slices=0, low_resolution=0, cropped_field_of_view=0, ct=0, skull_strip=0, deface=0,
    motion=0, ghosting=0, kspace=0, lesion_free=0, pasted_lesions=0, grown_lesions=0, stroke=0, tumor=0,
    hemorrhage=0, resection=0, lookalikes=0, streams=(1.0,), spacing_mm=(2.5, 3.0),
)  # fmt: skip
LEFT, RIGHT, CSF, SKIN = 2, 41, 24, 511
LEFT_CLASS, RIGHT_CLASS = (1 + PARTS.index(f"{side}_cerebral_white_matter") for side in ("left", "right"))


@pytest.fixture(scope="module")
def ball() -> LabelMap:
    """A ball of two hemispheres in fluid and skin; the left one is larger. Its middle is not that of the map."""
    x, y, z = np.meshgrid(
        *(np.arange(n) - middle for n, middle in ((160, 79.5), (190, 89.5), (170, 84.5))), indexing="ij"
    )
    radius = np.sqrt(x**2 + y**2 + z**2)
    labels = np.select([radius < 55, radius < 60, radius < 68], [np.where(x < 10, LEFT, RIGHT), CSF, SKIN], 0)
    return LabelMap(torch.from_numpy(labels.astype(np.int16)), "ball")


def middle_mm(head: SyntheticHead, *classes: int) -> Tensor:
    """World coordinates of the middle of some classes in the first image."""
    voxels = torch.isin(head.targets[0], torch.tensor(classes)).nonzero().double()
    return head.affines[0][:3, :3] @ voxels.mean(0) + head.affines[0][:3, 3]


def test_same_seed_gives_the_same_head(ball: LabelMap) -> None:
    ranges = SynthesisRanges(streams=(0.0, 1.0), spacing_mm=(2.5, 3.5))
    one, same, other = (random_head(np.random.default_rng(seed), [ball], ranges) for seed in (1, 1, 2))
    for a, b in zip((*one.images, *one.targets), (*same.images, *same.targets), strict=True):
        assert torch.equal(a, b)
    assert other.images[0].shape != one.images[0].shape or not torch.equal(other.images[0], one.images[0])


def test_every_head_holds_images_from_0_to_1_and_known_classes(ball: LabelMap) -> None:
    ill = {1 + PARTS.index(name) for name in PATHOLOGICAL_PARTS}
    known = {0, LEFT_CLASS, RIGHT_CLASS, 1 + PARTS.index("csf"), *ill}
    for seed in range(12):
        ranges = SynthesisRanges(motion=0.5, kspace=0.5, ghosting=0.5, ct=0.3, streams=(0.4, 0.3, 0.3), deface=0.5,
                                 cropped_field_of_view=0.4, spacing_mm=(2.5, 3.6))  # fmt: skip
        head = random_head(np.random.default_rng(seed), [ball], ranges)
        assert len(head.images) == len(head.targets) == len(head.affines)
        for image, target, affine in zip(head.images, head.targets, head.affines, strict=True):
            assert image.shape == target.shape
            assert (image.dtype, target.dtype, affine.dtype) == (torch.float32, torch.int64, torch.float64)
            assert bool(((image >= 0) & (image <= 1)).all())
            assert set(target.unique().tolist()) <= known


def test_in_plane_shapes_are_multiples_of_16() -> None:
    ranges = SynthesisRanges(cropped_field_of_view=0.5)
    for seed in range(50):
        grid = draw_scan(np.random.default_rng(seed), ranges).resolution
        assert all(n % 16 == 0 for axis, n in enumerate(grid.shape) if axis != grid.slice_axis)


def test_left_stays_left_also_when_mirrored(ball: LabelMap) -> None:
    seen = set()
    for seed in range(8):
        rng = np.random.default_rng(seed)
        drawn = draw_head(rng, PLAIN)
        head = synthesise(ball, drawn, [draw_scan(rng, PLAIN)])
        assert middle_mm(head, LEFT_CLASS)[0] < middle_mm(head, RIGHT_CLASS)[0]
        left_is_larger = bool((head.targets[0] == LEFT_CLASS).sum() > (head.targets[0] == RIGHT_CLASS).sum())
        assert left_is_larger != drawn.deformation.mirrored
        seen.add(left_is_larger)
    assert seen == {True, False}


@pytest.mark.parametrize("settings", [{}, {"thick_slices": 1.0}, {"low_resolution": 1.0}])
def test_volume_and_place_survive_resolution(ball: LabelMap, settings: dict[str, float]) -> None:
    rng = np.random.default_rng(0)
    ranges = replace(PLAIN, field_of_view_mm=((180.0,) * 3,) * 2, **settings)
    head = synthesise(ball, draw_head(rng, ranges), [draw_scan(rng, ranges)])
    volume = float(torch.isin(head.targets[0], torch.tensor([LEFT_CLASS, RIGHT_CLASS])).sum()) * float(
        head.affines[0].det()
    )
    assert volume == pytest.approx(4 / 3 * np.pi * 55**3, rel=0.02)
    assert middle_mm(head, LEFT_CLASS, RIGHT_CLASS).tolist() == pytest.approx([0, 0, 0], abs=2.1)


def test_a_thick_slice_is_named_after_its_middle(ball: LabelMap) -> None:
    rng = np.random.default_rng(0)
    drawn, scan = draw_head(rng, PLAIN), draw_scan(rng, PLAIN)
    grid = replace(scan.resolution, shape=(48, 48, 30), spacing_mm=(3.0, 3.0, 5.0), slice_axis=2, slice_mm=6.0)
    assert grid.samples > 1
    thick, thin = (
        middle_mm(synthesise(ball, drawn, [replace(scan, resolution=r)]), LEFT_CLASS, RIGHT_CLASS)
        for r in (grid, replace(grid, shape=(48, 48, 150), spacing_mm=(3.0, 3.0, 1.0), slice_mm=1.0))
    )
    assert (thick - thin).tolist() == pytest.approx([0, 0, 0], abs=0.3)


def test_a_crop_is_part_of_the_whole(ball: LabelMap) -> None:
    """The same head on a grid that covers a part of it: same anatomy at the same world coordinates."""
    rng = np.random.default_rng(4)
    ranges = replace(PLAIN, deformation=DeformationRanges(), spacing_mm=(2.0, 2.0))
    drawn, scan = draw_head(rng, ranges), draw_scan(rng, ranges)
    cube = LesionMask(torch.ones(30, 30, 30, dtype=torch.bool), np.array([-15.0, -40.0, -5.0]), "cube")
    placement = Placement(cube, False, np.ones(3), np.zeros(3), np.zeros((3, 2, 2, 2)))
    drawn = replace(drawn, pathology=Pathology(WhiteMatterLesions(False, placement)))
    grid = scan.resolution
    part = replace(
        grid,
        shape=(32, 16, 48),
        centre_mm=tuple(c + s * d for c, s, d in zip(grid.centre_mm, grid.spacing_mm, (5, -9, 4), strict=True)),
    )
    whole = synthesise(ball, drawn, [scan])
    crop = synthesise(ball, drawn, [replace(scan, resolution=part)])
    offset = torch.linalg.solve(whole.affines[0], crop.affines[0])[:3, 3]
    assert offset.tolist() == pytest.approx(offset.round().tolist(), abs=1e-9)
    inside = tuple(slice(int(a.round()), int(a.round()) + n) for a, n in zip(offset, part.shape, strict=True))
    assert torch.equal(crop.targets[0], whole.targets[0][inside])
    assert bool((crop.targets[0] == 1 + PARTS.index("white_matter_lesion")).any())


def test_volumes_of_one_head_agree_in_the_world(ball: LabelMap) -> None:
    ranges = replace(
        PLAIN, streams=(0.0, 0.0, 1.0), same_grid=0.0, corrupt_stream=0.0, field_of_view_mm=((180.0,) * 3,) * 2
    )
    for seed in range(3):
        head = random_head(np.random.default_rng(seed), [ball], ranges)
        assert len({image.shape for image in head.images}) + len({float(a[0, 0]) for a in head.affines}) > 2
        middles = [
            middle_mm(SyntheticHead([i], [t], [a]), LEFT_CLASS)
            for i, t, a in zip(head.images, head.targets, head.affines, strict=True)
        ]
        assert all(float((m - middles[0]).norm()) < 3 for m in middles)


def test_streams_on_one_grid_share_the_target_and_one_may_show_nothing(ball: LabelMap) -> None:
    ranges = replace(PLAIN, streams=(0.0, 1.0), same_grid=1.0, corrupt_stream=1.0)
    shown = set()
    for seed in range(6):
        head = random_head(np.random.default_rng(seed), [ball], ranges)
        assert torch.equal(*head.targets)
        assert torch.equal(*head.affines)
        inside = head.targets[0] > 0
        assert inside.any()
        contrast = [float((image[inside].mean() - image[~inside].mean()).abs()) for image in head.images]
        assert min(contrast) < 0.01
        shown |= {"blank" if not image.any() else "picture" for image in head.images}
    assert shown == {"blank", "picture"}


def test_misalignment_moves_what_is_seen_and_not_the_affine(ball: LabelMap) -> None:
    rng = np.random.default_rng(0)
    drawn, scan = draw_head(rng, PLAIN), draw_scan(rng, PLAIN)
    moved = replace(scan, misalignment=Rigid(rotation_matrix(np.zeros(3)), np.array([6.0, 0.0, 0.0])))
    head = synthesise(ball, drawn, [scan, moved])
    assert torch.equal(*head.affines)
    shift = middle_mm(head, LEFT_CLASS, RIGHT_CLASS) - middle_mm(
        SyntheticHead(head.images[1:], head.targets[1:], head.affines[1:]), LEFT_CLASS, RIGHT_CLASS
    )
    assert shift.tolist() == pytest.approx([6, 0, 0], abs=0.3)


def test_number_of_streams_follows_the_shares() -> None:
    counts = [len(draw_scans(np.random.default_rng(seed), SynthesisRanges())) for seed in range(300)]
    assert [counts.count(n) / 300 for n in (1, 2, 3)] == pytest.approx([0.85, 0.1, 0.05], abs=0.05)


def test_stripped_head_has_nothing_outside_and_no_fluid_that_cannot_be_seen(ball: LabelMap) -> None:
    fluid = 1 + PARTS.index("csf")
    rng = np.random.default_rng(0)
    drawn, scan = draw_head(rng, replace(PLAIN, skull_strip=1.0)), draw_scan(rng, PLAIN)
    assert drawn.strip is not None
    for strip in (SkullStrip(True, 0), SkullStrip(True, -1), SkullStrip(False, 0), SkullStrip(False, 1)):
        head = synthesise(ball, replace(drawn, strip=strip), [scan])
        image, target = head.images[0], head.targets[0]
        assert strip.margin_vox > 0 or float(image[target == 0].max()) == float(image.min())
        assert bool((target == fluid).any()) == (strip.keep_csf or strip.margin_vox > 0)


@pytest.mark.parametrize(("margin", "expected"), [(-1, 2**3), (0, 4**3), (1, 6**3)])
def test_edge_of_the_strip_moves_by_whole_voxels(margin: int, expected: int) -> None:
    brain = torch.zeros(12, 12, 12, dtype=torch.bool)
    brain[4:8, 4:8, 4:8] = True
    kept = apply_skull_strip(SkullStrip(False, margin), brain, torch.zeros_like(brain), (1, 1, 1))
    assert int(kept.sum()) == expected


def test_intensity_scale_is_the_quantile_of_numpy() -> None:
    rng = np.random.default_rng(0)
    image = rng.gamma(2, 100, (40, 41, 42)).astype(np.float32) * (rng.random((40, 41, 42)) < 0.7)
    values = image[image > image.min()]
    high = np.quantile(values[:: max(1, values.size // 50_000)], 0.995)
    assert np.allclose(rescale(image), np.clip(image / high, 0, 1), atol=1e-6)
    assert np.allclose(rescale(image), rescale(torch.from_numpy(image)).numpy(), atol=1e-6)
    assert not rescale(np.full((3, 3, 3), 7, np.float32)).any()


def test_lookups_cover_every_part_and_swap_sides() -> None:
    target = target_lookup()
    assert sorted(set(target.tolist())) == list(range(len(PARTS) + 1))
    mirror = mirror_lookup()
    assert mirror[STRUCTURES["left_hippocampus"].label] == STRUCTURES["right_hippocampus"].label
    assert (mirror[mirror] == np.arange(1024)).all()
    assert tissue_of_label()[17] == tissue_of_label()[53] == "hippocampus"


def test_real_label_maps_lie_in_ras() -> None:
    path = Path(__file__).resolve().parents[2].parent / "shared/data/training/synthseg20_labels_1mm_apache2.npz"
    if not path.exists():
        pytest.skip("the label maps are not here")
    (real,) = load_label_maps(path, ["05"])
    middle = {label: (real.labels == label).nonzero().float().mean(0) for label in (2, 41, 8, 506)}
    assert middle[2][0] < middle[41][0], "left is at lower x"
    assert middle[8][1] < middle[506][1], "eyes are in front of the cerebellum"
    assert middle[8][2] < middle[2][2], "the cerebellum is below the hemispheres"
