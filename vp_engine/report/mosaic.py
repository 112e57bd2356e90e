"""A large picture of the delineations on one scan, for people to check."""

from __future__ import annotations

import io
from collections.abc import Sequence

import matplotlib.image
import numpy as np

from vp_engine.report.slices import AXES, Layer, draw_slice, framed

SLICES = 5
"""Slices along each axis."""

TILE = 180
"""Width and height of one slice in pixels."""

_GAP = 2


def mosaic_png(image: np.ndarray, layers: Sequence[Layer], *, spacing_mm: tuple[float, float, float]) -> bytes:
    """Outlines over 5 axial, 5 coronal and 5 sagittal slices, each row from low to high coordinate.

    The left of the participant is on the left of the picture; the slices run through what is delineated, or through
    the head when nothing is.

    Parameters
    ----------
    image : ndarray of float, (X, Y, Z)
        The scan in RAS+ axis order; values that are not finite are black.
    layers : sequence of Layer
        Label maps on the same grid, and which of their labels are drawn in which colour.
    spacing_mm : tuple of 3 float
        Voxel size along the axes.

    Returns
    -------
    bytes
        A PNG file; equal arrays give equal bytes.

    Raises
    ------
    ValueError
        As `check_scan`.
    """
    grey, inside = framed(image, layers, spacing_mm)
    shown = np.zeros(grey.shape, dtype=bool)
    for labels, _ in inside:
        shown |= labels != 0
    if not shown.any():
        shown = grey > 0
    picture = np.zeros((3 * TILE + 2 * _GAP, SLICES * TILE + (SLICES - 1) * _GAP, 3), dtype=np.uint8)
    for row, axis in enumerate(AXES):
        for column, position in enumerate(_positions(shown, axis)):
            top, left = row * (TILE + _GAP), column * (TILE + _GAP)
            picture[top : top + TILE, left : left + TILE] = draw_slice(
                grey, inside, axis=axis, position=position, spacing_mm=spacing_mm, tile=TILE
            )
    buffer = io.BytesIO()
    matplotlib.image.imsave(buffer, picture, format="png")
    return buffer.getvalue()


def _positions(shown: np.ndarray, axis: int) -> list[int]:
    """Slices evenly through what is shown; the middle of equal parts, so that the rims are left out."""
    others = tuple(k for k in range(3) if k != axis)
    occupied = np.flatnonzero(shown.any(axis=others))
    first, last = (int(occupied[0]), int(occupied[-1])) if occupied.size else (0, shown.shape[axis] - 1)
    steps = (np.arange(SLICES) + 0.5) / SLICES
    return [int(first + step * (last + 1 - first)) for step in steps]
