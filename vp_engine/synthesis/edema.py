"""Swelling around a mass: along the white matter, which takes up water, and not into gray matter."""

from __future__ import annotations

from torch import Tensor

from vp_engine.synthesis.label_maps import EDEMA, LESION, WHITE_MATTER, voxels_of


def grow_edema(labels_XYZ: Tensor, distance_XYZ: Tensor, reach: float) -> None:
    """Make white matter oedema up to a distance beyond the border of a blob; in place.

    Parameters
    ----------
    labels_XYZ : torch.Tensor
    distance_XYZ : torch.Tensor
        From the middle of the blob, in radii.
    reach : float
        In radii; none for 0.
    """
    near = (distance_XYZ < 1 + reach) & (distance_XYZ >= 1)
    labels_XYZ.masked_fill_(near & voxels_of(labels_XYZ, (*WHITE_MATTER, *LESION)), EDEMA)
