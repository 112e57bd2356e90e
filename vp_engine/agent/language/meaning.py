"""What a prompt can ask for, and the program that does it, as terminals in prefix order."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from vp_engine.agent.terminals import END, MOD, STOP, constant
from vp_engine.anatomy import STRUCTURES, sides_of
from vp_engine.environment.ops import OPS

Time = Literal["current", "first", "last", "each", "ends"]
CENTROID = ("centroid_x", "centroid_y", "centroid_z")


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
class Measure:
    """Numbers of structures, masks of structures, or both."""

    targets: tuple[str, ...]
    measures: tuple[str, ...]
    save: bool = False


@dataclass(frozen=True, slots=True)
class Asymmetry:
    """Asymmetry of one measure of bilateral structures."""

    bases: tuple[str, ...]
    measure: str = "volume"


@dataclass(frozen=True, slots=True)
class Ratio:
    """Volumes of structures over the volume of one."""

    targets: tuple[str, ...]
    denominator: str


@dataclass(frozen=True, slots=True)
class Distance:
    """Distance between two structures."""

    target: str
    other: str


@dataclass(frozen=True, slots=True)
class Everything:
    """A measure of each part the weights know; its mask when `measures` is empty."""

    measures: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Change:
    """Change of a measure of structures from the first to the last session; `op` says which kind."""

    op: str
    targets: tuple[str, ...]
    measure: str = "volume"


@dataclass(frozen=True, slots=True)
class Question:
    """A question answered in a word after reading a comparison: is `greater` above `less`?

    Attributes
    ----------
    kind : str
        ``side`` (answered left or right), ``which`` (yes or no between structures), ``grew`` or ``shrank``.
    target, other : str
        Structures compared; for questions about sessions only `target`.
    measure : str
        What is compared.
    about : str
        Structure of the answer's row.
    """

    kind: Literal["side", "which", "grew", "shrank"]
    target: str
    other: str
    about: str
    measure: str = "volume"


Plain = Measure | Asymmetry | Ratio | Distance | Everything
Clause = Plain | Change | Question


def first_step(clauses: Sequence[Clause], where: Where) -> list[str]:
    """Terminals of the first piece of code of a request.

    Parameters
    ----------
    clauses : sequence of Clause
        Done in the order: plain ones, changes, and last the question, of which there is at most one.
    where : Where
        Images and sessions.

    Returns
    -------
    list of str
        Ends with `STOP`.
    """
    plain = [clause for clause in clauses if isinstance(clause, Plain)]
    changes = [clause for clause in clauses if isinstance(clause, Change)]
    questions = [clause for clause in clauses if isinstance(clause, Question)]
    terminals: list[str] = []
    if plain:
        terminals += _plain(plain, where)
    within = [q for q in questions if q.kind in ("side", "which")]
    across = [q for q in questions if q.kind in ("grew", "shrank")]
    if changes or across:
        for variable, session in (("before", "first"), ("after", "last")):
            terminals += [f"set:{variable}", *_image(where, f"var:{session}")]
    for change in changes:
        for target in change.targets:
            sides = [_measured(change.measure, f"var:{when}", target) for when in ("before", "after")]
            terminals += ["op:report", f"op:{change.op}", *sides[0], *sides[1]]
    for question in across:
        pair = [_measured(question.measure, f"var:{when}", question.target) for when in ("after", "before")]
        terminals += _read(*(pair if question.kind == "grew" else reversed(pair)))
    if within:
        image = "img"
        if not plain or _looped(where) or len(where.contrasts) > 1:
            image = "img" if not plain else "img2"
            terminals += [f"set:{image}", *_image(where, _session(where))]
        for question in within:
            pair = [_measured(question.measure, f"var:{image}", name) for name in (question.target, question.other)]
            terminals += _read(*pair)
    return [*terminals, STOP]


def second_step(question: Question, found: str) -> list[str]:
    """Terminals of the piece of code that answers after the comparison was read.

    Parameters
    ----------
    question : Question
        What was asked.
    found : str
        ``greater``, ``less`` or ``equal``: the first operand of the comparison against the second.
    """
    if question.kind == "side":
        # the operands are the left and the right half, or swapped when the smaller side is asked for
        word = {"greater": "left", "less": "right", "equal": "equal"}[found]
    else:
        word = "yes" if found == "greater" else "no"
    return ["op:answer", constant("Word", word), constant("Structure", question.about), STOP]


def refusal(reason: str) -> list[str]:
    """Terminals of the program that refuses."""
    return ["op:refuse", constant("Reason", reason), STOP]


def _looped(where: Where) -> bool:
    return where.time == "each" or (where.time == "current" and where.scope == "participant")


def _session(where: Where) -> str:
    return f"var:{where.time}" if where.time in ("first", "last") else "var:current"


def _image(where: Where, session: str, contrast: int = 0) -> list[str]:
    if not where.contrasts:
        return ["op:scan", session]
    return ["op:image", constant("Suffix", where.contrasts[contrast]), session]


def _plain(clauses: Sequence[Plain], where: Where) -> list[str]:
    if where.time == "ends":
        halves = (("before", "var:first"), ("after", "var:last"))
        shown = [([f"set:{name}", *_image(where, session)], f"var:{name}") for name, session in halves]
        return [t for head, image in shown for t in (*head, *(u for c in clauses for u in _statements(c, image)))]
    looped = _looped(where)
    terminals = ["for:s", "var:sessions"] if looped else []
    for index, variable in enumerate(("img", "img2")[: max(1, len(where.contrasts))]):
        terminals += [f"set:{variable}", *_image(where, "var:s" if looped else _session(where), index)]
        for clause in clauses:
            terminals += _statements(clause, f"var:{variable}")
    return [*terminals, END] if looped else terminals


def _statements(clause: Plain, image: str) -> list[str]:
    terminals: list[str] = []
    match clause:
        case Measure(targets, measures, save):
            for target in targets:
                terminals += ["op:save", *_segment(image, target)] if save else []
                terminals += [t for m in _expanded(measures) for t in ("op:report", *_measured(m, image, target))]
        case Asymmetry(bases, measure):
            for base in bases:
                pair = [t for side in _halves(base) for t in _measured(measure, image, side)]
                terminals += ["op:report", "op:asymmetry", *pair]
        case Ratio(targets, denominator):
            for target in targets:
                pair = [*_measured("volume", image, target), *_measured("volume", image, denominator)]
                terminals += ["op:report", "op:ratio", *pair]
        case Distance(target, other):
            terminals += ["op:report", "op:distance", *_segment(image, target), *_segment(image, other)]
        case Everything(measures):
            terminals += _everything(measures, image)
    return terminals


def _everything(measures: Sequence[str], image: str) -> list[str]:
    body = [] if measures else ["op:save", "var:m"]
    for measure in _expanded(measures):
        body += ["op:report", *_applied(measure, image, ["var:m"])]
    return ["for:m", "op:parcels", image, *body, END]


def _halves(base: str) -> tuple[str, str]:
    return ("left_hemisphere", "right_hemisphere") if base == "hemisphere" else sides_of(base)


def _expanded(measures: Sequence[str]) -> list[str]:
    return [name for measure in measures for name in (CENTROID if measure == "centroid" else (measure,))]


def _segment(image: str, structure: str) -> list[str]:
    return ["op:segment", image, constant("Structure", structure), MOD]


def _measured(measure: str, image: str, structure: str) -> list[str]:
    return _applied(measure, image, _segment(image, structure))


def _applied(measure: str, image: str, mask: list[str]) -> list[str]:
    filling: dict[str, Callable[[], list[str]]] = {"Image": lambda: [image], "Mask": lambda: mask}
    arguments = [token for p in OPS[measure].parameters for token in filling[p.accepts[0]]()]
    return [f"op:{measure}", *arguments]


def _read(greater: list[str], less: list[str]) -> list[str]:
    return ["op:read", "op:compare", *greater, *less]


def structure_of(base: str, side: str) -> str:
    """Canonical name of a base name with a side word (`left`, `right`), or without one.

    >>> structure_of("hemisphere", "left"), structure_of("hippocampus", "")
    ('left_hemisphere', 'hippocampus')
    """
    name = f"{side}_{base}" if side else base
    if name not in STRUCTURES:
        raise ValueError(f"expected a structure of the vocabulary, got {name}")
    return name
