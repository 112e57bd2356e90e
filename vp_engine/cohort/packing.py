"""Which structures of one scan share a label image, and which need an image of their own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from vp_engine.anatomy import STRUCTURES
from vp_engine.cohort.scans import Delineation


@dataclass(frozen=True, slots=True, eq=False)
class Packed:
    """Structures of one scan as images.

    Attributes
    ----------
    labels : (X, Y, Z) uint8 or uint16 array or None
        Structures that do not overlap, by their numbers; None when there is none.
    shared : tuple of str
        Structures in `labels`, by number.
    alone : tuple of str
        Structures that overlap one of `shared`, and regions.
    """

    labels: np.ndarray | None
    shared: tuple[str, ...]
    alone: tuple[str, ...]


def pack(delineations: Mapping[str, Delineation]) -> Packed:
    """Put structures into one label image as far as they do not overlap, the finest first.

    No voxel of any structure is lost: what would have to give way to another gets an image of its own, and so does
    every region, as it has no number.

    Parameters
    ----------
    delineations : mapping of str to Delineation
        Of one scan, by the canonical name of the structure or the name of the region.
    """
    regions = sorted(delineations.keys() - STRUCTURES.keys())
    order = sorted(
        delineations.keys() - set(regions), key=lambda name: (len(STRUCTURES[name].parts), STRUCTURES[name].label)
    )
    shared: list[str] = []
    taken: set[str] = set()
    labels: np.ndarray | None = None
    for name in order:
        found = delineations[name]
        if labels is None:
            labels = np.zeros(found.shape, dtype=np.uint16)
        # unions of common parts are kept apart even where both are empty, so that all participants get the same files
        if taken & set(STRUCTURES[name].parts) or labels[found.where][found.box].any():
            continue
        labels[found.where][found.box] = STRUCTURES[name].label
        shared.append(name)
        taken |= set(STRUCTURES[name].parts)
    if labels is not None and labels.max() <= np.iinfo(np.uint8).max:
        labels = labels.astype(np.uint8)
    return Packed(
        labels=labels,
        shared=tuple(sorted(shared, key=lambda name: STRUCTURES[name].label)),
        alone=(*(name for name in order if name not in shared), *regions),
    )
