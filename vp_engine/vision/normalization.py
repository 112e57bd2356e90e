"""Group normalisation whose result does not depend on the number of threads."""

from __future__ import annotations

import torch
from torch import Tensor, nn

_SIDE_BY_SIDE = 64
"""Voxels whose channels are one row: processors add long rows several times as fast as rows of 16 numbers."""
_ROWS = 256
"""Rows summed at a time: a block in float32 stays in the cache."""


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
        rows_NC = input[0].permute(1, 2, 3, 0).flatten(0, 2).contiguous()
        even = len(rows_NC) // _SIDE_BY_SIDE * _SIDE_BY_SIDE
        parts = [(rows_NC[:even], _SIDE_BY_SIDE), (rows_NC[even:], 1)]
        total_C, squares_C = torch.zeros(2, channels)
        for part_NC, together in parts:
            for block in part_NC.view(-1, together * channels).split(_ROWS):
                values = block.float()
                total_C += values.sum(0).view(together, channels).sum(0)
                squares_C += values.square().sum(0).view(together, channels).sum(0)
        count = len(rows_NC) * channels // groups
        mean_G = total_C.view(groups, -1).sum(1) / count
        variance_G = (squares_C.view(groups, -1).sum(1) / count - mean_G.square()).clamp(min=0)
        mean_C, std_C = (x.repeat_interleave(channels // groups) for x in (mean_G, (variance_G + self.eps).sqrt()))
        scale_C = (self.weight / std_C).to(input.dtype)
        shift_C = (self.bias - mean_C * self.weight / std_C).to(input.dtype)
        normalised = torch.empty_like(input, memory_format=torch.channels_last_3d)
        out_NC = normalised[0].permute(1, 2, 3, 0).flatten(0, 2)
        for (part_NC, together), out in zip(parts, (out_NC[:even], out_NC[even:]), strict=True):
            rows = part_NC.view(-1, together * channels)
            torch.addcmul(shift_C.repeat(together), rows, scale_C.repeat(together), out=out.view(rows.shape))
        return normalised
