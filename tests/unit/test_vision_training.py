"""The recipe of the vision network: connected from label maps to weights, and resumable."""

from __future__ import annotations

import copy
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from vp_engine.anatomy import ANATOMICAL_PARTS, PARTS
from vp_engine.synthesis.ranges import SynthesisRanges
from vp_engine.synthesis.scan import random_head
from vp_engine.training.balance import Balance, balances, best_balance, shift_lesions
from vp_engine.training.losses import segmentation_loss
from vp_engine.training.optimizers import MuonAdamW
from vp_engine.training.sources import Archives
from vp_engine.training.vision import RECIPES, Stage, VisionRecipe, learning_rate, train_vision
from vp_engine.vision.checkpoint import extended, from_pretrained, save_pretrained
from vp_engine.vision.network import VisionConfig, VisionNetwork, voxel_rows


def small(*, fine: bool) -> VisionRecipe:
    """Four steps on 90 mm: two at 5 mm, two at 2.6 mm, or at 1.3 mm with the fine level."""
    coarse = SynthesisRanges(field_of_view_mm=((90.0,) * 3,) * 2, spacing_mm=(5.0, 5.0), thick_slices=0.0)
    late = replace(coarse, spacing_mm=(1.3, 1.3) if fine else (2.6, 2.6))
    return replace(RECIPES["smoke"], stages=(Stage(2, (coarse,)), Stage(2, (late,))), channels=(8, 8, 8))


@pytest.mark.parametrize("fine", [False, True])
def test_a_resumed_run_gives_the_weights_of_an_uninterrupted_one(archive: Path, tmp_path: Path, *, fine: bool) -> None:
    recipe = small(fine=fine)
    whole = train_vision(Archives(archive), tmp_path / "whole", recipe=recipe, report=lambda _: None)

    class Stopped(Exception):
        pass

    def stop(_: str) -> None:
        raise Stopped

    with pytest.raises(Stopped):
        train_vision(Archives(archive), tmp_path / "halves", recipe=recipe, report=stop)
    halves = train_vision(Archives(archive), tmp_path / "halves", recipe=recipe, report=lambda _: None)
    steps = [json.loads(line)["step"] for line in (tmp_path / "halves/log.jsonl").read_text().splitlines()]
    assert steps == [1, 2, 3, 4]
    a, b = load_file(whole / "model.safetensors"), load_file(halves / "model.safetensors")
    for key, value in a.items():
        torch.testing.assert_close(value, b[key], atol=1e-4, rtol=1e-3)
    assert from_pretrained(whole).config.channels == (8, 8, 8)


def test_learning_rate_rises_stays_and_falls() -> None:
    recipe = RECIPES["cpu-1mm"]
    rates = [learning_rate(recipe, step) for step in range(recipe.steps)]
    assert rates[0] < rates[recipe.warmup_steps] == rates[recipe.steps - recipe.decay_steps] == 1
    assert rates[-1] == pytest.approx(1 / recipe.decay_steps)


def test_stages_follow_one_another() -> None:
    recipe = small(fine=True)
    spacings = [recipe.ranges(step, np.random.default_rng(0)).spacing_mm[0] for step in range(4)]
    assert spacings == [5.0, 5.0, 1.3, 1.3]
    with pytest.raises(ValueError, match="before the end"):
        recipe.ranges(4, np.random.default_rng(0))


def test_muon_moves_the_convolutions_and_adamw_the_rest() -> None:
    torch.manual_seed(0)
    network = VisionNetwork(VisionConfig(PARTS, channels=(8, 8), fine_channels=0))
    before = copy.deepcopy(network.state_dict())
    convolutions = [p for p in network.parameters() if p.ndim == 5 and p.shape[1] > 1]
    optimizer = MuonAdamW(network, convolutions, learning_rate=1e-2, weight_decay=0.0, matrix_factor=2.0)
    features = network.trunk([torch.rand(16, 16, 16)], [torch.eye(4, dtype=torch.float64)])[0]
    network.part_logits(voxel_rows(features)).square().mean().backward()
    optimizer.step()
    moved = {k: v - before[k] for k, v in network.state_dict().items() if k.endswith("weight")}
    convolution = moved["down.1.layers.0.weight"].permute(0, 2, 3, 4, 1).flatten(1)
    values = torch.linalg.svdvals(convolution)  # Muon's steps are nearly orthogonal: no direction is left behind
    assert values.min() > 0.4 * values.max()
    assert convolution.square().mean().sqrt() == pytest.approx(2e-2 * 0.2, rel=0.4)
    assert moved["head.2.weight"].abs().max() == pytest.approx(1e-2, rel=0.01)
    assert all(p.grad is None for p in network.parameters())


def test_loss_is_least_for_the_truth() -> None:
    target = torch.tensor([0, 1, 2, 2, 1, 0])
    right = 20 * torch.nn.functional.one_hot(target, 4).float()
    loss, dice = segmentation_loss(right, target)
    assert float(loss) == pytest.approx(0, abs=1e-5)
    assert float(dice) == pytest.approx(1)
    wrong, poor = segmentation_loss(right.roll(1, dims=0), target)
    assert float(wrong) > 5
    assert float(poor) < 0.8


def test_rare_classes_can_be_lifted_to_the_weight_of_frequent_ones() -> None:
    torch.manual_seed(0)
    target = torch.tensor([0] * 900 + [1] * 700 + [2] * 300 + [3] * 100)
    logits = torch.randn(2000, 5)
    plain, dice = segmentation_loss(logits, target)
    own = torch.stack([torch.nn.functional.cross_entropy(logits[target == k], target[target == k]) for k in (2, 3)])
    lifted, same = segmentation_loss(logits, target, rare=slice(2, 4), lift=0.5)
    assert float(lifted - plain) == pytest.approx(0.5 * float(own.mean()), rel=1e-4)
    assert float(dice) == float(same)
    absent, _ = segmentation_loss(logits, target, rare=slice(4, 5), lift=0.5)
    assert float(absent) == pytest.approx(float(plain))
    # One voxel does not count as much as a class.
    few = torch.tensor([0] * 1999 + [4])
    rise = segmentation_loss(logits, few, rare=slice(4, 5), lift=1.0)[0] - segmentation_loss(logits, few)[0]
    one = torch.nn.functional.cross_entropy(logits[-1:], few[-1:])
    assert float(rise) == pytest.approx(float(one) / 50, rel=1e-3)


def test_training_goes_on_from_weights_that_know_fewer_structures(archive: Path, tmp_path: Path) -> None:
    known = VisionConfig((*ANATOMICAL_PARTS, "white_matter_lesion"), channels=(8, 8, 8), fine_channels=8)
    torch.manual_seed(3)
    save_pretrained(VisionNetwork(known), tmp_path / "known")
    recipe = replace(small(fine=False), learning_rate=0.0)  # so that what it began with is what it ends with
    weights = train_vision(
        Archives(archive), tmp_path / "run", recipe=recipe, start=tmp_path / "known", report=lambda _: None
    )
    began = extended(tmp_path / "known", replace(known, structures=PARTS), like="white_matter_lesion").state_dict()
    for key, value in load_file(weights / "model.safetensors").items():
        torch.testing.assert_close(value, began[key], atol=1e-6, rtol=1e-5)
    last = json.loads((tmp_path / "run/log.jsonl").read_text().splitlines()[-1])
    assert 0 <= last["validation_dice"] < 1
    assert {"validation_pathology", "loss"} <= set(last)


def test_a_shift_of_the_evidence_for_lesions_is_what_the_balance_says_of_it(archive: Path) -> None:
    torch.manual_seed(0)
    network = VisionNetwork(VisionConfig(PARTS, channels=(8, 8, 8), fine_channels=8))
    maps, _ = Archives(archive).label_maps()
    ranges = replace(small(fine=True).stages[1].ranges[0], lesion_free=1.0, pasted_lesions=0.0, grown_lesions=0.0)
    ill = {"stroke": 0.0, "hemorrhage": 0.0, "resection": 0.0}
    heads = [
        random_head(np.random.default_rng(0), maps, replace(ranges, **ill, tumor=tumor))  # type: ignore[arg-type]
        for tumor in (0.0, 1.0)
    ]
    before = {one.shift: one for one in balances(network, heads)}
    assert [one.false_ml for one in before.values()] == sorted(one.false_ml for one in before.values())
    shift_lesions(network, -1.0)
    after = {one.shift: one for one in balances(network, heads)}
    assert after[0.0].dice == pytest.approx(before[-1.0].dice, abs=0.02)
    assert after[0.0].false_ml == pytest.approx(before[-1.0].false_ml, rel=0.02, abs=0.01)
    assert before[2.0].false_ml > before[0.0].false_ml > before[-2.0].false_ml


def test_the_best_balance_finds_most_while_little_enough_is_false() -> None:
    found = [Balance(-1, 0.2, 0.1), Balance(0, 0.4, 0.2), Balance(1, 0.5, 0.9)]
    assert best_balance(found, most_false_ml=0.3).shift == 0
    assert best_balance(found, most_false_ml=1.0).shift == 1
    assert best_balance(found, most_false_ml=0.05).shift == -1
