"""Questions about lesions on synthetic scans: what the program that the agent would run answers, against the truth."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from vp_engine.environment.one_scan import OneScan, found_among, found_in, said_of_lesions
from vp_engine.environment.values import Text
from vp_engine.environment.vocabulary import ASPECTS
from vp_engine.evaluation.intervals import Share, share
from vp_engine.synthesis.lesion_cases import LesionCase
from vp_engine.vision.description import READ_OFF
from vp_engine.vision.segmenter import NetworkSegmenter


@dataclass(frozen=True, slots=True)
class AspectScores:
    """Answers to one question; each share with its 95 % interval.

    Attributes
    ----------
    aspect : str
    right : Share
        Of the answers that were given.
    answered : Share
        Of all cases; the others were ``unclear``.
    confidence : float or None
        Mean confidence of the answers given that had one: calibrated where it equals the share that is right.
    """

    aspect: str
    right: Share
    answered: Share
    confidence: float | None

    def __str__(self) -> str:
        sure = "" if self.confidence is None else f", mean confidence {self.confidence:.1%}"
        return f"{self.aspect}: right {self.right} of answers, answered {self.answered}{sure}"


def evaluate_description(segmenter: NetworkSegmenter, cases: Iterable[LesionCase]) -> tuple[AspectScores, ...]:
    """Ask every question about the largest lesion of every case, and how many lesions there are.

    Truth: for side, place, number and signal what the same program says where the structures truly are; for the others
    what the case was made of. Cases between two words are left out of that question, and so is enhancement on other
    contrasts than T1w, where the product does not answer; that a T1w without contrast agent does not show whether a
    tumour enhances is a right answer. A lesion that was not found is a wrong answer (``none``).

    Parameters
    ----------
    segmenter : NetworkSegmenter
        With the answers fitted to it.
    cases : iterable of LesionCase
        Of label maps that were not trained on.
    """
    outcomes: dict[str, list[tuple[bool, bool, float | None]]] = {aspect: [] for aspect in ASPECTS}
    for case in cases:
        for aspect, truth, said in _answers(segmenter, case):
            answered = said.word != "unclear" or truth == "unclear"
            outcomes[aspect].append((said.word == truth, answered, said.confidence))
    scores = []
    for aspect, rows in outcomes.items():
        given = [(right, sure) for right, answered, sure in rows if answered]
        known = [sure for _, sure in given if sure is not None]
        scores.append(
            AspectScores(
                aspect,
                share([right for right, _ in given]),
                share([answered for _, answered, _ in rows]),
                float(np.mean(known)) if known else None,
            )
        )
    return tuple(scores)


def _answers(segmenter: NetworkSegmenter, case: LesionCase) -> Iterator[tuple[str, str, Text]]:
    """Aspect, true word and what was said."""
    unions = {name: (name,) for name in segmenter.known}
    delineated = {name: region.full(case.scan.shape) for name, region in segmenter.regions(case.scan, unions)}
    features = segmenter.features(case.scan)
    real = OneScan(
        case.scan,
        case.sequence,
        found_among(delineated),
        features=features.inside,
        answer=segmenter.answer,
        contrast_agent=case.contrast_agent,
    )
    true = OneScan(case.scan, case.sequence, found_in(case.truth))
    for aspect in ASPECTS:
        if aspect in READ_OFF:
            yield aspect, said_of_lesions(true, aspect).word, said_of_lesions(real, aspect)
        elif aspect in case.answers and (aspect != "enhancement" or case.sequence == "T1w"):
            truth = case.answers[aspect]
            if aspect == "enhancement" and truth == "no" and not case.contrast_agent:
                truth = "unclear"
            yield aspect, truth, said_of_lesions(real, aspect)
