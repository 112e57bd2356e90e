"""A small picture of the delineations on one scan: three planes, a few kilobytes, thousands of them in a report."""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np
from PIL import Image

from vp_engine.report.slices import AXES, Layer, best_slices, draw_slice, framed

VERSION = 1
"""Goes up whenever equal scans and masks give other thumbnails, so that kept ones are made again."""

TILE = 128
"""Width and height of one plane in pixels."""

MAX_BYTES = 8192
"""A thumbnail is pressed harder until it is no larger than this."""

_GAP = 2
_QUALITIES = (70, 50, 30, 10)


def thumbnail_webp(image: np.ndarray, layers: Sequence[Layer], *, spacing_mm: tuple[float, float, float]) -> bytes:
    """Axial, coronal and sagittal slice side by side, each where most of the structures are seen.

    Parameters
    ----------
    image, layers, spacing_mm
        As in `mosaic_png`.

    Returns
    -------
    bytes
        A WebP file of 388 by 128 pixels; equal arrays give equal bytes with the same version of Pillow.

    Raises
    ------
    ValueError
        As `check_scan`.
    """
    grey, inside = framed(image, layers, spacing_mm)
    positions = best_slices(inside, grey.shape)
    picture = np.zeros((TILE, 3 * TILE + 2 * _GAP, 3), dtype=np.uint8)
    for column, axis in enumerate(AXES):
        left = column * (TILE + _GAP)
        picture[:, left : left + TILE] = draw_slice(
            grey, inside, axis=axis, position=positions[axis], spacing_mm=spacing_mm, tile=TILE
        )
    return _pressed(Image.fromarray(picture))


def _pressed(picture: Image.Image) -> bytes:
    """The best quality that stays within the limit; the last one in any case."""
    content = b""
    for quality in _QUALITIES:
        buffer = io.BytesIO()
        picture.save(buffer, format="WEBP", quality=quality, method=4)
        content = buffer.getvalue()
        if len(content) <= MAX_BYTES:
            break
    return content
