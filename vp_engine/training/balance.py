"""How ready a network is to call something a lesion: one shift of the evidence for all kinds, chosen after training."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vp_engine.anatomy import ANATOMICAL_PARTS, PARTS
from vp_engine.synthesis.scan import SyntheticHead
from vp_engine.training.features import features_and_truth
from vp_engine.vision.network import VisionNetwork, voxel_rows

SHIFTS = tuple(float(shift) for shift in np.arange(-4.0, 2.01, 0.25))
_LESIONS = slice(1 + len(ANATOMICAL_PARTS), 1 + len(PARTS))


@dataclass(frozen=True, slots=True)
class Balance:
    """A shift and what it gives.

    Attributes
    ----------
    shift : float
        Of the evidence (logit) for every kind of lesion.
    dice : float
        Of all lesions together, mean over the images that have some.
    false_ml : float
        Volume called lesion, median over the images that have none.
    """

    shift: float
    dice: float
    false_ml: float


@torch.no_grad()
def balances(network: VisionNetwork, heads: Iterable[SyntheticHead]) -> list[Balance]:
    """What each of `SHIFTS` gives on the first images of synthetic heads."""
    device = str(next(network.parameters()).device)
    found: list[NDArray[np.float64]] = []
    false: list[NDArray[np.float64]] = []
    for head in heads:
        features, target = features_and_truth(network, head, device)[-1]
        lesion = (target >= _LESIONS.start).numpy(force=True)
        called = [(_margin(network, features) > -shift).numpy(force=True) for shift in SHIFTS]
        size = float(lesion.sum())
        if size:
            found.append(np.array([2 * float((c & lesion).sum()) / (float(c.sum()) + size) for c in called]))
        else:
            voxel_ml = float(torch.linalg.det(head.affines[-1][:3, :3]).abs()) / 1000
            voxel_ml *= head.targets[-1].numel() / len(target)
            false.append(np.array([voxel_ml * float(c.sum()) for c in called]))
    nothing = np.full(len(SHIFTS), np.nan)
    dice = np.mean(found, axis=0) if found else nothing
    volume = np.median(false, axis=0) if false else nothing
    return [Balance(*row) for row in zip(SHIFTS, dice.tolist(), volume.tolist(), strict=True)]


def best_balance(found: Iterable[Balance], *, most_false_ml: float) -> Balance:
    """Highest Dice among the shifts that call little enough lesion where there is none; else the least false."""
    known = list(found)
    allowed = [one for one in known if one.false_ml <= most_false_ml]
    return max(allowed, key=lambda one: one.dice) if allowed else min(known, key=lambda one: one.false_ml)


@torch.no_grad()
def shift_lesions(network: VisionNetwork, shift: float) -> None:
    """Add to the evidence for every kind of lesion, at both levels; in place."""
    change_KC = torch.zeros_like(network.heads(network.head))
    change_KC[_LESIONS, -1] = shift
    network.change_heads(network.head, change_KC)


def _margin(network: VisionNetwork, features: Tensor) -> Tensor:
    """Evidence for a lesion of any kind above that for whatever else is most probable, (N,)."""
    logits_KN = network.part_logits(voxel_rows(features))
    return logits_KN[_LESIONS].logsumexp(0) - logits_KN[: _LESIONS.start].amax(0)
