"""Optimizers of the vision network: Muon for the convolutions, AdamW for the rest."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class MuonAdamW:
    """torch's Muon on the weights of the convolutions, each as a matrix, and its AdamW on all other parameters.

    Muon takes matrices only. A 3-D convolution's weights in `channels_last_3d` are one without being moved: the
    matrix shares their memory, so that what Muon writes is what the network reads.

    Parameters
    ----------
    network : torch.nn.Module
        On the device where it is trained.
    learning_rate : float
        Of both; Muon's steps are scaled to the size of AdamW's.
    matrix_factor : float
        Learning rate of the matrices in units of the others'.

    References
    ----------
    Jordan et al. 2024, *Muon*; Liu et al. 2025, *Muon is scalable for LLM training* (step size, weight decay).
    """

    def __init__(self, network: nn.Module, *, learning_rate: float, weight_decay: float, matrix_factor: float) -> None:
        self._convolutions = [p for p in network.parameters() if p.ndim == 5 and p.shape[1] > 1]
        self._matrices = [nn.Parameter(_matrix(weight.detach())) for weight in self._convolutions]
        ours = {id(p) for p in self._convolutions}
        others = [p for p in network.parameters() if id(p) not in ours]
        self._learning_rate = learning_rate
        self._factors = (matrix_factor, 1.0)
        self.optimizers: tuple[torch.optim.Optimizer, ...] = (
            torch.optim.Muon(self._matrices, weight_decay=weight_decay, adjust_lr_fn="match_rms_adamw"),
            torch.optim.AdamW(others, weight_decay=weight_decay),
        )
        """For checkpoints."""
        self.schedule(1.0)

    def schedule(self, share: float) -> None:
        """Set the learning rates to a share of their highest."""
        for optimizer, factor in zip(self.optimizers, self._factors, strict=True):
            for group in optimizer.param_groups:
                group["lr"] = share * factor * self._learning_rate

    def step(self) -> None:
        """One step along the gradients, which are cleared."""
        for matrix, weight in zip(self._matrices, self._convolutions, strict=True):
            matrix.grad = None if weight.grad is None else _matrix(weight.grad)
            weight.grad = None
        for optimizer in self.optimizers:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)


def _matrix(weight_OIXYZ: Tensor) -> Tensor:
    """One row per output channel; a view where the weight is in `channels_last_3d`."""
    return weight_OIXYZ.permute(0, 2, 3, 4, 1).flatten(1)
