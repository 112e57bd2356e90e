"""What training minimises."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def segmentation_loss(logits_NK: Tensor, target_N: Tensor) -> tuple[Tensor, Tensor]:
    """Cross-entropy over all classes plus soft Dice over the classes present.

    Parameters
    ----------
    logits_NK : torch.Tensor, float32
        Evidence for background (first) and every part at N voxels.
    target_N : torch.Tensor, int64
        Class of each voxel.

    Returns
    -------
    loss : torch.Tensor, scalar
    dice : torch.Tensor, scalar
        Mean soft Dice over the parts present, for the log.
    """
    log_p = F.log_softmax(logits_NK, dim=1)
    cross_entropy = F.nll_loss(log_p, target_N)
    p = log_p.exp()
    classes = p.shape[1]
    zeros = torch.zeros(classes, dtype=p.dtype, device=p.device)
    overlap = zeros.index_add(0, target_N, p.gather(1, target_N[:, None])[:, 0])
    size = torch.bincount(target_N, minlength=classes).to(p)
    dice = ((2 * overlap + 1) / (p.sum(0) + size + 1))[1:][size[1:] > 0].mean()
    return cross_entropy + 1 - dice, dice.detach()
