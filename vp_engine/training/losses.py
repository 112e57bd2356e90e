"""What training minimises."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

_FEW = 50
"""Voxels from which a class counts in full."""


def segmentation_loss(
    logits_NK: Tensor, target_N: Tensor, *, rare: slice = slice(0, 0), lift: float = 0.0
) -> tuple[Tensor, Tensor]:
    """Cross-entropy over all classes plus soft Dice over the classes present.

    A class that is new and rare hardly moves either: few voxels, and a Dice that is flat where nothing is predicted.
    Its cross-entropy can be lifted: averaged over its own voxels, as if each class were equally frequent.

    Parameters
    ----------
    logits_NK : torch.Tensor, float32
        Evidence for background (first) and every part at N voxels.
    target_N : torch.Tensor, int64
        Class of each voxel.
    rare : slice
        Of classes that most heads do not have.
    lift : float
        Weight of their own cross-entropy.

    Returns
    -------
    loss : torch.Tensor, scalar
    dice : torch.Tensor, scalar
        Mean soft Dice over the parts present, for the log.
    """
    log_p = F.log_softmax(logits_NK, dim=1)
    surprise_N = F.nll_loss(log_p, target_N, reduction="none")
    p = log_p.exp()
    classes = p.shape[1]
    zeros = torch.zeros(classes, dtype=p.dtype, device=p.device)
    overlap = zeros.index_add(0, target_N, p.gather(1, target_N[:, None])[:, 0])
    size = torch.bincount(target_N, minlength=classes).to(p)
    dice = ((2 * overlap + 1) / (p.sum(0) + size + 1))[1:][size[1:] > 0].mean()
    loss = surprise_N.mean() + 1 - dice
    if lift:
        own = zeros.index_add(0, target_N, surprise_N)[rare] / size[rare].clamp(min=_FEW)
        loss = loss + lift * own.sum() / (size[rare] > 0).sum().clamp(min=1)
    return loss, dice.detach()
