"""Streams: one per volume, weights shared, talking to each other voxel by voxel.

Shapes: S streams, C channels, X Y Z a grid, N voxels of the common grid, D attention dimension.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class StreamExchange(nn.Module):
    """Attention across streams at each voxel of a common grid, never across space.

    With one stream it reduces to a pointwise mixing of its own channels, so a network of one image and
    a network of many have the same parameters. Equivariant to the order of the streams: the common grid
    is the one of the largest number of voxels, ties broken by the affine's numbers, not by position.

    References
    ----------
    Hoopes et al. 2024, section 3, "stream interaction"; attention dimension 32.
    """

    def __init__(self, channels: int, dim: int = 32) -> None:
        super().__init__()
        self.dim = dim
        self.query_key_value = nn.Linear(channels, 3 * dim)
        self.out = nn.Linear(dim, channels)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def forward(self, streams: list[Tensor], affines: list[Tensor]) -> list[Tensor]:
        """Return the streams (each (1, C, X, Y, Z) on its own grid) with what they learned from each other."""
        if len(streams) == 1:
            x_NC = streams[0].permute(0, 2, 3, 4, 1)
            _, _, weight = self.query_key_value.weight.split(self.dim)
            _, _, bias = self.query_key_value.bias.split(self.dim)
            value_ND = F.linear(x_NC, weight, bias)
            return [streams[0] + self.out(value_ND).permute(0, 4, 1, 2, 3)]
        common = max(
            range(len(streams)), key=lambda s: (streams[s][0, 0].numel(), tuple(affines[s].flatten().tolist()))
        )
        shape, affine = streams[common].shape[2:], affines[common]
        same = [x.shape[2:] == shape and torch.equal(a, affine) for x, a in zip(streams, affines, strict=True)]
        gathered = [
            x if is_same else sample(x, a, shape, affine) for x, a, is_same in zip(streams, affines, same, strict=True)
        ]
        x_SXYZC = torch.cat(gathered).permute(0, 2, 3, 4, 1)
        query, key, value = self.query_key_value(x_SXYZC).split(self.dim, dim=-1)
        query, key, value = (t.flatten(1, 3).transpose(0, 1) for t in (query, key, value))  # (N, S, D)
        mixed_NSD = F.scaled_dot_product_attention(query, key, value)
        update = self.out(mixed_NSD.transpose(0, 1)).unflatten(1, shape).permute(0, 4, 1, 2, 3)  # (S, C, X, Y, Z)
        return [
            x + (update[s : s + 1] if is_same else sample(update[s : s + 1], affine, x.shape[2:], a))
            for s, (x, a, is_same) in enumerate(zip(streams, affines, same, strict=True))
        ]


def sample(x_1CXYZ: Tensor, affine_44: Tensor, shape: torch.Size, target_affine_44: Tensor) -> Tensor:
    """Resample features trilinearly onto another grid of the same world; zero outside the source."""
    voxel_to_voxel = torch.linalg.solve(affine_44.double(), target_affine_44.double())
    size_in = torch.tensor(x_1CXYZ.shape[2:], dtype=torch.float64)
    size_out = torch.tensor(shape, dtype=torch.float64)
    # affine_grid and grid_sample count x from the last axis and faces from -1 to 1.
    to_voxel = torch.eye(4, dtype=torch.float64)
    to_voxel[:3, :3] = torch.diag(size_out / 2)
    to_voxel[:3, 3] = (size_out - 1) / 2
    to_unit = torch.eye(4, dtype=torch.float64)
    to_unit[:3, :3] = torch.diag(2 / size_in)
    to_unit[:3, 3] = (1 - size_in) / size_in
    theta = (to_unit @ voxel_to_voxel.cpu() @ to_voxel)[:3]
    theta = torch.cat([theta[:, :3].flip(0, 1), theta[:, 3:].flip(0)], dim=1)
    grid = F.affine_grid(theta[None].float().to(x_1CXYZ.device), [1, 1, *shape], align_corners=False)
    return F.grid_sample(x_1CXYZ.float(), grid, align_corners=False).to(x_1CXYZ.dtype)
