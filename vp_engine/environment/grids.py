"""Masks of one image on the grid of another image of the same session."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

import numpy as np

from vp_engine.environment.misuse import Misuse
from vp_engine.environment.values import Image, Mask


def require_same_session(mask: Mask, image: Image) -> None:
    """Refuse a mask and an image of two sessions.

    Raises
    ------
    Misuse
    """
    if mask.image.session != image.session:
        raise Misuse(
            "mask and image are of two sessions, which are not aligned with each other",
            code="different_sessions",
            expected="both of one session",
            got="two sessions",
        )


def on_grid(mask: Mask, image: Image) -> tuple[np.ndarray, tuple[str, ...]]:
    """Bring a mask onto the grid of an image of its session.

    Parameters
    ----------
    mask : Mask
    image : Image

    Returns
    -------
    data : (X, Y, Z) bool array
        Carried over by world coordinates (nearest voxel) where the grids differ.
    flags : tuple of str
        Of getting it there.

    Raises
    ------
    Misuse
        If the two are of two sessions.
    """
    require_same_session(mask, image)
    if same_grid(mask.image, image):
        return mask.data, ()
    return _carried(mask, image), ("mask_resampled",)


def same_grid(a: Image, b: Image) -> bool:
    """Whether two images have one grid."""
    return a.data.shape == b.data.shape and np.allclose(a.affine, b.affine, rtol=0.0, atol=1e-3)


def _carried(mask: Mask, image: Image) -> np.ndarray:
    """The mask on the grid of the image by nearest voxels; only what the box around it can reach is looked at."""
    # imported here: scipy takes longer to load than a program to be checked
    from vp_engine.measure.regions import box_around
    from vp_engine.volumes.resampling import resample

    carried = np.zeros(image.data.shape, dtype=bool)
    if not mask.data.any():
        return carried
    # a margin of one voxel, as the resampling may round either way
    box = box_around(mask.data, np.eye(4), margin_mm=1.0)
    corners = np.array([*product(*((span.start - 0.5, span.stop - 0.5) for span in box))])
    across = np.linalg.solve(image.affine, mask.image.affine)
    reached = corners @ across[:3, :3].T + across[:3, 3]
    low = np.clip(np.floor(reached.min(axis=0)), 0, carried.shape).astype(int)
    high = np.clip(np.ceil(reached.max(axis=0)) + 1, 0, carried.shape).astype(int)
    if (low < high).all():
        shape = (int(high[0] - low[0]), int(high[1] - low[1]), int(high[2] - low[2]))
        carried[tuple(map(slice, low, high))] = resample(
            mask.data[box].astype(np.uint8),
            _moved(mask.image.affine, [span.start for span in box]),
            shape=shape,
            target_affine=_moved(image.affine, low),
            order=0,
        )
    return carried


def _moved(affine: np.ndarray, start: Sequence[int] | np.ndarray) -> np.ndarray:
    """Affine of a box that starts at a voxel."""
    moved = np.array(affine, dtype=np.float64)
    moved[:3, 3] += moved[:3, :3] @ np.asarray(start)
    return moved


def lowest_score(*masks: Mask) -> float | None:
    """Confidence of what is made of several masks: the lowest; None when none has one."""
    return min((mask.qc_score for mask in masks if mask.qc_score is not None), default=None)


def all_flags(*groups: tuple[str, ...]) -> tuple[str, ...]:
    """Every flag once, sorted."""
    return tuple(sorted({flag for group in groups for flag in group}))
