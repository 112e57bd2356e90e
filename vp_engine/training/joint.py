"""Joint training: what the masks are worth reaches the language model through φ.

Shapes: N voxels, C channels, M segment calls, P length of φ, K parts.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from vp_engine.agent.model import TOKENIZER_FILE, load_model, save_model
from vp_engine.agent.tokenizer import load_tokenizer
from vp_engine.anatomy import PARTS, STRUCTURES
from vp_engine.errors import ConfigError
from vp_engine.synthesis.label_maps import load_label_maps
from vp_engine.synthesis.ranges import SynthesisRanges
from vp_engine.synthesis.scan import random_head
from vp_engine.training.agent import batch_losses
from vp_engine.training.agent_batches import Encoder, training_batches
from vp_engine.training.appearances import appearances_in
from vp_engine.training.features import features_and_truth
from vp_engine.training.sources import HELD_OUT_MAPS
from vp_engine.vision.checkpoint import from_pretrained, save_pretrained
from vp_engine.vision.network import VisionNetwork, voxel_rows


@dataclass(frozen=True, slots=True)
class JointRecipe:
    """Everything that decides a joint run, beside data and the weights it starts from.

    Attributes
    ----------
    steps : int
        One synthetic head and one batch of prompts each.
    learning_rate : float
        Of the language model (Adam, constant), but for the word vectors of its reader.
    vision_learning_rate : float
        Of the vision network; at 0 it stays as it is and only hands the gradient on.
    dice_weight : float
        λ of the paper: of the mask loss beside the cross-entropy.
    phi_weight : float
        Of the distance of φ from the codes of the structures, which keeps φ readable for weights trained apart.
    tokens_per_batch, voxels : int
        Sizes of the batch of prompts, and of the lattice of voxels the mask loss looks at.
    calls : int
        Most segment calls of a batch whose masks are compared.
    ranges : SynthesisRanges
        Where the heads are drawn from.
    seed : int
        Of heads and prompts.
    """

    steps: int
    learning_rate: float = 1e-4
    vision_learning_rate: float = 0.0
    dice_weight: float = 0.1
    phi_weight: float = 0.3
    tokens_per_batch: int = 3072
    voxels: int = 40_000
    calls: int = 48
    ranges: SynthesisRanges = field(default_factory=lambda: SynthesisRanges(spacing_mm=(2.3, 3.6), streams=(1.0,)))
    seed: int = 0


RECIPES: Mapping[str, JointRecipe] = MappingProxyType(
    {
        "cpu": JointRecipe(steps=200),
        "gpu": JointRecipe(steps=20_000, vision_learning_rate=1e-4, voxels=300_000),
        "smoke": JointRecipe(steps=2, vision_learning_rate=1e-4, tokens_per_batch=256, voxels=2000, calls=4),
    }
)
"""Named runs of `vp train joint`: `cpu` tunes the language model against the released vision network, `gpu` both."""


def train_joint(
    maps_path: Path,
    start: Path,
    out: Path,
    *,
    recipe: str = "cpu",
    device: str = "cpu",
    report: Callable[[str], None] = print,
) -> Path:
    """Tune language model and vision network together, from weights that were trained apart.

    Parameters
    ----------
    maps_path : Path
        Archive of label maps that images are synthesised from.
    start : Path
        Folder with the weights to start from, in its folders `agent` and `vision`.
    out : Path
        Gets the folders `agent` and, when it was trained too, `vision`; and the looks of contrasts.
    recipe : str
        One of `RECIPES`.
    device : str
        ``cpu`` or ``cuda``.
    report : callable
        Takes the lines of the log.

    Raises
    ------
    ConfigError
        If the recipe does not exist.

    References
    ----------
    Hoopes et al. 2024, section 3.4: cross-entropy + λ · soft Dice, through φ.
    """
    if recipe not in RECIPES:
        raise ConfigError(f"expected a recipe of {', '.join(RECIPES)}, got {recipe!r}", code="recipe")
    chosen = RECIPES[recipe]
    model, network = load_model(start / "agent").to(device), from_pretrained(start / "vision", device=device)
    for part in (model.reader.encoder, model.bridge, model.look, model.llama, model.phi):
        part.requires_grad_(requires_grad=True)
    tuned = [p for p in model.parameters() if p.requires_grad]
    groups = [{"params": tuned, "lr": chosen.learning_rate}]
    if chosen.vision_learning_rate:
        seeing = list(network.train().requires_grad_(requires_grad=True).parameters())
        tuned = [*tuned, *seeing]
        groups.append({"params": seeing, "lr": chosen.vision_learning_rate})
    optimizer = torch.optim.Adam(groups)
    tokenizer = load_tokenizer(start / "agent" / TOKENIZER_FILE)
    encoder = Encoder(tokenizer, appearances_in(out, maps_path, start / "vision"))
    batches = training_batches(encoder, seed=chosen.seed, first_step=0, tokens_per_batch=chosen.tokens_per_batch)
    maps = [one for one in load_label_maps(maps_path) if one.name not in HELD_OUT_MAPS]
    started = time.monotonic()
    model.train()
    for step in range(chosen.steps):
        head = random_head(np.random.default_rng([chosen.seed, step]), maps, chosen.ranges, device=device)
        with torch.set_grad_enabled(bool(chosen.vision_learning_rate)):
            features, truth = features_and_truth(network, head, device)[-1]
        every = max(1, len(truth) // chosen.voxels)
        batch = next(batches).to(device)
        language = batch_losses(model, batch)
        known = [row for row, name in enumerate(batch.structures) if STRUCTURES[name].parts][: chosen.calls]
        parts = [STRUCTURES[batch.structures[row]].parts for row in known]
        mask_loss, dice = masks_loss(
            network, voxel_rows(features)[::every], truth[::every], language.phi_MP[known], parts
        )
        (language.cross_entropy + chosen.phi_weight * language.phi + chosen.dice_weight * mask_loss).backward()
        torch.nn.utils.clip_grad_norm_(tuned, 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        if (step + 1) % _REPORT_EVERY == 0 or step + 1 == chosen.steps:
            report(
                f"step {step + 1}  cross-entropy {language.cross_entropy.item():.4f}  phi {language.phi.item():.4f}  "
                f"soft Dice through φ {dice:.3f}  {(time.monotonic() - started) / (step + 1):.2f} s/step"
            )
    save_model(model, out / "agent")
    (out / "agent" / TOKENIZER_FILE).write_text(tokenizer.to_str(pretty=False), encoding="utf-8")
    if chosen.vision_learning_rate:
        save_pretrained(network, out / "vision")
    return out


_REPORT_EVERY = 10


def masks_loss(
    network: VisionNetwork, x_NC: Tensor, truth_N: Tensor, phi_MP: Tensor, parts: Sequence[Sequence[str]]
) -> tuple[Tensor, float]:
    """Cross-entropy and soft Dice of masks that free φ ask for, and their mean soft Dice; 0 when there are none.

    What a φ finds competes with the background and with every part that is not in its structure; for the code of a
    part that is the softmax over all parts.

    Parameters
    ----------
    network : VisionNetwork
        Gives the evidence.
    x_NC : (N, C) Tensor
        Features of some voxels.
    truth_N : (N,) int64 Tensor
        0 for background, 1 + position in `anatomy.PARTS` otherwise.
    phi_MP : (M, P) Tensor
        One per mask.
    parts : sequence of sequence of str
        What each is to find.
    """
    if not parts:
        return x_NC.new_zeros(()), 0.0
    logits_KN = network.part_logits(x_NC)
    evidence_MN = network.evidence(x_NC, phi_MP)
    losses, dices = [], []
    for evidence_N, names in zip(evidence_MN, parts, strict=True):
        wanted = [1 + PARTS.index(name) for name in names]
        others = [k for k in range(len(logits_KN)) if k not in wanted]
        odds_N = evidence_N - logits_KN[others].logsumexp(0)
        inside_N = torch.isin(truth_N, torch.tensor(wanted, device=truth_N.device)).float()
        p_N = odds_N.sigmoid()
        dice = (2 * (p_N * inside_N).sum() + 1) / (p_N.sum() + inside_N.sum() + 1)
        losses.append(F.binary_cross_entropy_with_logits(odds_N, inside_N) + 1 - dice)
        dices.append(float(dice.detach()))
    return torch.stack(losses).mean(), float(np.mean(dices))
