"""How well changes of lesions between two sessions agree with a mask of what changed, and how often nothing did.

Masks are (X, Y, Z) bool arrays, each on the grid of its session. A reference lies on a grid of its own, and marks
voxels where a lesion appeared, vanished, grew or shrank, without saying which.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import cc3d
import numpy as np
from numpy.typing import NDArray

from vp_engine.evaluation.anatomy import Overlap
from vp_engine.evaluation.lesions import Detection, detection
from vp_engine.measure.following import FATES, Lesion, followed, linked_pieces
from vp_engine.measure.regions import numbered
from vp_engine.measure.shape import surface_area_mm2
from vp_engine.measure.voxels import volume_mm3
from vp_engine.volumes.carrying import carried_labels, seen_by
from vp_engine.volumes.geometry import voxel_volume_mm3
from vp_engine.volumes.volume import Volume

Mask = NDArray[np.bool_]
Matrix = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Visit:
    """Lesions of one session.

    Attributes
    ----------
    mask : (X, Y, Z) bool array
    affine : (4, 4) array
        Of the mask, voxel to the world of its session.
    """

    mask: Mask
    affine: Matrix


@dataclass(frozen=True, slots=True, eq=False)
class Matching:
    """Lesions of two sessions, matched as the ops `changed` and `follow` do.

    Attributes
    ----------
    numbers : tuple of (X, Y, Z) int array
        Pieces of the earlier and of the later mask, each on its own grid.
    lesions : tuple of Lesion
    """

    numbers: tuple[NDArray[np.int32], NDArray[np.int32]]
    lesions: tuple[Lesion, ...]

    @property
    def counts(self) -> dict[str, int]:
        """How many lesions there are of each fate."""
        found = Counter(lesion.fate for lesion in self.lesions)
        return {fate: found[fate] for fate in FATES}

    @property
    def net_ml(self) -> float:
        """Volume of all lesions in the later session less that in the earlier one, mL."""
        return sum(lesion.later_mm3 - lesion.earlier_mm3 for lesion in self.lesions) / 1000


@dataclass(frozen=True, slots=True)
class ChangeScores:
    """Found changes against a reference, on its grid.

    Attributes
    ----------
    change : Overlap
        Voxels that lesions which are not ``stable`` gained or lost.
    difference : Overlap
        All voxels that are in one of the masks alone, those of stable lesions too.
    detection : Detection
        Pieces of the two masks `change` compares.
    gained_ml, lost_ml : float
        Volumes of what `change` compares, by sign.
    seen : float
        Share of the reference that is in the mask of either session: no matching can find more.
    """

    change: Overlap
    difference: Overlap
    detection: Detection
    gained_ml: float
    lost_ml: float
    seen: float


def matched(earlier: Visit, later: Visit, earlier_to_later: Matrix) -> Matching:
    """Match the lesions of two sessions.

    Parameters
    ----------
    earlier, later : Visit
    earlier_to_later : (4, 4) array
        World of the earlier session → world of the later one, RAS+ mm.
    """
    placed = earlier_to_later @ earlier.affine
    before, _ = seen_by(earlier.mask, placed, later.mask.shape, later.affine)
    after, _ = seen_by(later.mask, later.affine, earlier.mask.shape, placed)
    numbers = numbered(before), numbered(after)
    carried = carried_labels(numbers[0], placed, later.mask.shape, later.affine)
    links = linked_pieces(carried, numbers[1], later.affine)
    lesions = followed(*numbers, links, earlier_affine=earlier.affine, later_affine=later.affine)
    return Matching(numbers, lesions)


def change_scores(found: Matching, reference: Volume, earlier_affine: Matrix, later_affine: Matrix) -> ChangeScores:
    """Compare what was found with a reference.

    Parameters
    ----------
    found : Matching
    reference : Volume
        Not 0 where lesions changed.
    earlier_affine, later_affine : (4, 4) array
        Voxel of each session's grid → world of the reference.
    """
    truth = reference.data > 0
    on_grid = [
        carried_labels(numbers, affine, truth.shape, reference.affine)
        for numbers, affine in zip(found.numbers, (earlier_affine, later_affine), strict=True)
    ]
    before, after = (numbers > 0 for numbers in on_grid)
    gained = ~before & np.isin(on_grid[1], _pieces(found.lesions, ("new", "grown"), later=True))
    lost = ~after & np.isin(on_grid[0], _pieces(found.lesions, ("gone", "shrunk"), later=False))
    return ChangeScores(
        change=_overlap(gained | lost, truth),
        difference=_overlap(before ^ after, truth),
        detection=detection(gained | lost, truth),
        gained_ml=volume_mm3(gained, reference.affine) / 1000,
        lost_ml=volume_mm3(lost, reference.affine) / 1000,
        seen=int(np.count_nonzero(truth & (before | after))) / max(1, int(np.count_nonzero(truth))),
    )


def reference_net_ml(
    reference: Volume, earlier: NDArray[np.float32], later: NDArray[np.float32], brain: Mask
) -> tuple[float, float]:
    """What of a reference appeared and what vanished, told by the images themselves.

    Each connected piece counts as appeared when it became brighter relative to the brain, from its median in units of
    its quartiles, else as vanished: for contrasts that show lesions bright, such as FLAIR.

    Parameters
    ----------
    reference : Volume
        Not 0 where lesions changed.
    earlier, later : (X, Y, Z) array
        Images on the grid of the reference.
    brain : (X, Y, Z) bool array

    Returns
    -------
    appeared_ml, vanished_ml : float
    """
    brighter = _relative(later, brain) - _relative(earlier, brain)
    pieces = cc3d.connected_components(np.ascontiguousarray(reference.data > 0), connectivity=26)
    voxels = np.bincount(pieces.ravel())[1:]
    sums = np.bincount(pieces.ravel(), weights=brighter.ravel())[1:]
    voxel_ml = voxel_volume_mm3(reference.affine) / 1000
    return float(voxels[sums > 0].sum() * voxel_ml), float(voxels[sums <= 0].sum() * voxel_ml)


def boundary_shifts(found: Matching, affine: Matrix) -> list[float]:
    """By how much the surface of each lesion in both sessions would have to move to explain its change, in voxels.

    Of one scan delineated twice, this is what `measure.following.BOUNDARY_VOXELS` has to exceed for most lesions.

    Parameters
    ----------
    found : Matching
    affine : (4, 4) array
        Of the later mask.
    """
    edge_mm = voxel_volume_mm3(affine) ** (1 / 3)
    shifts = []
    for lesion in found.lesions:
        if lesion.earlier and lesion.later:
            area_mm2 = surface_area_mm2(np.isin(found.numbers[1], lesion.later), affine)
            shifts.append(abs(lesion.later_mm3 - lesion.earlier_mm3) / area_mm2 / edge_mm)
    return shifts


def _pieces(lesions: Sequence[Lesion], fates: tuple[str, ...], *, later: bool) -> list[int]:
    return [n for one in lesions if one.fate in fates for n in (one.later if later else one.earlier)]


def _overlap(found: Mask, truth: Mask) -> Overlap:
    return Overlap(*(int(np.count_nonzero(mask)) for mask in (found, truth, found & truth)))


def _relative(image: NDArray[np.float32], brain: Mask) -> NDArray[np.float32]:
    low, middle, high = np.percentile(image[brain], (25, 50, 75)).tolist()
    spread: float = max(high - low, 1e-6)
    relative: NDArray[np.float32] = ((image - middle) / spread).astype(np.float32)
    return relative
