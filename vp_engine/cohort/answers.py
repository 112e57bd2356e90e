"""What came of a prompt in plain English, beside the rows: short sentences that are true whatever was asked."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from vp_engine.agent.calculations import Calculation, calculations
from vp_engine.agent.transcript import Transcript, Turn
from vp_engine.agent.units import units_asked
from vp_engine.agent.wording import in_words, quantity
from vp_engine.anatomy import STRUCTURES
from vp_engine.cohort.described import described_rows, described_sentences
from vp_engine.cohort.flags import meaning_of
from vp_engine.cohort.followed import followed_rows, followed_sentences
from vp_engine.cohort.sentences import CHANGES, MOST_LISTED, Telling, doubt, number_sentences, why_undefined
from vp_engine.environment.values import Cutout, Mask, Number, Result, SessionInfo, Text
from vp_engine.environment.vocabulary import COMPARISONS, SUFFIXES

MOST_SENTENCES = 12
"""Sentences about numbers; what is beyond stands in the rows alone."""

_FOUND = {"greater": "greater than", "less": "less than", "equal": "within 1 % of"}


def answer(transcript: Transcript, results: Sequence[Result], *, flags: Iterable[str] = ()) -> str:
    """Say what came of a prompt.

    Parameters
    ----------
    transcript : Transcript
        Prompt, programs and status. Units that the prompt names are used here; tables keep theirs.
    results : sequence of Number, Text, Mask or Cutout
        All that was reported, answered and saved, in order.
    flags : iterable of str
        Of all rows, beside their own.

    Returns
    -------
    str
        One or more sentences in one line.

    Examples
    --------
    >>> from vp_engine.agent.planner import Context
    >>> session = SessionInfo(None, None, ("T1w",))
    >>> sides = [Number(v, "mm3", f"{side}_hippocampus", "volume", "T1w", session)
    ...          for side, v in (("left", 3420.0), ("right", 3514.0))]
    >>> answer(Transcript(Context("How many ml are the hippocampi, each?"), (), "ok"), sides)
    'The volume of the left hippocampus is 3.42 mL (right: 3.51 mL).'
    """
    if transcript.status != "ok":
        return _not_done(transcript)
    followed = followed_rows(results)
    others = _without(results, (*followed.numbers, *followed.words))
    described = described_rows(others)
    left = _without(others, (*described.numbers, *described.words))
    numbers = [row for row in left if isinstance(row, Number)]
    words = [row for row in left if isinstance(row, Text)]
    turns = [turn for turn in transcript.turns if turn.observation.status in ("ok", "done")]
    made = calculations(turn.instruction.code for turn in turns)
    found = [*_read(turns, numbers)] if words else []
    telling = Telling(
        units_asked(transcript.context.prompt),
        tuple(one for piece in made for one in piece),
        several_sessions=len({row.session.label for row in (*numbers, *found) if row.measure not in CHANGES}) > 1,
        several_images=len({row.image for row in (*numbers, *found)}) > 1,
    )
    masks = [result for result in results if isinstance(result, Mask)]
    cutouts = [result for result in results if isinstance(result, Cutout)]
    said = [
        *_words(words),
        *(_comparisons(turns, made) if words else ()),
        *described_sentences(described, telling),
        *followed_sentences(followed, telling),
        *_at_most(MOST_SENTENCES, number_sentences([*numbers, *found], telling)),
        *_masks([mask for mask in masks if mask.structure not in {row.target for row in numbers}]),
        *_cutouts(cutouts),
        *_notes(
            {
                *flags,
                *(flag for row in results if isinstance(row, (Number, Text)) for flag in row.flags),
                *_file_flags([*masks, *cutouts]),
            }
        ),
    ]
    return " ".join(said) or "Nothing was measured and nothing outlined."


def _without(results: Sequence[Result], told: Iterable[Result]) -> list[Result]:
    """Results that are not told elsewhere; there may be thousands, so the same objects and not equal ones."""
    ids = {id(row) for row in told}
    return [row for row in results if id(row) not in ids]


def _at_most(most: int, sentences: Iterable[str]) -> list[str]:
    """The first sentences, and how many more there would be."""
    said = list(sentences)
    return said if len(said) <= most else [*said[:most], f"The rows have {len(said) - most} more such results."]


def _not_done(transcript: Transcript) -> str:
    reason = transcript.reason.strip() or transcript.code
    reason = f"{reason[:1].upper()}{reason[1:]}".removesuffix(".") + "."
    if transcript.status == "refused":
        return reason
    return f"There is no answer: the agent did not arrive at a program that works. {reason}"


def _read(turns: Sequence[Turn], rows: Sequence[Number]) -> Iterator[Number]:
    """Numbers the agent read to answer a question, beside the rows."""
    seen = list(rows)
    for turn in turns:
        for value in turn.observation.values:
            for one in value if isinstance(value, list) else [value]:
                if isinstance(one, Number) and one not in seen:
                    seen.append(one)
                    yield one


def _words(rows: Sequence[Text]) -> Iterator[str]:
    for row in rows:
        word, target = row.word.replace("_", " "), row.target or ""
        if row.word in SUFFIXES:
            yield f"Contrast: {row.word}."
        elif f"{row.word}_{target}" in STRUCTURES:
            yield f"The {in_words(f'{row.word}_{target}')}."
        elif (word in ("yes", "no") and len(rows) == 1) or not target:
            yield f"{_capital(word)}."
        else:
            yield f"{_capital(in_words(target))}: {word}."


def _comparisons(turns: Sequence[Turn], made: Sequence[Sequence[Calculation]]) -> Iterator[str]:
    """What was compared and found, where the program leaves no doubt."""
    for turn, piece in zip(turns, made, strict=True):
        compared = [one for one in piece if one.op == "compare"]
        match turn.observation.values:
            case (Text(word=word),) if word in COMPARISONS and len(compared) == 1:
                yield from _comparison(compared[0], _FOUND[word])
            case _:
                continue


def _comparison(made: Calculation, found: str) -> Iterator[str]:
    first, second = made.operands
    if not all((first.measure, first.structure, second.measure, second.structure)):
        return
    if first.structure != second.structure:
        other = quantity(second.measure, second.structure)
        yield f"The {quantity(first.measure, first.structure)} is {found} the {other}."
    elif (first.measure, {first.session, second.session}) == (second.measure, {"first", "last"}):
        whole = quantity(first.measure, first.structure)
        yield f"In the {first.session} session, the {whole} is {found} that in the {second.session} session."


def _masks(masks: Sequence[Mask]) -> Iterator[str]:
    several = len({mask.image.session.label for mask in masks}) > 1
    for what, chosen in (
        ("Outlined and saved", [mask for mask in masks if mask.data.any()]),
        ("Not found, so that its mask is empty", [mask for mask in masks if not mask.data.any()]),
    ):
        named = [in_words(mask.structure) + _of(mask.image.session, several=several) + doubt(mask) for mask in chosen]
        named = list(dict.fromkeys(named))
        if len(named) > MOST_LISTED:
            yield f"{what}: {len(named)} structures; the label table lists them."
        elif named:
            yield f"{what}: {', '.join(named)}."


def _cutouts(cutouts: Sequence[Cutout]) -> Iterator[str]:
    several = len({cutout.image.session.label for cutout in cutouts}) > 1
    named = [
        f"{one.image.suffix} image of the {in_words(one.structure)}{_of(one.image.session, several=several)}"
        for one in cutouts
    ]
    if named:
        yield f"Cut out and saved: {', '.join(dict.fromkeys(named))}."


def _of(session: SessionInfo, *, several: bool) -> str:
    return f" (session {session.label})" if several else ""


def _notes(flags: Iterable[str]) -> Iterator[str]:
    """Flags in words, each kind once, with the flags as they stand in the table."""
    kinds: dict[str, list[str]] = {}
    for flag in sorted(flags):
        if not why_undefined(flag):
            kinds.setdefault(flag.partition(":")[0], []).append(flag)
    for kind, named in kinds.items():
        yield f"Note: {meaning_of(kind)} ({', '.join(named)})."


def _file_flags(files: Sequence[Mask | Cutout]) -> Iterator[str]:
    for file in files:
        yield from (*file.flags, *file.image.flags)


def _capital(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}"
