"""Draw a whole prompt with its program: the training material of the language model."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from random import Random

from vp_engine.agent.language.lesion_requests import LESION_DRAWS
from vp_engine.agent.language.lexicon import Lexicon, Split, lexicon
from vp_engine.agent.language.meaning import (
    Asked,
    Change,
    Clause,
    Contrast,
    Cutout,
    Each,
    Everything,
    Followed,
    Largest,
    Measure,
    Presence,
    Quality,
    Question,
    Time,
    Where,
    is_across,
    seen_in,
)
from vp_engine.agent.language.noise import add_noise
from vp_engine.agent.language.plain import draw_plain
from vp_engine.agent.language.questions import (
    draw_brightness,
    draw_contrast,
    draw_found,
    draw_halves,
    draw_largest,
    draw_lesion_side,
    draw_presence,
    draw_quality,
    draw_question,
    draw_side_numbers,
)
from vp_engine.agent.language.refusing import draw_refusal
from vp_engine.agent.language.region_requests import REGION_DRAWS, SCAN
from vp_engine.agent.language.requests import (
    Drawn,
    draw_asymmetry,
    draw_change,
    draw_distance,
    draw_everything,
    draw_list,
    draw_measure,
    draw_ratio,
    draw_respectively,
    draw_short,
    draw_show,
)
from vp_engine.agent.language.steps import asked_on, first_step, refusal, second_step
from vp_engine.agent.terminals import MAX_SESSIONS

REFUSED_SHARE = 0.27
NAMED_CONTRASTS: tuple[str, ...] = ("T1w", "T2w", "FLAIR", "PDw", "T2starw")
_CONTRAST_WEIGHTS = (30, 20, 35, 8, 7)
_SPACES = re.compile(" {2,}")
_SIGNAL = re.compile(r"\b(signal|intensity|intensities|brightness)\b")
_INTENSITIES = frozenset({"mean_intensity", "median_intensity", "std_intensity", "relative_intensity"})

_Draws = Mapping[Callable[[Lexicon, Random], Drawn], float]
_OLD: _Draws = {
    draw_measure: 38,
    draw_show: 15,
    draw_asymmetry: 8,
    draw_ratio: 11,
    draw_distance: 3,
    draw_everything: 4,
    draw_change: 14,
    draw_question: 9,
}
_ASKED: _Draws = {
    draw_presence: 26,
    draw_largest: 18,
    draw_lesion_side: 12,
    draw_brightness: 14,
    draw_quality: 16,
    draw_side_numbers: 7,
    draw_contrast: 9,
    draw_halves: 4,
}
_FAMILIES: tuple[tuple[_Draws, float], ...] = (
    (_OLD, 0.49),
    (REGION_DRAWS, 0.19),
    (_ASKED, 0.11),
    (LESION_DRAWS, 0.21),
)
"""Kinds of requests with their shares among those that are no short ones and no lists."""


@dataclass(frozen=True, slots=True)
class Example:
    """One prompt with what the agent is to write.

    Attributes
    ----------
    prompt : str
        The user's words.
    images : tuple of str
        Suffixes at hand, the preferred first.
    sessions : int
        Number of sessions at hand.
    scope : str
        ``session`` or ``participant``.
    steps : tuple of tuple of str
        Terminals of each piece of code.
    observations : tuple of str
        What was read after each piece but the last.
    shown : str
        What contrast the features stand for that were read; empty when none were, or when they show none.
    """

    prompt: str
    images: tuple[str, ...]
    sessions: int
    scope: str
    steps: tuple[tuple[str, ...], ...]
    observations: tuple[str, ...] = ()
    shown: str = ""


def seeded(*parts: object) -> Random:
    """Source of draws that depends on the parts alone."""
    return Random(" ".join(map(str, parts)))  # noqa: S311 (sentences are drawn, not secrets)


def draw_example(split: Split, rng: Random, *, noise: bool = True) -> Example:
    """Draw one example from the language of a split.

    Parameters
    ----------
    split : str
        ``train``, ``val`` or ``test``.
    rng : Random
        Source of every draw.
    noise : bool
        Whether typing errors may occur.
    """
    words = lexicon(split)
    scope = rng.choices(("session", "participant"), (65, 35))[0]
    sessions = rng.choices(range(1, MAX_SESSIONS + 2), (45, 30, 15, 10) if scope == "session" else (12, 48, 25, 15))[0]
    images = _images(rng)
    example = Example("", images, sessions, scope, ())
    example = _refused(example, words, rng) if rng.random() < REFUSED_SHARE else _request(example, words, rng)
    prompt = _SPACES.sub(" ", example.prompt).strip(" ")
    return replace(example, prompt=add_noise(prompt, rng) if noise else prompt)


def _images(rng: Random) -> tuple[str, ...]:
    count = rng.choices((1, 2, 3, 4), (40, 30, 20, 10))[0]
    if rng.random() < 0.5:
        return NAMED_CONTRASTS[:count]
    return tuple(rng.sample(NAMED_CONTRASTS, count))


def _refused(example: Example, words: Lexicon, rng: Random) -> Example:
    reason, sentence = draw_refusal(words, rng)
    draw = rng.random()
    if draw < 0.1 and reason not in ("ambiguous", "out_of_domain"):
        # one request that can be done does not make up for one that cannot
        other = rng.choice((draw_measure, draw_show))(words, rng)[1]
        parts = [sentence, other] if rng.random() < 0.5 else [other, sentence]
        sentence = words.phrase("then", rng).join(parts)
    prompt = _framed(_with_scan(sentence, words, rng), words, rng)
    return replace(example, prompt=prompt, steps=(tuple(refusal(reason)),))


def _request(example: Example, words: Lexicon, rng: Random) -> Example:
    clauses, sentence = _clauses(words, rng)
    where, (contrast, when) = _where(clauses, words, rng, example.scope)
    if contrast and SCAN in sentence and len(where.contrasts) == 1:
        sentence, contrast = _with_scan(sentence, words, rng, contrast), ""
    elif contrast and len(where.contrasts) == 1 and rng.random() < 0.3:
        # "mean flair signal of ..."
        sentence, inside = _SIGNAL.subn(rf"{contrast} \1", sentence, count=1)
        contrast = "" if inside else contrast
    prompt = _framed(_placed(_with_scan(sentence, words, rng), contrast, when, words, rng), words, rng)
    steps = (tuple(first_step(clauses, where)),)
    asked = next((clause for clause in clauses if isinstance(clause, Asked)), None)
    if asked is None:
        return replace(example, prompt=prompt, steps=steps)
    found, text, shown = draw_found(asked, rng)
    answered = tuple(second_step(asked, found, asked_on(clauses, where), where))
    return replace(example, prompt=prompt, steps=(*steps, answered), observations=(text,), shown=shown)


def _placed(sentence: str, contrast: str, when: str, words: Lexicon, rng: Random) -> str:
    """Sentence with the words for contrast and session before or behind it."""
    if (contrast or when) and rng.random() < 0.25:
        front = words.phrase("contrast_front", rng, {"c": contrast}) if contrast else ""
        earlier = when.strip(" ,()")
        if earlier and rng.random() < 0.5:
            return f"{front}{earlier}, {sentence}" if rng.random() < 0.5 else f"{earlier}, {front}{sentence}"
        return front + sentence + when
    marks = [words.phrase("contrast", rng, {"c": contrast}) if contrast else "", when]
    rng.shuffle(marks)
    return sentence + "".join(marks)


def _with_scan(sentence: str, words: Lexicon, rng: Random, contrast: str = "") -> str:
    """Sentence with a word for the image, which may say its contrast."""
    if SCAN not in sentence:
        return sentence
    scan = words.phrase("scan", rng)
    if contrast:
        scan = f"{contrast}{rng.choice((' image', ' scan', ' volume', ''))}"
    return sentence.replace(SCAN, scan)


def _clauses(words: Lexicon, rng: Random) -> tuple[list[Clause], str]:
    draw = rng.random()
    if draw < 0.1:
        return (draw_list if draw < 0.085 else draw_respectively)(words, rng)
    if draw < 0.235:
        clause, text = draw_short(words, rng)
        return [clause], text
    if draw < 0.295 and words.sentences["plain"]:
        clause, text = draw_plain(words, rng)
        return [clause], text
    number = rng.choices((1, 2, 3), (84, 13, 3))[0]
    drawn: list[Drawn] = []
    for _ in range(number):
        family = rng.choices([draws for draws, _ in _FAMILIES], [weight for _, weight in _FAMILIES])[0]
        candidates = [_drawn(family, words, rng) for _ in range(rng.choice((1, 1, 3)))]
        # people mostly ask short questions: of several drawn, the shortest
        clause, sentence = min(candidates, key=lambda one: len(one[1]))
        if _fits(clause, [kept for kept, _ in drawn]):
            drawn.append((clause, sentence))
    text = drawn[0][1]
    for _, following in drawn[1:]:
        text += words.phrase("then", rng) + following
    return [clause for clause, _ in drawn], text


def _drawn(family: _Draws, words: Lexicon, rng: Random) -> Drawn:
    return rng.choices(tuple(family), tuple(family.values()))[0](words, rng)


def _fits(clause: Clause, others: Sequence[Clause]) -> bool:
    """Whether the rows of a clause stay apart from those of the others."""
    if any(isinstance(one, Quality) and one.measures for one in (clause, *others)):
        # chooses its own image
        return not others
    if isinstance(clause, Asked):
        return not any(isinstance(other, Asked) for other in others)
    if any(map(seen_in, (clause, *others))):
        # the second image is one
        return not others
    if any(isinstance(one, Followed) for one in (clause, *others)) and any(map(is_across, others)):
        return False
    if isinstance(clause, Measure):
        return True
    if isinstance(clause, Change):
        return not any(
            isinstance(other, Change) and other.op.split("_")[0] == clause.op.split("_")[0] for other in others
        )
    return not any(type(other) is type(clause) for other in others)


def _where(clauses: Sequence[Clause], words: Lexicon, rng: Random, scope: str) -> tuple[Where, tuple[str, str]]:
    """Images and sessions a request names, and the words for them (contrast, session phrase)."""
    retried = next((clause for clause in clauses if isinstance(clause, Quality) and clause.measures), None)
    measured = {
        m
        for clause in clauses
        if isinstance(clause, Measure | Everything | Largest | Presence | Each)
        for m in clause.measures
    }
    bright = any(isinstance(clause, Question) and clause.kind == "brightness" for clause in clauses)
    longitudinal = any(map(is_across, clauses))
    contrasts: tuple[str, ...] = ()
    named = ""
    asked = any(isinstance(clause, Contrast) for clause in clauses)
    likely = 0.45 if bright or measured & _INTENSITIES else 0.3 if isinstance(clauses[0], Cutout) else 0.14
    seen = any(map(seen_in, clauses))
    if not retried and not asked and not seen and rng.random() < likely:
        contrasts = (rng.choices(NAMED_CONTRASTS, _CONTRAST_WEIGHTS)[0],)
        if rng.random() < 0.12 and all(isinstance(clause, Measure) for clause in clauses):
            contrasts = tuple(dict.fromkeys((*contrasts, rng.choice(NAMED_CONTRASTS))))
        named = words.phrase("and", rng).join(rng.choice(_contrast_words(words, suffix)) for suffix in contrasts)
    if retried and retried.at_first:
        contrasts = (retried.at_first,)
    time: Time = "current"
    when = ""
    if not longitudinal and rng.random() < (0.05 if asked else 0.14):
        options: tuple[Time, ...] = (
            ("first", "last", "each", "ends") if len(contrasts) < 2 and not seen else ("first", "last", "each")
        )
        if any(isinstance(clause, Asked) for clause in clauses):
            options = ("first", "last")
        time = rng.choice(options)
        when = words.phrase(f"at_{time}", rng)
    return Where(contrasts, time, scope), (named, when)


def _contrast_words(words: Lexicon, suffix: str) -> tuple[str, ...]:
    return tuple(str(template.items[0]) for template in words.rules[suffix])


def _framed(sentence: str, words: Lexicon, rng: Random) -> str:
    """Sentence with politeness, background and punctuation; often without any of them.

    The same for what is answered and what is refused: the frame must not tell which.
    """
    if rng.random() < 0.5:
        if rng.random() < 0.5:
            sentence = words.phrase("polite", rng) + sentence
        if rng.random() < 0.3:
            sentence += words.phrase("tail", rng)
        if rng.random() < 0.2:
            sentence = words.phrase("context", rng) + sentence
    return sentence + rng.choice(("", "", "", ".", ".", "?", "?", "!", " ?", "..."))
