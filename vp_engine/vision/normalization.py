"""Group normalisation whose result does not depend on the number of threads."""

from __future__ import annotations

import torch
from torch import Tensor, nn

_BLOCK = 16_384
"""Voxels summed at a time: a block in float32 stays in the cache."""


class GroupNorm(nn.GroupNorm):
    """`torch.nn.GroupNorm`, where masks are made on the CPU with sums in a fixed order.

    torch (2.13, CPU, `channels_last_3d`) adds up one sum per thread, so that another number of threads rounds otherwise
    and now and then a voxel changes its label. Training, and other devices, use torch's.
    """

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - named as in torch
        """Normalise (1, C, X, Y, Z) over groups of channels and all voxels; same dtype."""
        if torch.is_grad_enabled() or input.device.type != "cpu":
            return super().forward(input)
        channels, groups = self.num_channels, self.num_groups
        rows_NC = input[0].permute(1, 2, 3, 0).flatten(0, 2)
        total_C, squares_C = torch.zeros(2, channels)
        for block_NC in rows_NC.split(_BLOCK):
            block = block_NC.float()
            total_C += block.sum(0)
            squares_C += block.square().sum(0)
        count = rows_NC.shape[0] * channels // groups
        mean_G = total_C.view(groups, -1).sum(1) / count
        variance_G = (squares_C.view(groups, -1).sum(1) / count - mean_G.square()).clamp(min=0)
        mean_C, std_C = (x.repeat_interleave(channels // groups) for x in (mean_G, (variance_G + self.eps).sqrt()))
        scale_C = self.weight / std_C
        shift_C = self.bias - mean_C * scale_C
        out_NC = torch.addcmul(shift_C.to(input.dtype), rows_NC, scale_C.to(input.dtype))
        return out_NC.view(*input.shape[2:], channels).permute(3, 0, 1, 2)[None]
