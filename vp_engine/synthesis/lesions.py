"""White-matter lesions: those of the map removed, those of real patients put in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from vp_engine.synthesis.ranges import SynthesisRanges

_WHITE_MATTER = (2, 41)
_LESION = (25, 57)
_MNI_BRAIN_MM = np.array([[-72.0, -106.0, -60.0], [72.0, 72.0, 80.0]])
"""Corners of the box around hemispheres and cerebellum of the MNI152 brain."""


@dataclass(frozen=True, slots=True, eq=False)
class LesionMask:
    """Lesions of one patient in MNI space.

    Attributes
    ----------
    mask : torch.Tensor of bool, shape (X, Y, Z)
        1 mm, RAS+.
    origin_mm : numpy.ndarray, shape (3,)
        MNI coordinates of the first voxel.
    name : str
    """

    mask: Tensor
    origin_mm: np.ndarray
    name: str


@dataclass(frozen=True, slots=True)
class Lesions:
    """What happens to the lesions of a head.

    Attributes
    ----------
    removed : bool
        Lesions of the label map become the white matter around them.
    pasted : LesionMask or None
    mirrored : bool
        The mask with left and right exchanged.
    scaling, shift_mm : numpy.ndarray, shape (3,)
        Of the mask, after its brain box has been laid on that of the map.
    """

    removed: bool
    pasted: LesionMask | None
    mirrored: bool
    scaling: np.ndarray
    shift_mm: np.ndarray


def load_lesion_masks(path: Path, *, device: str = "cpu") -> list[LesionMask]:
    """Read an archive of `mask_<id>` (RAS+ crops), `start_<id>` and `affine_ras` (1 mm MNI)."""
    with np.load(path) as archive:
        affine = archive["affine_ras"]
        names = sorted(key[5:] for key in archive.files if key.startswith("mask_"))
        return [
            LesionMask(
                torch.from_numpy(archive[f"mask_{name}"] > 0).to(device), affine[:3, 3] + archive[f"start_{name}"], name
            )
            for name in names
        ]


def draw_lesions(rng: np.random.Generator, ranges: SynthesisRanges, masks: Sequence[LesionMask]) -> Lesions:
    """Draw whether lesions are removed and which are pasted; none are where there are no masks."""
    removed = bool(rng.random() < ranges.lesion_free)
    pasted = masks[int(rng.integers(len(masks)))] if len(masks) and rng.random() < ranges.pasted_lesions else None
    return Lesions(removed, pasted, bool(rng.random() < 0.5), rng.uniform(0.95, 1.05, 3), rng.uniform(-3, 3, 3))


def apply_lesions(lesions: Lesions, labels_XYZ: Tensor, start_vox: np.ndarray, brain_box_vox: np.ndarray) -> Tensor:
    """Labels with lesions removed and pasted; pasted ones only replace cerebral white matter, each side by its own.

    Parameters
    ----------
    lesions : Lesions
    labels_XYZ : torch.Tensor
        Part of a label map, 1 mm, RAS+.
    start_vox : numpy.ndarray, shape (3,)
        Voxel of the whole map that this part starts at.
    brain_box_vox : numpy.ndarray, shape (2, 3)
        Corners of the brain in the whole map.
    """
    if lesions.removed:
        for lesion, white in zip(_LESION, _WHITE_MATTER, strict=True):
            labels_XYZ = torch.where(labels_XYZ == lesion, white, labels_XYZ)
    if lesions.pasted is None:
        return labels_XYZ
    mask, found = lesions.pasted.mask.to(labels_XYZ.device), []
    middle, size = _MNI_BRAIN_MM.mean(0), np.ptp(_MNI_BRAIN_MM, axis=0)
    for axis, n in enumerate(labels_XYZ.shape):
        low, high = brain_box_vox[:, axis]
        share = (np.arange(n) + start_vox[axis] - (low + high) / 2 - lesions.shift_mm[axis]) / (high - low)
        mni = share * size[axis] / lesions.scaling[axis]
        mni = middle[axis] + (-mni if axis == 0 and lesions.mirrored else mni)
        found.append(np.rint(mni - lesions.pasted.origin_mm[axis]).astype(int))
    inside = [np.flatnonzero((index >= 0) & (index < size)) for index, size in zip(found, mask.shape, strict=True)]
    if not all(len(where) for where in inside):
        return labels_XYZ
    box = tuple(slice(int(where[0]), int(where[-1]) + 1) for where in inside)
    for axis, (where, index) in enumerate(zip(inside, found, strict=True)):
        mask = mask.index_select(axis, torch.from_numpy(index[where]).to(mask.device))
    pasted = labels_XYZ.clone()
    part = pasted[box]
    for lesion, white in zip(_LESION, _WHITE_MATTER, strict=True):
        part.masked_fill_(mask & (part == white), lesion)
    return pasted
