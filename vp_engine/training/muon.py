"""Muon in float32 where the processor has no fast bfloat16."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import Tensor

_COEFFICIENTS = (3.4445, -4.7750, 2.0315)
_STEPS = 5
_EPSILON = 1e-7


class Muon(torch.optim.Optimizer):
    """Momentum whose steps are made orthogonal, for matrices; steps have the size of AdamW's.

    The same as `torch.optim.Muon` with ``adjust_lr_fn="match_rms_adamw"``, which always multiplies in bfloat16: on
    a processor that only emulates it, that took three times as long as the network itself.

    Parameters
    ----------
    matrices : iterable of torch.Tensor
        Parameters of two dimensions.
    lr, weight_decay, momentum : float
        Weight decay is decoupled; momentum is Nesterov's.

    References
    ----------
    Jordan et al. 2024, *Muon*; Liu et al. 2025, *Muon is scalable for LLM training* (step size, weight decay).
    """

    def __init__(
        self, matrices: Iterable[Tensor], *, lr: float = 1e-3, weight_decay: float = 0.1, momentum: float = 0.95
    ) -> None:
        super().__init__(matrices, {"lr": lr, "weight_decay": weight_decay, "momentum": momentum})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]  # as all in torch
        """Take one step along the gradients."""
        del closure
        for group in self.param_groups:
            for matrix in group["params"]:
                if matrix.grad is None:
                    continue
                state = self.state[matrix]
                if not state:
                    state["momentum_buffer"] = torch.zeros_like(matrix.grad)
                momentum = state["momentum_buffer"].lerp_(matrix.grad, 1 - group["momentum"])
                direction = orthogonal(matrix.grad.lerp(momentum, group["momentum"]))
                matrix.mul_(1 - group["lr"] * group["weight_decay"])
                matrix.add_(direction, alpha=-group["lr"] * 0.2 * max(matrix.shape) ** 0.5)


def orthogonal(matrix: Tensor) -> Tensor:
    """Nearest matrix with singular values near 1, by five steps of Newton and Schulz; in bfloat16 on a GPU."""
    x = matrix.bfloat16() if matrix.is_cuda else matrix.float()
    tall = x.shape[0] > x.shape[1]
    x = x.T if tall else x
    x = x / x.norm().clamp_min(_EPSILON)
    a, b, c = _COEFFICIENTS
    for _ in range(_STEPS):
        square = x @ x.T
        x = torch.addmm(x, torch.addmm(square, square, square, beta=b, alpha=c), x, beta=a)
    return (x.T if tall else x).to(matrix.dtype)
