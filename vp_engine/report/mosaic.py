"""A picture of a delineation on its scan, for people to check."""

from __future__ import annotations

import io

import matplotlib.image
import numpy as np

SLICES = 5
"""Slices along each axis."""

TILE = 180
"""Width and height of one slice in pixels."""

_GAP = 2
# Okabe & Ito's colours, without black and grey: told apart with every kind of colour vision
_COLOURS = np.array(
    [[230, 159, 0], [86, 180, 233], [0, 158, 115], [240, 228, 66], [0, 114, 178], [213, 94, 0], [204, 121, 167]],
    dtype=np.uint8,
)


def mosaic_png(image: np.ndarray, labels: np.ndarray, *, spacing_mm: tuple[float, float, float]) -> bytes:
    """Outlines of a delineation over 5 axial, 5 coronal and 5 sagittal slices, each row from low to high coordinate.

    The left of the participant is on the left of the picture; the slices run through the delineation, or through the
    head when nothing is delineated.

    Parameters
    ----------
    image : ndarray of float, (X, Y, Z)
        The scan in RAS+ axis order; values that are not finite are black.
    labels : ndarray of int, (X, Y, Z)
        0 for background; each label has its own colour, repeating after seven.
    spacing_mm : tuple of 3 float
        Voxel size along the axes.

    Returns
    -------
    bytes
        A PNG file; equal arrays give equal bytes.

    Raises
    ------
    ValueError
        If the arrays are not 3-D or not of one shape, or a spacing is not positive.
    """
    if image.ndim != 3 or image.shape != labels.shape or 0 in image.shape:
        raise ValueError(f"expected an image and labels of one 3-D shape, got {image.shape} and {labels.shape}")
    if not all(np.isfinite(size) and size > 0 for size in spacing_mm):
        raise ValueError(f"expected voxel sizes above 0 mm, got {spacing_mm}")
    low, high = _window(image)
    head = image > low + 0.1 * (high - low)
    delineated = labels != 0
    frame = _box(head | delineated)
    image, labels, head, delineated = (array[frame] for array in (image, labels, head, delineated))
    shown = delineated if delineated.any() else head
    pixels_per_mm = TILE / max(size * count for size, count in zip(spacing_mm, image.shape, strict=True))
    picture = np.zeros((3 * TILE + 2 * _GAP, SLICES * TILE + (SLICES - 1) * _GAP, 3), dtype=np.uint8)
    for row, axis in enumerate((2, 1, 0)):
        first, second = (size * pixels_per_mm for k, size in enumerate(spacing_mm) if k != axis)
        for column, position in enumerate(_positions(shown, axis)):
            slices = [np.take(array, position, axis) for array in (image, labels)]
            grey = (255 * np.clip((np.nan_to_num(slices[0]) - low) / (high - low), 0, 1)).astype(np.uint8)
            top, left = row * (TILE + _GAP), column * (TILE + _GAP)
            picture[top : top + TILE, left : left + TILE] = _tile(grey, slices[1], pixels=(first, second))
    buffer = io.BytesIO()
    matplotlib.image.imsave(buffer, picture, format="png")
    return buffer.getvalue()


def _window(image: np.ndarray) -> tuple[float, float]:
    """Intensities that become black and white: 1st and 99th percentile of what is not background."""
    sample = image[::2, ::2, ::2]
    inside = sample[np.isfinite(sample) & (sample != 0)]
    if inside.size == 0:
        return 0.0, 1.0
    low, high = np.percentile(inside, [1, 99])
    low = min(float(low), 0.0)
    return low, max(float(high), low + 1e-6)


def _box(mask: np.ndarray) -> tuple[slice, ...]:
    """Smallest box around a mask; everything when it is empty."""
    if not mask.any():
        return tuple(slice(0, count) for count in mask.shape)
    extents = [np.flatnonzero(mask.any(axis=tuple(k for k in range(3) if k != axis))) for axis in range(3)]
    return tuple(slice(int(found[0]), int(found[-1]) + 1) for found in extents)


def _positions(shown: np.ndarray, axis: int) -> list[int]:
    """Slices evenly through what is shown; the middle of equal parts, so that the rims are left out."""
    others = tuple(k for k in range(3) if k != axis)
    occupied = np.flatnonzero(shown.any(axis=others))
    first, last = (int(occupied[0]), int(occupied[-1])) if occupied.size else (0, shown.shape[axis] - 1)
    steps = (np.arange(SLICES) + 0.5) / SLICES
    return [int(first + step * (last + 1 - first)) for step in steps]


def _tile(grey: np.ndarray, labels: np.ndarray, *, pixels: tuple[float, float]) -> np.ndarray:
    """One slice as (TILE, TILE, 3): voxels magnified to `pixels` along each axis, second axis upwards, centred."""
    counts = [max(1, min(TILE, round(n * size))) for n, size in zip(grey.shape, pixels, strict=True)]
    index = [((np.arange(count) + 0.5) * n / count).astype(int) for count, n in zip(counts, grey.shape, strict=True)]
    # (A, B) to rows downwards: the second axis (towards the head or the nose) points up
    seen = np.flipud(grey[np.ix_(*index)].T)
    regions = np.flipud(labels[np.ix_(*index)].T)
    tile = np.zeros((TILE, TILE, 3), dtype=np.uint8)
    top, left = (TILE - seen.shape[0]) // 2, (TILE - seen.shape[1]) // 2
    window = tile[top : top + seen.shape[0], left : left + seen.shape[1]]
    window[:] = seen[..., None]
    rim = _rim(regions)
    window[rim] = _COLOURS[regions[rim].astype(np.int64) % len(_COLOURS)]
    return tile


def _rim(regions: np.ndarray) -> np.ndarray:
    """Pixels of a region that touch another one."""
    padded = np.pad(regions, 1)
    centre = padded[1:-1, 1:-1]
    neighbours = (padded[:-2, 1:-1], padded[2:, 1:-1], padded[1:-1, :-2], padded[1:-1, 2:])
    differs = np.any([neighbour != centre for neighbour in neighbours], axis=0)
    rim: np.ndarray = differs & (centre != 0)
    return rim
