"""Slices of a scan with outlines: what mosaics and thumbnails are made of.

The convention is neurological: the left of the participant is on the left of the picture, and letters say so.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

COLOURS = (
    (230, 159, 0),
    (86, 180, 233),
    (0, 158, 115),
    (240, 228, 66),
    (0, 114, 178),
    (213, 94, 0),
    (204, 121, 167),
)
"""Okabe & Ito's colours without black, told apart with every kind of colour vision; they repeat after seven."""

AXES = (2, 1, 0)
"""Array axes that axial, coronal and sagittal slices are taken along, in this order."""

Layer = tuple[np.ndarray, Mapping[int, int]]
"""A label map (X, Y, Z) and its labels with their colours, numbers from 0 that repeat after seven."""

_SIDES = {2: ("L", "R"), 1: ("L", "R"), 0: ("P", "A")}
_LETTERS = {
    "L": ("1000", "1000", "1000", "1000", "1111"),
    "R": ("1110", "1001", "1110", "1010", "1001"),
    "P": ("1110", "1001", "1110", "1000", "1000"),
    "A": ("0110", "1001", "1111", "1001", "1001"),
}
_MARGIN = 3


def check_scan(image: np.ndarray, layers: Sequence[Layer], spacing_mm: tuple[float, float, float]) -> None:
    """Refuse arrays that do not lie on one grid.

    Raises
    ------
    ValueError
        If they are not 3-D or not of one shape, or a spacing is not positive.
    """
    shapes = [labels.shape for labels, _ in layers]
    if image.ndim != 3 or 0 in image.shape or any(shape != image.shape for shape in shapes):
        raise ValueError(f"expected an image and labels of one 3-D shape, got {image.shape} and {shapes}")
    if not all(np.isfinite(size) and size > 0 for size in spacing_mm):
        raise ValueError(f"expected voxel sizes above 0 mm, got {spacing_mm}")


def grey_window(image: np.ndarray) -> tuple[float, float]:
    """Intensities that become black and white: 0 or the 1st, and the 99th percentile of what is not background."""
    sample = image[::2, ::2, ::2]
    inside = sample[np.isfinite(sample) & (sample != 0)]
    if inside.size == 0:
        return 0.0, 1.0
    low, high = np.percentile(inside, [1, 99])
    low = min(float(low), 0.0)
    return low, max(float(high), low + 1e-6)


def to_grey(image: np.ndarray, window: tuple[float, float]) -> np.ndarray:
    """Intensities as uint8; what is not finite is black."""
    low, high = window
    scaled: np.ndarray = (255 * np.clip((np.nan_to_num(image) - low) / (high - low), 0, 1)).astype(np.uint8)
    return scaled


def framed(
    image: np.ndarray, layers: Sequence[Layer], spacing_mm: tuple[float, float, float]
) -> tuple[np.ndarray, list[Layer]]:
    """The box of a scan that holds the head, in grey, and its label maps in that box.

    Raises
    ------
    ValueError
        As `check_scan`.
    """
    check_scan(image, layers, spacing_mm)
    window = grey_window(image)
    frame = head_box(image, layers, window)
    return to_grey(image[frame], window), [(labels[frame], colours) for labels, colours in layers]


def head_box(image: np.ndarray, layers: Sequence[Layer], window: tuple[float, float]) -> tuple[slice, ...]:
    """Smallest box around the head and all that is delineated; everything when there is neither."""
    low, high = window
    mask = image > low + 0.1 * (high - low)
    for labels, _ in layers:
        mask |= labels != 0
    if not mask.any():
        return tuple(slice(0, count) for count in mask.shape)
    extents = [np.flatnonzero(mask.any(axis=tuple(k for k in range(3) if k != axis))) for axis in range(3)]
    return tuple(slice(int(found[0]), int(found[-1]) + 1) for found in extents)


def best_slices(layers: Sequence[Layer], shape: tuple[int, ...]) -> tuple[int, int, int]:
    """The slice along each array axis that shows most of all structures, small ones counting as much as large ones.

    Returns
    -------
    tuple of int
        Indices along the three axes; the middle when nothing is delineated.
    """
    shares = [np.zeros(count) for count in shape]
    for labels, colours in layers:
        where = np.nonzero(labels)
        values = labels[where].astype(np.int64)
        totals = np.bincount(values)
        weights = np.isin(values, list(colours)) / totals[values]
        for axis in range(3):
            shares[axis] += np.bincount(where[axis], weights=weights, minlength=shape[axis])
    x, y, z = (int(share.argmax()) if share.any() else len(share) // 2 for share in shares)
    return x, y, z


def draw_slice(
    grey: np.ndarray,
    layers: Sequence[Layer],
    *,
    axis: int,
    position: int,
    spacing_mm: tuple[float, float, float],
    tile: int,
) -> np.ndarray:
    """One slice with the outlines of every structure and the letters of its sides.

    Parameters
    ----------
    grey : ndarray of uint8, (X, Y, Z)
        The scan in RAS+ axis order.
    layers : sequence of Layer
        On the same grid; later ones are drawn over earlier ones.
    axis, position : int
        Which slice.
    spacing_mm : tuple of 3 float
        Voxel size along the axes.
    tile : int
        Width and height of the picture in pixels; the longest side of the whole scan fills it.

    Returns
    -------
    ndarray of uint8, (tile, tile, 3)
    """
    pixels_per_mm = tile / max(size * count for size, count in zip(spacing_mm, grey.shape, strict=True))
    sizes = [size * pixels_per_mm for k, size in enumerate(spacing_mm) if k != axis]
    seen = _upright(np.take(grey, position, axis), sizes, tile)
    picture = np.zeros((tile, tile, 3), dtype=np.uint8)
    top, left = (tile - seen.shape[0]) // 2, (tile - seen.shape[1]) // 2
    window = picture[top : top + seen.shape[0], left : left + seen.shape[1]]
    window[:] = seen[..., None]
    for labels, colours in layers:
        regions = _upright(np.take(labels, position, axis), sizes, tile)
        for label, colour in colours.items():
            window[_rim(regions == label)] = COLOURS[colour % len(COLOURS)]
    start, end = _SIDES[axis]
    _stamp(picture, start, at_end=False)
    _stamp(picture, end, at_end=True)
    return picture


def _upright(plane: np.ndarray, sizes: Sequence[float], tile: int) -> np.ndarray:
    """(A, B) to rows downwards: the second axis (towards the head or the nose) points up, voxels at their sizes."""
    counts = [max(1, min(tile, round(n * size))) for n, size in zip(plane.shape, sizes, strict=True)]
    index = [((np.arange(count) + 0.5) * n / count).astype(int) for count, n in zip(counts, plane.shape, strict=True)]
    return np.flipud(plane[np.ix_(*index)].T)


def _rim(mask: np.ndarray) -> np.ndarray:
    """Pixels of a mask that touch what is outside."""
    padded = np.pad(mask, 1)
    inner = padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    rim: np.ndarray = mask & ~inner
    return rim


def _stamp(picture: np.ndarray, letter: str, *, at_end: bool) -> None:
    """A letter half way up the left or right rim of a tile."""
    size = max(1, len(picture) // 90)
    pattern = np.array([[digit == "1" for digit in line] for line in _LETTERS[letter]]).repeat(size, 0).repeat(size, 1)
    height, width = pattern.shape
    row = (len(picture) - height) // 2
    column = len(picture) - _MARGIN - width if at_end else _MARGIN
    picture[row : row + height, column : column + width][pattern] = 255
