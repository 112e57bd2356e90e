"""Agreement of label images with a reference, structure by structure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from vp_engine.anatomy import ANATOMICAL_PARTS, BILATERAL_NAMES, STRUCTURES, sides_of
from vp_engine.vision.segmenter import NetworkSegmenter
from vp_engine.volumes.volume import Volume

Labels = NDArray[np.integer]

FREESURFER_MERGES: Mapping[int, int] = MappingProxyType({31: 4, 63: 43, 77: 2, 251: 2, 252: 2, 253: 2, 254: 2, 255: 2})
"""Labels of FreeSurfer's aseg that count as another: choroid plexus as ventricle; corpus callosum and
hypointensities as white matter (sides are pooled in the scores)."""

_CORTICAL_PARCELS = ((1000, 2000, 3), (2000, 3000, 42), (11100, 12100, 3), (12100, 13100, 42))

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
class Overlap:
    """Voxels of one structure in two label images of the same grid."""

    found: int
    truth: int
    both: int

    @property
    def dice(self) -> float:
        """2 · both / (found + truth), 0 to 1; NaN where the truth has none."""
        return 2 * self.both / (self.found + self.truth) if self.truth else float("nan")

    @property
    def volume_difference_percent(self) -> float:
        """How much larger the found volume is than the truth, in % of the truth; NaN where the truth has none."""
        return 100 * (self.found - self.truth) / self.truth if self.truth else float("nan")


@dataclass(frozen=True, slots=True)
class Agreement:
    """Agreement with a reference.

    Attributes
    ----------
    overlaps : mapping of str to Overlap
        By structure type, both sides together.
    sides_swapped : float
        Share of lateralised voxels that the reference has on the other side.
    """

    overlaps: Mapping[str, Overlap]
    sides_swapped: float

    @property
    def dice(self) -> dict[str, float]:
        """Dice by structure type, 0 to 1; NaN where the reference has none."""
        return {name: overlap.dice for name, overlap in self.overlaps.items()}

    def mean(self, names: Sequence[str] = SIXTEEN) -> float:
        """Mean Dice over some structure types; NaN if the reference lacks one."""
        return float(np.mean([self.overlaps[name].dice for name in names]))


def label_scan(
    segmenter: NetworkSegmenter, volume: Volume, parts: Sequence[str] = (), *, others: Sequence[Volume] = ()
) -> NDArray[np.int32]:
    """Parts as one label image on the grid of the scan, as the product delineates them.

    Parameters
    ----------
    segmenter : NetworkSegmenter
    volume : Volume
    parts : sequence of str
        All that the weights know when empty.
    others : sequence of Volume
        Read together with `volume`; in the same world.
    """
    labels = np.zeros(volume.shape, np.int32)
    unions = {name: (name,) for name in parts or segmenter.known}
    for name, region in segmenter.regions(volume, unions, others=others):
        where = tuple(slice(a, a + n) for a, n in zip(region.start, region.inside.shape, strict=True))
        labels[where][region.inside] = STRUCTURES[name].label
    return labels


def agreement(labels: Labels, reference: Labels) -> Agreement:
    """Compare label images of the same grid, both with FreeSurfer's numbers.

    Sides are pooled: a left voxel that the reference calls right counts as found, and is told in `sides_swapped`
    (white matter apart, as merged labels have no side). Numbers of whole pairs (1010, `thalamus`) count like
    sided ones.
    """
    labels, reference = _replaced(labels, FREESURFER_MERGES), _replaced(reference, FREESURFER_MERGES)
    found, truth = _replaced(labels, _POOLS), _replaced(reference, _POOLS)
    counted = overlaps(found, truth, {name: STRUCTURES[name].label for name in SIXTEEN})
    lateral = np.isin(labels, _LATERAL) & np.isin(reference, _LATERAL) & (found == truth)
    swapped = int(np.count_nonzero(labels[lateral] != reference[lateral]))
    return Agreement(counted, swapped / max(1, int(np.count_nonzero(lateral))))


def part_dice(labels: Labels, reference: Labels, parts: Sequence[str] = ANATOMICAL_PARTS) -> dict[str, float]:
    """Dice of each part, sides apart, 0 to 1; NaN where the reference has none."""
    counted = overlaps(labels, reference, {name: STRUCTURES[name].label for name in parts})
    return {name: overlap.dice for name, overlap in counted.items()}


def overlaps(labels: Labels, reference: Labels, numbers: Mapping[str, int]) -> dict[str, Overlap]:
    """Voxels of each number in two label images of the same grid.

    Raises
    ------
    ValueError
        If the grids differ.
    """
    if labels.shape != reference.shape:
        raise ValueError(f"label images of one grid are compared, got shapes {labels.shape} and {reference.shape}")
    size = max(int(labels.max(initial=0)), int(reference.max(initial=0)), *numbers.values()) + 1
    found, truth, both = (
        np.bincount(x.ravel(), minlength=size) for x in (labels, reference, labels[labels == reference])
    )
    return {name: Overlap(int(found[n]), int(truth[n]), int(both[n])) for name, n in numbers.items()}


def renumbered(labels: Labels, names: Mapping[int, str]) -> NDArray[np.int32]:
    """A label image of another segmenter with the numbers of `anatomy.STRUCTURES`.

    Parameters
    ----------
    labels : numpy.ndarray of int
    names : mapping of int to str
        Canonical name of each of its numbers; numbers without one become background.
    """
    lookup = np.zeros(int(labels.max(initial=0)) + 1, np.int32)
    for number, name in names.items():
        if number < len(lookup):
            lookup[number] = STRUCTURES[name].label
    result: NDArray[np.int32] = lookup[labels]
    return result


def without_parcels(labels: Labels) -> NDArray[np.int32]:
    """Labels of FreeSurfer's with its parcels of the cortex (`aparc+aseg`) as cortex of their side."""
    whole = labels.astype(np.int32)
    for first, end, cortex in _CORTICAL_PARCELS:
        whole[(labels >= first) & (labels < end)] = cortex
    return whole


_LATERAL = tuple(
    STRUCTURES[side].label
    for name in BILATERAL_NAMES
    if name in SIXTEEN and name != "cerebral_white_matter"
    for side in sides_of(name)
)
_POOLS = {STRUCTURES[side].label: STRUCTURES[name].label for name in BILATERAL_NAMES for side in sides_of(name)}


def _replaced(labels: Labels, numbers: Mapping[int, int]) -> NDArray[np.int32]:
    lookup = np.arange(max(int(labels.max(initial=0)), *numbers) + 1, dtype=np.int32)
    lookup[list(numbers)] = list(numbers.values())
    result: NDArray[np.int32] = lookup[labels]
    return result
