"""φ of structures: what `<MOD>` positions are trained to say, and what a φ stands for."""

from __future__ import annotations

from functools import cache

import numpy as np

from vp_engine.anatomy import PARTS, STRUCTURES
from vp_engine.vision.codes import structure_codes


@cache
def structure_phi(name: str) -> np.ndarray | None:
    """Code of a part; for a union the mean of its parts' codes, scaled to their mean length.

    Returns
    -------
    (32,) float32 array or None
        None for structures that no released weights delineate.
    """
    codes_KD = structure_codes(len(PARTS))
    rows = [PARTS.index(part) for part in STRUCTURES[name].parts]
    if not rows:
        return None
    mean_D = codes_KD[rows].mean(0)
    length = np.linalg.norm(codes_KD[rows], axis=1).mean()
    code_D: np.ndarray = mean_D / np.linalg.norm(mean_D) * length
    return code_D.astype(np.float32)


def nearest_structure(phi_D: np.ndarray) -> tuple[str, float]:
    """Structure whose code points most nearly where a φ points, and the cosine between them.

    Structures made of the same parts have one code (`lesion` and `white_matter_lesion`); the first is named.
    """
    names, codes_ND = _all_codes()
    cosines_N = codes_ND @ (phi_D / max(float(np.linalg.norm(phi_D)), 1e-12))
    best = int(np.argmax(cosines_N))
    return names[best], float(cosines_N[best])


def agreement(phi_D: np.ndarray, name: str) -> float:
    """Cosine between a φ and the code of a structure; 0 for one without a code."""
    code_D = structure_phi(name)
    if code_D is None:
        return 0.0
    lengths = max(float(np.linalg.norm(phi_D) * np.linalg.norm(code_D)), 1e-12)
    return float(phi_D @ code_D) / lengths


@cache
def _all_codes() -> tuple[tuple[str, ...], np.ndarray]:
    coded = {name: code for name in STRUCTURES if (code := structure_phi(name)) is not None}
    codes_ND = np.stack(list(coded.values()))
    return tuple(coded), codes_ND / np.linalg.norm(codes_ND, axis=1, keepdims=True)
