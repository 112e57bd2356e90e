"""Swelling around a mass: along the white matter of its side, which takes up water, and not into gray matter."""

from __future__ import annotations

from torch import Tensor

from vp_engine.synthesis.label_maps import EDEMA, LESION, WHITE_MATTER, voxels_of

_SIDES = ((2, 25, 3), (41, 57, 42))
"""White matter, its lesions, and cortex, left and right."""
_ONE_SIDED = 0.9


def grow_edema(labels_XYZ: Tensor, distance_XYZ: Tensor, reach: float) -> None:
    """Make white matter oedema up to a distance beyond the border of a blob, before it is filled; in place.

    It does not cross the falx: from a blob that lies on one side it spreads on that side alone.

    Parameters
    ----------
    labels_XYZ : torch.Tensor
    distance_XYZ : torch.Tensor
        From the middle of the blob, in radii.
    reach : float
        In radii; none for 0.
    """
    near = (distance_XYZ < 1 + reach) & (distance_XYZ >= 1)
    inside = labels_XYZ[distance_XYZ < 1]
    left, right = (int(voxels_of(inside, side).sum()) for side in _SIDES)
    white: tuple[int, ...] = (*WHITE_MATTER, *LESION)
    for side, share in zip(_SIDES, (left, right), strict=True):
        if share > _ONE_SIDED * (left + right):
            white = side[:2]
    labels_XYZ.masked_fill_(near & voxels_of(labels_XYZ, white), EDEMA)
