"""Recipe of the `qc_score`: fitted to masks on synthetic scans of all grades of quality, where the truth is known."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vp_engine.anatomy import PARTS, without_side
from vp_engine.errors import WeightsError
from vp_engine.synthesis.degradation import KnownScan, degraded_scans
from vp_engine.synthesis.label_maps import LabelMap, brain_box, brain_points, target_lookup
from vp_engine.synthesis.pathology import LesionSources, apply_pathology, draw_pathology
from vp_engine.synthesis.ranges import SynthesisRanges
from vp_engine.training.logistic import logistic
from vp_engine.training.sources import Archives
from vp_engine.vision.checkpoint import from_pretrained
from vp_engine.vision.quality import FEATURES, QualityModel, features, save_quality, weights_sha256
from vp_engine.vision.segmenter import NetworkSegmenter

_NO_PATIENTS = LesionSources()
_ILL_MAPS = 120


@dataclass(frozen=True, slots=True)
class QualityRecipe:
    """Everything a fit depends on besides the weights and the label maps.

    Attributes
    ----------
    images, structures_per_image : int
    slope_penalty, offset_penalty : float
        Weight of half the squared distance of intercept and slopes from those of the uncalibrated score, and of the
        offsets from 0, in units of one mask.
    seed : int
    """

    images: int = 120
    structures_per_image: int = 16
    slope_penalty: float = 1.0
    offset_penalty: float = 3.0
    seed: int = 0


RECIPES: dict[str, QualityRecipe] = {
    "default": QualityRecipe(),
    "smoke": QualityRecipe(images=3, structures_per_image=4),
}
"""Named fits: `default` made the released one, `smoke` shows in seconds that everything is connected."""


@dataclass(frozen=True, slots=True)
class JudgedMask:
    """One mask, what the score looks at, and its Dice with the truth."""

    parts: tuple[str, ...]
    features: tuple[float, ...]
    dice: float


def train_quality(
    archives: Archives,
    folder: Path,
    *,
    recipe: QualityRecipe,
    device: str = "cpu",
    report: Callable[[str], None] = print,
) -> Path:
    """Fit the `qc_score` to the weights in a folder and write it beside them, on maps that they were trained on.

    Raises
    ------
    WeightsError
        If there are no weights, or their confidence says nothing about the quality of their masks.
    """
    segmenter = NetworkSegmenter(from_pretrained(folder, device=device), device=device)
    maps, _ = archives.label_maps()
    lesions = archives.lesion_sources()
    typical_mm3 = typical_volumes(maps, lesions)
    scans = degraded_scans(
        maps,
        images=recipe.images,
        structures_per_image=recipe.structures_per_image,
        seed=recipe.seed,
        lesions=lesions,
    )
    masks: list[JudgedMask] = []
    for mask in judged_masks(segmenter, scans, typical_mm3):
        masks.append(mask)
        if len(masks) % 100 == 0:
            report(f"{len(masks)} masks")
    intercept, slopes, offsets = fit(masks, recipe=recipe)
    if slopes[0] <= 0:
        raise WeightsError(
            f"Expected masks of higher confidence to be better, got a slope of {slopes[0]:.2g} on {len(masks)} masks; "
            "train the weights longer, or take more images.",
            code="quality_unrelated",
        )
    model = QualityModel(
        weights_sha256(folder),
        intercept,
        dict(zip(FEATURES, slopes, strict=True)),
        offsets,
        typical_mm3,
    )
    return save_quality(model, folder)


def typical_volumes(maps: Sequence[LabelMap], lesions: LesionSources = _NO_PATIENTS) -> dict[str, float]:
    """Mean volume of each part where it is, in 1 mm maps with pathology drawn for them; at least 1 mm³, in mm³."""
    lookup = target_lookup()
    counts = []
    for number in range(_ILL_MAPS):
        labels = maps[number % len(maps)].labels
        drawn = draw_pathology(np.random.default_rng([7, number]), SynthesisRanges(), lesions)
        ill = np.asarray(apply_pathology(drawn, labels, brain_box(brain_points(labels))).cpu())
        counts.append(np.bincount(lookup[ill].ravel(), minlength=len(PARTS) + 1)[1:])
    volumes = np.array(counts, float)
    there = np.maximum(1, (volumes > 0).sum(0))
    return {part: max(1.0, round(float(mean), 1)) for part, mean in zip(PARTS, volumes.sum(0) / there, strict=True)}


def judged_masks(
    segmenter: NetworkSegmenter, scans: Iterable[KnownScan], typical_mm3: Mapping[str, float]
) -> Iterator[JudgedMask]:
    """Masks that are not empty, as the score will see them."""
    for known in scans:
        for name, region in segmenter.regions(known.scan, known.unions):
            found = features(
                region.probability,
                region.inside,
                spacing_mm=known.scan.spacing_mm,
                typical_mm3=sum(typical_mm3[part] for part in known.unions[name]),
            )
            if found is not None:
                yield JudgedMask(known.unions[name], found, known.dice(name, region.start, region.inside))


def fit(masks: Sequence[JudgedMask], *, recipe: QualityRecipe) -> tuple[float, tuple[float, ...], dict[str, float]]:
    """Intercept, slopes by feature, and offset by structure without its side, rounded to four decimals.

    A Dice is a share, so its expectation is fitted by the likelihood of a share (quasi-binomial), with priors that make
    a structure which was seen rarely an average one.

    References
    ----------
    Papke and Wooldridge 1996, *Econometric methods for fractional response variables*.
    """
    kinds = list(dict.fromkeys(without_side(part) for part in PARTS))
    rows = np.zeros((len(masks), 1 + len(FEATURES) + len(kinds)))
    for row, mask in zip(rows, masks, strict=True):
        row[: 1 + len(FEATURES)] = 1, *mask.features
        for part in mask.parts:
            row[1 + len(FEATURES) + kinds.index(without_side(part))] += 1 / len(mask.parts)
    prior = np.zeros(rows.shape[1])
    prior[1] = 1.0  # the score without calibration: the logit of the expected Dice
    penalty = np.array([recipe.slope_penalty] * (1 + len(FEATURES)) + [recipe.offset_penalty] * len(kinds))
    found = logistic(rows, np.array([mask.dice for mask in masks]), prior=prior, penalty=penalty)
    numbers = [round(float(x), 4) for x in found]
    return (
        numbers[0],
        tuple(numbers[1 : 1 + len(FEATURES)]),
        dict(zip(kinds, numbers[1 + len(FEATURES) :], strict=True)),
    )
