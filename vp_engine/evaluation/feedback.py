"""What it is worth that the agent reads values back: the same dialogues with and without them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from random import Random
from types import MappingProxyType

import numpy as np

from vp_engine.agent.language.generator import NAMED_CONTRASTS, Example, draw_example, seeded
from vp_engine.agent.language.lexicon import Split
from vp_engine.agent.planner import Context, Planner
from vp_engine.agent.program import render
from vp_engine.environment.instruction import Instruction, Observation
from vp_engine.environment.values import FEATURES, Features, Text
from vp_engine.environment.vocabulary import COMPARISONS
from vp_engine.evaluation.intervals import Share, share

_WITHHELD = Observation("ok", (Text("unknown"),))
_FEATURES = "features"

Appearances = Mapping[str, np.ndarray]
"""Image features by contrast, each (N, C) float32."""


@dataclass(frozen=True, slots=True)
class FeedbackScores:
    """Programs after a value was read back, of one kind of value; each share with its 95 % interval.

    Attributes
    ----------
    kind : str
        ``comparison``, ``number``, ``quality`` or ``features``.
    with_feedback, without_feedback : Share
        Exactly the right program, when the value is handed over and when it is withheld.
    """

    kind: str
    with_feedback: Share
    without_feedback: Share

    def __str__(self) -> str:
        return f"{self.kind}: right with feedback {self.with_feedback}, without {self.without_feedback}"


def evaluate_feedback(
    planner: Planner,
    *,
    number: int = 200,
    seed: int = 0,
    split: Split = "test",
    appearances: Appearances = MappingProxyType({}),
) -> tuple[FeedbackScores, ...]:
    """Hand a planner the first piece of code of a dialogue and what was read, and compare its second one.

    Parameters
    ----------
    planner : Planner
        Who writes the programs.
    number : int
        Dialogues.
    seed : int
        Of the draw.
    split : str
        Language they are drawn from.
    appearances : mapping of str to array
        Image features by contrast; dialogues about the contrast are left out without them.
    """
    rights: dict[str, list[tuple[bool, bool]]] = {}
    for example, seen in _dialogues(number, seed, split, appearances):
        context = Context(example.prompt, NAMED_CONTRASTS, example.sessions, example.scope)
        first, second = (render(step) for step in example.steps[:2])
        right, blind = (
            planner.next_instruction(context, [(Instruction(first), one)]).code == second for one in (seen, _WITHHELD)
        )
        rights.setdefault(_kind(example.observations[0]), []).append((right, blind))
    return tuple(
        FeedbackScores(kind, share([right for right, _ in pairs]), share([blind for _, blind in pairs]))
        for kind, pairs in sorted(rights.items())
    )


def _dialogues(number: int, seed: int, split: Split, appearances: Appearances) -> Iterator[tuple[Example, Observation]]:
    rng = seeded(seed, "feedback", split)
    while number:
        example = draw_example(split, rng)
        if len(example.steps) < 2 or (example.observations[0] == _FEATURES and not appearances):
            continue
        number -= 1
        yield example, _seen(example, appearances, rng)


def _seen(example: Example, appearances: Appearances, rng: Random) -> Observation:
    heard = example.observations[0]
    if heard != _FEATURES:
        return Observation("ok", (Text(heard),))
    rows = appearances.get(example.shown, np.zeros((1, FEATURES), np.float32))
    return Observation("ok", (Features(rows[rng.randrange(len(rows))], "T1w", "brain"),))


def _kind(heard: str) -> str:
    if heard in COMPARISONS:
        return "comparison"
    if heard == _FEATURES:
        return heard
    return "number" if "=" in heard else "quality"
