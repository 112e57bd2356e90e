"""Signs of what a lesion is, as numbers: what one looks at to say ring or solid, and whether it takes up room.

Nothing here decides: `vp_engine.vision.description` weighs these numbers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import edt
import numpy as np
from scipy.spatial import cKDTree

from vp_engine.anatomy import PATHOLOGICAL_PARTS
from vp_engine.measure.lesions import pieces

ANATOMY: tuple[str, ...] = (
    *(
        f"{side}_{name}"
        for name in ("cerebral_white_matter", "cerebral_cortex", "lateral_ventricle", "thalamus")
        for side in ("left", "right")
    ),
    "third_ventricle",
    *PATHOLOGICAL_PARTS,
)
"""What has to be delineated on the image; what is not found counts as empty."""

SIGNS: tuple[str, ...] = (
    "log_volume", "log_pieces", *(f"share_{name}" for name in PATHOLOGICAL_PARTS),
    "outer", "middle", "inner", "inner_less_outer", "spread", "low", "high",
    "enhancing", "non_enhancing", "edema",
    "gray", "fluid", "ventricle_asymmetry", "hemisphere_asymmetry", "third_ventricle_shift", "thalamus_shift",
    "ventricle_distance",
)  # fmt: skip
"""Names of the numbers. Intensities are above that of white matter, in units of the range over white matter, cortex and
ventricles; shifts are away from the lesion, in mm; asymmetries are logarithms of the lesion's side over the other."""

_FAR_MM = 30.0

_SIDES = ("left", "right")


@dataclass(frozen=True, slots=True, eq=False)
class Head:
    """What lesions of one image are seen against; worked out once.

    Attributes
    ----------
    white, scale : float
        Median of white matter, and the range over white matter, cortex and ventricles; in the image's unit. `scale` is
        0 where there is no white matter to compare with.
    gray, fluid : float
        Medians above `white`, in units of `scale`.
    across : (3,) float64 array or None
        Direction from left to right in the world; None without cortex on both sides.
    middle_mm : float
        Where along it the middle of the head lies: the skull does not move, so between the outermost cortex of both.
    third_ventricle_mm, thalami_mm : float or None
        How far to the right of the middle they lie.
    log_ratio : mapping of str to float
        Logarithm of the left volume over the right one, of ventricles and of white matter.
    ventricles : mapping of str to cKDTree
        Points of the lateral ventricles by side, mm.
    """

    white: float
    scale: float
    gray: float
    fluid: float
    across: np.ndarray | None
    middle_mm: float
    third_ventricle_mm: float | None
    thalami_mm: float | None
    log_ratio: Mapping[str, float]
    ventricles: Mapping[str, cKDTree]


def head_of(image: np.ndarray, anatomy: Mapping[str, np.ndarray], affine: np.ndarray) -> Head:
    """Measure what lesions of an image are seen against.

    Parameters
    ----------
    image : (X, Y, Z) array
    anatomy : mapping of str to (X, Y, Z) bool array
        Structures of `ANATOMY` on the same grid; what is missing counts as empty.
    affine : (4, 4) array
        Voxel to world, RAS+ mm.
    """
    parts = {"white": "cerebral_white_matter", "gray": "cerebral_cortex", "fluid": "lateral_ventricle"}
    tissues = {name: _values(image, anatomy, [f"{side}_{part}" for side in _SIDES]) for name, part in parts.items()}
    white = float(np.median(tissues["white"])) if len(tissues["white"]) else 0.0
    scale = 0.0
    if len(tissues["white"]):
        low, high = np.percentile(np.concatenate([*tissues.values()]), (2, 98))
        scale = max(float(high - low), 1e-6)
    points = {name: _points(mask, affine) for name, mask in anatomy.items() if mask.any()}
    across, middle_mm, (third_ventricle_mm, thalami_mm) = _middle(points)
    return Head(
        white=white,
        scale=scale,
        gray=_above(tissues["gray"], white, scale),
        fluid=_above(tissues["fluid"], white, scale),
        across=across,
        middle_mm=middle_mm,
        third_ventricle_mm=third_ventricle_mm,
        thalami_mm=thalami_mm,
        log_ratio={part: _log_ratio(points, part) for part in ("lateral_ventricle", "cerebral_white_matter")},
        ventricles={side: cKDTree(points[name]) for side in _SIDES if (name := f"{side}_lateral_ventricle") in points},
    )


def lesion_signs(
    image: np.ndarray, mask: np.ndarray, anatomy: Mapping[str, np.ndarray], affine: np.ndarray, head: Head
) -> np.ndarray:
    """Measure the signs of what a mask holds.

    Parameters
    ----------
    image : (X, Y, Z) array
    mask : (X, Y, Z) bool array
        Not empty.
    anatomy : mapping of str to (X, Y, Z) bool array
        Structures of `ANATOMY` on the same grid; of the kinds of lesion, what is missing counts as empty.
    affine : (4, 4) array
        Voxel to world, RAS+ mm.
    head : Head
        `head_of` the same image.

    Returns
    -------
    (len(SIGNS),) float32 array
        Finite; 0 where something needed is not there.

    Raises
    ------
    ValueError
        If the mask is empty.
    """
    if not mask.any():
        raise ValueError("expected a mask that holds a lesion, got an empty one")
    box = _box(mask)
    inside = np.ascontiguousarray(mask[box])
    voxels = int(np.count_nonzero(inside))
    found: dict[str, float] = dict.fromkeys(SIGNS, 0.0)
    found["log_volume"] = float(np.log(voxels * abs(float(np.linalg.det(affine[:3, :3])))))
    found["log_pieces"] = float(np.log(len(pieces(inside))))
    kinds = {name: inside & anatomy[name][box] for name in PATHOLOGICAL_PARTS if name in anatomy}
    found |= {f"share_{name}": np.count_nonzero(kind) / voxels for name, kind in kinds.items()}
    if head.scale:
        found |= _looks(image[box], inside, kinds, affine, head)
    if head.across is not None:
        start = affine[:3, :3] @ [span.start for span in box]
        found |= _displacements(_points(inside, affine) + start, head)
    signs = np.array([found[name] for name in SIGNS], dtype=np.float32)
    return np.nan_to_num(signs, nan=0.0, posinf=0.0, neginf=0.0)


def _looks(
    image: np.ndarray, inside: np.ndarray, kinds: Mapping[str, np.ndarray], affine: np.ndarray, head: Head
) -> dict[str, float]:
    """Intensities inside, from the border to the middle, and of the kinds of lesion."""

    def above(values: np.ndarray) -> float:
        return _above(values, head.white, head.scale)

    values, depth_mm = image[inside], _depth_mm(inside, affine)
    order = depth_mm / max(float(depth_mm.max()), 1e-6)
    layers = [above(values[(order > a) & (order <= b)]) for a, b in ((0, 0.4), (0.4, 0.7), (0.7, 1.0))]
    low, high = (np.percentile(values, (5, 95)) - head.white) / head.scale
    parts = {"enhancing": "enhancing_tumor", "non_enhancing": "non_enhancing_tumor", "edema": "edema"}
    return {
        **dict(zip(("outer", "middle", "inner"), layers, strict=True)),
        "inner_less_outer": layers[2] - layers[0],
        "spread": float(values.std()) / head.scale,
        "low": float(low),
        "high": float(high),
        "gray": head.gray,
        "fluid": head.fluid,
        **{name: above(image[kinds[part]]) for name, part in parts.items() if part in kinds},
    }


def _displacements(points_N3: np.ndarray, head: Head) -> dict[str, float]:
    """What a mass does to its surroundings: a narrow ventricle on its side, and a middle that has moved away."""
    right = float(points_N3.mean(0) @ head.across) > head.middle_mm
    away, same = (-1.0, "right") if right else (1.0, "left")
    nearest_mm = _FAR_MM
    if same in head.ventricles:
        distances, _ = head.ventricles[same].query(points_N3, distance_upper_bound=_FAR_MM)
        nearest_mm = float(min(distances.min(), _FAR_MM))
    return {
        "ventricle_asymmetry": away * head.log_ratio["lateral_ventricle"],
        "hemisphere_asymmetry": away * head.log_ratio["cerebral_white_matter"],
        "third_ventricle_shift": away * (head.third_ventricle_mm or 0.0),
        "thalamus_shift": away * (head.thalami_mm or 0.0),
        "ventricle_distance": nearest_mm,
    }


def _middle(points: Mapping[str, np.ndarray]) -> tuple[np.ndarray | None, float, tuple[float | None, float | None]]:
    """Direction from left to right, where the middle lies along it, and third ventricle and thalami from there."""
    cortex = [points.get(f"{side}_cerebral_cortex") for side in _SIDES]
    if cortex[0] is None or cortex[1] is None:
        return None, 0.0, (None, None)
    across = cortex[1].mean(0) - cortex[0].mean(0)
    across = across / max(float(np.linalg.norm(across)), 1e-6)
    middle = float(np.mean([np.percentile(cortex[0] @ across, 1), np.percentile(cortex[1] @ across, 99)]))

    def off(names: Sequence[str]) -> float | None:
        if not all(name in points for name in names):
            return None
        return float(np.mean([points[name].mean(0) @ across for name in names])) - middle

    return across, middle, (off(("third_ventricle",)), off(("left_thalamus", "right_thalamus")))


def _log_ratio(points: Mapping[str, np.ndarray], part: str) -> float:
    left, right = (len(points.get(f"{side}_{part}", ())) + 10 for side in _SIDES)
    return float(np.log(left / right))


def _above(values: np.ndarray, white: float, scale: float) -> float:
    return (float(np.median(values)) - white) / scale if len(values) and scale else 0.0


def _values(image: np.ndarray, anatomy: Mapping[str, np.ndarray], names: Sequence[str]) -> np.ndarray:
    return np.concatenate([image[anatomy[name]] for name in names if name in anatomy] or [np.zeros(0, image.dtype)])


def _box(mask: np.ndarray) -> tuple[slice, slice, slice]:
    spans = []
    for axis in range(3):
        used = np.flatnonzero(mask.any(axis=tuple(a for a in range(3) if a != axis)))
        spans.append(slice(int(used[0]), int(used[-1]) + 1))
    return spans[0], spans[1], spans[2]


def _depth_mm(inside: np.ndarray, affine: np.ndarray) -> np.ndarray:
    """Distance of each voxel inside, in C order, from the border; the axes of the grid are taken as at right angles."""
    spacing = tuple(float(mm) for mm in np.linalg.norm(affine[:3, :3], axis=0))
    depths: np.ndarray = edt.edt(inside, anisotropy=spacing, black_border=True, parallel=1)[inside]
    return depths


def _points(mask: np.ndarray, affine: np.ndarray) -> np.ndarray:
    """World coordinates of the voxels inside, (N, 3) mm."""
    points: np.ndarray = np.argwhere(mask) @ affine[:3, :3].T + affine[:3, 3]
    return points
