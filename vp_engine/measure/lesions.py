"""Lesions one by one: the pieces of a mask, what they touch, how wide they are, how they look against white matter.

Masks are (X, Y, Z) bool arrays. Affines are (4, 4), voxel to world, RAS+ mm, of any kind: anisotropic, flipped,
oblique, sheared. Work on a piece is done in the box around it.
"""

from __future__ import annotations

from dataclasses import dataclass

import cc3d
import numpy as np

from vp_engine.measure.arithmetic import UndefinedMeasure
from vp_engine.measure.regions import Box, box_around, distances_mm, numbered
from vp_engine.measure.shape import hull_corners, max_diameter_mm
from vp_engine.measure.voxels import cropped

SURROUNDINGS_MM = 10.0
"""How far around a lesion white matter is what it is compared with."""

LEAST_WHITE_MATTER_MM3 = 200.0
"""Least volume of white matter to compare a lesion with."""

THICKER = 1.25
"""Slices this much thicker than the pixels are wide were taken as slices; otherwise the plane is axial."""

_ROUNDING_MM = 1e-6


@dataclass(frozen=True, slots=True, eq=False)
class Piece:
    """One connected piece of a mask.

    Attributes
    ----------
    where : tuple of 3 slices
        The box around it.
    inside : (x, y, z) bool array
        The piece in that box.
    voxels : int
        How many are inside.
    """

    where: Box
    inside: np.ndarray
    voxels: int

    def full(self, shape: tuple[int, ...]) -> np.ndarray:
        """The piece on the whole grid, (X, Y, Z) bool."""
        mask = np.zeros(shape, dtype=bool)
        mask[self.where] = self.inside
        return mask

    def grown(self, shape: tuple[int, ...], affine: np.ndarray, *, margin_mm: float) -> tuple[Box, np.ndarray]:
        """The box with a margin of a length, of one voxel at least, as far as the grid goes; and the piece in it.

        Parameters
        ----------
        shape : tuple of int
            Of the grid.
        affine : (4, 4) array
        margin_mm : float
        """
        # steps along one axis of the grid that a length in the world can come to, whatever its direction
        steps = np.linalg.norm(np.linalg.inv(np.asarray(affine, dtype=np.float64)[:3, :3]), axis=1)
        margins = np.maximum(np.ceil(margin_mm * steps), 1).astype(int)
        spans = [
            slice(max(0, span.start - int(margin)), min(size, span.stop + int(margin)))
            for span, margin, size in zip(self.where, margins, shape, strict=True)
        ]
        inside = np.zeros([span.stop - span.start for span in spans], dtype=bool)
        own = [slice(a.start - b.start, a.stop - b.start) for a, b in zip(self.where, spans, strict=True)]
        inside[own[0], own[1], own[2]] = self.inside
        return (spans[0], spans[1], spans[2]), inside


def pieces(mask: np.ndarray) -> list[Piece]:
    """The connected pieces of a mask (26 neighbours), largest first; of equal ones the first in C order first.

    Parameters
    ----------
    mask : (X, Y, Z) bool array

    Returns
    -------
    list of Piece
        Empty for an empty mask.
    """
    if not mask.any():
        return []
    box = box_around(mask, np.eye(4))
    labels = np.ascontiguousarray(numbered(mask[box]))
    statistics = cc3d.statistics(labels)
    sizes = statistics["voxel_counts"]
    # a stable sort keeps the order of the grid
    order = sorted(range(1, len(sizes)), key=lambda label: -int(sizes[label]))
    found = []
    for label in order:
        inner: Box = statistics["bounding_boxes"][label]
        x, y, z = (slice(a.start + b.start, a.start + b.stop) for a, b in zip(box, inner, strict=True))
        found.append(Piece((x, y, z), labels[inner] == label, int(sizes[label])))
    return found


def as_piece(mask: np.ndarray) -> Piece:
    """All of a mask, connected or not, with the box around it.

    Raises
    ------
    UndefinedMeasure
        If it is empty.
    """
    where = box_around(mask, np.eye(4))
    inside = mask[where]
    return Piece(where, inside, int(np.count_nonzero(inside)))


def touches(piece: Piece, other: np.ndarray) -> bool:
    """Whether a piece overlaps another mask or has a voxel that shares a face, an edge or a corner with it.

    Parameters
    ----------
    piece : Piece
    other : (X, Y, Z) bool array
        On the grid of the piece.
    """
    box, grown = piece.grown(other.shape, np.eye(4), margin_mm=1.0)
    around = other[box]
    if not around.any():
        return False
    for axis in range(3):
        line = np.moveaxis(grown, axis, 0)
        wide = line.copy()
        wide[1:] |= line[:-1]
        wide[:-1] |= line[1:]
        line[:] = wide
    return bool((grown & around).any())


def perpendicular_diameter_mm(mask: np.ndarray, affine: np.ndarray) -> float:
    """Longest diameter across the longest one, in the slice where that is longest, in mm.

    As in RECIST and RANO, both diameters lie in one slice: the slices are those of the file where they are thicker
    than the pixels are wide (by a quarter at least), else the axial ones. The longest diameter is measured between
    voxel centres in every slice; in the slice where it is longest, the longest line at right angles to it
    between two voxels of the mask is taken, to within half a pixel. Of several longest ones the one with the longest
    line across it counts, so that the order of the axes does not matter. 0 for a row of voxels.

    Raises
    ------
    UndefinedMeasure
        If the mask is empty.

    References
    ----------
    Eisenhauer et al. 2009, *New response evaluation criteria in solid tumours: revised RECIST guideline*;
    Wen et al. 2010, *Updated response assessment criteria for high-grade gliomas* (RANO).
    """
    box, box_affine = cropped(mask, affine)
    axis = slice_axis(box_affine)
    matrix = np.delete(box_affine[:3, :3], axis, axis=1)
    normal = np.cross(matrix[:, 0], matrix[:, 1])
    normal = normal / np.linalg.norm(normal)
    half_pixel_mm = float(np.linalg.norm(matrix, axis=0).max()) / 2
    longest_mm = widest_mm = 0.0
    for plane in np.moveaxis(box, axis, 0):
        if not plane.any():
            continue
        corners_mm = hull_corners(_row_ends(plane) @ matrix.T)
        apart_mm = np.linalg.norm(corners_mm[:, None] - corners_mm[None], axis=2)
        length_mm = float(apart_mm.max())
        if length_mm <= 0.0 or length_mm < longest_mm - _ROUNDING_MM:
            continue
        points_mm = np.argwhere(plane) @ matrix.T
        width_mm = 0.0
        for start, end in np.argwhere(np.triu(apart_mm >= length_mm - _ROUNDING_MM)):
            along = (corners_mm[end] - corners_mm[start]) / length_mm
            across = np.cross(normal, along)
            width_mm = max(width_mm, _widest(points_mm @ along, points_mm @ across, half_pixel_mm))
        widest_mm = width_mm if length_mm > longest_mm + _ROUNDING_MM else max(widest_mm, width_mm)
        longest_mm = max(longest_mm, length_mm)
    return widest_mm


def slice_axis(affine: np.ndarray) -> int:
    """Voxel axis across the slices: the thickest, or the one nearest to the world's vertical when none is thicker."""
    matrix = np.asarray(affine, dtype=np.float64)[:3, :3]
    spacing_mm = np.linalg.norm(matrix, axis=0)
    thickest = int(spacing_mm.argmax())
    if spacing_mm[thickest] >= THICKER * np.delete(spacing_mm, thickest).max():
        return thickest
    return int(np.abs(matrix[2] / spacing_mm).argmax())


def relative_intensity(
    image: np.ndarray, piece: Piece, white_matter: tuple[np.ndarray, np.ndarray], affine: np.ndarray
) -> float:
    """Mean intensity in a piece divided by the median of the white matter around it (unit 1).

    Around it is within 10 mm. With less than 200 mm3 of white matter there, that of the side which is nearer is taken,
    or of both sides when that is too little as well.

    Parameters
    ----------
    image : (X, Y, Z) array
    piece : Piece
        Connected or not.
    white_matter : two (X, Y, Z) bool arrays
        Cerebral white matter of the left and the right, without any lesion.
    affine : (4, 4) array

    Raises
    ------
    UndefinedMeasure
        ``no_white_matter`` if there is too little to compare with, ``zero_denominator`` if its median is not above 0.
    """
    reference = _median_around(image, piece, white_matter, affine)
    if not reference > 0:
        raise UndefinedMeasure("the white matter has no intensity above 0", code="zero_denominator")
    return float(image[piece.where][piece.inside].mean(dtype=np.float64)) / reference


def _median_around(
    image: np.ndarray, piece: Piece, white_matter: tuple[np.ndarray, np.ndarray], affine: np.ndarray
) -> float:
    box, inside = piece.grown(image.shape, affine, margin_mm=SURROUNDINGS_MM)
    values, near, nearest_mm = image[box], [], []
    for side in white_matter:
        here = side[box] & ~inside
        away_mm = distances_mm(here, inside, affine, bound_mm=SURROUNDINGS_MM)
        near.append(values[here][away_mm <= SURROUNDINGS_MM])
        nearest_mm.append(float(away_mm.min(initial=np.inf)))
    least = LEAST_WHITE_MATTER_MM3 / abs(float(np.linalg.det(np.asarray(affine)[:3, :3])))
    around = np.concatenate(near)
    if around.size >= least:
        return float(np.median(around))
    left, right = white_matter
    nearer = left if nearest_mm[0] <= nearest_mm[1] else right
    for wanted in (nearer, left | right):
        if np.count_nonzero(wanted) >= least:
            return float(np.median(image[wanted]))
    raise UndefinedMeasure("there is no white matter to compare with", code="no_white_matter")


def at_least(piece: Piece, affine: np.ndarray, *, length_mm: float) -> bool:
    """Whether the longest diameter of a piece, in three dimensions between voxel centres, is a length or more."""
    return max_diameter_mm(piece.inside, affine) >= length_mm - 1e-3


def _row_ends(plane: np.ndarray) -> np.ndarray:
    """First and last voxel of each row of a plane, (N, 2) indices; the corners of its convex hull are among them."""
    rows = np.flatnonzero(plane.any(axis=1))
    first = plane[rows].argmax(axis=1)
    last = plane.shape[1] - 1 - plane[rows][:, ::-1].argmax(axis=1)
    return np.concatenate([np.stack([rows, first], axis=1), np.stack([rows, last], axis=1)])


def _widest(along_mm: np.ndarray, across_mm: np.ndarray, tolerance_mm: float) -> float:
    """Largest difference of `across_mm` among points whose `along_mm` differ by no more than a tolerance."""
    order = np.argsort(along_mm, kind="stable")
    along_mm, across_mm = along_mm[order], across_mm[order]
    stops = np.searchsorted(along_mm, along_mm + tolerance_mm + 1e-6, side="right")
    return max(float(np.ptp(across_mm[start:stop])) for start, stop in enumerate(stops))
