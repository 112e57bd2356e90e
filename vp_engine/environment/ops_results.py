"""Ops that end an expression: what becomes a row, a mask, an answer, or feedback to the agent."""

from __future__ import annotations

import numpy as np

from vp_engine.environment.misuse import Misuse
from vp_engine.environment.registry import Context, Reason, Structure, Word
from vp_engine.environment.values import Cutout, Features, Mask, Number, Result, Text
from vp_engine.environment.vocabulary import REASONS
from vp_engine.errors import RequestRefused


def report(context: Context, value: Number | Text | list[Number]) -> None:
    """Write a number, each of a list, or what `describe` says as a row of the table ``measurements``.

    Two different numbers for one structure, measure, image and pair of sessions are refused: the table has one row for
    them. The same number twice is one row. A word is a row of the measure it was asked for (``side``, ``place``, ...)
    whose ``qc_score`` is the probability that the word is right; words of `compare` and `quality`, which say of no
    structure what they are about, cannot be reported.
    """
    for row in value if isinstance(value, list) else [value]:
        if isinstance(row, Text) and row.target is None:
            raise Misuse(
                "this word belongs to no structure",
                code="word_without_target",
                expected="a number, or a word of describe(...)",
                got=row.word,
            )
        _add(context, row)


def save(context: Context, what: Mask | Cutout | list[Mask]) -> None:
    """Write a mask, or each of a list, into the label map of its image and the table ``segmentations``.

    A region made of masks gets a mask file of its own, and what was cut out of an image becomes an image file. Two
    different ones for one name and image are refused: there is one file for them.
    """
    for one in what if isinstance(what, list) else [what]:
        if not any(_same_file(kept, one) for kept in context.results):
            context.results.append(one)


def read(context: Context, value: Number | Text | Features | list[Number]) -> None:
    """End this piece of code and feed a value back to the agent.

    Only as the last line, or the last of a branch that nothing follows.
    """
    context.read.append(value)


def answer(context: Context, word: Word, about: Structure) -> None:
    """Write a word about a structure as a row of measure ``answer``.

    Parameters
    ----------
    word : Word
        One of the closed list.
    about : Structure
        Structure the answer is about: the target of the row.
    """
    sessions = context.world.sessions
    _add(context, Text(word, target=about, session=sessions[0] if len(sessions) == 1 else None))


def refuse(reason: Reason) -> None:
    """Say that the prompt cannot be done, and why; nothing of this piece of code is kept.

    Parameters
    ----------
    reason : Reason
        One of the closed list; each maps to a sentence the user can act on.
    """
    raise RequestRefused(REASONS[reason], code=reason)


def row_key(row: Number | Text) -> tuple[object, ...]:
    """What makes a row unique within a prompt: target, measure, image and sessions."""
    if isinstance(row, Text):
        return row.target, row.measure, row.image, row.session, None
    return row.target, row.measure, row.image, row.session, row.reference_session


def _same_file(kept: Result, new: Mask | Cutout) -> bool:
    """Whether what is to be saved is saved already.

    Raises
    ------
    Misuse
        If something else is saved under its name.
    """
    if kept is new:
        return True
    if isinstance(kept, (Number, Text)) or isinstance(kept, Mask) != isinstance(new, Mask):
        return False
    if (kept.structure, kept.image.suffix, kept.image.session) != (new.structure, new.image.suffix, new.image.session):
        return False
    if np.array_equal(kept.data, new.data):
        return True
    raise Misuse(
        f"{new.structure} is already saved with other voxels",
        code="duplicate_row",
        expected="one region or image per name and session",
        got="two",
    )


def _add(context: Context, row: Number | Text) -> None:
    key = row_key(row)
    for kept in context.results:
        if isinstance(kept, (Mask, Cutout)) or kept.target != row.target or row_key(kept) != key:
            continue
        if kept == row:
            return
        raise Misuse(
            f"{row.measure} of {row.target} is already reported with another value",
            code="duplicate_row",
            expected="one number per structure, measure and session",
            got="two",
        )
    context.results.append(row)


FUNCTIONS = (report, save, read, answer, refuse)
