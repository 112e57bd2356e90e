"""The optimizer of both networks: Muon for the weights of hidden layers, AdamW for the rest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType

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
    factors : mapping of torch.nn.Parameter to float
        Learning rate in units of the others' of weights that know something already; none of `hidden`.
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
        factors: Mapping[nn.Parameter, float] = MappingProxyType({}),
    ) -> None:
        self._hidden = list(hidden)
        self._matrices = [nn.Parameter(_matrix(weight.detach())) for weight in self._hidden]
        ours = {id(weight) for weight in self._hidden}
        others: dict[float, list[nn.Parameter]] = {1.0: []}
        for parameter in network.parameters():
            if id(parameter) not in ours:
                others.setdefault(factors.get(parameter, 1.0), []).append(parameter)
        self._rates = ((learning_rate * matrix_factor,), tuple(learning_rate * factor for factor in others))
        self.optimizers: tuple[torch.optim.Optimizer, ...] = (
            Muon(self._matrices, weight_decay=weight_decay),
            torch.optim.AdamW([{"params": some} for some in others.values()], weight_decay=weight_decay),
        )
        """For checkpoints."""
        self.schedule(1.0)

    def schedule(self, share: float) -> None:
        """Set the learning rates to a share of their highest."""
        for optimizer, rates in zip(self.optimizers, self._rates, strict=True):
            for group, rate in zip(optimizer.param_groups, rates, strict=True):
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
