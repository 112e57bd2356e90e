"""How lesions look: by sequence, after contrast agent, on CT; and that they alone are patchy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest
import torch

from vp_engine.synthesis.ct import draw_ct
from vp_engine.synthesis.intensity import Intensity, apply_intensity, draw_intensity
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
)

WHITE, CORTEX, CSF, CHOROID, BONE = 2, 3, 24, 136, 515
LESIONS = (*LESION, NECROSIS, ENHANCING, EDEMA, GLIOMA, STROKE_CAVITY, GLIOSIS, BLOOD, BLOOD_RIM, SURGICAL_CAVITY)
LOOKALIKES = (*PERIVASCULAR_SPACE, *BRIGHT_RIM)


def drawn(sequence: str, *, count: int = 60, agent: bool = False) -> list[Intensity]:
    return [
        draw_intensity(np.random.default_rng(seed), prior_contrast=1.0, sequence=sequence, contrast_agent=agent)
        for seed in range(count)
    ]


BRIGHT, DARK = 1, -1
SIGNS: Mapping[str, Mapping[int, int]] = {
    "FLAIR": {LESION[0]: BRIGHT, EDEMA: BRIGHT, GLIOMA: BRIGHT, GLIOSIS: BRIGHT, STROKE_CAVITY: DARK,
              SURGICAL_CAVITY: DARK, PERIVASCULAR_SPACE[0]: DARK, BRIGHT_RIM[0]: BRIGHT},
    "T1w": {LESION[0]: DARK, EDEMA: DARK, GLIOMA: DARK, GLIOSIS: DARK, STROKE_CAVITY: DARK, SURGICAL_CAVITY: DARK,
            ENHANCING: DARK, PERIVASCULAR_SPACE[0]: DARK, BRIGHT_RIM[0]: DARK},
    "T2w": {LESION[0]: BRIGHT, EDEMA: BRIGHT, GLIOMA: BRIGHT, GLIOSIS: BRIGHT, STROKE_CAVITY: BRIGHT,
            SURGICAL_CAVITY: BRIGHT, PERIVASCULAR_SPACE[0]: BRIGHT, BRIGHT_RIM[0]: BRIGHT},
}  # fmt: skip


@pytest.mark.parametrize("sequence", sorted(SIGNS))
def test_lesions_are_bright_or_dark_as_the_sequence_has_it(sequence: str) -> None:
    for label, sign in SIGNS[sequence].items():
        differences = [sign * float(i.mean[label] - i.mean[WHITE]) for i in drawn(sequence)]
        assert np.quantile(differences, 0.1) > 0, label


def test_fluid_in_lesions_looks_like_fluid_and_scars_do_not() -> None:
    for sequence in ("T1w", "T2w", "FLAIR"):
        for label in (STROKE_CAVITY, SURGICAL_CAVITY):
            assert np.median([abs(float(i.mean[label] - i.mean[CSF])) for i in drawn(sequence)]) < 0.12
        assert np.median([abs(float(i.mean[GLIOSIS] - i.mean[CSF])) for i in drawn(sequence)]) > 0.15
    rims = drawn("FLAIR")
    assert np.mean([i.mean[WHITE] < i.mean[BRIGHT_RIM[0]] < i.mean[LESION[0]] for i in rims]) > 0.9


@pytest.mark.parametrize("prior_contrast", [0.0, 1.0])
def test_every_lesion_can_be_told_from_white_matter_and_both_sides_look_alike(prior_contrast: float) -> None:
    for seed in range(60):
        mean = draw_intensity(np.random.default_rng(seed), prior_contrast=prior_contrast).mean
        assert np.abs(mean[[*LESIONS]] - mean[WHITE]).min() >= 0.0599
        assert all(mean[left] == mean[right] for left, right in (LESION, PERIVASCULAR_SPACE, BRIGHT_RIM))


def test_contrast_agent_brightens_tumor_plexus_and_vessels_on_t1w_alone() -> None:
    after, before = (drawn("T1w", agent=agent) for agent in (True, False))
    for label in (ENHANCING, CHOROID):
        assert min(i.mean[label] for i in after) > np.median([i.mean[label] for i in before])
    assert np.mean([i.mean[ENHANCING] > i.mean[WHITE] for i in after]) > 0.85
    assert np.mean([i.mean[ENHANCING] > i.mean[WHITE] for i in before]) < 0.1
    for label in (WHITE, CORTEX, CSF, EDEMA, GLIOMA):
        assert np.median([i.mean[label] for i in after]) == pytest.approx(
            np.median([i.mean[label] for i in before]), abs=0.03
        )
    for sequence in ("T2w", "FLAIR", "PDw"):
        for one, other in zip(drawn(sequence, agent=True), drawn(sequence), strict=True):
            assert np.array_equal(one.mean, other.mean)
    sometimes = [draw_intensity(np.random.default_rng(s), prior_contrast=1.0, sequence="T1w") for s in range(300)]
    assert np.mean([i.mean[ENHANCING] > 0.75 for i in sometimes]) == pytest.approx(0.3, abs=0.07)


def test_blood_and_fluid_with_protein_vary_as_widely_as_they_do() -> None:
    for sequence in ("T1w", "T2w", "FLAIR"):
        for label in (BLOOD, BLOOD_RIM):
            assert np.ptp([i.mean[label] for i in drawn(sequence)]) > 0.8
    assert np.ptp([i.mean[NECROSIS] for i in drawn("FLAIR")]) > 0.4


def test_densities_of_lesions_are_in_order() -> None:
    scans = [draw_ct(np.random.default_rng(seed))[0] for seed in range(100)]
    for order in (
        (CSF, EDEMA, WHITE, CORTEX, BLOOD, BONE),
        (CSF, GLIOSIS, WHITE, BLOOD),
        (STROKE_CAVITY, GLIOSIS, CORTEX),
        (SURGICAL_CAVITY, WHITE, BLOOD_RIM),
    ):
        assert np.mean([(np.diff(i.mean[[*order]]) > 0).all() for i in scans]) > 0.95
    assert np.mean([i.mean[[*LESIONS]].max() < 1.1 for i in scans]) == 1, "none as dense as bone"


def test_lesions_alone_are_patchy() -> None:
    """Also beside tissue that is darker than air."""
    others = (0, WHITE, CORTEX, CSF, BONE, *LOOKALIKES)
    slabs = torch.tensor([*LESIONS, *others]).repeat_interleave(4)
    labels = slabs[:, None, None].expand(-1, 24, 24).to(torch.int16)
    intensity = next(
        i
        for i in (draw_intensity(np.random.default_rng(s), prior_contrast=1.0) for s in range(100))
        if i.mean[0] > i.mean[BONE] + 0.02 and i.patchiness.max() > 0.05
    )
    assert not intensity.patchiness[[*others]].any()
    assert (intensity.patchiness[[*LESIONS]] > 0).all()
    flat = apply_intensity(replace(intensity, patchiness=np.zeros_like(intensity.patchiness)), labels, seed=1)
    one, same, other = (apply_intensity(intensity, labels, seed=seed) for seed in (1, 1, 2))
    ill = torch.isin(slabs, torch.tensor(LESIONS))
    assert torch.equal(one, same)
    assert torch.equal(one[~ill], flat[~ill])
    assert float(flat[~ill].min()) < 0
    for label in LESIONS:
        inside = slabs == label
        assert not torch.equal(one[inside], other[inside])
        spread = float((one[inside] - flat[inside]).std())
        assert 0.3 * intensity.patchiness[label] < spread < 1.2 * intensity.patchiness[label]


def test_patches_are_millimetres_wide_and_never_darker_than_air() -> None:
    intensity = draw_intensity(np.random.default_rng(0), prior_contrast=1.0)
    patchy = np.zeros_like(intensity.patchiness)
    patchy[GLIOMA] = 0.02
    glioma = torch.full((60, 60, 60), GLIOMA, dtype=torch.int16)
    image = apply_intensity(replace(intensity, patchiness=patchy), glioma, seed=0)
    waves = image - image.mean()
    along = [float((waves[:-n] * waves[n:]).mean() / waves.square().mean()) for n in (1, 5, 12)]
    assert along[0] > 0.85
    assert 0.05 < along[1] < 0.6
    assert abs(along[2]) < 0.1
    patchy[GLIOMA] = 10.0
    assert float(apply_intensity(replace(intensity, patchiness=patchy), glioma, seed=0).min()) >= 0
