"""What lies around the brain: the rest of the head, or nothing where it was stripped away.

Masks are (X, Y, Z) arrays, true or non-zero inside. Affines are (4, 4), voxel to world, RAS+ mm, of any kind:
anisotropic, flipped, oblique.
"""

from __future__ import annotations

import edt
import numpy as np

from vp_engine.measure.arithmetic import UndefinedMeasure

_NEAR_MM, _REACH_MM, _FAR_MM = 6.0, 15.0, 25.0
_STEP_MM = 2.5
_DARKEST_PERCENT = 5
_TISSUE_CONTRAST = 0.2
_TISSUE_SHARE = 0.1
_CELLS = 10
_LEAST_VOXELS = 20
_LEAST_HEAD_SHARE = 0.3


def is_skull_stripped(image: np.ndarray, brain: np.ndarray, affine: np.ndarray) -> bool:
    """Whether an image shows a brain without its head, so that nothing in it says where the skull was.

    True when `head_share` is below 0.3. Images of whole heads had 0.51 and more, stripped ones 0.07 and less, or 0.14
    with noise of a tenth of the brain's brightness in their background. A field of view that ends at the brain counts
    as stripped: there is no head in it either.

    Parameters
    ----------
    image : (X, Y, Z) array
        Any contrast; the background need not be 0.
    brain : (X, Y, Z) array
        The brain, without the fluid around it; 3 mm more or less do not matter.
    affine : (4, 4) array
        Voxel to world, mm.

    Raises
    ------
    UndefinedMeasure
        If `brain` is empty.
    """
    return head_share(image, brain, affine) < _LEAST_HEAD_SHARE


def head_share(image: np.ndarray, brain: np.ndarray, affine: np.ndarray) -> float:
    """Share of the directions from the middle of the brain in which there is tissue outside it, 0 to 1.

    Looks 6 to 25 mm away from the brain, where scalp and marrow are, and only above its middle, where faces are not
    removed and necks not cut off. Directions in which the field of view ends before 15 mm do not count. Tissue
    is what is brighter than the darkest there by a fifth of what the brain is, in a tenth of the voxels of a
    direction.

    Parameters
    ----------
    image, brain, affine
        As in `is_skull_stripped`.

    Returns
    -------
    float
        0 when the field of view shows nothing in any direction.

    Raises
    ------
    UndefinedMeasure
        If `brain` is empty.
    """
    matrix = np.asarray(affine, dtype=np.float64)[:3, :3]
    spacing_mm = np.linalg.norm(matrix, axis=0)
    near = _around(brain, spacing_mm)
    inside, values = np.ascontiguousarray(brain[near] != 0), image[near]
    steps_mm = tuple(float(span.step * mm) for span, mm in zip(near, spacing_mm, strict=True))
    away_mm = edt.edt(~inside, anisotropy=steps_mm, black_border=False, parallel=1)
    grid = np.meshgrid(*[np.arange(span.start, span.stop, span.step) for span in near], indexing="ij")
    position_mm = np.stack(grid, axis=-1) @ matrix.T
    position_mm -= position_mm[inside].mean(axis=0)
    shell = (away_mm >= _NEAR_MM) & (away_mm <= _FAR_MM) & (position_mm[..., 2] > 0)
    if not shell.any():
        return 0.0
    around = values[shell]
    darkest = np.percentile(around, _DARKEST_PERCENT)
    tissue = around - darkest > _TISSUE_CONTRAST * abs(np.median(values[inside]) - darkest)
    cell = _direction(position_mm[shell])
    voxels, far, tissues = (
        np.bincount(cell, weights=found, minlength=_CELLS**3)
        for found in (np.ones(len(cell)), away_mm[shell] >= _REACH_MM, tissue)
    )
    seen = (voxels >= _LEAST_VOXELS) & (4 * far >= _LEAST_VOXELS)
    return float(np.mean(tissues[seen] > _TISSUE_SHARE * voxels[seen])) if seen.any() else 0.0


def _around(brain: np.ndarray, spacing_mm: np.ndarray) -> tuple[slice, ...]:
    """Every so manieth voxel of the box around the brain and all that is looked at."""
    spans = []
    for axis, mm in enumerate(spacing_mm):
        used = np.flatnonzero(np.any(brain, axis=tuple(a for a in range(3) if a != axis)))
        if used.size == 0:
            raise UndefinedMeasure("the mask is empty", code="empty_mask")
        margin = int(np.ceil(_FAR_MM / mm))
        stop = min(brain.shape[axis], int(used[-1]) + 1 + margin)
        spans.append(slice(max(0, int(used[0]) - margin), stop, max(1, round(_STEP_MM / mm))))
    return tuple(spans)


def _direction(position_mm_N3: np.ndarray) -> np.ndarray:
    """Number of the cell of the unit sphere, about 12 degrees wide, that each position lies in; (N,) int."""
    unit = position_mm_N3 / np.linalg.norm(position_mm_N3, axis=1, keepdims=True)
    index = np.clip((unit + 1) / 2 * _CELLS, 0, _CELLS - 1).astype(int)
    cell: np.ndarray = index @ np.array([_CELLS**2, _CELLS, 1])
    return cell
