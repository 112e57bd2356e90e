"""Random pose and shape: where in the head each voxel of an image comes from."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from vp_engine.synthesis.ranges import DeformationRanges
from vp_engine.synthesis.rigid import Rigid, rotation_matrix

_HALF_SPAN_MM = 130.0


@dataclass(frozen=True, slots=True)
class Deformation:
    """Affine map and smooth displacement from the world of the images to that of the head, mm from the brain's middle.

    Attributes
    ----------
    matrix : numpy.ndarray, shape (3, 3)
    shift_mm : numpy.ndarray, shape (3,)
    control_mm : numpy.ndarray, shape (n, n, n, 3)
        Displacements at knots that span 260 mm evenly along each axis.
    mirrored : bool
        Left and right exchanged.
    """

    matrix: np.ndarray
    shift_mm: np.ndarray
    control_mm: np.ndarray
    mirrored: bool


def draw_deformation(rng: np.random.Generator, ranges: DeformationRanges) -> Deformation:
    """Draw rotation, scaling, shear, shift and an elastic field; the finer the field, the smaller."""
    angles = np.deg2rad(rng.uniform(-ranges.rotation_deg, ranges.rotation_deg, 3))
    scaling = np.diag(rng.uniform(1 - ranges.scaling, 1 + ranges.scaling, 3))
    shear = np.eye(3) + np.triu(rng.uniform(-ranges.shear, ranges.shear, (3, 3)), 1)
    knots = int(rng.integers(6, 18))
    amplitude = rng.uniform(0, ranges.elastic_mm) * min(1.0, 8 / knots)
    return Deformation(
        matrix=rotation_matrix(angles) @ shear @ scaling,
        shift_mm=rng.uniform(-ranges.shift_mm, ranges.shift_mm, 3),
        control_mm=amplitude * rng.standard_normal((knots, knots, knots, 3)),
        mirrored=bool(rng.random() < 0.5),
    )


def apply_deformation(
    deformation: Deformation, axes_mm: list[np.ndarray], *, misalignment: Rigid | None, device: str
) -> Tensor:
    """Position in the head of every point of a grid, in mm from the brain's middle; (X, Y, Z, 3), float32.

    Parameters
    ----------
    deformation : Deformation
    axes_mm : list of 3 numpy.ndarray
        World coordinates of the grid's points along each axis.
    misalignment : Rigid or None
        Movement that the world coordinates do not know of.
    device : str
    """
    weights = [_weights(deformation, a) for a in axes_mm]
    x, y = (torch.from_numpy(w).to(device, torch.float32) for w in weights[:2])
    # One matrix per axis, since interpolation between knots is separable; the last leaves coordinates innermost.
    z = torch.from_numpy(np.kron(weights[2].T, np.eye(3))).to(device, torch.float32)
    knots = (
        torch.from_numpy(_position_at_knots(deformation, misalignment)).to(device, torch.float32).flatten(2)
    )  # (a, b, c * 3)
    on_y = torch.tensordot(y, torch.tensordot(x, knots, dims=([1], [0])), dims=([1], [1]))  # (Y, X, c * 3)
    position: Tensor = (on_y.transpose(0, 1) @ z).view(*(len(a) for a in axes_mm), 3)
    return position


def deformed_bounds(
    deformation: Deformation, axes_mm: list[np.ndarray], *, misalignment: Rigid | None
) -> tuple[np.ndarray, np.ndarray]:
    """Smallest and largest position in the head over a whole grid, each (3,)."""
    knots = np.linspace(-_HALF_SPAN_MM, _HALF_SPAN_MM, len(deformation.control_mm))
    # Between knots the map is linear along each axis, so that its extremes lie on knots or on the grid's faces.
    few = [np.unique([a[0], a[-1], *knots[(knots > a[0]) & (knots < a[-1])]]) for a in axes_mm]
    position = apply_deformation(deformation, few, misalignment=misalignment, device="cpu").flatten(0, 2)
    return position.amin(0).double().numpy(), position.amax(0).double().numpy()


def _position_at_knots(deformation: Deformation, misalignment: Rigid | None) -> np.ndarray:
    knots = np.linspace(-_HALF_SPAN_MM, _HALF_SPAN_MM, len(deformation.control_mm))
    position = np.stack(np.meshgrid(knots, knots, knots, indexing="ij"), axis=-1)
    if misalignment is not None:
        position = position @ misalignment.rotation.T + misalignment.shift_mm
    if deformation.mirrored:
        position = position * (-1.0, 1.0, 1.0)
    moved: np.ndarray = (position + deformation.control_mm) @ deformation.matrix.T + deformation.shift_mm
    return moved


def _weights(deformation: Deformation, at_mm: np.ndarray) -> np.ndarray:
    """Linear interpolation between knots as a matrix (points, knots); extrapolates outside them."""
    n = len(deformation.control_mm)
    at = (at_mm + _HALF_SPAN_MM) * (n - 1) / (2 * _HALF_SPAN_MM)
    low = np.clip(np.floor(at).astype(int), 0, n - 2)
    weights = np.zeros((len(at), n))
    rows = np.arange(len(at))
    weights[rows, low], weights[rows, low + 1] = 1 - (at - low), at - low
    return weights
