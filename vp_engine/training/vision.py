"""Recipe of the vision network: one function is one full run."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import cast

import numpy as np
import torch
from torch import Tensor
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils.data import DataLoader, Dataset

from vp_engine.anatomy import ANATOMICAL_PARTS, PARTS
from vp_engine.synthesis.label_maps import LabelMap
from vp_engine.synthesis.pathology import LesionSources
from vp_engine.synthesis.ranges import SynthesisRanges
from vp_engine.synthesis.scan import SyntheticHead, random_head
from vp_engine.training.balance import balances, best_balance, shift_lesions
from vp_engine.training.checkpoint import load_checkpoint, save_checkpoint
from vp_engine.training.features import features_and_truth
from vp_engine.training.losses import segmentation_loss
from vp_engine.training.optimizers import MuonAdamW
from vp_engine.training.sources import Archives
from vp_engine.vision.checkpoint import extended, save_pretrained
from vp_engine.vision.network import VisionConfig, VisionNetwork, voxel_rows

_LESIONS = slice(1 + len(ANATOMICAL_PARTS), 1 + len(PARTS))
_MOST_FALSE_ML = 0.03
"""Volume that may be called lesion in half of the synthetic heads without one. Real brains have hypointensities of
their own, and ten times as much was called lesion in six of them: 0.3 mL is what is wanted there."""


@dataclass(frozen=True, slots=True)
class Stage:
    """Part of a curriculum by spacing.

    Attributes
    ----------
    steps : int
    ranges : tuple of SynthesisRanges
        Where the images are drawn from: one of these per step, each as often as it is named.
    """

    steps: int
    ranges: tuple[SynthesisRanges, ...]


@dataclass(frozen=True, slots=True)
class VisionRecipe:
    """Everything a run depends on besides the label maps.

    Attributes
    ----------
    stages : tuple of Stage
        One after the other, the coarse ones first: a step at 3 mm costs a quarter of one at 2 mm.
    matrix_factor : float
        Learning rate of the convolutions in units of `learning_rate` (`MuonAdamW`).
    decay_steps : int
        Length of the linear way down of the learning rate at the end of the last stage.
    loss_voxels : int
        Number of voxels of each image that the loss looks at, on a regular lattice.
    lift, lift_steps : float, int
        Weight of the cross-entropy of each kind of lesion by itself at the beginning; down to 0 after some steps.
    balanced_on : int
        Heads that a shift of the evidence for lesions is chosen on in the end (`balance`); none for 0.
    """

    stages: tuple[Stage, ...]
    learning_rate: float = 1.2e-3
    matrix_factor: float = 4.0
    warmup_steps: int = 50
    decay_steps: int = 800
    weight_decay: float = 0.05
    average_decay: float = 0.995
    loss_voxels: int = 150_000
    lift: float = 0.0
    lift_steps: int = 1
    balanced_on: int = 0
    seed: int = 0
    workers: int = 1
    validate_every: int = 500
    save_every: int = 50
    channels: tuple[int, ...] = (24, 48, 96, 128, 128)
    fine_channels: int = 16

    @property
    def steps(self) -> int:
        """Length of the whole run."""
        return sum(stage.steps for stage in self.stages)

    def ranges(self, step: int, rng: np.random.Generator) -> SynthesisRanges:
        """What the image of a step is drawn from."""
        for stage in self.stages:
            if step < stage.steps:
                return stage.ranges[rng.integers(len(stage.ranges))]
            step -= stage.steps
        raise ValueError(f"expected a step before the end of the recipe, got {step} too many")


_COARSE = SynthesisRanges(spacing_mm=(2.3, 3.6))
_WHOLE = SynthesisRanges(spacing_mm=(1.9, 2.7), field_of_view_mm=((120.0, 150.0, 120.0), (170.0, 205.0, 185.0)))
_CROP = SynthesisRanges(
    spacing_mm=(0.8, 1.3),
    field_of_view_mm=((80.0, 80.0, 80.0), (112.0, 112.0, 112.0)),
    centre_jitter_mm=(45.0, 55.0, 45.0),
)

_ILL = {
    "streams": (0.6, 0.2, 0.1, 0.1),
    "prior_contrast": 0.75,
    "lesion_free": 1.0,
    "pasted_lesions": 0.3,
    "grown_lesions": 0.2,
    "stroke": 0.16,
    "tumor": 0.24,
    "hemorrhage": 0.12,
    "resection": 0.1,
    "lookalikes": 0.35,
}
_FOCAL = {"stroke": 0.22, "tumor": 0.4, "hemorrhage": 0.2, "resection": 0.13, "focal_draws": 3, "streams": (0.85, 0.15)}
_SMALLER = {"spacing_mm": (0.85, 1.3), "field_of_view_mm": ((80.0, 80.0, 80.0), (104.0, 104.0, 104.0))}
_ILL_COARSE = replace(_COARSE, **{**_ILL, "spacing_mm": (2.0, 3.2)})  # type: ignore[arg-type]
_FOCAL_COARSE = replace(_ILL_COARSE, **_FOCAL)  # type: ignore[arg-type]
_ILL_WHOLE = replace(_WHOLE, **_ILL)  # type: ignore[arg-type]
_ILL_CROP = replace(_CROP, **{**_ILL, **_SMALLER})  # type: ignore[arg-type]

RECIPES: dict[str, VisionRecipe] = {
    "cpu-1mm": VisionRecipe((Stage(2200, (_COARSE,)), Stage(600, (_WHOLE,)), Stage(700, (_CROP, _CROP, _WHOLE)))),
    "gpu-1mm": VisionRecipe(
        (Stage(4000, (_COARSE,)), Stage(8000, (_WHOLE,)), Stage(12000, (_CROP, _CROP, _WHOLE))),
        decay_steps=10_000,
        loss_voxels=600_000,
        workers=0,
    ),
    "cpu-pathology": VisionRecipe(
        (
            Stage(2200, (_FOCAL_COARSE, _FOCAL_COARSE, _FOCAL_COARSE, _ILL_COARSE)),
            Stage(1400, (_ILL_CROP, _ILL_WHOLE, _FOCAL_COARSE, _FOCAL_COARSE)),
        ),
        learning_rate=1.0e-3,
        warmup_steps=30,
        decay_steps=800,
        average_decay=0.99,
        lift=0.2,
        lift_steps=7000,
        balanced_on=80,
        seed=8,
        validate_every=600,
    ),
    "smoke": VisionRecipe(
        (Stage(2, (_COARSE,)), Stage(2, (_CROP,))),
        warmup_steps=1,
        decay_steps=2,
        validate_every=4,
        save_every=2,
        workers=0,
        channels=(8, 8, 16, 16, 16),
        fine_channels=8,
    ),
}
"""Named runs: `cpu-1mm` teaches anatomy; started from its weights or later ones, `cpu-pathology` teaches lesions.
`gpu-1mm` is `cpu-1mm` for a device that also makes the images; `smoke` shows in seconds that everything is connected.
How the released weights came about is in their model card."""


def train_vision(
    archives: Archives,
    output: Path,
    *,
    recipe: VisionRecipe,
    device: str = "cpu",
    start: Path | None = None,
    report: Callable[[str], None] = print,
) -> Path:
    """Train on images synthesised from label maps and write weights that `from_pretrained` loads.

    White-matter lesions and strokes of real patients are pasted into some of the heads where there are archives of
    their masks. With `start`, a folder of weights that may know fewer structures, training goes on from these.

    A run is resumed from `output/checkpoint.safetensors` when there is one. Each image depends on the seed and
    its step only, so a resumed run sees what an uninterrupted one would have.

    Returns
    -------
    pathlib.Path
        Folder with `config.json` and `model.safetensors` of the averaged weights.
    """
    torch.manual_seed(recipe.seed)
    config = VisionConfig(PARTS, recipe.channels, recipe.fine_channels)
    network = (extended(start, config, like="white_matter_lesion") if start else VisionNetwork(config)).to(device)
    average = AveragedModel(network, multi_avg_fn=get_ema_multi_avg_fn(recipe.average_decay))
    averaged = cast("VisionNetwork", average.module)
    optimizer = MuonAdamW(
        network,
        [p for p in network.parameters() if p.ndim == 5 and p.shape[1] > 1],
        learning_rate=recipe.learning_rate,
        weight_decay=recipe.weight_decay,
        matrix_factor=recipe.matrix_factor,
    )
    log = output / "log.jsonl"
    checkpoint = output / "checkpoint.safetensors"
    first = 0
    if checkpoint.exists():
        load_checkpoint(checkpoint, network, average, optimizer.optimizers)
        first = int(average.n_averaged)
    output.mkdir(parents=True, exist_ok=True)
    (output / "recipe.json").write_text(json.dumps(asdict(recipe), indent=1) + "\n")
    train_maps, held_out = archives.label_maps()
    began, waited = time.monotonic(), 0.0
    made_on = "cpu" if recipe.workers else device
    images = _Heads(train_maps, archives.lesion_sources(device=made_on), recipe, first, made_on)
    heads = iter(DataLoader(images, batch_size=None, num_workers=recipe.workers))
    for step in range(first, recipe.steps):
        asked = time.monotonic()
        head = next(heads)
        waited += time.monotonic() - asked
        optimizer.schedule(learning_rate(recipe, step))
        lift = recipe.lift * max(0.0, 1 - step / recipe.lift_steps)
        loss, dice = _loss(network, head, device, voxels=recipe.loss_voxels, lift=lift)
        loss.backward()
        norm = float(torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0))
        if math.isfinite(norm):
            optimizer.step()
        else:  # one image's step is lost; the log shows it
            network.zero_grad(set_to_none=True)
        average.update_parameters(network)
        done = step + 1
        elapsed = time.monotonic() - began
        entry: dict[str, float] = {"step": done, "loss": float(loss.detach()), "dice": float(dice), "gradient": norm}
        entry["spacing_mm"] = head.affines[0].norm(dim=0)[:3].min().item()
        entry |= {"seconds_per_step": elapsed / (done - first), "computing": 1 - waited / elapsed}
        if done % recipe.validate_every == 0 or done == recipe.steps:
            ranges = recipe.ranges(step, np.random.default_rng(0))
            anatomy, pathology = np.split(validate(averaged, held_out, ranges), [len(ANATOMICAL_PARTS)], axis=1)
            entry["validation_dice"] = float(np.nanmean(anatomy))
            entry["validation_pathology"] = math.nan if np.isnan(pathology).all() else float(np.nanmean(pathology))
        with log.open("a") as file:
            file.write(json.dumps(entry) + "\n")
        if done % recipe.save_every == 0 or done == recipe.steps:
            save_checkpoint(checkpoint, network, average, optimizer.optimizers)
            report(json.dumps({k: round(v, 4) for k, v in entry.items()}))
    return _finished(averaged, images, output / "weights", report)


def _finished(network: VisionNetwork, images: _Heads, folder: Path, report: Callable[[str], None]) -> Path:
    """Write the weights; where the recipe asks for it, first shift the evidence for lesions as fresh heads advise."""
    recipe = images.recipe
    if recipe.balanced_on:
        last = recipe.stages[-1].ranges
        rngs = (np.random.default_rng([recipe.seed, recipe.steps, n]) for n in range(recipe.balanced_on))
        heads = (images.head(rng, last[n % len(last)]) for n, rng in enumerate(rngs))
        balance = best_balance(balances(network, heads), most_false_ml=_MOST_FALSE_ML)
        report(json.dumps(asdict(balance)))
        shift_lesions(network, balance.shift)
    save_pretrained(network, folder)
    return folder


def learning_rate(recipe: VisionRecipe, step: int) -> float:
    """Share of the highest learning rate: linear warm-up, constant, linear way down."""
    rising = (step + 1) / recipe.warmup_steps
    falling = (recipe.steps - step) / recipe.decay_steps
    return min(1.0, rising, falling)


@torch.no_grad()
def validate(
    network: VisionNetwork, maps: list[LabelMap], ranges: SynthesisRanges, *, images_per_map: int = 2
) -> np.ndarray:
    """Dice of each part on fresh images of the given maps; (images, parts), NaN where the part is absent."""
    device = str(next(network.parameters()).device)
    scores = []
    for number in range(images_per_map * len(maps)):
        rng = np.random.default_rng([99, number])
        head = random_head(rng, [maps[number % len(maps)]], replace(ranges, streams=(1.0,)), device=device)
        features, target = features_and_truth(network, head, device)[-1]
        found = network.part_logits(voxel_rows(features)).argmax(0)
        row = []
        for label in range(1, len(PARTS) + 1):
            truth, mask = target == label, found == label
            row.append(2 * float((truth & mask).sum()) / float(truth.sum() + mask.sum()) if truth.any() else math.nan)
        scores.append(row)
    return np.array(scores)


@dataclass(frozen=True, slots=True)
class _Heads(Dataset[SyntheticHead]):
    """Training images by step: made by workers on the CPU, or by this process on the device."""

    maps: list[LabelMap]
    lesions: LesionSources
    recipe: VisionRecipe
    start: int
    device: str

    def __len__(self) -> int:
        return self.recipe.steps - self.start

    def __getitem__(self, index: int) -> SyntheticHead:
        step = self.start + index
        rng = np.random.default_rng([self.recipe.seed, step])
        return self.head(rng, self.recipe.ranges(step, rng))

    def head(self, rng: np.random.Generator, ranges: SynthesisRanges) -> SyntheticHead:
        """Draw one."""
        return random_head(rng, self.maps, ranges, lesions=self.lesions, device=self.device)


def _loss(
    network: VisionNetwork, head: SyntheticHead, device: str, *, voxels: int, lift: float = 0.0
) -> tuple[Tensor, Tensor]:
    """Loss and soft Dice of one head, means over its streams and levels; each on a lattice of about `voxels`."""
    results = []
    for features, target in features_and_truth(network, head, device):
        every = max(1, round(len(target) / voxels))
        chosen = torch.arange(int(target.sum()) % every, len(target), every, device=device)  # from where chance has it
        logits = network.part_logits(voxel_rows(features)[chosen]).T
        results.append(segmentation_loss(logits, target[chosen], rare=_LESIONS, lift=lift))
    losses, dices = zip(*results, strict=True)
    return torch.stack(losses).mean(), torch.stack(dices).mean()
