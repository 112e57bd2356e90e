"""Questions about lesions on synthetic scans: what the program that the agent would run answers, against the truth."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vp_engine.anatomy import PARTS, STRUCTURES
from vp_engine.environment.instruction import Instruction
from vp_engine.environment.judging import WITH_CONTRAST_AGENT, Judging, judged
from vp_engine.environment.omega import Environment
from vp_engine.environment.values import Image, Mask, SessionInfo, Text
from vp_engine.environment.vocabulary import ASPECTS
from vp_engine.evaluation.intervals import Share, share
from vp_engine.synthesis.lesion_cases import LesionCase
from vp_engine.vision.description import QUESTIONS
from vp_engine.vision.features import ScanFeatures
from vp_engine.vision.segmenter import NetworkSegmenter
from vp_engine.volumes.volume import Volume

_PROGRAM = 'img = scan(current)\nreport(describe(img, {mask}, "{aspect}"))\n'
_ALL = 'segment(img, "lesion")'
_LARGEST = f"largest({_ALL})"

Found = Callable[[str], NDArray[np.bool_]]


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


class _OneScan:
    """A world with one scan, whose structures are where a function says."""

    def __init__(self, volume: Volume, suffix: str, found: Found, segmenter: NetworkSegmenter, *, agent: bool) -> None:
        self._session = SessionInfo(None, None, (suffix,))
        self._volume = volume
        self._found = found
        self._segmenter = segmenter
        self._flags = (WITH_CONTRAST_AGENT,) if agent else ()
        self.structures = frozenset(PARTS)
        self._seen: ScanFeatures | None = None
        self._judging = Judging(self)

    @property
    def sessions(self) -> tuple[SessionInfo, ...]:
        return (self._session,)

    def image(self, session: SessionInfo, suffix: str) -> Image:
        return Image(session, suffix, self._volume.data, self._volume.affine, flags=self._flags)

    def segment(self, image: Image, structure: str, *, phi: np.ndarray | None = None) -> Mask:
        del phi
        return Mask(image, structure, self._found(structure))

    def landmarks(self, image: Image, structures: Sequence[str]) -> dict[str, Mask]:
        return {name: self.segment(image, name) for name in structures}

    def features(self, image: Image, mask: Mask) -> np.ndarray:
        del image
        if self._seen is None:
            self._seen = self._segmenter.features(self._volume)
        return self._seen.inside(mask.data)

    def judged(self, image: Image, mask: Mask, aspect: str) -> tuple[str, float]:
        return judged(self._judging, image, mask, aspect, self._segmenter.answer)

    def aligned(self, image: Image, to: Image) -> np.ndarray:
        del image, to
        return np.eye(4)


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

    def seen(name: str) -> NDArray[np.bool_]:
        together: NDArray[np.bool_] = np.logical_or.reduce([delineated[part] for part in STRUCTURES[name].parts])
        return together

    def truly(name: str) -> NDArray[np.bool_]:
        return np.isin(case.truth, [1 + PARTS.index(part) for part in STRUCTURES[name].parts])

    real, true = (
        _OneScan(case.scan, case.sequence, found, segmenter, agent=case.contrast_agent) for found in (seen, truly)
    )
    for aspect in ASPECTS:
        if aspect not in QUESTIONS:
            yield aspect, _said(true, aspect).word, _said(real, aspect)
        elif aspect in case.answers and (aspect != "enhancement" or case.sequence == "T1w"):
            truth = case.answers[aspect]
            if aspect == "enhancement" and truth == "no" and not case.contrast_agent:
                truth = "unclear"
            yield aspect, truth, _said(real, aspect)


def _said(world: _OneScan, aspect: str) -> Text:
    environment = Environment(world)
    code = _PROGRAM.format(mask=_ALL if aspect == "number" else _LARGEST, aspect=aspect)
    observation = environment.run(Instruction(code))
    if observation.status != "done":
        return Text(observation.code or "unclear", measure=aspect)
    (said,) = environment.reported
    if not isinstance(said, Text):
        raise TypeError(f"expected a word from describe, got {type(said).__name__}")
    return said
