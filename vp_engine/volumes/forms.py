"""Which of a file's two spatial forms to believe, and when to believe neither."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vp_engine.errors import InputRefused
from vp_engine.volumes.geometry import shear_of, spacing_of
from vp_engine.volumes.header import NiftiHeader
from vp_engine.volumes.intake import GateLimits
from vp_engine.volumes.volume import SpatialForms

Affine = NDArray[np.float64]

_MAX_ANGLE_DEG = 5.0
_MAX_SHIFT_MM = 5.0
_MAX_ZOOM_DIFFERENCE = 0.01
_THICK_RATIO = 2.0  # from here on the vision network no longer pools the slice axis
_SINGULAR = 1e-6


@dataclass(frozen=True, slots=True)
class Placement:
    """Where the voxels of a file lie.

    Attributes
    ----------
    affine : np.ndarray, shape (4, 4), float64
        Voxel index to world, RAS+ mm.
    forms : SpatialForms
        Header fields that give this affine again, invalid forms left out.
    flags : tuple of str
    lateralised : bool
        False when the file holds no form.
    """

    affine: Affine
    forms: SpatialForms
    flags: tuple[str, ...]
    lateralised: bool


def place(
    header: NiftiHeader,
    *,
    sform: Affine | None,
    qform: Affine | None,
    fallback: Affine,
    name: str,
    limits: GateLimits,
) -> Placement:
    """Choose the affine of a file.

    Parameters
    ----------
    header : NiftiHeader
        Checked.
    sform, qform : np.ndarray, shape (4, 4), optional
        None when the code of the form is 0.
    fallback : np.ndarray, shape (4, 4)
        Affine made from shape and zooms, used when there is no form.
    name : str
        What messages call the file.
    limits : GateLimits

    Returns
    -------
    Placement
        By the sform where it is valid, else by the qform, else by the fallback without sides.

    Raises
    ------
    InputRefused
        ``bad_affine``, ``sheared``, ``zooms_mismatch`` or ``form_mismatch``.
    """
    flags: list[str] = []
    valid_sform = sform if sform is not None and _is_invertible(sform) else None
    valid_qform = qform if qform is not None and _is_invertible(qform) else None
    affine = valid_sform if valid_sform is not None else valid_qform
    lateralised = affine is not None
    if affine is None:
        if sform is not None or qform is not None:
            message = f"{name}: expected a finite, invertible sform or qform, got neither"
            raise InputRefused(f"{message}; convert the image again from its source", code="bad_affine")
        affine = fallback
        flags.append("flag_no_orientation")
    elif sform is not None and valid_sform is None:
        flags.append("fix_bad_sform")
    elif qform is not None and valid_qform is None:
        flags.append("fix_bad_qform")
    _check_grid(affine, header, name, limits)
    if valid_sform is not None and valid_qform is not None:
        flags.extend(_compare(valid_sform, valid_qform, shape=header.shape, name=name, limits=limits))
    spacing = spacing_of(affine)
    if spacing.max() > _THICK_RATIO * spacing.min():
        flags.append("flag_thick_slices")
    forms = _forms(header, keep_sform=valid_sform is not None, keep_qform=valid_qform is not None)
    return Placement(affine, forms, tuple(flags), lateralised)


def _is_invertible(affine: Affine) -> bool:
    if not np.isfinite(affine).all():
        return False
    with np.errstate(over="ignore"):
        spacing = spacing_of(affine)
    if spacing.min() == 0 or not np.isfinite(spacing).all():
        return False
    return bool(abs(np.linalg.det(affine[:3, :3] / spacing)) > _SINGULAR)


def _check_grid(affine: Affine, header: NiftiHeader, name: str, limits: GateLimits) -> None:
    shear = shear_of(affine)
    if shear > limits.max_shear:
        message = f"{name}: expected axes at right angles (cosine up to {limits.max_shear}), got {shear:.3g}"
        raise InputRefused(f"{message}; resample the image to a rectangular grid", code="sheared")
    zooms = np.array(header.pixdim[1:4])
    spacing = spacing_of(affine)
    if (np.abs(spacing / zooms - 1) > _MAX_ZOOM_DIFFERENCE).any():
        message = f"{name}: expected the voxel sizes of the header {zooms.tolist()} to be those of the affine"
        raise InputRefused(f"{message}, got {spacing.round(4).tolist()}; correct the header", code="zooms_mismatch")


def _compare(sform: Affine, qform: Affine, *, shape: tuple[int, ...], name: str, limits: GateLimits) -> tuple[str, ...]:
    """Flag or refuse forms that differ by more than 5 degrees, a mirroring, or 5 mm at the centre of the grid."""
    turn = (sform[:3, :3] / spacing_of(sform)) @ (qform[:3, :3] / spacing_of(qform)).T
    mirrored = bool(np.linalg.det(turn) < 0)
    angle_deg = 180.0 if mirrored else float(np.degrees(np.arccos(np.clip((np.trace(turn) - 1) / 2, -1, 1))))
    centre = np.array([*((length - 1) / 2 for length in shape), 1])
    with np.errstate(over="ignore"):
        shift_mm = float(np.linalg.norm((sform - qform) @ centre))
    if angle_deg <= _MAX_ANGLE_DEG and shift_mm <= _MAX_SHIFT_MM:
        return ()
    if not limits.accept_form_mismatch:
        message = f"{name}: expected sform and qform to agree within {_MAX_ANGLE_DEG:g}° and {_MAX_SHIFT_MM:g} mm"
        got = "they mirror each other" if mirrored else f"they differ by {angle_deg:.1f}° and {shift_mm:.1f} mm"
        raise InputRefused(f"{message}, {got}; correct the header, or accept the sform", code="form_mismatch")
    return ("flag_form_mismatch",)


def _forms(header: NiftiHeader, *, keep_sform: bool, keep_qform: bool) -> SpatialForms:
    return SpatialForms(
        version=header.version,
        pixdim=header.pixdim,
        qform_code=header.qform_code if keep_qform else 0,
        quatern=header.quatern if keep_qform else (0.0,) * 6,
        sform_code=header.sform_code if keep_sform else 0,
        srow=header.srow if keep_sform else (0.0,) * 12,
    )
