"""What a prompt can ask for, clause by clause."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from vp_engine.anatomy import STRUCTURES, sides_of

Time = Literal["current", "first", "last", "each", "ends"]


@dataclass(frozen=True, slots=True)
class Where:
    """On which images a request is done.

    Attributes
    ----------
    contrasts : tuple of str
        Suffixes the prompt names; empty for the session's best image.
    time : str
        Session the prompt names; ``current`` when it names none, ``ends`` for the first and the last.
    scope : str
        ``session`` or ``participant``: whether the prompt sees one session or all together.
    """

    contrasts: tuple[str, ...] = ()
    time: Time = "current"
    scope: str = "session"


@dataclass(frozen=True, slots=True)
class Region:
    """A mask that an op makes of others: a half, a neighbourhood, a combination, a selection of pieces.

    Attributes
    ----------
    op : str
        Name of the op.
    operands : tuple of str or Region
        Structures, or regions themselves, in the order of the op; for ``changed`` what is compared between the first
        and the last session, once.
    word : str
        Text the op takes last, such as a length or a direction; empty where it takes none.
    contrast : str
        Suffix of the image whose signal selects; empty for the image that is segmented.
    """

    op: str
    operands: tuple[Target, ...]
    word: str = ""
    contrast: str = ""


Target = str | Region


@dataclass(frozen=True, slots=True)
class Measure:
    """Numbers of structures, masks of structures, or both."""

    targets: tuple[Target, ...]
    measures: tuple[str, ...]
    save: bool = False


@dataclass(frozen=True, slots=True)
class Asymmetry:
    """Asymmetry of one measure of bilateral structures, or of their halves in a `direction`."""

    bases: tuple[str, ...]
    measure: str = "volume"
    direction: str = ""


@dataclass(frozen=True, slots=True)
class Ratio:
    """Volumes of structures over the volume of one."""

    targets: tuple[Target, ...]
    denominator: Target


@dataclass(frozen=True, slots=True)
class Distance:
    """Distance between two structures."""

    target: Target
    other: Target


@dataclass(frozen=True, slots=True)
class Cutout:
    """Copies of the image with only a region in it: ``isolate`` blanks the rest, ``crop`` cuts a box."""

    op: Literal["isolate", "crop"]
    targets: tuple[Target, ...]


@dataclass(frozen=True, slots=True)
class Everything:
    """A measure of each part the weights know; its mask when `measures` is empty."""

    measures: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Each:
    """Rows for every piece of something, one lesion after the other.

    Attributes
    ----------
    target : str or Region
        What falls into pieces.
    measures : tuple of str
        Of each piece; ``distance`` is that to `other`.
    aspects : tuple of str
        Said of each piece in a word.
    other : str
        Structure that distances go to.
    save : bool
        Whether each gets a mask of its own.
    contrast : str
        Suffix of the image whose signal counts; empty for the image that is segmented.
    """

    target: Target
    measures: tuple[str, ...] = ()
    aspects: tuple[str, ...] = ()
    other: str = ""
    save: bool = False
    contrast: str = ""


@dataclass(frozen=True, slots=True)
class Described:
    """Something described in words, aspect by aspect, behind its `measures`; `contrast` as in `Each`."""

    target: Target
    aspects: tuple[str, ...]
    measures: tuple[str, ...] = ()
    contrast: str = ""


@dataclass(frozen=True, slots=True)
class Followed:
    """Every piece of something followed from the first to the last session."""

    target: str


@dataclass(frozen=True, slots=True)
class Change:
    """Change of a measure of structures from the first to the last session; `op` says which kind."""

    op: str
    targets: tuple[Target, ...]
    measure: str = "volume"


@dataclass(frozen=True, slots=True)
class Question:
    """A question answered in a word after reading a comparison: is `greater` above `less`?

    Attributes
    ----------
    kind : str
        ``side`` (answered left or right), ``which`` (yes or no between structures), ``grew``, ``shrank``, or
        ``brightness`` (bright, dark or similar).
    target, other : str or Region
        What is compared; for questions about sessions only `target`.
    measure : str
        What is compared.
    about : str
        Structure of the answer's row.
    numbers : str
        What is reported beside the answer: ``both`` numbers, their ``asymmetry``, or nothing.
    """

    kind: Literal["side", "which", "grew", "shrank", "brightness"]
    target: Target
    other: Target
    about: str
    measure: str = "volume"
    numbers: Literal["", "both", "asymmetry"] = ""


@dataclass(frozen=True, slots=True)
class Presence:
    """Is there any? Where there is some, also its `measures` and its mask."""

    target: Target
    about: str
    measures: tuple[str, ...] = ()
    save: bool = False


@dataclass(frozen=True, slots=True)
class Largest:
    """Measures of the largest piece of something, if there is one."""

    target: Target
    about: str
    measures: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Quality:
    """How good a segmentation is; with `measures`, a request for these, on the image `instead` when it is poor.

    `at_first` is the contrast to begin with, empty for the best image.
    """

    target: str
    measures: tuple[str, ...] = ()
    instead: str = ""
    at_first: str = ""


@dataclass(frozen=True, slots=True)
class Contrast:
    """What contrast the image has."""


Plain = Measure | Asymmetry | Ratio | Distance | Cutout | Everything | Each | Described
Asked = Question | Presence | Largest | Quality | Contrast
Clause = Plain | Change | Followed | Asked


def structure_of(base: str, side: str) -> str:
    """Canonical name of a base name with a side word (`left`, `right`), or without one.

    >>> structure_of("hemisphere", "left"), structure_of("hippocampus", "")
    ('left_hemisphere', 'hippocampus')
    """
    name = f"{side}_{base}" if side else base
    if name not in STRUCTURES:
        raise ValueError(f"expected a structure of the vocabulary, got {name}")
    return name


def halves(base: str, direction: str = "") -> tuple[Target, Target]:
    """Left and right half of a bilateral structure, or these parts of them.

    Parameters
    ----------
    base : str
        Bilateral structure, ``hemisphere``, or something without a side, such as lesions, which is then split
        between the hemispheres.
    direction : str
        ``anterior`` and so on for that part of either; empty for the whole.
    """
    if base == "hemisphere":
        pair: tuple[Target, Target] = ("left_hemisphere", "right_hemisphere")
    elif STRUCTURES[base].kind == "bilateral":
        pair = sides_of(base)
    else:
        pair = in_hemisphere(base, "left"), in_hemisphere(base, "right")
    if not direction:
        return pair
    return Region("part", (pair[0],), direction), Region("part", (pair[1],), direction)


def in_hemisphere(target: Target, side: str) -> Region:
    """What of something without a side, such as lesions, belongs to one hemisphere."""
    other = {"left": "right", "right": "left"}[side]
    return Region("nearer", (target, f"{side}_hemisphere", f"{other}_hemisphere"))


def fate_in(target: Target) -> str:
    """What became of the pieces that a region is about; empty for what is seen in one session.

    >>> fate_in(Region("largest", (Region("changed", ("lesion",), "new"),)))
    'new'
    """
    if isinstance(target, str):
        return ""
    return target.word if target.op == "changed" else next(filter(None, map(fate_in, target.operands)), "")


def contrast_in(target: Target) -> str:
    """Suffix of the image whose signal a region is selected by; empty when it names none.

    >>> contrast_in(Region("with_signal", ("lesion",), "dark", "T1w"))
    'T1w'
    """
    if isinstance(target, str):
        return ""
    return target.contrast or next(filter(None, map(contrast_in, target.operands)), "")


def targets_in(clause: Clause) -> tuple[Target, ...]:
    """What a clause is about, as far as it can be a selection of pieces."""
    match clause:
        case Measure(targets) | Ratio(targets):
            return targets
        case Each(target) | Described(target) | Presence(target):
            return (target,)
    return ()


def seen_in(clause: Clause) -> str:
    """Suffix of the image whose signal a clause names beside the one that is segmented; empty when it names none."""
    if isinstance(clause, Each | Described) and clause.contrast:
        return clause.contrast
    return next(filter(None, map(contrast_in, targets_in(clause))), "")


def is_across(clause: Clause) -> bool:
    """Whether a clause needs the first and the last session together."""
    match clause:
        case Change() | Followed():
            return True
        case Question(kind):
            return kind in ("grew", "shrank")
    return any(map(fate_in, targets_in(clause)))
