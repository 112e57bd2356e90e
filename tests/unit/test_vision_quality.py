"""The score of a mask: bounded, higher for more confidence, absent for no mask, and never that of other weights."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from vp_engine.anatomy import PARTS, without_side
from vp_engine.errors import WeightsError
from vp_engine.vision.network import VisionConfig, VisionNetwork
from vp_engine.vision.quality import (
    FEATURES,
    QUALITY,
    QualityModel,
    expected_dice,
    features,
    load_quality,
    save_quality,
    weights_sha256,
)
from vp_engine.vision.segmenter import NetworkSegmenter
from vp_engine.volumes.volume import Volume

MODEL = QualityModel(
    weights_sha256="0" * 64,
    intercept=-0.5,
    slopes=dict(zip(FEATURES, (1.2, 0.4, -0.3, -0.2), strict=True)),
    offsets={without_side(part): 0.0 for part in PARTS} | {"hippocampus": -0.4, "amygdala": -0.8},
    typical_mm3=dict.fromkeys(PARTS, 512.0),
)


def cube(p: float, size: int = 8) -> np.ndarray:
    """A cube of one probability in a box with a rim of 0.02."""
    probability = np.full((size + 2,) * 3, 0.02, np.float32)
    probability[1:-1, 1:-1, 1:-1] = p
    return probability


def score(probability: np.ndarray, *parts: str, spacing_mm: tuple[float, ...] = (1.0, 1.0, 1.0)) -> float:
    found = MODEL.qc_score(probability, probability > 0.3, parts=parts or PARTS[:1], spacing_mm=spacing_mm)
    assert found is not None
    return found


def test_expected_dice_is_that_of_mask_and_probabilities() -> None:
    probability = np.array([[[0.9, 0.6, 0.2]]], np.float32)
    assert expected_dice(probability, probability > 0.5) == pytest.approx(2 * 1.5 / (1.7 + 2))


def test_more_confidence_gives_a_higher_score_between_0_and_1() -> None:
    scores = [score(cube(p)) for p in np.linspace(0.31, 1, 15)]
    assert all(0 < a < b < 1 for a, b in pairwise(scores))


@pytest.mark.parametrize(("size", "small", "large"), [(8, 0, 0), (4, -np.log(8), 0), (16, 0, np.log(8))])
def test_volume_is_seen_relative_to_the_typical_one(size: int, small: float, large: float) -> None:
    probability = cube(0.9, size)
    found = features(probability, probability > 0.3, spacing_mm=(1, 1, 1), typical_mm3=512)
    assert found is not None
    assert dict(zip(FEATURES, found, strict=True)) | {"small": small, "large": large, "voxel": 0} == pytest.approx(
        dict(zip(FEATURES, found, strict=True))
    )


def test_millimetres_count_not_voxels() -> None:
    assert score(cube(0.9, 8)) != score(cube(0.9, 8), spacing_mm=(1, 1, 4))
    same_volume = replace(MODEL, slopes={**MODEL.slopes, "voxel": 0.0})
    mask = np.ones((8, 8, 8), bool)
    whole, halved = (
        same_volume.qc_score(0.9 * m.astype(np.float32), m, parts=PARTS[:1], spacing_mm=spacing)
        for m, spacing in ((mask, (1, 1, 1)), (mask[::2], (2, 1, 1)))
    )
    assert whole == pytest.approx(halved)


def test_empty_space_around_does_not_matter() -> None:
    probability = cube(0.8)
    probability[probability < 0.1] = 0
    assert score(np.pad(probability, 5)) == pytest.approx(score(probability), abs=1e-12)


def test_a_union_has_the_mean_offset_of_its_parts() -> None:
    def evidence(value: float) -> float:
        return float(np.log(value / (1 - value)))

    both = replace(MODEL, typical_mm3=MODEL.typical_mm3 | dict.fromkeys(("left_hippocampus", "left_amygdala"), 256.0))
    probability = cube(0.9)
    union = both.qc_score(
        probability, probability > 0.3, parts=("left_hippocampus", "left_amygdala"), spacing_mm=(1, 1, 1)
    )
    assert union is not None
    assert evidence(union) - evidence(score(probability)) == pytest.approx(-0.6)
    assert score(probability, "left_hippocampus") == score(probability, "right_hippocampus")


def test_no_mask_has_no_score() -> None:
    probability = cube(0.2)
    assert expected_dice(probability, probability > 0.3) is None
    assert MODEL.qc_score(probability, probability > 0.3, parts=PARTS[:1], spacing_mm=(1, 1, 1)) is None


def test_every_region_carries_the_score_of_its_mask() -> None:
    torch.manual_seed(0)
    network = VisionNetwork(VisionConfig(PARTS, channels=(8, 8))).eval()
    spacing_mm = (3.0, 2.0, 2.5)
    volume = Volume(np.random.default_rng(0).random((24, 32, 28), np.float32), np.diag([*spacing_mm, 1.0]))
    unions = {"first": PARTS[:1], "most": PARTS[:20]}
    for name, region in NetworkSegmenter(network, MODEL).regions(volume, unions):
        expected = MODEL.qc_score(region.probability, region.inside, parts=unions[name], spacing_mm=spacing_mm)
        assert region.qc_score == expected
        assert (expected is None) == (not region.inside.any())
    assert all(region.qc_score is None for _, region in NetworkSegmenter(network).regions(volume, unions))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "model.safetensors").write_bytes(b"weights")
    save_quality(replace(MODEL, weights_sha256=weights_sha256(tmp_path)), tmp_path)
    return tmp_path


def test_round_trip(folder: Path) -> None:
    assert load_quality(folder, parts=PARTS) == replace(MODEL, weights_sha256=weights_sha256(folder))


def _edit(**changes: Any) -> Callable[[Path], None]:
    def tamper(folder: Path) -> None:
        content = json.loads((folder / QUALITY).read_text())
        for key, value in changes.items():
            content[key] = content[key] | value if isinstance(value, dict) else value
        (folder / QUALITY).write_text(json.dumps(content))

    return tamper


def _without(name: str, key: str) -> Callable[[Path], None]:
    def tamper(folder: Path) -> None:
        content = json.loads((folder / QUALITY).read_text())
        del content[name][key]
        (folder / QUALITY).write_text(json.dumps(content))

    return tamper


@pytest.mark.parametrize(
    ("tamper", "code"),
    [
        (lambda folder: (folder / QUALITY).unlink(), "quality_unreadable"),
        (lambda folder: (folder / QUALITY).write_text("{"), "quality_unreadable"),
        (lambda folder: (folder / QUALITY).write_text("[]"), "quality_keys"),
        (_edit(surprise=1), "quality_keys"),
        (_edit(slopes={"surprise": 1.0}), "quality_keys"),
        (_edit(offsets=None), "quality_keys"),
        (_without("offsets", "hippocampus"), "quality_keys"),
        (_without("typical_mm3", PARTS[3]), "quality_keys"),
        (_edit(intercept="1"), "quality_numbers"),
        (_edit(intercept=True), "quality_numbers"),
        (_edit(offsets={"hippocampus": float("nan")}), "quality_numbers"),
        (_edit(slopes={"confidence": 0.0}), "quality_numbers"),
        (_edit(typical_mm3={PARTS[0]: 0}), "quality_numbers"),
        (lambda folder: (folder / "model.safetensors").write_bytes(b"others"), "quality_stale"),
    ],
)
def test_tampering_is_told_apart(folder: Path, tamper: Callable[[Path], object], code: str) -> None:
    tamper(folder)
    with pytest.raises(WeightsError) as caught:
        load_quality(folder, parts=PARTS)
    assert caught.value.code == code
