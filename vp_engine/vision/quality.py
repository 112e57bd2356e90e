"""How good a mask probably is: the Dice with the truth to be expected, from a few features of its probability map."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vp_engine.anatomy import without_side
from vp_engine.errors import WeightsError

QUALITY = "quality.json"
"""Beside the weights it was fitted on."""

FEATURES = ("confidence", "small", "large", "voxel")
"""What the score is made of, see `features`."""

_SURE = 1e-3
_LARGEST = 1e30


@dataclass(frozen=True, slots=True)
class QualityModel:
    """Logistic regression of the Dice of a mask on its features.

    Attributes
    ----------
    weights_sha256 : str
        Of the weights whose masks it was fitted on; it says nothing about others.
    intercept : float
    slopes : mapping of str to float
        By feature. That of ``confidence`` is positive: at the same size, more probable is better.
    offsets : mapping of str to float
        By structure without its side; a union has the mean of those of its parts.
    typical_mm3 : mapping of str to float
        Volume of each part in the heads that it was fitted on.
    """

    weights_sha256: str
    intercept: float
    slopes: Mapping[str, float]
    offsets: Mapping[str, float]
    typical_mm3: Mapping[str, float]

    def qc_score(
        self,
        probability: NDArray[np.float32],
        inside: NDArray[np.bool_],
        *,
        parts: Sequence[str],
        spacing_mm: Sequence[float],
    ) -> float | None:
        """Expected Dice of a mask with the truth.

        Parameters
        ----------
        probability, inside : numpy.ndarray, shape (X, Y, Z)
            Of the structure, and the mask; no matter how much empty space is around.
        parts : sequence of str
            What the structure is the union of.
        spacing_mm : sequence of 3 float

        Returns
        -------
        float or None
            0 to 1; None for an empty mask.
        """
        found = features(
            probability, inside, spacing_mm=spacing_mm, typical_mm3=sum(self.typical_mm3[part] for part in parts)
        )
        if found is None:
            return None
        offset = sum(self.offsets[without_side(part)] for part in parts) / len(parts)
        evidence = self.intercept + offset + math.fsum(self.slopes[k] * x for k, x in zip(FEATURES, found, strict=True))
        return 1 / (1 + math.exp(-evidence))


def expected_dice(probability: NDArray[np.float32], inside: NDArray[np.bool_]) -> float | None:
    """Soft Dice of mask and probabilities: the Dice to be expected if these were right; None for an empty mask.

    References
    ----------
    Li et al. 2022, *Estimating model performance under domain shifts with class-specific confidence scores*.
    """
    voxels = int(np.count_nonzero(inside))
    if not voxels:
        return None
    everywhere = float(probability.sum(dtype=np.float64))
    within = float((probability * inside).sum(dtype=np.float64))
    return min(1.0, 2 * within / (everywhere + voxels))


def features(
    probability: NDArray[np.float32],
    inside: NDArray[np.bool_],
    *,
    spacing_mm: Sequence[float],
    typical_mm3: float,
) -> tuple[float, ...] | None:
    """What is looked at, in the order of `FEATURES`; None for an empty mask.

    ``confidence``: logit of `expected_dice`. ``small`` (≤ 0) and ``large`` (≥ 0): logarithm of the volume in units of
    the typical one. ``voxel``: logarithm of the edge of a cube of the volume of a voxel, in mm.
    """
    expected = expected_dice(probability, inside)
    if expected is None:
        return None
    sure = min(1 - _SURE, max(_SURE, expected))
    voxel_mm3 = math.prod(spacing_mm)
    size = math.log(int(np.count_nonzero(inside)) * voxel_mm3 / typical_mm3)
    return math.log(sure / (1 - sure)), min(0.0, size), max(0.0, size), math.log(voxel_mm3) / 3


def save_quality(model: QualityModel, folder: Path) -> Path:
    """Write the model into the folder of its weights."""
    path = folder / QUALITY
    path.write_text(json.dumps(asdict(model), indent=1) + "\n", encoding="utf-8")
    return path


def load_quality(folder: Path, *, parts: Sequence[str]) -> QualityModel:
    """Read the model that lies beside weights.

    Parameters
    ----------
    folder : Path
    parts : sequence of str
        What the weights delineate.

    Raises
    ------
    WeightsError
        If the file is missing or damaged, if anything in it is unknown, missing or not a finite number, if less
        confidence would count as better, or if it was fitted on other weights.
    """
    path = folder / QUALITY
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise WeightsError(
            f"{path} cannot be read ({error}); `vp train quality` fits it to the weights.", code="quality_unreadable"
        ) from error
    expected = {
        "slopes": set(FEATURES),
        "offsets": {without_side(part) for part in parts},
        "typical_mm3": set(parts),
    }
    odd = _keys(content) ^ {field.name for field in fields(QualityModel)}
    odd |= {key for name, keys in expected.items() if name not in odd for key in _keys(content[name]) ^ keys}
    if odd:
        raise WeightsError(
            f"{path}: {', '.join(sorted(odd)[:3])} unknown or missing; `vp train quality` fits it anew.",
            code="quality_keys",
        )
    numbers = [content["intercept"], *(x for name in expected for x in content[name].values())]
    if not all(type(x) in (int, float) and abs(x) <= _LARGEST for x in numbers):  # false for NaN
        raise WeightsError(f"{path} holds values that are not finite numbers; restore it.", code="quality_numbers")
    if content["slopes"]["confidence"] <= 0 or min(content["typical_mm3"].values()) <= 0:
        raise WeightsError(f"{path} does not make sense: {content['slopes']}; restore it.", code="quality_numbers")
    if content["weights_sha256"] != weights_sha256(folder):
        raise WeightsError(
            f"{path} was fitted on other weights than those beside it; run `vp train quality`.", code="quality_stale"
        )
    return QualityModel(**content)


def weights_sha256(folder: Path) -> str:
    """Hash of the weights in a folder."""
    with (folder / "model.safetensors").open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _keys(content: object) -> set[str]:
    return set(content) if isinstance(content, dict) else {type(content).__name__}
