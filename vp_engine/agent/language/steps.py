"""The pieces of code that do what a prompt asks for, as terminals in prefix order."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from vp_engine.agent.language.meaning import (
    Asked,
    Asymmetry,
    Change,
    Clause,
    Contrast,
    Cutout,
    Described,
    Distance,
    Each,
    Everything,
    Followed,
    Largest,
    Measure,
    Plain,
    Presence,
    Quality,
    Question,
    Ratio,
    Target,
    Where,
    fate_in,
    halves,
    is_across,
    seen_in,
    targets_in,
)
from vp_engine.agent.terminals import END, MOD, STOP, constant
from vp_engine.environment.ops import OPS

CENTROID = ("centroid_x", "centroid_y", "centroid_z")
SEEN_IN = "brain"
"""Structure whose features show the contrast of an image."""


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
    plain = [clause for clause in clauses if isinstance(clause, Plain) and not is_across(clause)]
    across = [clause for clause in clauses if is_across(clause)]
    terminals = _plain(plain, where, next(filter(None, map(seen_in, plain)), "")) if plain else []
    if across:
        for variable, session in (("before", "first"), ("after", "last")):
            terminals += [f"set:{variable}", *_image(where, f"var:{session}")]
    # questions come last, since reading ends a piece of code
    for clause in sorted(across, key=lambda one: isinstance(one, Asked)):
        terminals += _between(clause)
    for clause in clauses:
        if isinstance(clause, Asked) and not is_across(clause):
            image = asked_on(clauses, where)
            if not plain or image != "img":
                terminals += [f"set:{image}", *_image(where, _session(where))]
            terminals += _read(clause, f"var:{image}")
    return [*terminals, STOP]


def asked_on(clauses: Sequence[Clause], where: Where) -> str:
    """Name of the variable with the image that a question of one session is about."""
    plain = any(isinstance(clause, Plain) and not is_across(clause) for clause in clauses)
    return "img2" if plain and (_looped(where) or where.time == "ends" or len(where.contrasts) > 1) else "img"


def second_step(asked: Asked, found: str, image: str = "img", where: Where | None = None) -> list[str]:
    """Terminals of the piece of code that answers after something was read.

    Parameters
    ----------
    asked : Question, Presence, Largest, Quality or Contrast
        What was asked.
    found : str
        What the reading says: ``greater``, ``less`` or ``equal`` for the first operand of a comparison against the
        second; ``some`` or ``none``; ``good`` or ``poor``; a suffix.
    image : str
        Variable of the image.
    where : Where, optional
        Images and sessions.
    """
    at = f"var:{image}"
    terminals: list[str] = []
    match asked:
        case Question():
            terminals = [*_answer(_word(asked, found), asked.about), *_numbers(asked, at)]
        case Presence(_, about, measures, save):
            terminals = _answer("no" if found == "none" else "yes", about)
            if found != "none":
                terminals += ["op:save", "var:mask"] if save else []
                terminals += _reported(measures, at, ["var:mask"])
        case Largest(_, about, measures):
            terminals = _answer("none", about) if found == "none" else _reported(measures, at, ["var:mask"])
        case Quality(target, (), _):
            terminals = _answer(found, target)
        case Quality(target, measures, instead):
            if found == "poor":
                terminals = ["set:img2", "op:image", constant("Suffix", instead), _session(where or Where())]
                terminals += _reported(measures, "var:img2", mask_of("var:img2", target))
            else:
                terminals = _reported(measures, at, ["var:mask"])
        case Contrast():
            terminals = _answer(found or "unclear", SEEN_IN)
    return [*terminals, STOP]


def refusal(reason: str) -> list[str]:
    """Terminals of the program that refuses."""
    return ["op:refuse", constant("Reason", reason), STOP]


def mask_of(image: str, target: Target, seen: str = "") -> list[str]:
    """Terminals of the mask of a structure or a region on an image.

    Parameters
    ----------
    image : str
        Terminal of the variable of the image that is segmented.
    target : str or Region
        What is wanted.
    seen : str
        Terminal of the variable of the image whose signal selects pieces; the same image when empty.
    """
    if isinstance(target, str):
        return ["op:segment", image, constant("Structure", target), MOD]
    if target.op == "changed":
        pair = [terminal for when in ("before", "after") for terminal in mask_of(f"var:{when}", target.operands[0])]
        return ["op:changed", *pair, constant("Fate", target.word)]
    terminals, operands = [f"op:{target.op}"], iter(target.operands)
    for parameter in OPS[target.op].parameters:
        match parameter.accepts[0]:
            case "Image":
                terminals.append(seen or image if target.contrast else image)
            case "Mask":
                terminals += mask_of(image, next(operands), seen)
            case kind:
                terminals.append(constant(kind, target.word))
    return terminals


def _looped(where: Where) -> bool:
    return where.time == "each" or (where.time == "current" and where.scope == "participant")


def _session(where: Where) -> str:
    return f"var:{where.time}" if where.time in ("first", "last") else "var:current"


def _image(where: Where, session: str, contrast: int = 0) -> list[str]:
    if not where.contrasts:
        return ["op:scan", session]
    return ["op:image", constant("Suffix", where.contrasts[contrast]), session]


def _plain(clauses: Sequence[Plain], where: Where, contrast: str) -> list[str]:
    if where.time == "ends":
        halves_of_time = (("before", "var:first"), ("after", "var:last"))
        shown = [([f"set:{name}", *_image(where, session)], f"var:{name}") for name, session in halves_of_time]
        return [t for head, image in shown for t in (*head, *(u for c in clauses for u in _statements(c, image)))]
    looped = _looped(where)
    terminals = ["for:s", "var:sessions"] if looped else []
    for index, variable in enumerate(("img", "img2")[: max(1, len(where.contrasts))]):
        session = "var:s" if looped else _session(where)
        terminals += [f"set:{variable}", *_image(where, session, index)]
        seen = ""
        if contrast:
            terminals += ["set:img2", "op:image", constant("Suffix", contrast), session]
            seen = "var:img2"
        for clause in clauses:
            terminals += _statements(clause, f"var:{variable}", seen)
    return [*terminals, END] if looped else terminals


def _between(clause: Clause) -> list[str]:
    """Statements about the first and the last session together."""
    before, after = "var:before", "var:after"
    match clause:
        case Change(op, targets, measure):
            pairs = [(_measured(measure, before, one), _measured(measure, after, one)) for one in targets]
            return [t for one, other in pairs for t in ("op:report", f"op:{op}", *one, *other)]
        case Followed(target):
            return ["op:follow", *mask_of(before, target), *mask_of(after, target)]
        case Question(kind, target, _, _, measure):
            pair = [_measured(measure, when, target) for when in (after, before)]
            return _compared(*(pair if kind == "grew" else reversed(pair)))
        case Presence(target):
            return _read(clause, _image_of(target))
        case Measure() | Each() | Described() | Ratio():
            return _statements(clause, _image_of(targets_in(clause)[0]))
    raise ValueError(f"expected a request about two sessions, got {clause}")


def _image_of(target: Target) -> str:
    """Variable of the image that pieces lie on which were compared between two sessions."""
    return "var:before" if fate_in(target) == "gone" else "var:after"


def _statements(clause: Plain, image: str, seen: str = "") -> list[str]:
    terminals: list[str] = []
    match clause:
        case Measure(targets, measures, save):
            for target in targets:
                mask = mask_of(image, target, seen)
                terminals += ["op:save", *mask] if save else []
                terminals += _reported(measures, image, mask)
        case Asymmetry(bases, measure, direction):
            for base in bases:
                pair = [t for half in halves(base, direction) for t in _measured(measure, image, half)]
                terminals += ["op:report", "op:asymmetry", *pair]
        case Ratio(targets, denominator):
            below = _measured("volume", image, denominator)
            for target in targets:
                terminals += ["op:report", "op:ratio", *_measured("volume", image, target), *below]
        case Distance(target, other):
            terminals = ["op:report", "op:distance", *mask_of(image, target), *mask_of(image, other)]
        case Cutout(op, targets):
            terminals = [t for target in targets for t in ("op:save", f"op:{op}", image, *mask_of(image, target))]
        case Each() | Everything() | Described():
            terminals = _over_pieces(clause, image, seen)
    return terminals


def _over_pieces(clause: Each | Everything | Described, image: str, seen: str) -> list[str]:
    match clause:
        case Described():
            return _description(clause, image, seen)
        case Each(target):
            over, body = ["op:pieces", *mask_of(image, target, seen)], _of_each(clause, image, seen)
        case Everything(measures):
            body = _reported(measures, image, ["var:m"]) if measures else ["op:save", "var:m"]
            over = ["op:parcels", image]
    return ["for:m", *over, *body, END]


def _of_each(clause: Each, image: str, seen: str) -> list[str]:
    """What is done with every piece, as terminals."""
    mask = ["var:m"]
    terminals = ["op:save", *mask] if clause.save else []
    terminals += _reported([measure for measure in clause.measures if measure != "distance"], seen or image, mask)
    if "distance" in clause.measures:
        terminals += ["op:report", "op:distance", *mask, *mask_of(image, clause.other)]
    return terminals + _said(clause.aspects, image, seen, mask)


def _description(clause: Described, image: str, seen: str) -> list[str]:
    """Numbers and words about one mask, which gets a variable when there are several."""
    mask, terminals = mask_of(image, clause.target, seen), []
    if len(clause.aspects) + len(clause.measures) > 1:
        terminals, mask = ["set:mask", *mask], ["var:mask"]
    return [*terminals, *_reported(clause.measures, image, mask), *_said(clause.aspects, image, seen, mask)]


def _read(asked: Asked, image: str) -> list[str]:
    """Statements that end in `read`."""
    match asked:
        case Question(_, target, other, _, measure):
            return _compared(_measured(measure, image, target), _measured(measure, image, other))
        case Presence(target):
            return ["set:mask", *mask_of(image, target), "op:read", "op:count", "var:mask"]
        case Largest(target):
            return ["set:mask", "op:largest", *mask_of(image, target), "op:read", "op:volume", "var:mask"]
        case Quality(target):
            return ["set:mask", *mask_of(image, target), "op:read", "op:quality", "var:mask"]
        case Contrast():
            return ["op:read", "op:features", image, *mask_of(image, SEEN_IN)]


def _word(question: Question, found: str) -> str:
    match question.kind:
        case "side":
            # the operands are the left and the right half, or swapped when the smaller side is asked for
            return {"greater": "left", "less": "right", "equal": "equal"}[found]
        case "brightness":
            return {"greater": "bright", "less": "dark", "equal": "similar"}[found]
    return "yes" if found == "greater" else "no"


def _numbers(question: Question, image: str) -> list[str]:
    pair = (question.target, question.other)
    if question.kind == "side":
        # the left one first, whichever the question was for
        pair = halves("hemisphere" if question.about == "cerebrum" else question.about)
    measured = [_measured(question.measure, image, target) for target in pair]
    match question.numbers:
        case "both":
            return [terminal for one in measured for terminal in ("op:report", *one)]
        case "asymmetry":
            return ["op:report", "op:asymmetry", *measured[0], *measured[1]]
    return []


def _answer(word: str, about: str) -> list[str]:
    return ["op:answer", constant("Word", word), constant("Structure", about)]


def _expanded(measures: Sequence[str]) -> list[str]:
    return [name for measure in measures for name in (CENTROID if measure == "centroid" else (measure,))]


def _reported(measures: Sequence[str], image: str, mask: list[str]) -> list[str]:
    return [t for measure in _expanded(measures) for t in ("op:report", *_applied(measure, image, mask))]


def _said(aspects: Sequence[str], image: str, seen: str, mask: list[str]) -> list[str]:
    """Statements that report a mask in words; only its signal is looked at on another image."""
    images = {"signal": seen or image}
    described = ([images.get(aspect, image), *mask, constant("Aspect", aspect)] for aspect in aspects)
    return [terminal for one in described for terminal in ("op:report", "op:describe", *one)]


def _measured(measure: str, image: str, target: Target) -> list[str]:
    return _applied(measure, image, mask_of(image, target))


def _applied(measure: str, image: str, mask: list[str]) -> list[str]:
    filling: dict[str, Callable[[], list[str]]] = {"Image": lambda: [image], "Mask": lambda: mask}
    arguments = [token for p in OPS[measure].parameters for token in filling[p.accepts[0]]()]
    return [f"op:{measure}", *arguments]


def _compared(greater: list[str], less: list[str]) -> list[str]:
    return ["op:read", "op:compare", *greater, *less]
