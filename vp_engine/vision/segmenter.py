"""From a scan on its own grid to probabilities on that same grid."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from vp_engine.vision.checkpoint import from_pretrained
from vp_engine.vision.description import DescriptionModel, load_description
from vp_engine.vision.entry import at_trunk, entered
from vp_engine.vision.features import ScanFeatures, scan_features
from vp_engine.vision.network import VisionNetwork, voxel_rows
from vp_engine.vision.precision import mixed_precision, softmax
from vp_engine.vision.quality import QualityModel, load_quality
from vp_engine.volumes.geometry import Orientation, from_canonical, to_canonical
from vp_engine.volumes.volume import Volume

_NEGLIGIBLE = 0.01
_ROWS = 2**14  # few enough to stay in the cache of a processor


@dataclass(frozen=True, slots=True, eq=False)
class Region:
    """One structure in the box that holds it.

    Attributes
    ----------
    start : tuple of int
        First voxel of the box in the scan's own grid and axis order.
    probability : numpy.ndarray of float32, shape of the box
        Outside the box no part reaches 0.01.
    inside : numpy.ndarray of bool, shape of the box
        Where the structure is more probable than the background and than any part outside it. Two parts are
        never inside at one voxel, whatever else is asked for.
    qc_score : float or None
        Expected Dice of the mask with the truth, 0 to 1; None for an empty mask, and from a segmenter without a
        quality model.
    """

    start: tuple[int, int, int]
    probability: np.ndarray
    inside: np.ndarray
    qc_score: float | None = None

    def full(self, shape: Sequence[int]) -> np.ndarray:
        """The mask on the whole grid of the scan, bool."""
        mask = np.zeros(shape, dtype=bool)
        mask[tuple(slice(a, a + n) for a, n in zip(self.start, self.inside.shape, strict=True))] = self.inside
        return mask


@dataclass(frozen=True, slots=True, eq=False)
class EncodedScan:
    """A scan as the network sees it: what competes at each voxel of a box, and the way back to the scan's voxels.

    Attributes
    ----------
    probabilities : torch.Tensor of float16, shape (1 + K, X, Y, Z)
        Of the background and every part; outside the box all is background.
    start : tuple of int
        First voxel of the box on the entry grid, which covers the same field of view as the scan; may lie outside.
    entry_shape, canonical_shape : tuple of int
        The whole entry grid and the scan's grid in RAS+ order.
    orientation : Orientation
    """

    probabilities: Tensor
    start: tuple[int, ...]
    entry_shape: tuple[int, int, int]
    canonical_shape: tuple[int, int, int]
    orientation: Orientation


class NetworkSegmenter:
    """A vision network with its weights, ready to delineate structures on scans.

    Parameters
    ----------
    network : VisionNetwork
    quality : QualityModel, optional
        What masks of this network are scored with; weights that are still being trained have none.
    description : DescriptionModel, optional
        What answers questions about lesions that this network delineates.
    device : str
        Where it runs, such as ``cpu`` or ``cuda``.
    """

    def __init__(
        self,
        network: VisionNetwork,
        quality: QualityModel | None = None,
        description: DescriptionModel | None = None,
        *,
        device: str = "cpu",
    ) -> None:
        self._network = network
        self._quality = quality
        self._description = description
        self.device = device

    @classmethod
    def from_pretrained(cls, folder: Path, *, device: str = "cpu") -> NetworkSegmenter:
        """Load the weights of a model folder and the models fitted to them; raises WeightsError."""
        network = from_pretrained(folder, device=device)
        quality = load_quality(folder, parts=network.config.structures)
        return cls(network, quality, load_description(folder), device=device)

    @property
    def known(self) -> tuple[str, ...]:
        """Names of the parts the weights delineate."""
        return self._network.config.structures

    def regions(
        self, volume: Volume, unions: Mapping[str, Sequence[str]], *, others: Sequence[Volume] = ()
    ) -> Iterator[tuple[str, Region]]:
        """Delineate unions of parts on one scan: one pass of the network, one light head per part.

        Parameters
        ----------
        volume : Volume
            Any axis order, spacing and orientation.
        unions : mapping of str to sequence of str
            Name of each union and its parts.
        others : sequence of Volume, optional
            More images of the same head, read together with it: any contrast and grid, whose affines lead into the
            same world.

        Yields
        ------
        name, Region
            In the order of `unions`; one at a time, so that only one map of the scan's size is in memory.
        """
        encoded = self._encode(volume, others)
        p_KXYZ = encoded.probabilities
        boxes = _boxes(p_KXYZ)
        for name, union in unions.items():
            members = {1 + self.known.index(part) for part in union}
            box = [(min(ends[:, 0]), max(ends[:, 1])) for ends in boxes[sorted(members)].swapaxes(0, 1)]
            here = p_KXYZ[(slice(None), *(slice(*ends) for ends in box))]
            p_XYZ, rival_XYZ = (torch.zeros(here.shape[1:]) for _ in range(2))
            for k, other_XYZ in enumerate(here):
                if k in members:
                    p_XYZ += other_XYZ
                else:
                    torch.maximum(rival_XYZ, other_XYZ, out=rival_XYZ)
            region = _on_scan(p_XYZ.clamp_(max=1), rival_XYZ, [low for low, _ in box], encoded)
            if self._quality is not None:
                qc_score = self._quality.qc_score(
                    region.probability, region.inside, parts=union, spacing_mm=volume.spacing_mm
                )
                region = replace(region, qc_score=qc_score)
            yield name, region

    def features(self, volume: Volume, *, others: Sequence[Volume] = ()) -> ScanFeatures:
        """Look at one scan, read together with others as in `regions`, to pool what is seen inside masks."""
        return scan_features(self._network, volume, others=others, device=self.device)

    @property
    def signs(self) -> tuple[str, ...]:
        """Signs of a lesion that `answer` looks at, in their order; none where no answers were fitted."""
        return self._description.signs if self._description else ()

    def answer(self, question: str, numbers: np.ndarray) -> tuple[str, float]:
        """Answer a question about a lesion; ``unclear`` from weights that no answers were fitted to.

        Parameters
        ----------
        question : str
            One of `vision.description.QUESTIONS`.
        numbers : (N,) float array
            Signs of the lesion, then the pooled features inside it.

        Returns
        -------
        word : str
        probability : float
            That the word is right.
        """
        return self._description.answer(question, numbers) if self._description else ("unclear", 0.0)

    @torch.inference_mode()
    def _encode(self, volume: Volume, others: Sequence[Volume]) -> EncodedScan:
        """Everything the network says of one scan, read together with others."""
        canonical, orientation = to_canonical(volume)
        config = self._network.config
        streams = [
            entered(one, config, device=self.device) for one in (canonical, *(to_canonical(v)[0] for v in others))
        ]
        images, affines = zip(*(at_trunk(stream, config) for stream in streams), strict=True)
        asked = streams[0]
        start = asked.start
        bfloat16 = mixed_precision(self.device)
        with bfloat16:
            features = self._network.trunk([*images], [*affines])[0]
        if features.shape[2:] != asked.image.shape:
            box = _blocks(self._anything(features), asked.image.shape)
            fine, coarse = (tuple(slice(*axis[level]) for axis in box) for level in range(2))
            with bfloat16:
                features = self._network.fine(asked.image[fine], features[(slice(None), slice(None), *coarse)])
            start = tuple(first + axis.start for first, axis in zip(start, fine, strict=True))
        p = self._probabilities(features)
        return EncodedScan(p, start, asked.entry_shape, canonical.shape, orientation)

    def _anything(self, features_1CXYZ: Tensor) -> Tensor:
        """Where the parts together are as probable as the background, bool (X, Y, Z)."""
        return self._probabilities(features_1CXYZ)[0].le(0.5)

    def _probabilities(self, features_1CXYZ: Tensor) -> Tensor:
        """Background and every part, (1 + K, X, Y, Z), float16, on the CPU."""
        rows = voxel_rows(features_1CXYZ)
        p_KN = torch.empty(1 + len(self.known), len(rows), dtype=torch.float16)
        for first in range(0, len(rows), _ROWS):
            some = slice(first, first + _ROWS)
            p_KN[:, some] = softmax(self._network.part_logits(rows[some]))
        return p_KN.view(-1, *features_1CXYZ.shape[2:])


def _blocks(wanted_XYZ: Tensor, fine_shape: Sequence[int]) -> list[tuple[tuple[int, int], tuple[int, int]]]:
    """Box on the fine and on the coarse grid of the same extent that holds what is wanted, grown by two coarse voxels.

    Its faces lie between voxels on both; where only the outer faces do, an axis is taken whole.
    """
    box = []
    for axis, (n, m) in enumerate(zip(fine_shape, wanted_XYZ.shape, strict=True)):
        used = torch.nonzero(wanted_XYZ.movedim(axis, 0).flatten(1).any(1)).flatten()
        if n % m or not len(used):
            box.append(((0, n), (0, m)))
            continue
        low, high = max(0, int(used[0]) - 2), min(m, int(used[-1]) + 3)
        box.append(((low * (n // m), high * (n // m)), (low, high)))
    return box


def _boxes(p_KXYZ: Tensor) -> np.ndarray:
    """First and last + 1 voxel along each axis of where each part is not negligible, with one voxel more; (K, 3, 2)."""
    seen_KXY, seen_KYZ = p_KXYZ.amax(3) > _NEGLIGIBLE, p_KXYZ.amax(1) > _NEGLIGIBLE
    boxes = np.empty((len(p_KXYZ), 3, 2), int)
    for axis, seen in enumerate((seen_KXY.any(2), seen_KXY.any(1), seen_KYZ.any(1))):
        for k, row in enumerate(seen.numpy()):
            used = np.flatnonzero(row)
            boxes[k, axis] = (max(0, used[0] - 1), min(len(row), used[-1] + 2)) if used.size else (0, 1)
    return boxes


def _on_scan(p_XYZ: Tensor, rival_XYZ: Tensor, low: Sequence[int], encoded: EncodedScan) -> Region:
    """Probabilities of a box of the encoded grid, interpolated at the voxels of the scan that lie in it.

    Interpolation keeps order, so that of two parts at most one beats its rivals at a voxel.
    """
    both = torch.stack([p_XYZ, rival_XYZ])
    starts = []
    for axis, size in enumerate(p_XYZ.shape):
        n, m = encoded.canonical_shape[axis], encoded.entry_shape[axis]
        first = encoded.start[axis] + low[axis]
        # Voxel i of the scan lies at (i + 1/2) m / n - 1/2 on the entry grid: both cover the same field of view.
        begin = min(n - 1, max(0, int((first + 0.5) * n / m)))
        end = max(begin + 1, min(n, int((first + size - 0.5) * n / m) + 1))
        both = _interpolate(both, axis + 1, (torch.arange(begin, end) + 0.5) * m / n - 0.5 - first)
        starts.append(begin)
    probability, rival = (from_canonical(x.numpy(), encoded.orientation) for x in both)
    start = [0, 0, 0]
    for world, (axis, flip) in enumerate(zip(encoded.orientation.axes, encoded.orientation.flips, strict=True)):
        size = both.shape[1 + world]
        start[axis] = encoded.canonical_shape[world] - starts[world] - size if flip else starts[world]
    return Region((start[0], start[1], start[2]), probability, probability > rival)


def _interpolate(x: Tensor, axis: int, at: Tensor) -> Tensor:
    """Linear interpolation along one axis at fractional indices; ends are held."""
    at = at.clamp(0, x.shape[axis] - 1)
    low = at.floor().long()
    if torch.equal(at, torch.arange(len(at)) + at[0].floor()):  # same grid: nothing to interpolate
        return x.narrow(axis, int(low[0]), len(at))
    high = (low + 1).clamp(max=x.shape[axis] - 1)
    weight = (at - low).view([-1 if a == axis else 1 for a in range(x.ndim)])
    return torch.lerp(x.index_select(axis, low), x.index_select(axis, high), weight)
