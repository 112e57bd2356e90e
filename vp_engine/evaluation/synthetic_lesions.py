"""Synthetic heads with and without one kind of lesion: is the lesion found, and what becomes of the anatomy around it.

The head, its pose, its contrasts and its noise are the same with and without, so that any difference is the lesion's.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from vp_engine.anatomy import ANATOMICAL_PARTS, STRUCTURES
from vp_engine.evaluation.anatomy import Overlap
from vp_engine.evaluation.lesions import known_pathologies
from vp_engine.evaluation.vision import WHOLE, WholeHead, whole_head
from vp_engine.synthesis.intensity import Intensity, draw_intensity
from vp_engine.synthesis.label_maps import ENHANCING, LabelMap
from vp_engine.synthesis.pathology import LesionSources, draw_pathology
from vp_engine.synthesis.ranges import SynthesisRanges
from vp_engine.synthesis.scan import ScanParameters, draw_head, draw_scan, synthesise
from vp_engine.vision.segmenter import NetworkSegmenter

NONE = "none"
"""Kind of the head that the others are compared with: the white-matter lesions of its map are removed."""

_NOTHING = replace(
    WHOLE,
    lesion_free=1.0,
    pasted_lesions=0.0,
    grown_lesions=0.0,
    stroke=0.0,
    tumor=0.0,
    hemorrhage=0.0,
    resection=0.0,
    lookalikes=0.0,
)

KINDS: Mapping[str, SynthesisRanges] = {
    NONE: _NOTHING,
    "lookalikes": replace(_NOTHING, lookalikes=1.0),
    "white_matter_lesion": replace(_NOTHING, pasted_lesions=1.0, grown_lesions=0.5),
    "stroke": replace(_NOTHING, stroke=1.0),
    "tumor": replace(_NOTHING, tumor=1.0),
    "hemorrhage": replace(_NOTHING, hemorrhage=1.0),
    "resection": replace(_NOTHING, resection=1.0),
}
"""What a head may have, nothing else with it; the first has nothing, and what the second has is none."""

IMAGES = ("T1w", "T1w_ce-gadolinium", "T2w", "FLAIR", "CT")
"""Images of each head, on one grid."""

_WHITE = 2
_LEAST_LEFT = 0.5


@dataclass(frozen=True, slots=True, eq=False)
class Case:
    """One synthetic head with one kind of lesion.

    Attributes
    ----------
    head : int
        Cases of the same head differ by the lesion alone.
    kind : str
        One of `KINDS`; `none` comes first for each head.
    seen : WholeHead
        Its `IMAGES` and the truth.
    """

    head: int
    kind: str
    seen: WholeHead


@dataclass(frozen=True, slots=True)
class CaseScores:
    """Overlap with the truth: of each anatomical part, and of each pathology the weights know."""

    anatomy: Mapping[str, Overlap]
    pathology: Mapping[str, Overlap]


def cases(
    maps: Sequence[LabelMap],
    sources: LesionSources,
    *,
    per_map: int,
    kinds: Sequence[str] = tuple(KINDS),
    seed: int = 0,
    field_of_view_mm: tuple[float, float, float] = (176.0, 224.0, 176.0),
) -> Iterator[Case]:
    """Heads of 1 mm with each kind of lesion in turn.

    Parameters
    ----------
    maps : sequence of LabelMap
        Taken in turn.
    sources : LesionSources
        Lesions of real patients.
    per_map : int
        Heads of each map.
    kinds : sequence of str
        Of `KINDS`.
    seed : int
    field_of_view_mm : tuple of 3 float
        Around the middle of the brain.

    Raises
    ------
    ValueError
        If a kind is not one of `KINDS`.
    """
    unknown = sorted(set(kinds) - set(KINDS))
    if unknown:
        raise ValueError(f"expected kinds of {', '.join(KINDS)}, got {', '.join(unknown)}")
    ranges = replace(WHOLE, field_of_view_mm=(field_of_view_mm, field_of_view_mm))
    for number in range(per_map * len(maps)):
        rng = np.random.default_rng([seed, number])
        head = draw_head(rng, ranges)
        scans = [draw_image(rng, name, field_of_view_mm) for name in IMAGES]
        scans = [replace(scan, resolution=scans[0].resolution) for scan in scans]
        for kind in kinds:
            drawn = np.random.default_rng([seed, number, list(KINDS).index(kind)])
            ill = replace(head, pathology=draw_pathology(drawn, KINDS[kind], sources))
            yield Case(number, kind, whole_head(synthesise(maps[number % len(maps)], ill, scans)))


def draw_image(rng: np.random.Generator, name: str, field_of_view_mm: tuple[float, float, float]) -> ScanParameters:
    """Draw an image that resembles one of `IMAGES`; artefacts and noise as in training."""
    ranges = replace(WHOLE, field_of_view_mm=(field_of_view_mm, field_of_view_mm), ct=float(name == "CT"))
    scan = draw_scan(rng, ranges)
    return scan if name == "CT" else replace(scan, intensity=_sequence(rng, name))


def _sequence(rng: np.random.Generator, name: str) -> Intensity:
    """Contrast of a sequence. T1w are drawn with and without contrast agent: those that were not asked for are left."""
    sequence, _, agent = name.partition("_")
    while True:
        intensity = draw_intensity(rng, prior_contrast=1.0, sequence=sequence)
        if sequence != "T1w" or bool(agent) == bool(intensity.mean[ENHANCING] > intensity.mean[_WHITE]):
            return intensity


def scored(segmenter: NetworkSegmenter, seen: WholeHead, images: Sequence[str]) -> CaseScores:
    """Delineate the first of some images, read together with the others, and compare with the truth.

    Parameters
    ----------
    segmenter : NetworkSegmenter
    seen : WholeHead
        With its `IMAGES`.
    images : sequence of str
        One or more of `IMAGES`.
    """
    asked, *others = (seen.scans[IMAGES.index(name)] for name in images)
    pathologies = known_pathologies(segmenter)
    anatomical = {name: (name,) for name in ANATOMICAL_PARTS if name in segmenter.known}
    found = {}
    for name, region in segmenter.regions(asked, {**anatomical, **pathologies}, others=others):
        truth = np.isin(seen.truth, [STRUCTURES[part].label for part in STRUCTURES[name].parts])
        found[name] = _overlap(region.start, region.inside, truth)
    return CaseScores({name: found[name] for name in anatomical}, {name: found[name] for name in pathologies})


def anatomy_dice(without: CaseScores, with_lesion: CaseScores) -> tuple[float, float]:
    """Mean Dice over the anatomical parts of one head, without and with its lesion.

    Parts of which the lesion leaves less than half are left out of both: little is left to agree on.
    """
    kept = [
        name
        for name, whole in without.anatomy.items()
        if whole.truth and with_lesion.anatomy[name].truth >= _LEAST_LEFT * whole.truth
    ]
    well, ill = (float(np.mean([scores.anatomy[name].dice for name in kept])) for scores in (without, with_lesion))
    return well, ill


def _overlap(start: tuple[int, int, int], inside: NDArray[np.bool_], truth: NDArray[np.bool_]) -> Overlap:
    here = truth[tuple(slice(a, a + n) for a, n in zip(start, inside.shape, strict=True))]
    return Overlap(int(inside.sum()), int(truth.sum()), int((inside & here).sum()))
