"""What training minimises."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def segmentation_loss(logits_KXYZ: Tensor, target_XYZ: Tensor) -> tuple[Tensor, Tensor]:
    """Cross-entropy over all classes plus soft Dice over the classes present.

    Parameters
    ----------
    logits_KXYZ : torch.Tensor, float32
        Evidence for background (first) and every part.
    target_XYZ : torch.Tensor, int64
        Class of every voxel.

    Returns
    -------
    loss : torch.Tensor, scalar
    dice : torch.Tensor, scalar
        Mean soft Dice over the parts present, for the log.
    """
    flat, target = logits_KXYZ.flatten(1), target_XYZ.flatten()
    log_p = F.log_softmax(flat, dim=0)
    cross_entropy = F.nll_loss(log_p.T, target)
    p = log_p.exp()
    zeros = torch.zeros(len(p), dtype=p.dtype, device=p.device)
    overlap = zeros.index_add(0, target, p.gather(0, target[None])[0])
    size = torch.bincount(target, minlength=len(p)).to(p)
    dice = ((2 * overlap + 1) / (p.sum(1) + size + 1))[1:][size[1:] > 0].mean()
    return cross_entropy + 1 - dice, dice.detach()
