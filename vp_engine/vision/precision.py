"""In which precision the network computes, and that it does so alike on any number of threads."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

import torch

# read by MKL when it is first called: on processors of Intel it rounds otherwise with another number of threads
os.environ.setdefault("MKL_CBWR", "AUTO,STRICT")


def mixed_precision(device: str) -> torch.autocast:
    """Convolutions in bfloat16 where the hardware has it, several times as fast; emulating it is many times as slow.

    Parameters
    ----------
    device : str
        Such as ``cpu`` or ``cuda``.
    """
    kind = torch.device(device).type
    return torch.autocast(kind, torch.bfloat16, enabled=kind != "cpu" or _cpu_has_bfloat16())


@contextmanager
def one_thread() -> Iterator[None]:
    """Products of matrices in float32 on the CPU: MKL rounds otherwise from three threads on."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def softmax(logits_KN: torch.Tensor) -> torch.Tensor:
    """Probabilities over K; torch's rounds otherwise where the share of a thread begins and ends (2.13, CPU)."""
    p_KN = (logits_KN - logits_KN.amax(0)).exp_()
    return p_KN.div_(p_KN.sum(0))


@cache
def _cpu_has_bfloat16() -> bool:
    # torch has no public name for this
    return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())  # noqa: SLF001
