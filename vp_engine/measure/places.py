"""Where in the brain a lesion lies: its side, its lobe, and what is near it.

Lesions are not labelled as anatomy, so all rests on what is delineated around them: the side and the zone on which
structures are nearest, the lobe on a map of the brain to a template (`vp_engine.measure.template`). Distances are
taken in the world of the image.

References
----------
Filippi et al. 2019, *Assessment of lesions on magnetic resonance imaging in multiple sclerosis: practical
guidelines*, for periventricular and juxtacortical lesions.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from vp_engine.anatomy import SIDES
from vp_engine.measure.arithmetic import UndefinedMeasure
from vp_engine.measure.lesions import Piece, as_piece, touches
from vp_engine.measure.regions import distances_mm
from vp_engine.measure.template import LOBES, lobes_of, template_map
from vp_engine.measure.zones import CORTEX, MIDLINE, REGIONS, SURROUNDING_STRUCTURES, VENTRICLES
from vp_engine.volumes.resampling import resample

NEAR_VENTRICLE_MM = 3.0
"""Up to this distance from the lateral ventricles a lesion is periventricular."""

_REACH_MM = 10.0
_TEMPLATE_ERROR_MM = 10.0
_MOST_POINTS = 200


@dataclass(frozen=True, slots=True, eq=False)
class Surroundings:
    """The anatomy of one image.

    Attributes
    ----------
    labels : (X, Y, Z) uint8 array
        Place of the structure in `SURROUNDING_STRUCTURES` plus one; 0 elsewhere.
    affine : (4, 4) float64 array
        Voxel to world, RAS+ mm.
    to_template : (4, 4) float64 array
        World to MNI152, mm.
    """

    labels: np.ndarray
    affine: np.ndarray
    to_template: np.ndarray

    def on(self, shape: tuple[int, int, int], affine: np.ndarray) -> Surroundings:
        """The same on another grid in the same world, by nearest voxels."""
        labels = resample(self.labels, self.affine, shape=shape, target_affine=affine, order=0)
        return replace(self, labels=labels, affine=np.asarray(affine, dtype=np.float64))


@dataclass(frozen=True, slots=True)
class Location:
    """Where a piece lies.

    Attributes
    ----------
    region : str
        ``cerebrum``, ``deep_gray_matter`` or ``infratentorial``: nearest to most of its volume.
    region_share : float
        Share of its volume nearest to that.
    right_share : float
        Share of its volume on the right, 0 to 1.
    lobe : str
        Lobe, without a side, with most of its volume; told by the template for pieces outside the cerebrum too.
    moved_lobes : tuple of str
        The lobe when the piece is moved by 10 mm in the template, in 26 directions.
    zones : tuple of str
        ``periventricular`` and ``juxtacortical``, one of them, both, or else ``deep_white_matter``; outside the
        cerebrum the region.
    voxels : int
        Its size.
    """

    region: str
    region_share: float
    right_share: float
    lobe: str
    moved_lobes: tuple[str, ...]
    zones: tuple[str, ...]
    voxels: int

    @property
    def side(self) -> str:
        """``left`` or ``right``, where most of it lies."""
        return SIDES[int(self.right_share >= 0.5)]

    @property
    def place(self) -> str:
        """The one word for it: a lobe with its side, or the region when it is in no lobe."""
        return self.named(self.lobe)

    def named(self, lobe: str) -> str:
        """The one word for it if the lobe were another."""
        return f"{self.side}_{lobe}" if self.region == "cerebrum" else self.region

    def lies_in(self, place: str) -> bool:
        """Whether it lies in a lobe with or without a side, a hemisphere or a zone, by its name."""
        if place.endswith("_hemisphere"):
            return self.region != "infratentorial" and place == f"{self.side}_hemisphere"
        return place in self.zones or self.place == place or (self.region == "cerebrum" and self.lobe == place)


def surroundings(masks: Mapping[str, np.ndarray], affine: np.ndarray) -> Surroundings:
    """Put the anatomy of one image together and lay it onto the template.

    Parameters
    ----------
    masks : mapping of str to (X, Y, Z) bool array
        Some of `zones.SURROUNDING_STRUCTURES`, on one grid. What reaches the border of the grid is not used for the
        map.
    affine : (4, 4) array
        Voxel to world, RAS+ mm.

    Raises
    ------
    UndefinedMeasure
        ``no_landmarks`` if too little is delineated to map the brain to the template.
    """
    if not masks:
        raise UndefinedMeasure("nothing is delineated", code="no_landmarks")
    affine = np.asarray(affine, dtype=np.float64)
    labels = np.zeros(next(iter(masks.values())).shape, dtype=np.uint8)
    for name, mask in masks.items():
        labels[mask] = SURROUNDING_STRUCTURES.index(name) + 1
    centres = _centres(labels)
    return Surroundings(labels, affine, template_map({n: affine[:3] @ [*c, 1.0] for n, c in centres.items()}))


def location(piece: Piece, around: Surroundings) -> Location:
    """Say where a piece lies.

    Parameters
    ----------
    piece : Piece
        On the grid of the surroundings.
    around : Surroundings
    """
    box, inside = piece.grown(around.labels.shape, around.affine, margin_mm=_REACH_MM)
    labels = around.labels[box]
    points_mm = _template_mm(piece, around)
    names = [*REGIONS]
    away_mm = np.full((len(names), 2, piece.voxels), np.inf)
    for code, name in enumerate(names):
        for side in (0, 1):
            away_mm[code, side] = _away_mm(inside, np.isin(labels, _codes(name, side)), around.affine)
    regions = away_mm.min(axis=1).argmin(axis=0)
    nothing = ~np.isfinite(away_mm).any(axis=(0, 1))
    right = away_mm[:, 1].min(axis=0) < away_mm[:, 0].min(axis=0)
    # the brainstem has no side, and neither has what is nowhere near a structure that has one
    undecided = nothing | np.isclose(away_mm[:, 1].min(axis=0), away_mm[:, 0].min(axis=0))
    right[undecided] = points_mm[undecided, 0] >= 0
    shares = np.bincount(regions, minlength=len(names)) / piece.voxels
    region = names[int(shares.argmax())]
    lobe, moved = _lobes(points_mm)
    near: tuple[str, ...] = (region,)
    if region == "cerebrum":
        checks = (("periventricular", _is_periventricular), ("juxtacortical", _is_juxtacortical))
        near = tuple(zone for zone, holds in checks if holds(piece, around)) or ("deep_white_matter",)
    return Location(region, float(shares.max()), float(right.mean()), lobe, moved, near, piece.voxels)


def _is_periventricular(piece: Piece, around: Surroundings) -> bool:
    box, inside = piece.grown(around.labels.shape, around.affine, margin_mm=NEAR_VENTRICLE_MM)
    ventricle = np.isin(around.labels[box], _all_codes(VENTRICLES))
    near_mm = _away_mm(inside, ventricle, around.affine).min()
    # between thick slices a ventricle that is touched may be farther away than that
    return bool(near_mm <= NEAR_VENTRICLE_MM + 1e-3) or touches(as_piece(inside), ventricle)


def _is_juxtacortical(piece: Piece, around: Surroundings) -> bool:
    box, inside = piece.grown(around.labels.shape, around.affine, margin_mm=0.0)
    return touches(as_piece(inside), np.isin(around.labels[box], _all_codes(CORTEX)))


def _lobes(points_mm: np.ndarray) -> tuple[str, tuple[str, ...]]:
    """Lobe with most of (N, 3) points of the template, and that when they are moved by each of `_OFFSETS_MM`."""
    points_mm = points_mm[:: max(1, len(points_mm) // _MOST_POINTS)]
    places_mm = points_mm[None] + np.concatenate([np.zeros((1, 3)), _OFFSETS_MM])[:, None]
    found = lobes_of(places_mm.reshape(-1, 3)).reshape(places_mm.shape[:2])
    lobes = [LOBES[int(np.bincount(row, minlength=len(LOBES)).argmax())] for row in found]
    return lobes[0], tuple(lobes[1:])


def _offsets_mm() -> np.ndarray:
    """Steps of the size of the template's error in the directions of the 26 neighbours of a voxel."""
    steps = np.stack(np.meshgrid(*[(-1.0, 0.0, 1.0)] * 3, indexing="ij"), axis=-1).reshape(-1, 3)
    steps = steps[np.abs(steps).sum(axis=1) > 0]
    offsets: np.ndarray = steps / np.linalg.norm(steps, axis=1, keepdims=True) * _TEMPLATE_ERROR_MM
    return offsets


_OFFSETS_MM = _offsets_mm()


def _codes(region: str, side: int) -> list[int]:
    """Labels of a region on one side; what lies in the middle is of both."""
    sided = [f"{SIDES[side]}_{name}" for name in REGIONS[region]]
    middle = [name for name, of in MIDLINE.items() if of == region]
    return [SURROUNDING_STRUCTURES.index(name) + 1 for name in (*sided, *middle)]


def _all_codes(names: tuple[str, ...]) -> list[int]:
    return [SURROUNDING_STRUCTURES.index(f"{side}_{name}") + 1 for name in names for side in SIDES]


def _centres(labels: np.ndarray) -> dict[str, np.ndarray]:
    """Mean voxel of each structure that does not reach the border of the grid."""
    count = len(SURROUNDING_STRUCTURES) + 1
    cut = {int(label) for axis in range(3) for end in (0, -1) for label in np.unique(np.take(labels, end, axis=axis))}
    sums = np.zeros((count, 3))
    for axis in range(3):
        planes = np.moveaxis(labels, axis, 0)
        per_plane = np.stack([np.bincount(plane.ravel(), minlength=count) for plane in planes])
        sums[:, axis] = np.arange(len(planes)) @ per_plane
        voxels = per_plane.sum(axis=0)
    return {
        name: sums[code] / voxels[code]
        for code, name in enumerate(SURROUNDING_STRUCTURES, start=1)
        if voxels[code] and code not in cut
    }


def _template_mm(piece: Piece, around: Surroundings) -> np.ndarray:
    """Places of the voxels of a piece in the template, (N, 3) mm."""
    voxels = np.argwhere(piece.inside) + [span.start for span in piece.where]
    matrix = around.to_template @ around.affine
    places: np.ndarray = voxels @ matrix[:3, :3].T + matrix[:3, 3]
    return places


def _away_mm(inside: np.ndarray, other: np.ndarray, affine: np.ndarray) -> np.ndarray:
    """Distance from each voxel of a piece to another mask in its box, (N,) mm; infinite when that is empty."""
    if not other.any():
        return np.full(int(np.count_nonzero(inside)), np.inf)
    return distances_mm(inside, other, affine)
