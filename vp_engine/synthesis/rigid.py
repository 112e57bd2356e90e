"""Rigid movements: of the head between parts of a scan, and between scans that count as aligned."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Rigid:
    """A position p, in mm from the centre, goes to `rotation @ p + shift_mm`.

    Attributes
    ----------
    rotation : numpy.ndarray, shape (3, 3)
    shift_mm : numpy.ndarray, shape (3,)
    """

    rotation: np.ndarray
    shift_mm: np.ndarray


def draw_rigid(rng: np.random.Generator, *, rotation_deg: float, shift_mm: float) -> Rigid:
    """Draw angles and shifts uniformly within half-widths."""
    angles = np.deg2rad(rng.uniform(-rotation_deg, rotation_deg, 3))
    return Rigid(rotation_matrix(angles), rng.uniform(-shift_mm, shift_mm, 3))


def apply_rigid(rigid: Rigid, image_XYZ: Tensor, spacing_mm: tuple[float, float, float]) -> Tensor:
    """Value of the image at the moved position of every voxel, trilinear; zero outside."""
    half_mm = np.array(image_XYZ.shape) * spacing_mm / 2
    linear = rigid.rotation * half_mm[None] / half_mm[:, None]
    # affine_grid counts x from the last axis.
    theta = np.concatenate([linear[::-1, ::-1], (rigid.shift_mm / half_mm)[::-1, None]], axis=1)
    theta_134 = torch.from_numpy(theta[None]).to(image_XYZ)
    unit = F.affine_grid(theta_134, [1, 1, *image_XYZ.shape], align_corners=False)
    return F.grid_sample(image_XYZ[None, None], unit, align_corners=False)[0, 0]


def rotation_matrix(angles: np.ndarray) -> np.ndarray:
    """Rotation about x, then y, then z, by angles in radians; shape (3, 3)."""
    (cx, cy, cz), (sx, sy, sz) = np.cos(angles), np.sin(angles)
    about_x = np.array([[1, 0, 0], [0, cx, -sx], [0, sx, cx]])
    about_y = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    about_z = np.array([[cz, -sz, 0], [sz, cz, 0], [0, 0, 1]])
    rotation: np.ndarray = about_z @ about_y @ about_x
    return rotation
