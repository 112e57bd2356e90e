"""Draw regions and what they are called: halves, neighbourhoods, sides, grown, combined, largest."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from random import Random

from vp_engine.agent.language.choosing import COUNTABLE, PATHOLOGY
from vp_engine.agent.language.lengths import length_slots, some_length
from vp_engine.agent.language.lexicon import Lexicon
from vp_engine.agent.language.meaning import Region, Target, in_hemisphere
from vp_engine.agent.language.naming import Naming, Piece, Side, enumerated, name_structures
from vp_engine.agent.language.sentences import Slotted
from vp_engine.anatomy import BILATERAL_NAMES

Spoken = tuple[tuple[Target, ...], Naming]

_SIDES: tuple[Side, ...] = ("union", "left", "right")
HALVED = (*BILATERAL_NAMES, "brainstem", "cerebellum", "brain", "cerebrum", "third_ventricle", "gray_matter",
           "white_matter", "basal_ganglia", "ventricles", "deep_gray_matter", "fourth_ventricle")  # fmt: skip
# "left half of the brain" is the hemisphere
_SPLIT = ("brainstem", "cerebellum", "third_ventricle", "fourth_ventricle", "brainstem", "cerebellum")
AROUND = ("ventricles", "ventricles", "ventricles", "lateral_ventricle", "lateral_ventricle", "cerebral_cortex",
           "thalamus", "third_ventricle", "brainstem", "basal_ganglia", "hippocampus", "caudate")  # fmt: skip
ANATOMY = (*BILATERAL_NAMES, "brainstem", "cerebellum", "third_ventricle", "fourth_ventricle", "ventricles", "csf",
            "basal_ganglia", "deep_gray_matter", "gray_matter", "white_matter", "brain", "cerebrum")  # fmt: skip
_WITHOUT = (
    ("white_matter", "lesion"), ("white_matter", "white_matter_lesion"), ("cerebral_white_matter", "lesion"),
    ("cerebrum", "basal_ganglia"), ("cerebrum", "deep_gray_matter"), ("brain", "ventricles"), ("brain", "cerebellum"),
    ("brain", "brainstem"), ("brain", "lesion"), ("intracranial_volume", "csf"), ("intracranial_volume", "ventricles"),
    ("intracranial_volume", "brain"), ("gray_matter", "cerebral_cortex"), ("gray_matter", "cerebellum_cortex"),
    ("gray_matter", "deep_gray_matter"), ("gray_matter", "hippocampus"), ("deep_gray_matter", "thalamus"),
    ("deep_gray_matter", "hippocampus"), ("deep_gray_matter", "basal_ganglia"), ("basal_ganglia", "accumbens"),
    ("basal_ganglia", "caudate"), ("ventricles", "fourth_ventricle"), ("ventricles", "lateral_ventricle"),
    ("cerebellum", "cerebellum_cortex"), ("white_matter", "cerebellum_white_matter"), ("cerebrum", "hippocampus"),
    ("tumor", "tumor_core"), ("tumor", "enhancing_tumor"), ("tumor_core", "enhancing_tumor"), ("edema", "tumor"),
    ("cerebrum", "white_matter_lesion"), ("brain", "tumor"), ("brain", "stroke_lesion"), ("cerebrum", "tumor"),
)  # fmt: skip
DIRECTIONS = ("anterior", "posterior", "superior", "inferior")
_OPPOSITE = {"anterior": "posterior", "posterior": "anterior", "superior": "inferior", "inferior": "superior"}
_AGAIN = 0.12


def draw_region(lexicon: Lexicon, rng: Random) -> Spoken:
    """One region, or one for each side, and what it is called."""
    kinds = (half_of, _near, _sided, _grown, _rim, _combination, largest_of)
    return rng.choices(kinds, (22, 20, 17, 9, 8, 14, 12))[0](lexicon, rng)


def _phrased(rule: str, lexicon: Lexicon, rng: Random, slots: Slotted, bare: Slotted) -> tuple[str, str]:
    """A noun phrase with its articles and without."""
    return lexicon.phrase(rule, rng, slots), lexicon.phrase(rule, rng, slots | bare | {"the": ""})


def as_slots(mark: str, naming: Naming) -> tuple[Slotted, Slotted]:
    """Slots of what something is called, and what they are where articles are left out."""
    return {mark: naming.noun, f"{mark}_bare": naming.bare}, {mark: naming.bare}


def some_piece(rng: Random, names: Sequence[str], *, both: float = 0.0) -> Piece:
    """One structure of `names`; with a share of `both`, its two sides apart."""
    base = rng.choice(names)
    if rng.random() < both:
        return Piece("both", (base,))
    return Piece(rng.choices(_SIDES, (40, 30, 30))[0] if base in BILATERAL_NAMES else "union", (base,))


def some_lesion(rng: Random) -> str:
    """A kind of lesion, the usual ones more often."""
    return rng.choices(("lesion", "white_matter_lesion", rng.choice(PATHOLOGY)), (50, 35, 15))[0]


def spoken(piece: Piece, lexicon: Lexicon, rng: Random) -> Naming:
    """Words for one structure."""
    return name_structures([piece], lexicon, rng, may_follow=False)


def spoken_lesions(base: str, lexicon: Lexicon, rng: Random) -> Naming:
    """Lesions in the plural, with their adjective."""
    words = lexicon.names[base]
    bare = rng.choice(words.plurals or words.nouns)
    bare = bare.removeprefix("all ")
    noun = rng.choice(("the ", "", "", "all ")) + bare if words.plurals else rng.choice(("the ", "")) + bare
    return Naming(noun, bare, rng.choice(words.adjectives), "", bare if words.plurals else "")


def _one_lesion(base: str, lexicon: Lexicon, rng: Random) -> str:
    return rng.choice(lexicon.names[base].nouns)


def lesion_slots(base: str, lexicon: Lexicon, rng: Random) -> Slotted:
    """{X} for lesions."""
    naming = spoken_lesions(base, lexicon, rng)
    return {"X": naming.noun, "X_bare": naming.bare, "X_adj": naming.adjective}


def half_of(lexicon: Lexicon, rng: Random) -> Spoken:
    """One half of a structure, or both one by one."""
    if rng.random() < 0.12:
        piece, direction = Piece("union", (rng.choice(_SPLIT),)), rng.choice(("left", "right"))
    else:
        piece, direction = some_piece(rng, HALVED, both=0.15), rng.choices(DIRECTIONS, (35, 30, 18, 17))[0]
    targets: list[Target] = [Region("part", (name,), direction) for name in piece.targets()]
    naming = spoken(piece, lexicon, rng)
    slots, bare = as_slots("X", naming)
    slots["D"] = lambda: lexicon.phrase(f"dir_{direction}", rng)
    if direction in _OPPOSITE and rng.random() < _AGAIN:
        other = _OPPOSITE[direction]
        slots["D2"] = lambda: lexicon.phrase(f"dir_{other}", rng)
        targets = [Region("part", (name,), way) for name in piece.targets() for way in (direction, other)]
        return tuple(targets), Naming(*_phrased("parts_np", lexicon, rng, slots, bare), "", "")
    rule = "halves_np" if piece.side == "both" and rng.random() < 0.5 else "part_np"
    adjective = "" if piece.side == "both" else naming.adjective
    noun = _phrased(rule, lexicon, rng, slots, bare)
    return tuple(targets), Naming(*noun, adjective, lexicon.phrase("part_suffix", rng, slots))


def name_half(piece: Piece, direction: str, lexicon: Lexicon, rng: Random) -> Naming:
    """What one half of a structure is called."""
    slots, bare = as_slots("X", spoken(piece, lexicon, rng))
    slots["D"] = lambda: lexicon.phrase(f"dir_{direction}", rng)
    return Naming(*_phrased("part_np", lexicon, rng, slots, bare), "", "")


def _near(lexicon: Lexicon, rng: Random) -> Spoken:
    lesions = rng.random() < 0.6
    piece = Piece("union", (some_lesion(rng),)) if lesions else some_piece(rng, ANATOMY, both=0.08)
    other = some_piece(rng, AROUND if lesions and rng.random() < 0.7 else ANATOMY)
    while other.bases == piece.bases:
        other = some_piece(rng, ANATOMY)
    naming = spoken_lesions(piece.bases[0], lexicon, rng) if lesions else spoken(piece, lexicon, rng)
    length = some_length(rng)
    targets = tuple(Region("near", (name, other.targets()[0]), length) for name in piece.targets())
    slots, bare = as_slots("X", naming)
    around, around_bare = as_slots("Y", spoken(other, lexicon, rng))
    slots |= around | length_slots(length, rng)
    noun = _phrased("near_np", lexicon, rng, slots, bare | around_bare)
    suffix = lexicon.phrase("near_suffix", rng, slots)
    plural = naming.plural and naming.plural + suffix
    return targets, Naming(*noun, "" if piece.side == "both" else naming.adjective, suffix, plural)


def _sided(lexicon: Lexicon, rng: Random) -> Spoken:
    base = some_lesion(rng)
    side = rng.choices(("left", "right", "both"), (37, 37, 26))[0]
    naming = spoken_lesions(base, lexicon, rng)
    if side == "both":
        suffix = lexicon.phrase("both_suffix", rng)
        targets: tuple[Target, ...] = (in_hemisphere(base, "left"), in_hemisphere(base, "right"))
        said = Naming(naming.noun + suffix, naming.bare + suffix, naming.adjective, suffix)
        return targets, replace(said, plural=naming.plural and naming.plural + suffix)
    slots, bare = as_slots("X", naming)
    slots |= {"side": side, "l": side[0]}
    suffix = lexicon.phrase("side_suffix", rng, slots)
    noun = _phrased("side_np", lexicon, rng, slots, bare)
    if rng.random() < 0.35:
        noun = naming.noun + suffix, naming.bare + suffix
    plural = naming.plural and rng.choice((naming.plural + suffix, f"{side}-sided {naming.plural}"))
    if rng.random() < 0.4:
        prefix = rng.choice(
            (f"{side} ", f"{side}-sided ", f"{side} hemisphere ", f"{side[0]}h ", f"{side} hemispheric ")
        )
        return (in_hemisphere(base, side),), Naming(*noun, prefix + naming.adjective, "", plural)
    return (in_hemisphere(base, side),), Naming(*noun, naming.adjective, suffix, plural)


def _grown(lexicon: Lexicon, rng: Random) -> Spoken:
    piece, op, length = to_resize(rng)
    slots, bare = as_slots("X", spoken(piece, lexicon, rng))
    noun = _phrased(f"{op}_np", lexicon, rng, slots | length_slots(length, rng), bare)
    return tuple(Region(op, (name,), length) for name in piece.targets()), Naming(*noun, "", "")


def to_resize(rng: Random) -> tuple[Piece, str, str]:
    """A structure to grow or shrink, the op, and by how much."""
    names = (*ANATOMY, *PATHOLOGY[:2], *PATHOLOGY[:2], *PATHOLOGY)
    return some_piece(rng, names, both=0.08), rng.choice(("dilate", "erode")), some_length(rng, thin=True)


def _rim(lexicon: Lexicon, rng: Random) -> Spoken:
    lesions = rng.random() < 0.5
    piece = Piece("union", (some_lesion(rng),)) if lesions else some_piece(rng, ANATOMY)
    naming = spoken_lesions(piece.bases[0], lexicon, rng) if lesions else spoken(piece, lexicon, rng)
    length = some_length(rng, thin=True)
    name = piece.targets()[0]
    slots, bare = as_slots("X", naming)
    noun = _phrased("rim_np", lexicon, rng, slots | length_slots(length, rng), bare)
    return (Region("difference", (Region("dilate", (name,), length), name)),), Naming(*noun, "", "")


def _combination(lexicon: Lexicon, rng: Random) -> Spoken:
    op = rng.choices(("union", "difference", "intersection"), (37, 33, 30))[0]
    target, slots, bare = combined(op, lexicon, rng)
    return (target,), Naming(*_phrased(f"{op}_np", lexicon, rng, slots, bare), "", "")


def combined(op: str, lexicon: Lexicon, rng: Random) -> tuple[Region, Slotted, Slotted]:
    """Structures combined, and the slots of {A}, {B} and, for unions, {LIST}."""
    pieces = _to_combine(op, rng)
    names = [piece.targets()[0] for piece in pieces]
    target = Region(op, (names[0], names[1]))
    for name in names[2:]:
        target = Region(op, (target, name))
    said = [spoken(piece, lexicon, rng) for piece in pieces]
    slots, bare = as_slots("A", said[0])
    more, more_bare = as_slots("B", said[-1])
    if len(said) > 2:
        front = enumerated([one.noun for one in said[:-1]], lexicon, rng)
        slots = {"A": front, "A_bare": front}
        bare = {"A": enumerated([one.bare for one in said[:-1]], lexicon, rng)}
    slots["LIST"] = _listed([one.noun for one in said], lexicon, rng)
    bare["LIST"] = _listed([one.bare for one in said], lexicon, rng)
    return target, slots | more, bare | more_bare


def _listed(words: Sequence[str], lexicon: Lexicon, rng: Random) -> str:
    if len(words) == 2:
        return (
            words[0] + rng.choice((" and ", " and ", " and ", " & ", " plus ", lexicon.phrase("and", rng))) + words[1]
        )
    return enumerated(words, lexicon, rng)


def _to_combine(op: str, rng: Random) -> list[Piece]:
    if op == "difference" and rng.random() < 0.8:
        return [Piece("union", (name,)) for name in rng.choice(_WITHOUT)]
    if op == "intersection" and rng.random() < 0.5:
        return [Piece("union", (some_lesion(rng),)), some_piece(rng, ANATOMY)]
    names = ANATOMY if rng.random() < 0.8 else (*PATHOLOGY, *ANATOMY)
    bases = rng.sample(names, rng.choice((2, 2, 2, 3)) if op == "union" else 2)
    # one side for all of them, or none
    side = rng.choices(_SIDES, (60, 20, 20))[0]
    sided = [base for base in bases if base in BILATERAL_NAMES]
    return [Piece(side if base in sided else "union", (base,)) for base in bases]


def largest_of(lexicon: Lexicon, rng: Random, *, lesions: bool | None = None) -> Spoken:
    """The largest lesion, or the largest piece of a structure."""
    if not (rng.random() < 0.8 if lesions is None else lesions):
        piece = some_piece(rng, (*ANATOMY, *PATHOLOGY))
        slots, bare = as_slots("X", spoken(piece, lexicon, rng))
        return (Region("largest", (piece.targets()[0],)),), Naming(
            *_phrased("piece_np", lexicon, rng, slots, bare), "", ""
        )
    base = rng.choices((*COUNTABLE, "resection_cavity"), (40, 30, 10, 9, 8, 3))[0]
    naming = spoken_lesions(base, lexicon, rng)
    slots, bare = as_slots("X", naming)
    slots["X1"] = lambda: _one_lesion(base, lexicon, rng)
    noun = _phrased("largest_np", lexicon, rng, slots, bare)
    among: Target = base
    suffix = ""
    draw = rng.random()
    if draw < _AGAIN:
        side = rng.choice(("left", "right"))
        among, suffix = in_hemisphere(base, side), lexicon.phrase("side_suffix", rng, {"side": side, "l": side[0]})
    elif draw < 2 * _AGAIN:
        other, length = Piece("union", (rng.choice(AROUND),)), some_length(rng)
        among = Region("near", (base, other.targets()[0]), length)
        around = as_slots("Y", spoken(other, lexicon, rng))[0]
        suffix = lexicon.phrase("near_suffix", rng, around | length_slots(length, rng))
    adjective = f"{lexicon.phrase('largest_word', rng)} {naming.adjective}"
    return (Region("largest", (among,)),), Naming(noun[0] + suffix, noun[1] + suffix, adjective, suffix)
