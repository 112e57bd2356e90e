"""The optimizer of both networks: Muon for the weights of hidden layers, AdamW for the rest."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from vp_engine.training.muon import Muon


class MuonAdamW:
    """Muon on some weights of a network, each as a matrix, and AdamW on all other parameters.

    Muon takes matrices only. The weights of a 3-D convolution in `channels_last_3d` are one without being moved: the
    matrix shares their memory, so that what Muon writes is what the network reads.

    Parameters
    ----------
    network : torch.nn.Module
        On the device where it is trained.
    hidden : sequence of torch.nn.Parameter
        Weights of hidden layers, (O, I) or (O, I, X, Y, Z).
    learning_rate : float
        Of both; Muon's steps are scaled to the size of AdamW's.
    matrix_factor : float
        Learning rate of the matrices in units of the others'.
    slow : sequence of torch.nn.Parameter
        Weights that know something already and are only tuned; none of `hidden`.
    slow_factor : float
        Their learning rate in units of the others'.
    weight_decay : float
        Of both.

    References
    ----------
    Jordan et al. 2024, *Muon*; Liu et al. 2025, *Muon is scalable for LLM training* (step size, weight decay).
    """

    def __init__(
        self,
        network: nn.Module,
        hidden: Sequence[nn.Parameter],
        *,
        learning_rate: float,
        matrix_factor: float,
        weight_decay: float,
        slow: Sequence[nn.Parameter] = (),
        slow_factor: float = 1.0,
    ) -> None:
        self._hidden = list(hidden)
        self._matrices = [nn.Parameter(_matrix(weight.detach())) for weight in self._hidden]
        ours = {id(weight) for weight in (*self._hidden, *slow)}
        others = [p for p in network.parameters() if id(p) not in ours]
        groups = [{"params": others}, {"params": list(slow)}] if slow else [{"params": others}]
        self._rates = ((learning_rate * matrix_factor,), (learning_rate, learning_rate * slow_factor))
        self.optimizers: tuple[torch.optim.Optimizer, ...] = (
            Muon(self._matrices, weight_decay=weight_decay),
            torch.optim.AdamW(groups, weight_decay=weight_decay),
        )
        """For checkpoints."""
        self.schedule(1.0)

    def schedule(self, share: float) -> None:
        """Set the learning rates to a share of their highest."""
        for optimizer, rates in zip(self.optimizers, self._rates, strict=True):
            for group, rate in zip(optimizer.param_groups, rates, strict=False):
                group["lr"] = share * rate

    def step(self) -> None:
        """One step along the gradients, which are cleared."""
        for matrix, weight in zip(self._matrices, self._hidden, strict=True):
            matrix.grad = None if weight.grad is None else _matrix(weight.grad)
            weight.grad = None
        for optimizer in self.optimizers:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)


def _matrix(weight: Tensor) -> Tensor:
    """One row per output channel; a view of a matrix, and of a convolution in `channels_last_3d`."""
    return weight.movedim(1, -1).flatten(1)
