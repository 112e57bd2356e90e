"""Agreement of the vision network with a reference label image, structure by structure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np

from vp_engine.anatomy import BILATERAL_NAMES, STRUCTURES, sides_of
from vp_engine.vision.segmenter import NetworkSegmenter
from vp_engine.volumes.volume import Volume

FREESURFER_MERGES: Mapping[int, int] = MappingProxyType({31: 4, 63: 43, 77: 2, 251: 2, 252: 2, 253: 2, 254: 2, 255: 2})
"""Labels of FreeSurfer's aseg that count as another: choroid plexus as ventricle; corpus callosum and
hypointensities as white matter (sides are pooled in the scores)."""

SIXTEEN = (
    "thalamus", "caudate", "putamen", "pallidum", "hippocampus", "amygdala", "accumbens", "ventral_dc",
    "lateral_ventricle", "third_ventricle", "fourth_ventricle", "brainstem", "cerebellum_cortex",
    "cerebellum_white_matter", "cerebral_white_matter", "cerebral_cortex",
)  # fmt: skip
"""Structure types that published comparisons with FreeSurfer report."""

TEN = (
    "thalamus", "caudate", "putamen", "pallidum", "hippocampus", "amygdala", "lateral_ventricle", "brainstem",
    "cerebral_white_matter", "cerebral_cortex",
)  # fmt: skip
"""The ten that the project's first target is set on."""


@dataclass(frozen=True, slots=True)
class Agreement:
    """Dice with a reference.

    Attributes
    ----------
    dice : mapping of str to float
        By structure type, both sides together, 0 to 1.
    sides_swapped : float
        Share of lateralised voxels that the reference has on the other side.
    """

    dice: Mapping[str, float]
    sides_swapped: float

    def mean(self, names: tuple[str, ...] = SIXTEEN) -> float:
        """Mean Dice over some structure types."""
        return float(np.mean([self.dice[name] for name in names]))


def label_scan(segmenter: NetworkSegmenter, volume: Volume) -> np.ndarray:
    """Every part the weights know as one label image on the grid of the scan, int32."""
    labels = np.zeros(volume.shape, np.int32)
    for name, region in segmenter.regions(volume, {name: (name,) for name in segmenter.known}):
        where = tuple(slice(a, a + n) for a, n in zip(region.start, region.inside.shape, strict=True))
        labels[where][region.inside] = STRUCTURES[name].label
    return labels


def agreement(labels: np.ndarray, reference: np.ndarray) -> Agreement:
    """Compare label images of the same grid, both with FreeSurfer's numbers.

    Sides are pooled: a left voxel that the reference calls right counts as found, and is told in `sides_swapped`
    (white matter apart, as merged labels have no side).
    """
    labels, reference = _merged(labels), _merged(reference)
    dice, swapped, lateral = {}, 0, 0
    for name in SIXTEEN:
        numbers = [STRUCTURES[side].label for side in (sides_of(name) if name in BILATERAL_NAMES else (name,))]
        found, truth = np.isin(labels, numbers), np.isin(reference, numbers)
        both = found & truth
        dice[name] = 2 * float(both.sum()) / max(1.0, float(found.sum() + truth.sum()))
        if name in BILATERAL_NAMES and name != "cerebral_white_matter":
            lateral += int(both.sum())
            swapped += int((labels[both] != reference[both]).sum())
    return Agreement(dice, swapped / max(1, lateral))


def _merged(labels: np.ndarray) -> np.ndarray:
    merged = labels.astype(np.int32)
    for label, becomes in FREESURFER_MERGES.items():
        merged[labels == label] = becomes
    return merged
