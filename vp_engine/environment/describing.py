"""Words for what measures say of lesions, and how sure they are."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import erf, sqrt
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vp_engine.measure.places import Location

SIMILAR_WITHIN = 0.1
"""Relative difference from white matter up to which a lesion looks ``similar``."""
MANY = 10
"""Number of pieces from which there are ``many``."""
SPECK_MM3 = 14.0
"""Volume below which a piece is not counted beside larger ones: a ball of 3 mm, the least that counts as a lesion."""
LEAST_SHARE = 0.1
"""Share of the volume from which a second side counts."""

SUREST = 0.97
"""Highest confidence: of lobes on which all 26 neighbouring places agree, as many are right."""

_SIGNAL_ERROR = 0.05
_SHAKY = 0.6


def signal_word(ratio: float) -> str:
    """Word for a relative intensity.

    >>> [signal_word(ratio) for ratio in (0.8, 0.95, 1.3)]
    ['dark', 'similar', 'bright']
    """
    return "bright" if ratio > 1 + SIMILAR_WITHIN else "dark" if ratio < 1 - SIMILAR_WITHIN else "similar"


def signal(ratio: float) -> tuple[str, float]:
    """Word for a relative intensity, and its probability if the ratio is wrong by 0.05 (standard deviation).

    >>> signal(1.3)
    ('bright', 0.97)
    >>> signal(1.1)[0], round(signal(1.1)[1], 2)
    ('similar', 0.5)
    """
    above, below = (
        _normal((ratio - 1 - SIMILAR_WITHIN) / _SIGNAL_ERROR),
        _normal((1 - SIMILAR_WITHIN - ratio) / _SIGNAL_ERROR),
    )
    word = signal_word(ratio)
    return word, min(SUREST, {"bright": above, "dark": below, "similar": 1 - above - below}[word])


def number(volumes_mm3: Sequence[float]) -> tuple[str, float]:
    """Word for how many pieces there are; not so sure where it would change if specks were half or twice as large.

    >>> number([]), number([40]), number([40, 30, 1])
    (('none', 0.97), ('one', 0.97), ('several', 0.97))
    >>> number([40, 2]), number([40, 20]), number([2])
    (('one', 0.97), ('several', 0.6), ('one', 0.97))
    """
    low, word, high = (
        _number_word(sum(volume >= least for volume in volumes_mm3) or len(volumes_mm3))
        for least in (SPECK_MM3 / 2, SPECK_MM3, SPECK_MM3 * 2)
    )
    return word, SUREST if low == word == high else _SHAKY


def side(locations: Sequence[Location]) -> tuple[str, float]:
    """Side that the volume lies on: one of them, ``both`` of several pieces, ``midline`` of one that crosses it."""
    total = sum(one.voxels for one in locations)
    right = sum(one.right_share * one.voxels for one in locations) / total
    smaller = min(right, 1 - right)
    # half sure where the other side only just counts or only just does not
    confidence = min(SUREST, 0.5 + 0.5 * min(1.0, abs(smaller - LEAST_SHARE) / LEAST_SHARE))
    if smaller < LEAST_SHARE:
        return ("right" if right > 0.5 else "left"), confidence
    return ("midline" if len(locations) == 1 else "both"), confidence


def place(locations: Sequence[Location]) -> tuple[str, float]:
    """Place with most of the volume; as sure as it stays that when all is moved by what the template may be wrong."""
    word = _most({one.place for one in locations}, ((one.place, one.voxels) for one in locations))
    moved = [
        _most(names, zip(names, (one.voxels for one in locations), strict=True))
        for names in (
            [one.named(lobe) for one, lobe in zip(locations, lobes, strict=True)]
            for lobes in zip(*(one.moved_lobes for one in locations), strict=True)
        )
    ]
    lobe_sure = moved.count(word) / len(moved)
    total = sum(one.voxels for one in locations)
    region_sure = sum(min(1.0, max(0.0, 2 * one.region_share - 0.5)) * one.voxels for one in locations) / total
    return word, min(SUREST, lobe_sure * region_sure)


def _most(names: Iterable[str], parts: Iterable[tuple[str, int]]) -> str:
    volumes: dict[str, int] = dict.fromkeys(sorted(names), 0)
    for name, voxels in parts:
        volumes[name] += voxels
    return max(volumes, key=lambda name: volumes[name])


def _number_word(count: int) -> str:
    return "none" if count == 0 else "one" if count == 1 else "many" if count >= MANY else "several"


def _normal(z: float) -> float:
    return (1 + erf(z / sqrt(2))) / 2
