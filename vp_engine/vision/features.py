"""What the network sees of a scan, pooled inside a mask: numbers for the agent, not for people.

Shapes: C channels of the finest level of the trunk, X Y Z its grid, N voxels of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from vp_engine.vision.entry import at_trunk, cut, entered
from vp_engine.vision.network import VisionNetwork, voxel_rows
from vp_engine.vision.pooling import block_mean
from vp_engine.vision.precision import mixed_precision
from vp_engine.volumes.geometry import to_canonical
from vp_engine.volumes.volume import Volume


@dataclass(frozen=True, slots=True, eq=False)
class ScanFeatures:
    """What the network sees of one scan, at every voxel of the trunk's finest grid.

    Attributes
    ----------
    trunk, first : torch.Tensor, shape (N, C)
        Output of the trunk and of its first block, on the CPU.
    shape : tuple of int
        Of the trunk's grid; its voxels in C order are the rows.
    box : tuple of (int, int)
        Where this grid lies on the entry grid; may leave it.
    entry_shape : tuple of int
        The entry grid, which covers the field of view of the scan.
    affine : (4, 4) float64 array
        Of the scan.
    """

    trunk: Tensor
    first: Tensor
    shape: tuple[int, ...]
    box: tuple[tuple[int, int], ...]
    entry_shape: tuple[int, int, int]
    affine: np.ndarray

    def inside(self, mask_XYZ: np.ndarray) -> np.ndarray:
        """Pool inside a mask; each voxel of the trunk counts by the share of it that the mask fills.

        Parameters
        ----------
        mask_XYZ : (X, Y, Z) bool array
            On the grid of the scan, in its axis order.

        Returns
        -------
        (3 C,) float32 array
            Mean of the trunk, then mean and standard deviation of its first block; zeros for a mask in which nothing
            is seen.
        """
        canonical, _ = to_canonical(Volume(mask_XYZ.astype(np.float32), self.affine))
        mask = torch.from_numpy(np.ascontiguousarray(canonical.data))
        entry = cut(block_mean(mask[None, None], self.entry_shape)[0, 0], self.box)
        share_N = block_mean(entry[None, None], self.shape).flatten()
        seen = torch.nonzero(share_N > 0).flatten()
        if not len(seen):
            return np.zeros(3 * self.trunk.shape[1], dtype=np.float32)
        weight_N = share_N[seen].double() / share_N[seen].double().sum()
        trunk_NC, first_NC = self.trunk[seen].double(), self.first[seen].double()
        mean_C = weight_N @ first_NC
        spread_C = (weight_N @ (first_NC - mean_C).square()).sqrt()
        pooled: np.ndarray = torch.cat([weight_N @ trunk_NC, mean_C, spread_C]).float().numpy()
        return pooled


@torch.inference_mode()
def scan_features(
    network: VisionNetwork, volume: Volume, *, others: Sequence[Volume] = (), device: str = "cpu"
) -> ScanFeatures:
    """Look at one scan with one pass of the trunk.

    Parameters
    ----------
    network : VisionNetwork
    volume : Volume
        Any axis order, spacing and orientation.
    others : sequence of Volume, optional
        More images of the same head in the same world, read together with it.
    device : str
        Where the network lies.
    """
    config = network.config
    streams = [entered(to_canonical(one)[0], config, device=device) for one in (volume, *others)]
    images, affines = zip(*(at_trunk(stream, config) for stream in streams), strict=True)
    with mixed_precision(device):
        trunk = network.trunk([*images], [*affines])[0]
        first = network.down[0](images[0][None, None].contiguous(memory_format=torch.channels_last_3d))
    asked = streams[0]
    return ScanFeatures(
        trunk=voxel_rows(trunk).cpu(),
        first=voxel_rows(first).cpu(),
        shape=tuple(trunk.shape[2:]),
        box=asked.box,
        entry_shape=asked.entry_shape,
        affine=volume.affine,
    )
