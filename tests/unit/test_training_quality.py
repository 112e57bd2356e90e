"""The fit of the score: finds what made the shares, and is connected from label maps to a file that is loaded."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from vp_engine.anatomy import PARTS, without_side
from vp_engine.errors import WeightsError
from vp_engine.synthesis.degradation import degraded_scans
from vp_engine.synthesis.label_maps import LabelMap
from vp_engine.training import quality as training
from vp_engine.training import sources
from vp_engine.training.quality import JudgedMask, QualityRecipe, fit, train_quality, typical_volumes
from vp_engine.training.sources import Archives
from vp_engine.vision.checkpoint import save_pretrained
from vp_engine.vision.network import VisionConfig, VisionNetwork
from vp_engine.vision.quality import FEATURES, load_quality

TINY = QualityRecipe(images=2, structures_per_image=6)


@pytest.fixture(scope="module")
def ball() -> LabelMap:
    """Two hemispheres in fluid."""
    n = torch.arange(100) - 49.5
    radius = (n[:, None, None] ** 2 + n[None, :, None] ** 2 + n[None, None, :] ** 2).sqrt()
    sides = torch.where(n[:, None, None] < 0, 2, 41).expand(radius.shape)
    return LabelMap(torch.where(radius < 32, sides, torch.where(radius < 38, 24, 0)).to(torch.int16), "01")


def judged(rng: np.random.Generator, count: int) -> list[JudgedMask]:
    """Masks of parts and of pairs, whose Dice follows a law."""
    masks = []
    for _ in range(count):
        parts = tuple(rng.choice(PARTS, size=rng.choice((1, 2)), replace=False).tolist())
        x = rng.normal(0, 1, len(FEATURES))
        offset = np.mean([-1.5 if "amygdala" in part else 0 for part in parts])
        evidence = -0.5 + x @ (1.4, 0.5, -0.5, 0.0) + offset + rng.normal(0, 0.1)
        masks.append(JudgedMask(parts, tuple(x.tolist()), float(1 / (1 + np.exp(-evidence)))))
    return masks


def test_the_law_behind_shares_is_found() -> None:
    intercept, slopes, offsets = fit(judged(np.random.default_rng(0), 3000), recipe=TINY)
    assert slopes == pytest.approx((1.4, 0.5, -0.5, 0.0), abs=0.05)
    assert intercept + offsets["amygdala"] == pytest.approx(-2, abs=0.3)  # drawn towards the average structure
    assert intercept + offsets["caudate"] == pytest.approx(-0.5, abs=0.1)


def test_without_masks_it_is_the_score_without_calibration() -> None:
    mask = JudgedMask((PARTS[0],), (0.0,) * len(FEATURES), 0.5)
    intercept, slopes, offsets = fit([mask], recipe=TINY)
    assert (intercept, slopes) == (0, (1, 0, 0, 0))
    assert set(offsets) == {without_side(part) for part in PARTS}
    assert not any(offsets.values())


def test_scans_are_of_all_grades_and_the_same_for_the_same_seed(ball: LabelMap) -> None:
    once, again = (list(degraded_scans([ball], images=3, structures_per_image=5, seed=4)) for _ in range(2))
    for a, b in zip(once, again, strict=True):
        assert np.array_equal(a.scan.data, b.scan.data)
        assert (list(a.unions), len(a.unions)) == (list(b.unions), 5)
        assert a.truth.shape == a.scan.shape
    assert not np.array_equal(once[0].scan.data, once[1].scan.data)


def test_dice_with_the_truth_counts_what_lies_outside_the_box(ball: LabelMap) -> None:
    (known,) = degraded_scans([ball], images=1, structures_per_image=59, seed=0)
    name = "right_cerebral_white_matter"
    true = known.truth == 1 + PARTS.index(name)
    assert known.dice(name, (0, 0, 0), true) == 1
    half = true[: true.shape[0] // 2]
    assert known.dice(name, (0, 0, 0), half) == pytest.approx(2 * half.sum() / (half.sum() + true.sum()))
    assert known.dice("brainstem", (0, 0, 0), true) == 0


def test_typical_volumes_are_those_of_the_maps_and_of_lesions_where_there_are_any(ball: LabelMap) -> None:
    typical = typical_volumes([ball])
    hemisphere = 4 / 3 * np.pi * 32**3 / 2
    assert 0.93 * hemisphere < typical["left_cerebral_white_matter"] < 0.99 * hemisphere, "lesions took the rest"
    assert 0.0005 < typical["white_matter_lesion"] / (2 * hemisphere) < 0.06
    assert typical["hemorrhage"] > 1000, "of the one head in twenty that has one"
    assert typical["brainstem"] == typical["resection_cavity"] == 1, "the ball has no cortex for a cavity to begin at"


def test_from_maps_to_a_file_that_is_loaded(ball: LabelMap, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    save_pretrained(VisionNetwork(VisionConfig(PARTS, channels=(8, 8))), tmp_path)
    monkeypatch.setattr(sources, "load_label_maps", lambda _: [ball])
    monkeypatch.setattr(training, "_ILL_MAPS", 3)
    train_quality(Archives(tmp_path / "maps.npz"), tmp_path, recipe=TINY, report=lambda _: None)
    assert load_quality(tmp_path, parts=PARTS).typical_mm3 == typical_volumes([ball])


def test_confidence_that_says_nothing_is_no_score(
    ball: LabelMap, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_pretrained(VisionNetwork(VisionConfig(PARTS, channels=(8, 8))), tmp_path)
    monkeypatch.setattr(sources, "load_label_maps", lambda _: [ball])
    monkeypatch.setattr(training, "_ILL_MAPS", 3)
    worse = [JudgedMask((PARTS[0],), (x, 0.0, 0.0, 0.0), 0.5 - x / 10) for x in np.linspace(-4, 4, 200)]
    monkeypatch.setattr(training, "judged_masks", lambda *_: iter(worse))
    with pytest.raises(WeightsError, match="slope"):
        train_quality(Archives(tmp_path / "maps.npz"), tmp_path, recipe=TINY, report=lambda _: None)
