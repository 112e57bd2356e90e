"""Recipe of the vision network: one function is one full run."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import cast

import numpy as np
import torch
from torch import Tensor
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils.data import DataLoader, Dataset

from vp_engine.anatomy import ANATOMICAL_PARTS, PARTS
from vp_engine.synthesis.label_maps import LabelMap, load_label_maps
from vp_engine.synthesis.ranges import SynthesisRanges
from vp_engine.synthesis.scan import SyntheticHead, draw_head, draw_scan, synthesise
from vp_engine.training.checkpoint import load_checkpoint, save_checkpoint
from vp_engine.training.losses import segmentation_loss
from vp_engine.vision.checkpoint import save_pretrained
from vp_engine.vision.network import VisionConfig, VisionNetwork, voxel_rows

HELD_OUT_MAPS = ("05", "09", "16")
"""Atrophy, no neck, large ventricles: never trained on."""


@dataclass(frozen=True, slots=True)
class VisionRecipe:
    """Everything a run depends on besides the label maps.

    Attributes
    ----------
    coarse_steps : int
        Steps at the start that see `coarse_spacing_mm` instead of the spacing of `ranges`: a third of the cost each.
    loss_share : float
        Share of the voxels that the loss looks at, on a regular lattice.
    """

    steps: int = 2700
    coarse_steps: int = 1800
    coarse_spacing_mm: tuple[float, float] = (2.3, 3.6)
    learning_rate: float = 1.2e-3
    warmup_steps: int = 100
    weight_decay: float = 1e-4
    average_decay: float = 0.995
    loss_share: float = 1 / 3
    seed: int = 0
    workers: int = 1
    validate_every: int = 250
    save_every: int = 50
    channels: tuple[int, ...] = (24, 48, 64, 96, 128)
    ranges: SynthesisRanges = field(default_factory=SynthesisRanges)


RECIPES: dict[str, VisionRecipe] = {
    "cpu-2mm": VisionRecipe(),
    "smoke": VisionRecipe(
        steps=4, warmup_steps=1, validate_every=4, save_every=2, workers=0, channels=(8, 8, 16, 16, 16)
    ),
}
"""Named runs: `cpu-2mm` made the released weights, `smoke` shows in seconds that everything is connected."""


def train_vision(
    maps_path: Path,
    output: Path,
    *,
    recipe: VisionRecipe,
    device: str = "cpu",
    report: Callable[[str], None] = print,
) -> Path:
    """Train on images synthesised from label maps and write weights that `from_pretrained` loads.

    A run is resumed from `output/checkpoint.safetensors` when there is one. Each image depends on the seed and
    its step only, so a resumed run sees what an uninterrupted one would have.

    Returns
    -------
    pathlib.Path
        Folder with `config.json` and `model.safetensors` of the averaged weights.
    """
    torch.manual_seed(recipe.seed)
    network = VisionNetwork(VisionConfig(PARTS, recipe.channels)).to(device)
    average = AveragedModel(network, multi_avg_fn=get_ema_multi_avg_fn(recipe.average_decay))
    averaged = cast("VisionNetwork", average.module)
    optimizer = torch.optim.AdamW(network.parameters(), recipe.learning_rate, weight_decay=recipe.weight_decay)
    log = output / "log.jsonl"
    checkpoint = output / "checkpoint.safetensors"
    start = 0
    if checkpoint.exists():
        load_checkpoint(checkpoint, network, average, optimizer)
        start = int(average.n_averaged)
    output.mkdir(parents=True, exist_ok=True)
    (output / "recipe.json").write_text(json.dumps(asdict(recipe), indent=1) + "\n")
    maps = load_label_maps(maps_path)
    train_maps = [m for m in maps if m.name not in HELD_OUT_MAPS]
    held_out = [m for m in maps if m.name in HELD_OUT_MAPS]
    began = time.monotonic()
    for step, head in enumerate(_heads(train_maps, recipe, start), start=start):
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(recipe, step)
        loss, dice = _step(network, head, device, share=recipe.loss_share)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        norm = float(torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0))
        if math.isfinite(norm):  # else one image's step is lost; the log shows it
            optimizer.step()
        average.update_parameters(network)
        done = step + 1
        entry: dict[str, float] = {"step": done, "loss": float(loss.detach()), "dice": float(dice), "gradient": norm}
        entry["seconds_per_step"] = (time.monotonic() - began) / (done - start)
        if done % recipe.validate_every == 0 or done == recipe.steps:
            entry["validation_dice"] = float(np.nanmean(validate(averaged, held_out, recipe.ranges)))
        with log.open("a") as file:
            file.write(json.dumps(entry) + "\n")
        if done % recipe.save_every == 0 or done == recipe.steps:
            save_checkpoint(checkpoint, network, average, optimizer)
            report(json.dumps({k: round(v, 4) for k, v in entry.items()}))
    weights = output / "weights"
    save_pretrained(averaged, weights)
    return weights


def learning_rate(recipe: VisionRecipe, step: int) -> float:
    """Linear warm-up, then a cosine down to a hundredth."""
    if step < recipe.warmup_steps:
        return recipe.learning_rate * (step + 1) / recipe.warmup_steps
    progress = (step - recipe.warmup_steps) / max(1, recipe.steps - recipe.warmup_steps)
    return recipe.learning_rate * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * progress)))


@torch.no_grad()
def validate(
    network: VisionNetwork, maps: list[LabelMap], ranges: SynthesisRanges, *, images_per_map: int = 2
) -> np.ndarray:
    """Dice of each anatomical part on fresh images of the given maps; (images, 32), NaN where the part is absent."""
    scores = []
    for number in range(images_per_map * len(maps)):
        head = _draw(maps[number % len(maps)], np.random.default_rng([99, number]), ranges)
        features = _encode(network, head, str(next(network.parameters()).device))[0]
        found = network.part_logits(voxel_rows(features)).argmax(1).view(head.target.shape).cpu()
        row = []
        for label in range(1, len(ANATOMICAL_PARTS) + 1):
            truth, mask = head.target == label, found == label
            row.append(2 * float((truth & mask).sum()) / float(truth.sum() + mask.sum()) if truth.any() else math.nan)
        scores.append(row)
    return np.array(scores)


class _Heads(Dataset[SyntheticHead]):
    """Training images by step."""

    def __init__(self, maps: list[LabelMap], recipe: VisionRecipe, start: int) -> None:
        self.maps, self.recipe, self.start = maps, recipe, start

    def __len__(self) -> int:
        return self.recipe.steps - self.start

    def __getitem__(self, index: int) -> SyntheticHead:
        step = self.start + index
        rng = np.random.default_rng([self.recipe.seed, step])
        ranges = self.recipe.ranges
        if step < self.recipe.coarse_steps:
            ranges = replace(ranges, spacing_mm=self.recipe.coarse_spacing_mm)
        return _draw(self.maps[rng.integers(len(self.maps))], rng, ranges)


def _heads(maps: list[LabelMap], recipe: VisionRecipe, start: int) -> Iterator[SyntheticHead]:
    dataset = _Heads(maps, recipe, start)
    yield from DataLoader(dataset, batch_size=None, num_workers=recipe.workers)


def _draw(label_map: LabelMap, rng: np.random.Generator, ranges: SynthesisRanges) -> SyntheticHead:
    head = draw_head(rng, ranges)
    streams = 2 if rng.random() < ranges.second_stream else 1
    return synthesise(label_map, head, [draw_scan(rng, ranges) for _ in range(streams)])


def _encode(network: VisionNetwork, head: SyntheticHead, device: str) -> list[Tensor]:
    affine = torch.diag(torch.tensor([*head.spacing_mm, 1.0], dtype=torch.float64))
    with torch.autocast(torch.device(device).type, torch.bfloat16):
        return network.trunk([image.to(device) for image in head.images], [affine] * len(head.images))


def _step(network: VisionNetwork, head: SyntheticHead, device: str, *, share: float) -> tuple[Tensor, Tensor]:
    """Loss of one head, mean over its streams, on every `1 / share`-th voxel from a place that the data decide."""
    every = round(1 / share)
    chosen = torch.arange(int(head.target.sum()) % every, head.target.numel(), every, device=device)
    target = head.target.to(device).flatten()[chosen]
    results = [
        segmentation_loss(network.part_logits(voxel_rows(x)[chosen]), target) for x in _encode(network, head, device)
    ]
    losses, dices = zip(*results, strict=True)
    return torch.stack(losses).mean(), torch.stack(dices).mean()
