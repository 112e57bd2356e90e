"""Weights on disk in 8 bits per number: a matrix as whole numbers and one scale per row, the rest in bfloat16."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from vp_engine.errors import WeightsError

_SCALE = ".scale"
_LEVELS = 127


def save_quantized(weights: Mapping[str, Tensor], path: Path) -> None:
    """Write weights; a number of a matrix is off by at most 1/254 of the largest of its row."""
    stored: dict[str, Tensor] = {}
    for name, tensor in weights.items():
        values = tensor.detach().float().cpu()
        if values.ndim != 2:
            stored[name] = values.to(torch.bfloat16).contiguous()
            continue
        scale_R1 = values.abs().amax(1, keepdim=True).clamp_min(torch.finfo(torch.float32).tiny) / _LEVELS
        stored[name] = (values / scale_R1).round().to(torch.int8).contiguous()
        stored[name + _SCALE] = scale_R1
    save_file(stored, path)


def load_quantized(path: Path) -> dict[str, Tensor]:
    """Read what `save_quantized` wrote, as float32.

    Raises
    ------
    SafetensorError, OSError
        If the file cannot be read.
    WeightsError
        If a matrix in 8 bits has no scale for each of its rows, or a scale has no such matrix; if anything is stored in
        another data type.
    """
    stored = load_file(path)
    for name, tensor in stored.items():
        expected = torch.float32 if name.endswith(_SCALE) else torch.int8 if tensor.ndim == 2 else torch.bfloat16
        if tensor.dtype != expected:
            raise WeightsError(
                f"{path.name}: expected {name} as {expected}, got {tensor.dtype}; restore the file", code="dtype"
            )
    matrices = {name: tensor.shape[0] for name, tensor in stored.items() if tensor.dtype == torch.int8}
    scales = {name.removesuffix(_SCALE): tensor for name, tensor in stored.items() if name.endswith(_SCALE)}
    odd = sorted(matrices.keys() ^ scales.keys())
    odd += sorted(name for name, rows in matrices.items() if name in scales and scales[name].shape != (rows, 1))
    if odd:
        raise WeightsError(
            f"{path.name}: expected a scale for each row of a matrix in 8 bits, got others for {', '.join(odd[:3])}; "
            "restore the file",
            code="scales",
        )
    return {
        name: tensor.float() * scales[name] if name in scales else tensor.float()
        for name, tensor in stored.items()
        if not name.endswith(_SCALE)
    }
