"""Label maps to images: reproducible, consistent, and with left on the left."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from vp_engine.anatomy import PARTS, STRUCTURES
from vp_engine.synthesis.label_maps import LabelMap, load_label_maps, mirror_lookup, target_lookup, tissue_of_label
from vp_engine.synthesis.ranges import DeformationRanges, SynthesisRanges
from vp_engine.synthesis.scan import draw_head, draw_scan, synthesise
from vp_engine.synthesis.skull_strip import SkullStrip, apply_skull_strip

STILL = DeformationRanges(rotation_deg=0, scaling=0, shear=0, shift_mm=0, elastic_mm=0)
LEFT, RIGHT, CSF, SKIN = 2, 41, 24, 511


@pytest.fixture(scope="module")
def head() -> LabelMap:
    """A ball of two hemispheres in fluid and skin; the left one is larger."""
    x, y, z = np.meshgrid(*(np.arange(n) - (n - 1) / 2 for n in (160, 180, 160)), indexing="ij")
    radius = np.sqrt(x**2 + y**2 + z**2)
    labels = np.select([radius < 55, radius < 60, radius < 68], [np.where(x < 10, LEFT, RIGHT), CSF, SKIN], 0)
    return LabelMap(labels.astype(np.uint16), "ball")


def ranges(**settings: float | DeformationRanges) -> SynthesisRanges:
    return SynthesisRanges(**{"deformation": STILL, "thick_slices": 0.0, **settings})  # type: ignore[arg-type]  # one dict for fields of several types


def test_same_draw_gives_the_same_image(head: LabelMap) -> None:
    images = []
    for _ in range(2):
        rng = np.random.default_rng(1)
        drawn = draw_head(rng, SynthesisRanges())
        images.append(synthesise(head, drawn, [draw_scan(rng, SynthesisRanges())]).images[0])
    assert torch.equal(*images)
    rng = np.random.default_rng(2)
    other = synthesise(head, draw_head(rng, SynthesisRanges()), [draw_scan(rng, SynthesisRanges())])
    assert other.images[0].shape != images[0].shape or not torch.equal(other.images[0], images[0])


def test_left_stays_left_also_when_mirrored(head: LabelMap) -> None:
    left, right = PARTS.index("left_cerebral_white_matter") + 1, PARTS.index("right_cerebral_white_matter") + 1
    larger = set()
    for seed in range(8):
        drawn = draw_head(np.random.default_rng(seed), ranges(skull_strip=0.0))
        target = synthesise(head, drawn, []).target
        where = torch.arange(target.shape[0]).float()[:, None, None].expand(target.shape)
        assert where[target == left].mean() < where[target == right].mean()
        larger.add(bool((target == left).sum() > (target == right).sum()) != drawn.deformation.mirrored)
    assert larger == {True}


def test_volume_survives_resolution(head: LabelMap) -> None:
    drawn = draw_head(np.random.default_rng(0), ranges(skull_strip=0.0, field_of_view_mm=((180.0,) * 3,) * 2))
    result = synthesise(head, drawn, [])
    both = [PARTS.index(f"{side}_cerebral_white_matter") + 1 for side in ("left", "right")]
    volume = float(torch.isin(result.target, torch.tensor(both)).sum()) * np.prod(result.spacing_mm)
    assert volume == pytest.approx(4 / 3 * np.pi * 55**3, rel=0.02)


def test_stripped_head_has_nothing_outside_and_no_fluid_that_cannot_be_seen(head: LabelMap) -> None:
    drawn = draw_head(np.random.default_rng(0), ranges(skull_strip=1.0))
    assert drawn.strip is not None
    scan = draw_scan(np.random.default_rng(1), ranges())
    result = synthesise(head, drawn, [scan])
    fluid = PARTS.index("csf") + 1
    assert float(result.images[0][result.target == 0].max()) <= float(result.images[0].min()) + 1e-6 or (
        drawn.strip.margin_vox > 0
    )
    assert bool((result.target == fluid).any()) == (drawn.strip.keep_csf or drawn.strip.margin_vox > 0)


@pytest.mark.parametrize(("margin", "expected"), [(-1, 2**3), (0, 4**3), (1, 6**3)])
def test_edge_of_the_strip_moves_by_whole_voxels(margin: int, expected: int) -> None:
    brain = torch.zeros(12, 12, 12, dtype=torch.bool)
    brain[4:8, 4:8, 4:8] = True
    kept = apply_skull_strip(SkullStrip(False, margin), brain, torch.zeros_like(brain), (1, 1, 1))
    assert int(kept.sum()) == expected


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
    middle = {label: np.argwhere(real.labels == label).mean(0) for label in (2, 41, 8, 506)}
    assert middle[2][0] < middle[41][0], "left is at lower x"
    assert middle[8][1] < middle[506][1], "eyes are in front of the cerebellum"
    assert middle[8][2] < middle[2][2], "the cerebellum is below the hemispheres"
