"""The recipe of the vision network: connected from label maps to weights, and resumable."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from vp_engine.training.losses import segmentation_loss
from vp_engine.training.vision import HELD_OUT_MAPS, RECIPES, learning_rate, train_vision
from vp_engine.vision.checkpoint import from_pretrained


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """Two heads of three tissues in the layout of the real archive, one of them held out."""
    n = np.arange(90) - 44.5
    radius = np.sqrt(n[:, None, None] ** 2 + n[None, :, None] ** 2 + n[None, None, :] ** 2)
    right = np.broadcast_to(n[None, None, :] < 0, radius.shape)  # stored k, j, i with i running to the left
    index = np.select([radius < 30, radius < 35], [np.where(right, 2, 1), 3], 0).astype(np.uint8)
    lia = np.array([[-1, 0, 0, 45], [0, 0, 1, -45], [0, -1, 0, 45], [0, 0, 0, 1]], float)
    names = ("01", HELD_OUT_MAPS[0])
    arrays = {f"map_{name}": index for name in names} | {f"affine_{name}": lia for name in names}
    np.savez(tmp_path / "maps.npz", label_values=np.array([0, 2, 41, 24]), **arrays)
    return tmp_path / "maps.npz"


SMALL = replace(
    RECIPES["smoke"],
    steps=4,
    save_every=2,
    channels=(8, 8, 8),
    ranges=replace(RECIPES["smoke"].ranges, field_of_view_mm=((90.0,) * 3,) * 2, spacing_mm=(4.0, 5.0)),
)


def test_a_resumed_run_gives_the_weights_of_an_uninterrupted_one(archive: Path, tmp_path: Path) -> None:
    whole = train_vision(archive, tmp_path / "whole", recipe=SMALL, report=lambda _: None)

    class Stopped(Exception):
        pass

    def stop(_: str) -> None:
        raise Stopped

    with pytest.raises(Stopped):
        train_vision(archive, tmp_path / "halves", recipe=SMALL, report=stop)
    halves = train_vision(archive, tmp_path / "halves", recipe=SMALL, report=lambda _: None)
    steps = [json.loads(line)["step"] for line in (tmp_path / "halves/log.jsonl").read_text().splitlines()]
    assert steps == [1, 2, 3, 4]
    a, b = load_file(whole / "model.safetensors"), load_file(halves / "model.safetensors")
    for key, value in a.items():
        torch.testing.assert_close(value, b[key], atol=1e-4, rtol=1e-3)
    assert from_pretrained(whole).config.channels == (8, 8, 8)


def test_learning_rate_rises_and_falls() -> None:
    recipe = RECIPES["cpu-2mm"]
    assert learning_rate(recipe, 0) < learning_rate(recipe, recipe.warmup_steps) == pytest.approx(recipe.learning_rate)
    assert learning_rate(recipe, recipe.steps) == pytest.approx(recipe.learning_rate / 100)


def test_loss_is_least_for_the_truth() -> None:
    target = torch.tensor([0, 1, 2, 2, 1, 0])
    right = 20 * torch.nn.functional.one_hot(target, 4).float()
    loss, dice = segmentation_loss(right, target)
    assert float(loss) == pytest.approx(0, abs=1e-5)
    assert float(dice) == pytest.approx(1)
    wrong, poor = segmentation_loss(right.roll(1, dims=0), target)
    assert float(wrong) > 5
    assert float(poor) < 0.8
