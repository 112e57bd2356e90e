"""Signs of what a lesion is, as numbers: what one looks at to say ring or solid, and whether it takes up room.

Nothing here decides: `vp_engine.vision.description` weighs these numbers.
"""

from __future__ import annotations

from collections.abc import Mapping

import edt
import numpy as np

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


def lesion_signs(
    image: np.ndarray, mask: np.ndarray, anatomy: Mapping[str, np.ndarray], affine: np.ndarray
) -> np.ndarray:
    """Measure the signs of what a mask holds.

    Parameters
    ----------
    image : (X, Y, Z) array
    mask : (X, Y, Z) bool array
        Not empty.
    anatomy : mapping of str to (X, Y, Z) bool array
        Structures of `ANATOMY` on the same grid.
    affine : (4, 4) array
        Voxel to world, RAS+ mm.

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
    found: dict[str, float] = dict.fromkeys(SIGNS, 0.0)
    voxel_mm3 = abs(float(np.linalg.det(affine[:3, :3])))
    voxels = int(np.count_nonzero(mask))
    found["log_volume"] = float(np.log(voxels * voxel_mm3))
    found["log_pieces"] = float(np.log(len(pieces(mask))))
    for name in PATHOLOGICAL_PARTS:
        found[f"share_{name}"] = np.count_nonzero(mask & anatomy[name]) / voxels if name in anatomy else 0.0
    found |= _looks(image, mask, anatomy, affine)
    found |= _displacements(mask, anatomy, affine)
    signs = np.array([found[name] for name in SIGNS], dtype=np.float32)
    return np.nan_to_num(signs, nan=0.0, posinf=0.0, neginf=0.0)


def _looks(
    image: np.ndarray, mask: np.ndarray, anatomy: Mapping[str, np.ndarray], affine: np.ndarray
) -> dict[str, float]:
    """Intensities inside, from the border to the middle, and of the tissues they are compared with."""
    tissues = {
        name: _values(image, anatomy, (f"left_{part}", f"right_{part}"))
        for name, part in (
            ("white", "cerebral_white_matter"),
            ("gray", "cerebral_cortex"),
            ("fluid", "lateral_ventricle"),
        )
    }
    if not len(tissues["white"]):
        return {}
    white = float(np.median(tissues["white"]))
    low, high = np.percentile(np.concatenate([*tissues.values()]), (2, 98))
    scale = max(float(high - low), 1e-6)

    def above(values: np.ndarray) -> float:
        return (float(np.median(values)) - white) / scale if len(values) else 0.0

    inside = image[mask]
    depth_mm = _depth_mm(mask, affine)
    order = depth_mm / max(float(depth_mm.max()), 1e-6)
    layers = [above(inside[(order > a) & (order <= b)]) for a, b in ((0, 0.4), (0.4, 0.7), (0.7, 1.0))]
    p5, p95 = (np.percentile(inside, (5, 95)) - white) / scale
    parts = {
        name: above(image[mask & anatomy[part]]) if part in anatomy else 0.0
        for name, part in (
            ("enhancing", "enhancing_tumor"),
            ("non_enhancing", "non_enhancing_tumor"),
            ("edema", "edema"),
        )
    }
    return {
        **dict(zip(("outer", "middle", "inner"), layers, strict=True)),
        "inner_less_outer": layers[2] - layers[0],
        "spread": float(inside.std()) / scale,
        "low": float(p5),
        "high": float(p95),
        "gray": above(tissues["gray"]),
        "fluid": above(tissues["fluid"]),
        **parts,
    }


def _values(image: np.ndarray, anatomy: Mapping[str, np.ndarray], names: tuple[str, ...]) -> np.ndarray:
    return np.concatenate([image[anatomy[name]] for name in names if name in anatomy] or [np.zeros(0, image.dtype)])


def _depth_mm(mask: np.ndarray, affine: np.ndarray) -> np.ndarray:
    """Distance of each voxel inside, in C order, from the border; the axes of the grid are taken as at right angles."""
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    spans = []
    for axis in range(3):
        used = np.flatnonzero(mask.any(axis=tuple(a for a in range(3) if a != axis)))
        spans.append(slice(int(used[0]), int(used[-1]) + 1))
    box = np.ascontiguousarray(mask[tuple(spans)])
    depths: np.ndarray = edt.edt(box, anisotropy=tuple(float(s) for s in spacing), black_border=True, parallel=1)[box]
    return depths


def _displacements(mask: np.ndarray, anatomy: Mapping[str, np.ndarray], affine: np.ndarray) -> dict[str, float]:
    """What a mass does to its surroundings: a narrow ventricle on its side, and a middle that has moved away."""
    centres = {name: _centre(one, affine) for name, one in anatomy.items() if one.any()}
    cortex = [centres.get(f"{side}_cerebral_cortex") for side in ("left", "right")]
    if cortex[0] is None or cortex[1] is None:
        return {}
    across = cortex[1] - cortex[0]  # from left to right, whatever the head's pose
    across = across / max(float(np.linalg.norm(across)), 1e-6)
    # the skull does not move: the middle of the head lies between the outermost cortex of both sides
    ends = [
        np.percentile(_points(anatomy[f"{side}_cerebral_cortex"], affine) @ across, share)
        for side, share in (("left", 1), ("right", 99))
    ]
    middle = float(np.mean(ends))
    right = float(_centre(mask, affine) @ across) > middle
    same, other = ("right", "left") if right else ("left", "right")
    away = -1.0 if right else 1.0

    def voxels(name: str) -> int:
        return int(np.count_nonzero(anatomy[name])) if name in anatomy else 0

    def log_ratio(name: str) -> float:
        return float(np.log((voxels(f"{same}_{name}") + 10) / (voxels(f"{other}_{name}") + 10)))

    def shift(names: tuple[str, ...]) -> float:
        present = [centres[name] for name in names if name in centres]
        if len(present) < len(names):
            return 0.0
        return away * (float(np.mean(present, axis=0) @ across) - middle)

    return {
        "ventricle_asymmetry": log_ratio("lateral_ventricle"),
        "hemisphere_asymmetry": log_ratio("cerebral_white_matter"),
        "third_ventricle_shift": shift(("third_ventricle",)),
        "thalamus_shift": shift(("left_thalamus", "right_thalamus")),
        "ventricle_distance": _nearest_mm(mask, anatomy.get(f"{same}_lateral_ventricle"), affine),
    }


def _points(mask: np.ndarray, affine: np.ndarray) -> np.ndarray:
    """World coordinates of the voxels inside, (N, 3) mm."""
    points: np.ndarray = np.argwhere(mask) @ affine[:3, :3].T + affine[:3, 3]
    return points


def _centre(mask: np.ndarray, affine: np.ndarray) -> np.ndarray:
    centre: np.ndarray = affine[:3, :3] @ np.argwhere(mask).mean(0) + affine[:3, 3]
    return centre


def _nearest_mm(mask: np.ndarray, other: np.ndarray | None, affine: np.ndarray) -> float:
    """Distance to another mask, at most `_FAR_MM`."""
    from scipy.spatial import cKDTree

    if other is None or not other.any():
        return _FAR_MM
    found, _ = cKDTree(_points(other, affine)).query(_points(mask, affine)[::4], distance_upper_bound=_FAR_MM)
    return float(min(found.min(), _FAR_MM))
