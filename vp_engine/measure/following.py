"""Lesions of one person in two sessions: which are the same, and what became of each.

Masks are (X, Y, Z) arrays. Affines are (4, 4), voxel to world, RAS+ mm, of any kind. Volumes are measured on the grid
each mask was made on; only the matching needs both on one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import product

import numpy as np
from scipy import ndimage

from vp_engine.measure.shape import surface_area_mm2

FATES: tuple[str, ...] = ("new", "gone", "grown", "shrunk", "stable")
"""What can become of a lesion between two sessions."""

TOLERANCE_MM = 1.0
"""How far apart pieces of the two sessions may lie and still be one lesion.

Rigid registration of the images of `longitudinal_openms` ends 0.54 mm from the reference on average, 0.99 mm at most.
"""

LEAST_CHANGE = 0.25
"""Share of its earlier volume by which a lesion has to change to be called grown or shrunk.

What changes by less may be unchanged and measured differently: up to 24.2 % for large lesions (Goodkin et al. 1992).
"""

BOUNDARY_VOXELS = 0.5
"""How far the boundary of an unchanged lesion may come to lie elsewhere, in voxels; it decides for small lesions.

Of one scan delineated on two grids, where nothing has changed, 75 to 80 % of the lesions stay below.
"""

_ROUNDING_MM = 1e-3


@dataclass(frozen=True, slots=True)
class Lesion:
    """One lesion in two sessions.

    Attributes
    ----------
    earlier, later : tuple of int
        Numbers of its pieces in the two sessions; several when it split, merged, or both.
    earlier_mm3, later_mm3 : float
        Its volumes; 0 where it has no piece.
    fate : str
        One of `FATES`.
    """

    earlier: tuple[int, ...]
    later: tuple[int, ...]
    earlier_mm3: float
    later_mm3: float
    fate: str


def linked_pieces(
    earlier: np.ndarray, later: np.ndarray, affine: np.ndarray, *, tolerance_mm: float = TOLERANCE_MM
) -> tuple[tuple[int, int], ...]:
    """Which pieces of two sessions overlap, or lie within a tolerance of each other.

    Parameters
    ----------
    earlier, later : (X, Y, Z) integer array
        Numbered pieces, 0 outside, on one grid.
    affine : (4, 4) array
        Of the grid.
    tolerance_mm : float
        Between centres of voxels, in the world.

    Returns
    -------
    tuple of (int, int)
        Numbers of an earlier and a later piece, sorted.

    Raises
    ------
    ValueError
        If the grids differ.
    """
    if earlier.shape != later.shape:
        raise ValueError(f"expected two sessions on one grid, got shapes {earlier.shape} and {later.shape}")
    voxels_N3 = np.argwhere(later)
    numbers_N = later[tuple(voxels_N3.T)]
    found: set[tuple[int, int]] = set()
    for offset in _steps_within(affine, tolerance_mm):
        moved_N3 = voxels_N3 + offset
        seen = ((moved_N3 >= 0) & (moved_N3 < earlier.shape)).all(axis=1)
        pairs = np.stack([earlier[tuple(moved_N3[seen].T)], numbers_N[seen]], axis=1)
        found |= {(int(a), int(b)) for a, b in np.unique(pairs[pairs[:, 0] > 0], axis=0)}
    return tuple(sorted(found))


def followed(
    earlier: np.ndarray,
    later: np.ndarray,
    links: Iterable[tuple[int, int]],
    *,
    earlier_affine: np.ndarray,
    later_affine: np.ndarray,
) -> tuple[Lesion, ...]:
    """Join pieces that are linked, directly or through others, into lesions, and say what became of each.

    A lesion that splits or merges stays one. It has ``grown`` or ``shrunk`` when its volume changed by more than
    `LEAST_CHANGE` of the earlier one, and by more than its larger surface times `BOUNDARY_VOXELS` of the coarser grid:
    for a ball of 12 mm on voxels of 1 mm, that is 25 %; for one of 6 mm, 50 %. Without a piece in the earlier session
    it is ``new``, without one in the later ``gone``, whatever its size.

    Parameters
    ----------
    earlier, later : (X, Y, Z) and (U, V, W) integer array
        Numbered pieces, each on the grid it was made on.
    links : iterable of (int, int)
        From `linked_pieces`.
    earlier_affine, later_affine : (4, 4) array
        Of the two grids.

    Returns
    -------
    tuple of Lesion
        The largest first, by the larger of its volumes.

    References
    ----------
    Goodkin et al. 1992, *Magnetic resonance imaging lesion enlargement in multiple sclerosis*, Arch Neurol 49:261:
    measured again, the areas of lesions change by up to 24.2 %, those of lesions below 0.67 cm2 by up to 45.2 %.
    """
    sessions = _Pieces(earlier, earlier_affine), _Pieces(later, later_affine)
    boundary_mm = BOUNDARY_VOXELS * max(side.spacing_mm for side in sessions)
    lesions = []
    for numbers in _joined(sessions[0].numbers, sessions[1].numbers, links):
        earlier_mm3, later_mm3 = (side.volume_mm3(own) for side, own in zip(sessions, numbers, strict=True))
        if earlier_mm3 and later_mm3:
            area_mm2 = max(side.surface_mm2(own) for side, own in zip(sessions, numbers, strict=True))
            fate = _fate(earlier_mm3, later_mm3, unsure_mm3=boundary_mm * area_mm2)
        else:
            fate = "gone" if earlier_mm3 else "new"
        lesions.append(Lesion(*numbers, earlier_mm3, later_mm3, fate))
    return tuple(sorted(lesions, key=lambda one: (-max(one.earlier_mm3, one.later_mm3), one.earlier, one.later)))


class _Pieces:
    """Numbered pieces of one session with the boxes they lie in."""

    def __init__(self, numbers_XYZ: np.ndarray, affine: np.ndarray) -> None:
        self._numbers = numbers_XYZ
        self._affine = np.asarray(affine, dtype=np.float64)
        self._voxels = np.bincount(numbers_XYZ.ravel())
        self._voxel_mm3 = abs(float(np.linalg.det(self._affine[:3, :3])))
        self._boxes = ndimage.find_objects(numbers_XYZ)

    @property
    def numbers(self) -> tuple[int, ...]:
        return tuple(int(n) for n in np.flatnonzero(self._voxels) if n > 0)

    @property
    def spacing_mm(self) -> float:
        """Edge of the cube that has the volume of a voxel."""
        return float(self._voxel_mm3 ** (1 / 3))

    def volume_mm3(self, numbers: tuple[int, ...]) -> float:
        return float(self._voxels[list(numbers)].sum() * self._voxel_mm3) if numbers else 0.0

    def surface_mm2(self, numbers: tuple[int, ...]) -> float:
        return sum(self._surface_mm2(number) for number in numbers)

    def _surface_mm2(self, number: int) -> float:
        """Of pieces of a few voxels marching cubes lose some; no shape has less surface than a ball."""
        ball_mm2 = float((36 * np.pi) ** (1 / 3) * self.volume_mm3((number,)) ** (2 / 3))
        return max(ball_mm2, surface_area_mm2(self._numbers[self._boxes[number - 1]] == number, self._affine))


def _fate(earlier_mm3: float, later_mm3: float, *, unsure_mm3: float) -> str:
    gained = later_mm3 - earlier_mm3
    if abs(gained) <= max(LEAST_CHANGE * earlier_mm3, unsure_mm3):
        return "stable"
    return "grown" if gained > 0 else "shrunk"


def _joined(
    earlier: Iterable[int], later: Iterable[int], links: Iterable[tuple[int, int]]
) -> Iterator[tuple[tuple[int, ...], tuple[int, ...]]]:
    """Pieces that hang together through links: numbers of the earlier and of the later ones."""
    neighbours: dict[tuple[int, int], set[tuple[int, int]]] = {(0, number): set() for number in earlier}
    neighbours |= {(1, number): set() for number in later}
    for a, b in links:
        neighbours[0, a].add((1, b))
        neighbours[1, b].add((0, a))
    seen: set[tuple[int, int]] = set()
    for start in neighbours:
        if start in seen:
            continue
        group, waiting = {start}, [start]
        while waiting:
            reached = neighbours[waiting.pop()] - group
            group |= reached
            waiting += reached
        seen |= group
        first, second = (tuple(sorted(n for session, n in group if session == wanted)) for wanted in (0, 1))
        yield first, second


def _steps_within(affine: np.ndarray, length_mm: float) -> Iterator[np.ndarray]:
    """Steps (3,) from a voxel to itself, to those it shares a face with, and to all within a length of its centre."""
    matrix = np.asarray(affine, dtype=np.float64)[:3, :3]
    bound_mm = length_mm + _ROUNDING_MM
    reach = np.floor(bound_mm * np.linalg.norm(np.linalg.inv(matrix), axis=1)).astype(int)
    for step in product(*(range(-n, n + 1) for n in np.maximum(reach, 1))):
        offset = np.array(step)
        if np.abs(offset).sum() <= 1 or np.linalg.norm(matrix @ offset) <= bound_mm:
            yield offset
