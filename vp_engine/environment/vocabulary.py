"""The closed word lists of the program language: every text argument comes from one of them."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from vp_engine.anatomy import SIDES, STRUCTURES

SUFFIXES: tuple[str, ...] = (
    "T1w",
    "T2w",
    "FLAIR",
    "PDw",
    "T2starw",
    "UNIT1",
    "T1map",
    "T2map",
    "T2starmap",
    "PDT2",
    "inplaneT1",
    "inplaneT2",
    "angio",
    "swi",
    "dwi",
    "adc",
    "ct",
)
"""BIDS suffixes a program can name."""

SIGNALS: tuple[str, ...] = ("bright", "dark", "similar", "brightest", "darkest")
"""How pieces look against the white matter around them; the last two are one piece of all."""

FATES: tuple[str, ...] = ("new", "gone", "grown", "shrunk", "stable")
"""What becomes of a piece between two sessions."""

LOBES: tuple[str, ...] = ("frontal_lobe", "parietal_lobe", "temporal_lobe", "occipital_lobe", "insular_lobe")
"""Parts of a hemisphere, without a side."""

ZONES: tuple[str, ...] = (
    "periventricular",
    "juxtacortical",
    "deep_white_matter",
    "infratentorial",
    "deep_gray_matter",
)
"""Parts of the brain by what is near; a piece has one beside its lobe."""

HEMISPHERES: tuple[str, ...] = ("left_hemisphere", "right_hemisphere")

PLACES: tuple[str, ...] = (
    *(f"{side}_{lobe}" for side in SIDES for lobe in LOBES),
    *LOBES,
    *HEMISPHERES,
    *ZONES,
)
"""Where a piece can be asked for."""

ASPECTS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "side": ("left", "right", "both", "midline", "none", "unclear"),
        "place": (*(place for place in PLACES if place not in HEMISPHERES), "none", "unclear"),
        "number": ("none", "one", "several", "many", "unclear"),
        "signal": ("bright", "dark", "similar", "none", "unclear"),
        "pattern": ("solid", "ring", "none", "unclear"),
        "mass_effect": ("yes", "no", "none", "unclear"),
        "enhancement": ("yes", "no", "none", "unclear"),
    }
)
"""What `describe` can be asked -> the only words it answers with; `none`: the mask is empty, `unclear`: these images
do not tell."""

_FOUND_WORDS: tuple[str, ...] = (
    "left",
    "right",
    "equal",
    "yes",
    "no",
    "larger",
    "smaller",
    "increased",
    "decreased",
    "unchanged",
    "none",
    "bright",
    "dark",
    "similar",
    "good",
    "poor",
    "unclear",
    "T1w",
    "T2w",
    "FLAIR",
    "PDw",
    "ct",
)

WORDS: tuple[str, ...] = tuple(dict.fromkeys((*_FOUND_WORDS, *(w for words in ASPECTS.values() for w in words))))
"""What `answer` can say."""

COMPARISONS: tuple[str, ...] = ("greater", "less", "equal")
"""What `compare` can find."""

QUALITIES: tuple[str, ...] = ("good", "poor")
"""What `quality` can find."""

LENGTHS_MM: Mapping[str, int] = MappingProxyType({f"{mm}mm": mm for mm in range(1, 21)})
"""Lengths a program can name -> mm; a closed list keeps budgets safe and units visible."""

DIRECTIONS: tuple[str, ...] = ("anterior", "posterior", "superior", "inferior", "left", "right")
"""Halves that `part` can take."""

REASONS: Mapping[str, str] = MappingProxyType(
    {
        "out_of_domain": "This is not a question about structures of the brain in these images; "
        "ask for a segmentation or a measurement of a brain structure.",
        "unknown_structure": "No such structure is in the vocabulary; `vp ops` lists the names that can be asked for.",
        "missing_image": "The image asked for is not among those of the session; name one that is there, "
        "or leave the contrast out.",
        "one_session": "A change needs two sessions and only one is at hand; "
        "give at least two sessions of the participant, in a prompt with `scope: participant`. "
        "Groups are compared by `statistics`.",
        "diagnosis": "Naming a disease is a medical judgement and not a measurement; "
        "ask for the sizes or intensities you would base it on.",
        "prognosis": "Predicting an outcome is a medical judgement and not a measurement; "
        "ask for sizes or for their change between sessions.",
        "unsupported_measure": "This quantity cannot be measured here; `vp ops` lists the measures that can.",
        "instruction_injection": "The text asks for something other than image analysis; "
        "ask for a segmentation or a measurement.",
        "ambiguous": "The text can be read in several ways; name the structure, the side and the measure.",
    }
)
"""What `refuse` can say: reason code -> sentence a user can act on."""

TEXT_TYPES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "Structure": tuple(STRUCTURES),
        "Suffix": SUFFIXES,
        "Word": WORDS,
        "Reason": tuple(REASONS),
        "Comparison": (*COMPARISONS, *QUALITIES),
        "Length": tuple(LENGTHS_MM),
        "Direction": DIRECTIONS,
        "Place": PLACES,
        "Signal": SIGNALS,
        "Fate": FATES,
        "Aspect": tuple(ASPECTS),
    }
)
"""Every text type of the language -> the only words it can hold."""

PROGRAM_VARIABLES: Mapping[str, str] = MappingProxyType(
    {"current": "Session", "first": "Session", "last": "Session", "sessions": "List[Session]"}
)
"""Variables that exist before the first line -> their types; they cannot be assigned."""
