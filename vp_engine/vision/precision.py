"""In which precision the network computes."""

from __future__ import annotations

from functools import cache

import torch


def mixed_precision(device: str) -> torch.autocast:
    """Convolutions in bfloat16 where the hardware has it, several times as fast; emulating it is many times as slow.

    Parameters
    ----------
    device : str
        Such as ``cpu`` or ``cuda``.
    """
    kind = torch.device(device).type
    return torch.autocast(kind, torch.bfloat16, enabled=kind != "cpu" or _cpu_has_bfloat16())


@cache
def _cpu_has_bfloat16() -> bool:
    # torch has no public name for this
    return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())  # noqa: SLF001
