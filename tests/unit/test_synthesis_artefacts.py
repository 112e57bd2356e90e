"""Artefacts and contrasts: each changes what it should and nothing else."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from vp_engine.anatomy import PARTS
from vp_engine.synthesis.corruption import Corruption, apply_corruption
from vp_engine.synthesis.ct import DENSITY_HU, apply_window, draw_ct
from vp_engine.synthesis.defacing import Defacing
from vp_engine.synthesis.field_of_view import FieldOfView, apply_field_of_view, draw_field_of_view, draw_shorter
from vp_engine.synthesis.ghosting import Ghosting, apply_ghosting, draw_ghosting
from vp_engine.synthesis.intensity import draw_intensity
from vp_engine.synthesis.kspace import KSpaceErrors, apply_kspace_errors, draw_kspace_errors
from vp_engine.synthesis.label_maps import LabelMap
from vp_engine.synthesis.motion import Motion, apply_motion, draw_motion
from vp_engine.synthesis.ranges import DeformationRanges, SynthesisRanges
from vp_engine.synthesis.resolution import draw_resolution
from vp_engine.synthesis.rigid import Rigid, apply_rigid, rotation_matrix
from vp_engine.synthesis.scan import ScanParameters, draw_head, draw_scan, synthesise

PLAIN = SynthesisRanges(
    deformation=DeformationRanges(0, 0, 0, 0, 0), thick_slices=0, low_resolution=0, cropped_field_of_view=0, ct=0,
    skull_strip=0, deface=0, motion=0, ghosting=0, kspace=0, lesion_free=0, pasted_lesions=0, grown_lesions=0,
    stroke=0, tumor=0, hemorrhage=0, resection=0, lookalikes=0, streams=(1.0,), spacing_mm=(3.0, 3.0),
)  # fmt: skip
LEFT, RIGHT, CORTEX, CSF, SKIN = 2, 41, 3, 24, 511
REST = Rigid(np.eye(3), np.zeros(3))


@pytest.fixture(scope="module")
def ball() -> LabelMap:
    """White matter of two sides, cortex, fluid and skin, with a lesion on the left."""
    x, y, z = np.meshgrid(*(np.arange(n) - (n - 1) / 2 for n in (150, 150, 150)), indexing="ij")
    radius = np.sqrt(x**2 + y**2 + z**2)
    labels = np.select(
        [radius < 45, radius < 52, radius < 57, radius < 70], [np.where(x < 0, LEFT, RIGHT), CORTEX, CSF, SKIN], 0
    )
    labels[(x + 20) ** 2 + y**2 + z**2 < 64] = 25
    return LabelMap(torch.from_numpy(labels.astype(np.int16)), "ball")


@pytest.fixture
def blocks() -> torch.Tensor:
    image = torch.zeros(32, 40, 24)
    image[8:24, 10:30, 6:18] = 1
    return image


ARTEFACTS = {
    "motion": Motion(1, ((0.05, 0.5, Rigid(rotation_matrix(np.array([0.05, 0.0, 0.0])), np.array([0.0, 3.0, 1.0]))),)),
    "ghosting": Ghosting(0, 3, 0.1, 1.0),
    "kspace": KSpaceErrors((1.0, 0.5, 1.0), (((0.1, 0.2, -0.1), 0.1, 0.3),)),
    "corruption": Corruption(3),
    "gamma": 2.0,
    "log_bias": np.linspace(-1, 1, 27).reshape(3, 3, 3),
    "window": (0.1, 0.4),
}


@pytest.mark.parametrize("name", sorted(ARTEFACTS))
def test_artefacts_change_the_image_and_never_the_target(ball: LabelMap, name: str) -> None:
    rng = np.random.default_rng(0)
    drawn, scan = draw_head(rng, PLAIN), replace(draw_scan(rng, PLAIN), gamma=1.0)
    head = synthesise(ball, drawn, [scan, replace(scan, **{name: ARTEFACTS[name]})])  # type: ignore[arg-type]  # one dict for fields of several types
    assert torch.equal(*head.targets)
    assert float((head.images[0] - head.images[1]).abs().mean()) > 0.003
    again = synthesise(ball, drawn, [replace(scan, **{name: ARTEFACTS[name]})])  # type: ignore[arg-type]
    assert torch.equal(again.images[0], head.images[1])


def test_a_head_at_rest_shows_no_motion(blocks: torch.Tensor) -> None:
    still = apply_motion(Motion(0, ((0.1, 0.5, REST),)), blocks, (1.0, 1.0, 3.0))
    assert torch.allclose(still, blocks, atol=1e-5)
    assert torch.allclose(apply_rigid(REST, blocks, (1.0, 2.0, 3.0)), blocks, atol=1e-4)


def test_motion_late_in_k_space_leaves_what_is_coarse(blocks: torch.Tensor) -> None:
    turned = Rigid(rotation_matrix(np.array([0.0, 0.0, 0.3])), np.array([6.0, 0.0, 0.0]))
    moved = apply_motion(Motion(0, ((0.2, 0.5, turned),)), blocks + 20, (1.0, 1.0, 1.0))
    change = torch.fft.rfft(moved - blocks - 20, dim=0).abs().flatten(1).mean(1)  # frequencies 0, 1/32, ... 1/2
    assert change[:6].max() < 0.1 * change[7:].max()


def test_rigid_movement_is_in_millimetres(blocks: torch.Tensor) -> None:
    moved = apply_rigid(Rigid(np.eye(3), np.array([0.0, 4.0, -3.0])), blocks, (1.0, 2.0, 3.0))
    assert torch.allclose(moved, blocks.roll((-2, 1), (1, 2)), atol=1e-4)
    # A quarter turn about z takes x to y whatever the spacing.
    image = torch.zeros(8, 6, 3)
    image[6, 2, 1] = 1  # 2.5 mm to the right and 1 mm behind the middle
    turned = apply_rigid(Rigid(rotation_matrix(np.array([0, 0, np.pi / 2])), np.zeros(3)), image, (1.0, 2.0, 1.0))
    # Now 1 mm to the left and 2.5 mm behind.
    assert turned.nonzero().float().mean(0).tolist() == pytest.approx([2.5, 1.25, 1], abs=0.3)


def test_motion_never_touches_the_middle_of_k_space() -> None:
    for seed in range(50):
        for low, high, _ in draw_motion(np.random.default_rng(seed)).segments:
            assert 0.02 <= low < high or low < high <= -0.02


def test_ghosts_lie_where_they_should(blocks: torch.Tensor) -> None:
    ghosted = apply_ghosting(Ghosting(1, 2, 0.1, 0.0), blocks)
    assert torch.allclose(ghosted, blocks + 0.2 * blocks.roll(20, 1), atol=1e-6)
    assert 2 <= draw_ghosting(np.random.default_rng(0)).copies < 9


def test_truncation_rings_along_its_axis_only(blocks: torch.Tensor) -> None:
    cut = apply_kspace_errors(KSpaceErrors((1.0, 0.5, 1.0), ()), blocks)
    assert cut.max() > 1.02, "Gibbs overshoot"
    assert torch.allclose(cut[:8], torch.zeros(8, 40, 24), atol=1e-6)
    assert torch.equal(apply_kspace_errors(KSpaceErrors((1.0, 1.0, 1.0), ()), blocks), blocks)


def test_a_spike_is_one_wave(blocks: torch.Tensor) -> None:
    shifted = blocks + 1
    waves = apply_kspace_errors(KSpaceErrors((1.0, 1.0, 1.0), (((0.25, 0.0, 0.0), 0.1, 0.0),)), shifted) - shifted
    spectrum = torch.fft.fftn(waves).abs()
    assert (spectrum > 1).nonzero().tolist() == [[8, 0, 0], [24, 0, 0]]
    drawn = [draw_kspace_errors(np.random.default_rng(seed)) for seed in range(20)]
    assert {bool(errors.spikes) for errors in drawn} == {True, False}
    assert all(errors.spikes or min(errors.kept) < 1 for errors in drawn)


def test_field_of_view_blanks_image_and_target(ball: LabelMap, blocks: torch.Tensor) -> None:
    seen = FieldOfView((0, 12, 4), (32, 40, 20))
    kept = apply_field_of_view(seen, blocks)
    assert torch.equal(kept[:, 12:, 4:20], blocks[:, 12:, 4:20])
    assert not kept[:, :12].any()
    rng = np.random.default_rng(0)
    scan = draw_scan(rng, PLAIN)
    x, y, z = scan.resolution.shape
    half = replace(scan, field_of_view=FieldOfView((0, 0, 0), (x // 2, y, z)))
    head = synthesise(ball, draw_head(rng, PLAIN), [scan, half])
    assert torch.equal(head.targets[0][: x // 2], head.targets[1][: x // 2])
    assert not head.targets[1][x // 2 :].any()


def test_drawn_fields_of_view_lie_within_the_grid() -> None:
    for seed in range(60):
        rng = np.random.default_rng(seed)
        grid = draw_resolution(rng, SynthesisRanges())
        seen = draw_field_of_view(rng, grid.shape)
        assert all(0 <= a < b <= n for a, b, n in zip(seen.start, seen.stop, grid.shape, strict=True))
        assert (seen.start, seen.stop) != ((0, 0, 0), grid.shape)
        shorter = draw_shorter(rng, grid)
        for few, many in zip(shorter.axes_mm(), grid.axes_mm(), strict=True):
            assert many[0] - 1e-9 <= few[0] <= few[-1] <= many[-1] + 1e-9
            assert np.abs(np.subtract.outer(few, many)).min(1).max() <= np.diff(many).max() / 2 + 1e-9


def test_defacing_leaves_the_brain(ball: LabelMap) -> None:
    rng = np.random.default_rng(0)
    drawn, scan = draw_head(rng, PLAIN), draw_scan(rng, PLAIN)
    scan = replace(scan, noise=replace(scan.noise, std=0.0))  # which may be darker than what is cut away
    faceless = replace(drawn, defacing=Defacing((0.0, 1.0, 0.0), 2.0))
    whole, cut = (synthesise(ball, d, [scan]) for d in (drawn, faceless))
    assert torch.equal(whole.targets[0] * (whole.targets[0] != 1 + PARTS.index("csf")),
                       cut.targets[0] * (cut.targets[0] != 1 + PARTS.index("csf")))  # fmt: skip
    y = scan.resolution.axes_mm()[1]
    assert cut.images[0][:, y > 58].max() == 0 < whole.images[0][:, y > 58].max()
    brain = whole.targets[0] > 0
    behind = brain & torch.from_numpy(y < 50)[:, None]
    assert bool((cut.images[0][behind] > 0).any())


def test_densities_of_ct_are_in_order() -> None:
    order = ["background", "skin", "csf", "lesion", "cerebral_white_matter", "cerebral_cortex", "vessel", "muscle",
             "marrow", "bone"]  # fmt: skip
    means = [DENSITY_HU[tissue][0] for tissue in order]
    assert means == sorted(means)
    for seed in range(20):
        intensity, (low, high) = draw_ct(np.random.default_rng(seed))
        air, fluid, white, gray, bone = (float(intensity.mean[label]) for label in (0, 24, 2, 3, 515))
        assert air == 0
        assert max(low, 0.99) < fluid < white < gray < min(high, 1.05)
        assert 1.5 < bone < 2.7
        windowed = apply_window((low, high), torch.from_numpy(intensity.mean[[0, 24, 2, 3, 515]]))
        assert windowed[0] == 0
        assert bool((windowed.diff() > 0).all())


def test_random_contrast_has_its_share_and_lesions_are_visible() -> None:
    drawn = [draw_intensity(np.random.default_rng(seed), prior_contrast=0.6) for seed in range(200)]
    free = [i for i in drawn if abs(i.mean[3] - i.mean[8]) > 0.15]  # both cortices look alike in every sequence
    assert 40 < len(free) < 90
    assert min(abs(float(i.mean[25] - i.mean[2])) for i in drawn) >= 0.0599
    assert all((i.mean >= -0.3).all() and (i.std >= 0).all() for i in drawn)


def test_corrupt_streams_show_nothing(blocks: torch.Tensor) -> None:
    assert not apply_corruption(Corruption(None), blocks).any()
    noise = apply_corruption(Corruption(1), blocks)
    assert abs(float(torch.corrcoef(torch.stack([noise.flatten(), blocks.flatten()]))[0, 1])) < 0.05


def test_ct_scans_have_no_shading_and_no_artefacts_of_resonance() -> None:
    ranges = replace(PLAIN, ct=1.0, motion=1.0, ghosting=1.0, kspace=1.0)
    scan: ScanParameters = draw_scan(np.random.default_rng(0), ranges)
    assert scan.window is not None
    assert scan.motion is scan.ghosting is scan.kspace is None
    assert not scan.log_bias.any()
    assert (scan.gamma, scan.noise.rician) == (1, False)
