"""Random pose and shape: where in the label map each voxel of the new image comes from."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from vp_engine.synthesis.ranges import DeformationRanges


@dataclass(frozen=True, slots=True)
class Deformation:
    """Affine map and smooth displacement from the new image's world to the head's, both in mm from the centre.

    Attributes
    ----------
    matrix : numpy.ndarray, shape (3, 3)
    shift_mm : numpy.ndarray, shape (3,)
    control_mm : numpy.ndarray, shape (3, a, b, c)
        Displacements at the points of a coarse grid that spans the field of view.
    mirrored : bool
        Left and right exchanged.
    """

    matrix: np.ndarray
    shift_mm: np.ndarray
    control_mm: np.ndarray
    mirrored: bool


def draw_deformation(rng: np.random.Generator, ranges: DeformationRanges) -> Deformation:
    """Draw rotation, scaling, shear, shift and an elastic field at two scales."""
    angles = np.deg2rad(rng.uniform(-ranges.rotation_deg, ranges.rotation_deg, 3))
    scaling = np.diag(rng.uniform(1 - ranges.scaling, 1 + ranges.scaling, 3))
    shear = np.eye(3) + np.triu(rng.uniform(-ranges.shear, ranges.shear, (3, 3)), 1)
    points = int(rng.integers(4, 11))
    amplitude = rng.uniform(0, ranges.elastic_mm) * min(1.0, 5 / points)
    return Deformation(
        matrix=_rotation(angles) @ shear @ scaling,
        shift_mm=rng.uniform(-ranges.shift_mm, ranges.shift_mm, 3),
        control_mm=amplitude * rng.standard_normal((3, points, points, points)),
        mirrored=bool(rng.random() < 0.5),
    )


def apply_deformation(
    deformation: Deformation, shape: tuple[int, int, int], spacing_mm: tuple[float, float, float]
) -> Tensor:
    """Position in the head, in mm from its centre, of every voxel of the new image; (X, Y, Z, 3), float32."""
    axes = [(torch.arange(n) - (n - 1) / 2) * s for n, s in zip(shape, spacing_mm, strict=True)]
    position = torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1).float()
    if deformation.mirrored:
        position[..., 0].neg_()
    control = torch.from_numpy(deformation.control_mm).float()[None]
    field = F.interpolate(control, size=shape, mode="trilinear", align_corners=True)[0].permute(1, 2, 3, 0)
    matrix = torch.from_numpy(deformation.matrix).float()
    return (position + field) @ matrix.T + torch.from_numpy(deformation.shift_mm).float()


def _rotation(angles: np.ndarray) -> np.ndarray:
    (cx, cy, cz), (sx, sy, sz) = np.cos(angles), np.sin(angles)
    about_x = np.array([[1, 0, 0], [0, cx, -sx], [0, sx, cx]])
    about_y = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    about_z = np.array([[cz, -sz, 0], [sz, cz, 0], [0, 0, 1]])
    rotation: np.ndarray = about_z @ about_y @ about_x
    return rotation
