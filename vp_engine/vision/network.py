"""Encoder, generator and heads of the vision network, on the scans' own grids.

Shapes: B = 1 image, S streams, C channels, X Y Z a grid, K targets, P length of φ.
The trunk works at about 2 mm on all streams together; the fine level then sharpens each stream at about 1 mm.
Neither depends on the target: φ of each target forms the weights of a pointwise head.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vp_engine.vision.codes import PHI_DIM, structure_codes
from vp_engine.vision.normalization import GroupNorm
from vp_engine.vision.pooling import max_pool, pooled_affine, pooled_shape, pooled_spacing
from vp_engine.vision.precision import one_thread
from vp_engine.vision.streams import StreamExchange

# On grids of a few voxels the bfloat16 weight gradient of oneDNN (torch 2.13, CPU) reads memory it never wrote:
# one in five backward passes of a 2 x 3 x 2 grid held values of 1e30. Such grids cost nothing in float32.
_SMALL = 8


@dataclass(frozen=True, slots=True)
class VisionConfig:
    """Everything that fixes the architecture.

    Attributes
    ----------
    structures : tuple of str
        Names of the parts, in the order of their codes.
    channels : tuple of int
        Channels per level of the trunk, finest first.
    fine_channels : int
        Channels of the fine level; 0 for a network that ends at the trunk.
    entry_spacing_mm : float
        In-plane spacing of the trunk's finest level; the fine level has half of it. A scan enters at the level
        nearest to its own spacing.
    groups : int
        Groups of each GroupNorm.
    """

    structures: tuple[str, ...]
    channels: tuple[int, ...] = (24, 48, 96, 128, 128)
    fine_channels: int = 16
    entry_spacing_mm: float = 2.0
    groups: int = 4

    @property
    def pooled_length(self) -> int:
        """Length of what `ScanFeatures.inside` gives."""
        return 3 * self.channels[0]


class ConvBlock(nn.Module):
    """3³ convolution, GroupNorm, SiLU, `depth` times."""

    def __init__(self, channels_in: int, channels: int, *, depth: int, groups: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for step in range(depth):
            layers += [
                nn.Conv3d(channels_in if step == 0 else channels, channels, 3, padding=1),
                GroupNorm(groups, channels),
                nn.SiLU(),
            ]
        self.layers = nn.Sequential(*layers)

    def forward(self, x_BCXYZ: Tensor) -> Tensor:
        """Same grid, `channels` features."""
        y: Tensor
        if min(x_BCXYZ.shape[2:]) < _SMALL:
            with torch.autocast(x_BCXYZ.device.type, enabled=False):
                y = self.layers(x_BCXYZ.float())
        else:
            y = self.layers(x_BCXYZ)
        return y


class FineLevel(nn.Module):
    """Two more convolutions at about half the spacing of the trunk: where exactly the borders run.

    What lies where is the trunk's to know. Its features are passed on beside the new ones, so that the heads
    add the evidence of both.
    """

    def __init__(self, channels: int, trunk_channels: int, *, groups: int) -> None:
        super().__init__()
        self.stem = ConvBlock(1, channels, depth=1, groups=groups)
        self.mix = ConvBlock(channels + trunk_channels, channels, depth=2, groups=groups)

    def forward(self, image_XYZ: Tensor, trunk_1CXYZ: Tensor) -> Tensor:
        """Features (1, C_fine + C_trunk, X, Y, Z) on the grid of the image, from the trunk's of the same extent."""
        stem = self.stem(image_XYZ[None, None].contiguous(memory_format=torch.channels_last_3d))
        known = _to_grid(trunk_1CXYZ.contiguous(memory_format=torch.channels_last_3d), stem)
        return torch.cat([self.mix(torch.cat([stem, known], 1)), known], 1)


class VisionNetwork(nn.Module):
    """`m_enc` and `m_gen` in one: streams of images in, per-target probabilities out.

    The finest level of the trunk has one convolution per block, the others two: most of the cost is there and
    little of the knowledge. Levels are grids of the scan, pooled by `pooled_shape`.

    References
    ----------
    Hoopes et al. 2024, section 3; Ronneberger et al. 2015 (U-Net); Ha et al. 2017 (weights from a code).
    """

    def __init__(self, config: VisionConfig) -> None:
        super().__init__()
        self.config = config
        c = config.channels
        levels = range(len(c))
        depth = [1 if level == 0 else 2 for level in levels]
        self.down = nn.ModuleList(
            ConvBlock(1 if n == 0 else c[n - 1], c[n], depth=depth[n], groups=config.groups) for n in levels
        )
        self.narrow = nn.ModuleList(
            nn.Conv3d(c[n + 1], c[n], 1) for n in levels[:-1]
        )  # before, not after, the finer grid
        self.up = nn.ModuleList(ConvBlock(2 * c[n], c[n], depth=depth[n], groups=config.groups) for n in levels[:-1])
        self.down_exchange = nn.ModuleList(StreamExchange(c[n]) for n in levels[1:])
        self.up_exchange = nn.ModuleList(StreamExchange(c[n]) for n in levels[:-1])
        self.head = _head(c[0], scale=4)  # starts near its final scale: learning is twice as fast
        if config.fine_channels:
            self.fine = FineLevel(config.fine_channels, c[0], groups=config.groups)
            self.fine_head = _head(config.fine_channels, scale=0)  # starts as what the trunk says, interpolated
        codes = torch.from_numpy(structure_codes(len(config.structures)))
        self.register_buffer("phi", codes, persistent=True)  # (K, P)
        self.phi: Tensor
        for weight in self.parameters():
            if weight.ndim == 5:
                weight.data = weight.data.contiguous(memory_format=torch.channels_last_3d)

    def trunk(self, images: list[Tensor], affines: list[Tensor]) -> list[Tensor]:
        """Features (1, C, X, Y, Z) of each of several co-registered streams, on its own grid.

        Parameters
        ----------
        images : list of torch.Tensor, shape (X, Y, Z)
            Intensities in [0, 1], RAS+ axis order, any shape; each on the grid of its affine.
        affines : list of torch.Tensor, shape (4, 4)
            Voxel to world, mm, float64.
        """
        streams = [x_XYZ[None, None].contiguous(memory_format=torch.channels_last_3d) for x_XYZ in images]
        grids = [affines]
        skips: list[list[Tensor]] = []
        for level, block in enumerate(self.down):
            if level > 0:
                streams, affines = _pool(streams, affines)
                grids.append(affines)
            streams = [block(x) for x in streams]
            if level > 0:
                streams = self.down_exchange[level - 1](streams, affines)
            skips.append(streams)
        for level in reversed(range(len(self.up))):
            fine = skips[level]
            streams = [_to_grid(self.narrow[level](x), skip) for x, skip in zip(streams, fine, strict=True)]
            streams = [self.up[level](torch.cat([s, x], 1)) for s, x in zip(fine, streams, strict=True)]
            streams = self.up_exchange[level](streams, grids[level])
        return streams

    def log_probabilities(self, x_1CXYZ: Tensor, phi_KP: Tensor) -> Tensor:
        """Log probability of each target at each voxel, (K, X, Y, Z); no target depends on another.

        For the codes of the parts these are a softmax over all parts and the background.
        """
        x_NC = voxel_rows(x_1CXYZ).float()
        with torch.autocast(x_NC.device.type, enabled=False):
            log_partition = self.part_logits(x_NC).logsumexp(0)
            # One by one: a product over K rows may round differently for another K.
            weights = [self._weights(phi_P.float()[None], x_NC.shape[1])[0] for phi_P in phi_KP]
            rows = torch.stack([x_NC @ w[:-1] + w[-1] - log_partition for w in weights])
        return rows.view(-1, *x_1CXYZ.shape[2:])

    def part_logits(self, x_NC: Tensor) -> Tensor:
        """Evidence for the background (first) and each part at N voxels, (K + 1, N), float32."""
        return self.evidence(x_NC, torch.cat([torch.zeros_like(self.phi[:1]), self.phi]))

    def evidence(self, x_NC: Tensor, phi_KP: Tensor) -> Tensor:
        """Evidence for what each φ asks for at N voxels, (K, N), float32; the zero vector asks for the background."""
        with torch.autocast(x_NC.device.type, enabled=False):
            with one_thread():
                weights = self._weights(phi_KP.float(), x_NC.shape[1])
            return torch.addmm(weights[:, -1:], weights[:, :-1], x_NC.float().T)

    @torch.no_grad()
    def heads(self, head: nn.Sequential) -> Tensor:
        """Weights and bias of the background (first) and each part, at the trunk or the fine level; (1 + K, C + 1)."""
        weights: Tensor = head(torch.cat([torch.zeros_like(self.phi[:1]), self.phi]))
        return weights

    @torch.no_grad()
    def change_heads(self, head: nn.Sequential, change_KC: Tensor) -> None:
        """Add something to the weights of the parts, by the smallest change of the last layer that does it.

        Parameters
        ----------
        head : torch.nn.Sequential
            The trunk's or the fine level's.
        change_KC : torch.Tensor, shape (1 + K, C + 1)
            0 for what is to stay as it is.
        """
        hidden = head[:-1](torch.cat([torch.zeros_like(self.phi[:1]), self.phi])).double()
        hidden = torch.cat([hidden, torch.ones_like(hidden[:, :1])], 1)  # the bias is one more column
        change = (torch.linalg.pinv(hidden) @ change_KC.double()).T
        last = cast("nn.Linear", head[-1])
        last.weight.add_(change[:, :-1].float())
        last.bias.add_(change[:, -1].float())

    def _weights(self, phi_KP: Tensor, channels: int) -> Tensor:
        """Weights and bias (K, C + 1) of the heads for features of the trunk or, with more channels, of both levels."""
        weights: Tensor = self.head(phi_KP)
        if channels == self.config.channels[0]:
            return weights
        fine = self.fine_head(phi_KP)
        return torch.cat([fine[:, :-1], weights[:, :-1], fine[:, -1:] + weights[:, -1:]], 1)


def _head(channels: int, *, scale: float) -> nn.Sequential:
    """From φ to the weights and the bias of a pointwise head."""
    evidence = nn.Linear(64, channels + 1)
    evidence.weight.data.mul_(scale)
    evidence.bias.data.mul_(scale > 0)
    return nn.Sequential(nn.Linear(PHI_DIM, 64), nn.SiLU(), evidence)


def voxel_rows(x_1CXYZ: Tensor) -> Tensor:
    """Features of one image as rows, one per voxel in C order: (X · Y · Z, C); free for `channels_last_3d`."""
    return x_1CXYZ[0].permute(1, 2, 3, 0).flatten(0, 2)


def _pool(streams: list[Tensor], affines: list[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
    """Next coarser level of every stream, each by the rule for its own spacing."""
    pooled, new_affines = [], []
    for x, affine in zip(streams, affines, strict=True):
        shape = tuple(x.shape[2:])
        new_shape = pooled_shape(shape, affine[:3, :3].norm(dim=0).tolist())
        pooled.append(max_pool(x, new_shape))
        new_affines.append(pooled_affine(affine, shape, new_shape))
    return pooled, new_affines


def _to_grid(x: Tensor, like: Tensor) -> Tensor:
    if x.shape[2:] == like.shape[2:]:
        return x
    with torch.autocast(x.device.type, enabled=False):  # which would make it float32, and all that follows
        return F.interpolate(x, size=like.shape[2:], mode="trilinear", align_corners=False)


def entry_shape(shape: tuple[int, int, int], affine_44: Tensor, entry_spacing_mm: float) -> tuple[int, int, int]:
    """Grid at which a scan enters: pooled until its finest spacing is nearest (in octaves) to the entry level."""
    spacing = affine_44[:3, :3].norm(dim=0).tolist()
    while min(spacing) * 2**0.5 < entry_spacing_mm:
        new_shape = pooled_shape(shape, spacing)
        spacing = list(pooled_spacing(shape, spacing, new_shape))
        shape = new_shape
    return shape
