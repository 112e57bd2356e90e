"""What a request is about: structures, with a side, with both or with none, and measures, as often as people ask."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

from vp_engine.agent.language.lexicon import Lexicon
from vp_engine.agent.language.naming import SIDED, Piece, Side
from vp_engine.anatomy import BILATERAL_NAMES, STRUCTURES

PATHOLOGY: tuple[str, ...] = tuple(name for name, s in STRUCTURES.items() if s.kind == "pathology")
COUNTABLE: tuple[str, ...] = ("lesion", "white_matter_lesion", "tumor", "stroke_lesion", "hemorrhage")
UNSIDED: tuple[str, ...] = tuple(name for name, s in STRUCTURES.items() if s.side == "none")
ORDERS: tuple[tuple[Side, Side], ...] = (("left", "right"), ("right", "left"))
MEASURES: tuple[str, ...] = (
    "volume",
    "surface_area",
    "mean_intensity",
    "median_intensity",
    "std_intensity",
    "max_diameter",
    "centroid",
    "sphericity",
    "mean_thickness",
    "count",
    "centroid_x",
    "centroid_y",
    "centroid_z",
)
_MEASURE_WEIGHTS = (40, 12, 10, 5, 5, 6, 5, 4, 6, 4, 1, 1, 1)
CHANGING: tuple[str, ...] = ("volume", "surface_area", "mean_thickness", "mean_intensity", "max_diameter", "count")
_CHANGING_WEIGHTS = (75, 7, 7, 5, 3, 3)
COMPARED = (
    "volume",
    "surface_area",
    "mean_thickness",
    "mean_intensity",
    "median_intensity",
    "max_diameter",
    "sphericity",
)

_SIDES: tuple[Side, ...] = ("union", "left", "right", "both")
_SIDE_WEIGHTS = (42, 13, 13, 32)


def one_measure(rng: Random) -> str:
    """One measure."""
    return rng.choices(MEASURES, _MEASURE_WEIGHTS)[0]


def changing_measure(rng: Random) -> str:
    """One measure whose change people ask for."""
    return rng.choices(CHANGING, _CHANGING_WEIGHTS)[0]


def some_measures(rng: Random) -> tuple[str, ...]:
    """Measures of one request, mostly one."""
    number = rng.choices((1, 2, 3), (80, 15, 5))[0]
    drawn = dict.fromkeys(rng.choices(MEASURES, _MEASURE_WEIGHTS, k=number))
    if "centroid" in drawn:
        drawn = {name: None for name in drawn if not name.startswith("centroid_")}
    return tuple(drawn)


def some_bases(rng: Random, names: Sequence[str], *, most: int = 6) -> tuple[str, ...]:
    """Different names, mostly one."""
    number = rng.choices((1, 2, 3, 4, 5, 6), (62, 17, 11, 6, 2, 2))[0]
    return tuple(rng.sample(names, min(number, most)))


def some_pieces(lexicon: Lexicon, rng: Random) -> list[Piece]:
    """Structures of one request; a piece without a side word never stands beside one with."""
    draw = rng.random()
    if lexicon.joint and draw < 0.03:
        bases = rng.choice(tuple(lexicon.joint))
        side = rng.choices(_SIDES, _SIDE_WEIGHTS)[0] if all(base in BILATERAL_NAMES for base in bases) else "union"
        more = rng.choice(BILATERAL_NAMES if side != "union" else UNSIDED)
        return [Piece(side, (*bases, more) if rng.random() < 0.25 and more not in bases else bases)]
    if draw < 0.29:
        return [Piece("union", some_bases(rng, UNSIDED))]
    side = rng.choices(_SIDES, _SIDE_WEIGHTS)[0]
    if draw < 0.86:
        bases = some_bases(rng, BILATERAL_NAMES if side == "union" else SIDED)
        if side != "union" and rng.random() < 0.08:
            bases = (*bases, rng.choice(UNSIDED))
        return [Piece(side, bases)]
    if draw < 0.945:
        # left X and right Y, perhaps with more that says its side or has none
        first, second = rng.choice(ORDERS)
        pair = rng.choices(SIDED, k=2)
        pieces = [Piece(first, (pair[0],)), Piece(second, (pair[1],))]
        pieces += [Piece(rng.choice(ORDERS)[0], (b,)) for b in rng.sample(SIDED, rng.choice((0, 0, 1, 1, 2)))]
        if rng.random() < 0.25:
            pieces.insert(rng.randrange(len(pieces) + 1), Piece("union", (rng.choice(UNSIDED),)))
        return pieces
    return [Piece("union", tuple(rng.sample((*UNSIDED, *BILATERAL_NAMES), rng.choice((2, 3)))))]


def one_piece(rng: Random) -> Piece:
    """One structure, with one side or without."""
    if rng.random() < 0.45:
        return Piece("union", (rng.choice((*UNSIDED, *BILATERAL_NAMES)),))
    return Piece(rng.choices(_SIDES[:3], (2, 1, 1))[0], (rng.choice(BILATERAL_NAMES),))


def two_pieces(rng: Random) -> tuple[Piece, Piece]:
    """Two structures, or the two sides of one."""
    if rng.random() < 0.3:
        base = rng.choice(SIDED)
        first, second = rng.choice(ORDERS)
        return Piece(first, (base,)), Piece(second, (base,))
    first_piece = second_piece = one_piece(rng)
    while second_piece.bases == first_piece.bases:
        second_piece = one_piece(rng)
    return first_piece, second_piece
