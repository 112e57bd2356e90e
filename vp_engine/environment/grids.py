"""Masks of one image on the grid of another image of the same session."""

from __future__ import annotations

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
    same_shape = mask.data.shape == image.data.shape
    if same_shape and np.allclose(mask.image.affine, image.affine, rtol=0.0, atol=1e-3):
        return mask.data, ()
    # imported here: scipy takes longer to load than a program to be checked
    from vp_engine.volumes.resampling import resample

    data = resample(
        mask.data.astype(np.uint8), mask.image.affine, shape=image.data.shape, target_affine=image.affine, order=0
    )
    return data > 0, ("mask_resampled",)


def lowest_score(*masks: Mask) -> float | None:
    """Confidence of what is made of several masks: the lowest; None when none has one."""
    return min((mask.qc_score for mask in masks if mask.qc_score is not None), default=None)


def all_flags(*groups: tuple[str, ...]) -> tuple[str, ...]:
    """Every flag once, sorted."""
    return tuple(sorted({flag for group in groups for flag in group}))
