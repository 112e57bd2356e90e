"""Where in the brain a lesion lies: its side, its lobe, and what is near it.

There is no delineation of lobes. An affine map from the centres of delineated structures to those of a template (MNI152)
carries every voxel of a lesion into template space, where surfaces through published landmarks divide a hemisphere.
Zones (periventricular, juxtacortical, ...) come from distances to what is delineated around the lesion, in the
world of the image.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import edt
import numpy as np

from vp_engine.measure.arithmetic import UndefinedMeasure
from vp_engine.measure.lesions import Piece, touches

LOBES: tuple[str, ...] = ("frontal_lobe", "parietal_lobe", "temporal_lobe", "occipital_lobe", "insular_lobe")

TEMPLATE_MM: Mapping[str, tuple[float, float, float]] = {
    "thalamus": (11.0, -19.0, 7.0),
    "caudate": (13.5, 10.0, 9.5),
    "putamen": (25.5, 1.0, 0.5),
    "pallidum": (19.0, -4.5, -1.0),
    "hippocampus": (26.0, -22.0, -14.5),
    "amygdala": (23.5, -4.5, -18.5),
    "lateral_ventricle": (14.5, -14.5, 16.5),
    "cerebellum_cortex": (26.5, -62.5, -35.0),
}
TEMPLATE_MIDDLE_MM: Mapping[str, tuple[float, float, float]] = {"brainstem": (0.0, -28.5, -30.5)}
"""Centres in MNI152 (RAS+ mm); of the right side where there are two."""

VENTRICLE = ("lateral_ventricle", "inferior_lateral_ventricle")
DEEP_GRAY = ("thalamus", "caudate", "putamen", "pallidum", "accumbens", "ventral_dc")
CEREBRUM = ("cerebral_white_matter", "cerebral_cortex", "hippocampus", "amygdala", "third_ventricle", *VENTRICLE)
INFRATENTORIAL = ("brainstem", "fourth_ventricle", "cerebellum_white_matter", "cerebellum_cortex")
SIDED = (*TEMPLATE_MM, "inferior_lateral_ventricle", "accumbens", "ventral_dc", "cerebral_white_matter")
SIDED = (*SIDED, "cerebral_cortex", "cerebellum_white_matter")
STRUCTURES: tuple[str, ...] = (
    *(f"{side}_{name}" for name in dict.fromkeys(SIDED) for side in ("left", "right")),
    *TEMPLATE_MIDDLE_MM,
    "third_ventricle",
    "fourth_ventricle",
)
"""What has to be delineated around a lesion to say where it lies."""

NEAR_VENTRICLE_MM = 3.0
REACH_MM = 20.0
"""How far around a lesion structures are looked for."""
LEAST_LANDMARKS = 6
SIDE_SHARE = 0.1


@dataclass(frozen=True, slots=True, eq=False)
class Surroundings:
    """The anatomy of one image.

    Attributes
    ----------
    labels : (X, Y, Z) uint8 array
        Number of the structure in `STRUCTURES` plus one; 0 elsewhere.
    affine : (4, 4) float64 array
        Voxel to world, RAS+ mm.
    to_template : (4, 4) float64 array
        World to MNI152, mm.
    """

    labels: np.ndarray
    affine: np.ndarray
    to_template: np.ndarray


def surroundings(masks: Mapping[str, np.ndarray], affine: np.ndarray) -> Surroundings:
    """Put the anatomy of one image together and lay it onto the template.

    Parameters
    ----------
    masks : mapping of str to (X, Y, Z) bool array
        Some of `STRUCTURES`.
    affine : (4, 4) array

    Raises
    ------
    UndefinedMeasure
        ``no_landmarks`` if fewer than 6 of the structures with a place in the template were found.
    """
    first = next(iter(masks.values()), None)
    if first is None:
        raise UndefinedMeasure("nothing is delineated around it", code="no_landmarks")
    affine = np.asarray(affine, dtype=np.float64)
    labels = np.zeros(first.shape, dtype=np.uint8)
    here, there = [], []
    for name, mask in masks.items():
        labels[mask] = STRUCTURES.index(name) + 1
        centre = template_centre_mm(name)
        if centre is not None and mask.any() and not at_edge(mask):
            here.append([*(affine @ [*np.argwhere(mask).mean(axis=0), 1.0])[:3], 1.0])
            there.append(centre)
    if len(here) < LEAST_LANDMARKS:
        raise UndefinedMeasure("too few structures are delineated", code="no_landmarks")
    solution, *_ = np.linalg.lstsq(np.array(here), np.array(there), rcond=None)
    to_template = np.eye(4)
    to_template[:3] = solution.T
    return Surroundings(labels, affine, to_template)


def at_edge(mask: np.ndarray) -> bool:
    """Whether a mask has a voxel in an outermost slice of the grid."""
    return any(bool(mask.take(index, axis=axis).any()) for axis in range(3) for index in (0, -1))


def template_centre_mm(name: str) -> tuple[float, float, float] | None:
    """Centre of a structure in MNI152, RAS+ mm; None for one without."""
    side, _, bare = name.partition("_")
    if side in ("left", "right") and bare in TEMPLATE_MM:
        x, y, z = TEMPLATE_MM[bare]
        return (-x if side == "left" else x, y, z)
    return TEMPLATE_MIDDLE_MM.get(name)


def lobes_of(points_mm: np.ndarray) -> np.ndarray:
    """Number in `LOBES` of each place in the template.

    Parameters
    ----------
    points_mm : (N, 3) array
        MNI152, RAS+ mm; either side.

    Returns
    -------
    (N,) int array
    """
    x, y, z = np.abs(points_mm[:, 0]), points_mm[:, 1], points_mm[:, 2]
    lobe = np.zeros(len(points_mm), dtype=int)
    behind_central = y < -8.0 - 0.37 * (z - 15.0)
    lobe[behind_central] = 1
    below_sylvian = z < -16.0 - 0.75 * (y - 14.0) * (y < 14.0)
    temporal = (z < np.minimum(-16.0 - 0.75 * (y - 14.0), 18.0)) & (y < 16.0) & ((x > 18.0) | (z < -20.0))
    lobe[temporal & below_sylvian] = 2
    lobe[(x > 28.0) & (x < 46.0) & (np.abs(y - 1.0) < 22.0) & (z > -14.0) & (z < 16.0)] = 4
    lobe[(y < -62.0 - 0.4 * (z - 10.0)) & (y < -58.0)] = 3
    return lobe


def lobe_shares(piece: Piece, around: Surroundings) -> dict[str, float]:
    """Share of a piece's volume in each lobe, sided names such as ``left_frontal_lobe``; sums to 1."""
    points_mm = _world_mm(piece, around.affine) @ around.to_template[:3, :3].T + around.to_template[:3, 3]
    lobes, right = lobes_of(points_mm), points_mm[:, 0] >= 0
    found = np.bincount(lobes + len(LOBES) * right, minlength=2 * len(LOBES)) / len(points_mm)
    names = [f"{side}_{lobe}" for side in ("left", "right") for lobe in LOBES]
    return dict(zip(names, map(float, found), strict=True))


def zone_shares(piece: Piece, around: Surroundings) -> dict[str, float]:
    """Share of a piece's volume nearest to ``infratentorial``, ``deep_gray_matter`` and ``cerebrum``; sums to 1."""
    box = _grown(piece, around.affine, REACH_MM, around.labels.shape)
    labels = around.labels[box]
    starts = [inner.start - outer.start for inner, outer in zip(piece.where, box, strict=True)]
    where = tuple(slice(s, s + n) for s, n in zip(starts, piece.inside.shape, strict=True))
    spacing_mm = tuple(float(mm) for mm in np.linalg.norm(around.affine[:3, :3], axis=0))
    groups = {"infratentorial": INFRATENTORIAL, "deep_gray_matter": DEEP_GRAY, "cerebrum": CEREBRUM}
    away = []
    for names in groups.values():
        other = np.isin(labels, _codes(names))
        field = edt.edt(~other, anisotropy=spacing_mm, black_border=False, parallel=1) if other.any() else None
        away.append(np.full(piece.voxels, np.inf) if field is None else field[where][piece.inside])
    nearest = np.argmin(np.stack(away), axis=0)
    share = np.bincount(nearest, minlength=len(groups)) / piece.voxels
    return dict(zip(groups, map(float, share), strict=True))


def is_periventricular(piece: Piece, around: Surroundings) -> bool:
    """Whether a piece has a voxel within 3 mm of the lateral ventricles."""
    box = _grown(piece, around.affine, NEAR_VENTRICLE_MM, around.labels.shape)
    ventricle = np.isin(around.labels[box], _codes(VENTRICLE))
    if not ventricle.any():
        return False
    spacing_mm = tuple(float(mm) for mm in np.linalg.norm(around.affine[:3, :3], axis=0))
    field = edt.edt(~ventricle, anisotropy=spacing_mm, black_border=False, parallel=1)
    starts = [inner.start - outer.start for inner, outer in zip(piece.where, box, strict=True)]
    where = tuple(slice(s, s + n) for s, n in zip(starts, piece.inside.shape, strict=True))
    near = bool((field[where][piece.inside] <= NEAR_VENTRICLE_MM + 1e-3).any())
    return near or touches(piece, np.isin(around.labels, _codes(VENTRICLE)))


def is_juxtacortical(piece: Piece, around: Surroundings) -> bool:
    """Whether a piece touches the cerebral cortex."""
    return touches(piece, np.isin(around.labels, _codes(("cerebral_cortex",))))


def side_shares(piece: Piece, around: Surroundings) -> tuple[float, float]:
    """Shares of a piece's volume on the left and on the right of the middle of the template."""
    x = _world_mm(piece, around.affine) @ around.to_template[0, :3] + around.to_template[0, 3]
    right = float(np.mean(x >= 0))
    return 1.0 - right, right


def _codes(names: tuple[str, ...]) -> list[int]:
    sided = [f"{side}{name}" for name in names for side in ("", "left_", "right_")]
    return [STRUCTURES.index(name) + 1 for name in sided if name in STRUCTURES]


def _world_mm(piece: Piece, affine: np.ndarray) -> np.ndarray:
    """World positions of the voxels of a piece, (N, 3) mm."""
    voxels = np.argwhere(piece.inside) + [span.start for span in piece.where]
    world: np.ndarray = voxels @ affine[:3, :3].T + affine[:3, 3]
    return world


def _grown(piece: Piece, affine: np.ndarray, margin_mm: float, shape: tuple[int, ...]) -> tuple[slice, ...]:
    margins = np.ceil(margin_mm * np.linalg.norm(np.linalg.inv(affine[:3, :3]), axis=1)).astype(int)
    return tuple(
        slice(max(0, span.start - int(m)), min(size, span.stop + int(m)))
        for span, m, size in zip(piece.where, margins, shape, strict=True)
    )


@dataclass(frozen=True, slots=True)
class Location:
    """Where a piece lies.

    Attributes
    ----------
    region : str
        ``infratentorial``, ``deep_gray_matter`` or ``cerebrum``, whichever most of it is nearest to.
    lobe : str
        Sided lobe with most of its volume, such as ``left_frontal_lobe``; of the place in the template, whatever the
        region.
    lobe_share : float
        Share of its volume there.
    right_share : float
        Share of its volume on the right.
    zones : tuple of str
        ``periventricular`` and ``juxtacortical``, one, both, or else ``deep_white_matter``; the region itself outside
        the white matter.
    voxels : int
        Its size.
    """

    region: str
    lobe: str
    lobe_share: float
    right_share: float
    zones: tuple[str, ...]
    voxels: int

    @property
    def side(self) -> str:
        """``left`` or ``right``: where most of it lies."""
        return "right" if self.right_share >= 0.5 else "left"

    @property
    def place(self) -> str:
        """The one word for it: its lobe, or the region when it is not in a lobe."""
        return self.lobe if self.region == "cerebrum" else self.region

    def lies_in(self, place: str) -> bool:
        """Whether it lies in a place of the language: a lobe with or without its side, a hemisphere, a zone."""
        if place in self.zones:
            return True
        if place.endswith("_hemisphere"):
            return self.region != "infratentorial" and place == f"{self.side}_hemisphere"
        return self.region == "cerebrum" and self.lobe.endswith(place)


def location(piece: Piece, around: Surroundings) -> Location:
    """Say where a piece lies."""
    lobes, zones = lobe_shares(piece, around), zone_shares(piece, around)
    region = max(zones, key=lambda name: zones[name])
    _, right = side_shares(piece, around)
    lobe = max((name for name in lobes if name.startswith("right" if right >= 0.5 else "left")), key=lobes.__getitem__)
    near: tuple[str, ...] = (region,)
    if region == "cerebrum":
        touched = (("periventricular", is_periventricular), ("juxtacortical", is_juxtacortical))
        near = tuple(name for name, holds in touched if holds(piece, around)) or ("deep_white_matter",)
    return Location(region, lobe, lobes[lobe], right, near, piece.voxels)
