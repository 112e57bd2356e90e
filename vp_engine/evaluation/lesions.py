"""How well pathology is found: overlap, lesions one by one, volumes, surfaces; and what is found in vain."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import cc3d
import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage
from scipy.spatial import cKDTree

from vp_engine.anatomy import STRUCTURES
from vp_engine.evaluation.anatomy import Overlap
from vp_engine.evaluation.intervals import Share, share
from vp_engine.measure.voxels import volume_mm3
from vp_engine.vision.segmenter import NetworkSegmenter
from vp_engine.volumes.volume import Volume

Mask = NDArray[np.bool_]

ANY = "lesion"
"""Everything pathological that the weights delineate, taken together."""

PATHOLOGIES: tuple[str, ...] = tuple(name for name, one in STRUCTURES.items() if one.kind == "pathology")
"""Every pathology of the vocabulary, delineated by the weights at hand or not."""

SMALLEST_VOXELS = 3
"""Smaller lesions of a reference are too uncertain to be looked for one by one."""


@dataclass(frozen=True, slots=True)
class Detection:
    """Lesions counted one by one; pieces are connected through faces, edges and corners.

    Attributes
    ----------
    sensitivity : Share
        Of the reference's lesions: overlapped by anything that was found.
    precision : Share
        Of the pieces found: overlap a lesion of the reference, of any size.
    """

    sensitivity: Share
    precision: Share

    @property
    def false_positives(self) -> int:
        """Pieces that overlap nothing in the reference."""
        return self.precision.trials - self.precision.hits

    @property
    def f1(self) -> float:
        """Harmonic mean of sensitivity and precision, 0 to 1; 0 where nothing was found, NaN without a lesion to find.

        Many small true pieces may lie in one lesion, so that this is not the F1 of a single count of hits.
        """
        found, true = self.sensitivity.value, self.precision.value
        if found is None:
            return math.nan
        return 2 * found * true / (found + true) if true and found else 0.0


@dataclass(frozen=True, slots=True)
class LesionScores:
    """One mask against its reference.

    Attributes
    ----------
    overlap : Overlap
        Voxels; has the Dice and the difference of volumes in % of the reference.
    detection : Detection
    found_ml, reference_ml : float
        Volumes.
    hausdorff95_mm : float
        `hausdorff95_mm`; NaN where a mask is empty.
    """

    overlap: Overlap
    detection: Detection
    found_ml: float
    reference_ml: float
    hausdorff95_mm: float

    @property
    def volume_error_ml(self) -> float:
        """By how much too large the mask is, mL."""
        return self.found_ml - self.reference_ml


def lesion_scores(
    found: ArrayLike, reference: ArrayLike, affine: ArrayLike, *, smallest_voxels: int = SMALLEST_VOXELS
) -> LesionScores:
    """Compare a mask of lesions with a reference on the same grid.

    Parameters
    ----------
    found, reference : array_like of bool, shape (X, Y, Z)
    affine : array_like, shape (4, 4)
        Voxel to world, mm.
    smallest_voxels : int
        See `detection`.

    Raises
    ------
    ValueError
        If the grids differ.
    """
    mask, truth, affine_44 = np.asarray(found, bool), np.asarray(reference, bool), np.asarray(affine, np.float64)
    _same_grid(mask, truth)
    overlap = Overlap(*(int(np.count_nonzero(x)) for x in (mask, truth, mask & truth)))
    return LesionScores(
        overlap,
        detection(mask, truth, smallest_voxels=smallest_voxels),
        found_ml=volume_mm3(mask, affine_44) / 1000,
        reference_ml=volume_mm3(truth, affine_44) / 1000,
        hausdorff95_mm=hausdorff95_mm(mask, truth, affine_44),
    )


def detection(found: Mask, reference: Mask, *, smallest_voxels: int = SMALLEST_VOXELS) -> Detection:
    """Count lesions that are found and pieces that are none.

    Parameters
    ----------
    found, reference : numpy.ndarray of bool, shape (X, Y, Z)
    smallest_voxels : int
        Lesions of the reference with fewer voxels are not looked for; a piece that overlaps one is no false positive.
        Pieces that were found count whatever their size.

    Raises
    ------
    ValueError
        If the grids differ.

    References
    ----------
    Commowick et al. 2018, *Objective evaluation of multiple sclerosis lesion segmentation using a data management
    and processing infrastructure*: lesions of less than 3 mm3 are left out there too.
    """
    _same_grid(found, reference)
    lesions, pieces = _hits(reference, found), _hits(found, reference)
    looked_for = [hit for voxels, hit in lesions if voxels >= smallest_voxels]
    return Detection(share(looked_for), share([hit for _, hit in pieces]))


def hausdorff95_mm(found: Mask, reference: Mask, affine: ArrayLike) -> float:
    """95 % Hausdorff distance of two masks on one grid, mm; NaN where one is empty.

    The 95th percentile of the distances from the border voxels of one mask to the nearest of the other, the larger
    of both directions. Of all lesions together: a false piece far away raises it as far as it lies.

    Raises
    ------
    ValueError
        If the grids differ.
    """
    _same_grid(found, reference)
    if not found.any() or not reference.any():
        return math.nan
    matrix = np.asarray(affine, np.float64)[:3, :3]
    there, here = (_border(mask) @ matrix.T for mask in (found, reference))
    return float(max(np.percentile(cKDTree(b).query(a)[0], 95) for a, b in ((there, here), (here, there))))


def known_pathologies(segmenter: NetworkSegmenter) -> dict[str, tuple[str, ...]]:
    """Parts of each pathology that the weights delineate; those whose parts they lack are left out.

    `lesion` stands for all of them together and is there as soon as one is.
    """
    known = {
        name: STRUCTURES[name].parts
        for name in PATHOLOGIES
        if name != ANY and STRUCTURES[name].parts and set(STRUCTURES[name].parts) <= set(segmenter.known)
    }
    together = tuple(part for part in segmenter.known if any(part in parts for parts in known.values()))
    return {ANY: together, **known} if together else known


def pathology_masks(segmenter: NetworkSegmenter, volume: Volume, *, others: Sequence[Volume] = ()) -> dict[str, Mask]:
    """Every pathology the weights know, as the product delineates it, on the grid of the scan.

    Parameters
    ----------
    segmenter : NetworkSegmenter
    volume : Volume
    others : sequence of Volume
        Read together with `volume`; in the same world.
    """
    masks = {}
    for name, region in segmenter.regions(volume, known_pathologies(segmenter), others=others):
        mask = np.zeros(volume.shape, bool)
        mask[tuple(slice(a, a + n) for a, n in zip(region.start, region.inside.shape, strict=True))] = region.inside
        masks[name] = mask
    return masks


def volumes_ml(masks: dict[str, Mask], affine: ArrayLike) -> dict[str, float]:
    """Volume of each mask, mL; of a brain without lesions, of what was found in vain."""
    return {name: volume_mm3(mask, np.asarray(affine)) / 1000 for name, mask in masks.items()}


def subsets(names: Sequence[str]) -> list[tuple[str, ...]]:
    """Every choice of one or more of the names, small ones first, each in the order given.

    >>> subsets(("FLAIR", "T1w"))
    [('FLAIR',), ('T1w',), ('FLAIR', 'T1w')]
    """
    return [chosen for size in range(1, len(names) + 1) for chosen in combinations(names, size)]


def _hits(mask: Mask, other: Mask) -> list[tuple[int, bool]]:
    """Of each connected piece of a mask: its voxels, and whether it overlaps the other mask."""
    pieces, count = cc3d.connected_components(np.asfortranarray(mask), connectivity=26, return_N=True)
    voxels = np.bincount(pieces.ravel(order="K"), minlength=count + 1)[1:]
    hit = np.bincount(pieces[other], minlength=count + 1)[1:]
    return [(int(n), bool(h)) for n, h in zip(voxels, hit, strict=True)]


def _border(mask: Mask) -> NDArray[np.int64]:
    """Indices (N, 3) of the voxels of a mask with a face towards the background or the end of the grid."""
    box = ndimage.find_objects(mask.astype(np.uint8))[0]
    inner = ndimage.binary_erosion(mask[box])
    border: NDArray[np.int64] = np.argwhere(mask[box] & ~inner) + [axis.start for axis in box]
    return border


def _same_grid(found: Mask, reference: Mask) -> None:
    if found.shape != reference.shape:
        raise ValueError(f"masks of one grid are compared, got shapes {found.shape} and {reference.shape}")
