"""Draw a whole prompt with its program: the training material of the language model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random

from vp_engine.agent.language.lexicon import Lexicon, Split, lexicon
from vp_engine.agent.language.meaning import (
    Change,
    Clause,
    Distance,
    Everything,
    Measure,
    Question,
    Time,
    Where,
    first_step,
    refusal,
    second_step,
)
from vp_engine.agent.language.noise import add_noise
from vp_engine.agent.language.refusing import draw_refusal
from vp_engine.agent.language.requests import (
    Drawn,
    draw_asymmetry,
    draw_change,
    draw_distance,
    draw_everything,
    draw_list,
    draw_measure,
    draw_question,
    draw_ratio,
    draw_short,
    draw_show,
)
from vp_engine.agent.terminals import MAX_SESSIONS
from vp_engine.environment.vocabulary import COMPARISONS

REFUSED_SHARE = 0.27
NAMED_CONTRASTS: tuple[str, ...] = ("T1w", "T2w", "FLAIR", "PDw", "T2starw")
_CONTRAST_WEIGHTS = (30, 20, 35, 8, 7)
_INTENSITIES = frozenset({"mean_intensity", "median_intensity", "std_intensity"})

_DRAWS: tuple[Callable[[Lexicon, Random], Drawn], ...] = (
    draw_measure,
    draw_show,
    draw_asymmetry,
    draw_ratio,
    draw_distance,
    draw_everything,
    draw_change,
    draw_question,
)
_DRAW_WEIGHTS = (38, 15, 8, 11, 3, 4, 14, 9)


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
    """

    prompt: str
    images: tuple[str, ...]
    sessions: int
    scope: str
    steps: tuple[tuple[str, ...], ...]
    observations: tuple[str, ...] = ()


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
    if rng.random() < REFUSED_SHARE:
        prompt, steps = _refused(words, rng)
        observations: tuple[str, ...] = ()
    else:
        prompt, steps, observations = _request(words, rng, scope)
    prompt = add_noise(prompt, rng) if noise else prompt
    return Example(prompt, images, sessions, scope, steps, observations)


def _images(rng: Random) -> tuple[str, ...]:
    count = rng.choices((1, 2, 3, 4), (40, 30, 20, 10))[0]
    if rng.random() < 0.5:
        return NAMED_CONTRASTS[:count]
    return tuple(rng.sample(NAMED_CONTRASTS, count))


def _refused(words: Lexicon, rng: Random) -> tuple[str, tuple[tuple[str, ...], ...]]:
    reason, sentence = draw_refusal(words, rng)
    draw = rng.random()
    if draw < 0.1 and reason not in ("ambiguous", "out_of_domain"):
        # one request that can be done does not make up for one that cannot
        other = rng.choice((draw_measure, draw_show))(words, rng)[1]
        parts = [sentence, other] if rng.random() < 0.5 else [other, sentence]
        sentence = words.phrase("then", rng).join(parts)
    return _framed(sentence, words, rng), (tuple(refusal(reason)),)


def _request(words: Lexicon, rng: Random, scope: str) -> tuple[str, tuple[tuple[str, ...], ...], tuple[str, ...]]:
    clauses, sentence = _clauses(words, rng)
    where, place = _where(clauses, words, rng, scope)
    if place and rng.random() < 0.25:
        front = words.phrase("contrast_front", rng, {"c": place[0]}) if place[0] else ""
        when = place[1].strip(" ,()")
        if when and rng.random() < 0.5:
            sentence = f"{front}{when}, {sentence}" if rng.random() < 0.5 else f"{when}, {front}{sentence}"
        else:
            sentence = front + sentence + place[1]
    elif place:
        marks = [words.phrase("contrast", rng, {"c": place[0]}) if place[0] else "", place[1]]
        rng.shuffle(marks)
        sentence += "".join(marks)
    prompt = _framed(sentence, words, rng)
    steps = [tuple(first_step(clauses, where))]
    question = next((clause for clause in clauses if isinstance(clause, Question)), None)
    if question is None:
        return prompt, tuple(steps), ()
    found = rng.choices(COMPARISONS, (42, 42, 16))[0]
    return prompt, (*steps, tuple(second_step(question, found))), (found,)


def _clauses(words: Lexicon, rng: Random) -> tuple[list[Clause], str]:
    draw = rng.random()
    if draw < 0.09:
        return draw_list(words, rng)
    if draw < 0.27:
        clause, text = draw_short(words, rng)
        return [clause], text
    number = rng.choices((1, 2, 3), (84, 13, 3))[0]
    drawn: list[Drawn] = []
    for _ in range(number):
        candidates = [rng.choices(_DRAWS, _DRAW_WEIGHTS)[0](words, rng) for _ in range(rng.choice((1, 1, 3)))]
        # people mostly ask short questions: of several drawn, the shortest
        clause, sentence = min(candidates, key=lambda one: len(one[1]))
        if _fits(clause, [kept for kept, _ in drawn]):
            drawn.append((clause, sentence))
    text = drawn[0][1]
    for _, following in drawn[1:]:
        text += words.phrase("then", rng) + following
    return [clause for clause, _ in drawn], text


def _fits(clause: Clause, others: Sequence[Clause]) -> bool:
    """Whether the rows of a clause stay apart from those of the others."""
    if isinstance(clause, Question):
        return not any(isinstance(other, Question) for other in others)
    if isinstance(clause, Measure | Distance):
        return True
    if isinstance(clause, Change):
        return not any(
            isinstance(other, Change) and other.op.split("_")[0] == clause.op.split("_")[0] for other in others
        )
    return not any(type(other) is type(clause) for other in others)


def _where(clauses: Sequence[Clause], words: Lexicon, rng: Random, scope: str) -> tuple[Where, tuple[str, str] | None]:
    """Images and sessions a request names, and the words for them (contrast, session phrase)."""
    measured = {m for clause in clauses if isinstance(clause, Measure | Everything) for m in clause.measures}
    longitudinal = any(
        isinstance(clause, Change) or (isinstance(clause, Question) and clause.kind in ("grew", "shrank"))
        for clause in clauses
    )
    contrasts: tuple[str, ...] = ()
    named = ""
    if rng.random() < (0.45 if measured & _INTENSITIES else 0.14):
        contrasts = (rng.choices(NAMED_CONTRASTS, _CONTRAST_WEIGHTS)[0],)
        if rng.random() < 0.12 and all(isinstance(clause, Measure) for clause in clauses):
            contrasts = tuple(dict.fromkeys((*contrasts, rng.choice(NAMED_CONTRASTS))))
        named = words.phrase("and", rng).join(rng.choice(_contrast_words(words, suffix)) for suffix in contrasts)
    time: Time = "current"
    when = ""
    if not longitudinal and rng.random() < 0.14:
        options: tuple[Time, ...] = (
            ("first", "last", "each", "ends") if len(contrasts) < 2 else ("first", "last", "each")
        )
        if any(isinstance(clause, Question) for clause in clauses):
            options = ("first", "last")
        time = rng.choice(options)
        when = words.phrase(f"at_{time}", rng)
    place = (named, when) if named or when else None
    return Where(contrasts, time, scope), place


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
