"""What a threshold of confidence buys: fewer false answers for more false refusals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from vp_engine.evaluation.intervals import Share, share

THRESHOLDS: tuple[float, ...] = (0.0, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99)
"""Values of `min_confidence` that are looked at."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What was right for one prompt and what was done.

    Attributes
    ----------
    to_refuse : bool
        Whether it is to be refused.
    status : str
        ``ok``, ``refused`` or ``failed``.
    confidence : float
        Of the least certain choice in all programs of the prompt, 0 to 1.
    """

    to_refuse: bool
    status: str
    confidence: float

    def at(self, threshold: float) -> str:
        """Status under a threshold: what is less certain is refused.

        >>> Verdict(to_refuse=False, status="ok", confidence=0.6).at(0.7)
        'refused'
        """
        return "refused" if self.confidence < threshold else self.status


@dataclass(frozen=True, slots=True)
class Calibration:
    """Errors of refusing under one threshold, each with its 95 % interval.

    Attributes
    ----------
    threshold : float
        `min_confidence`.
    false_refusals : Share
        Of the prompts that can be done: refused.
    false_answers : Share
        Of the prompts to be refused: answered.
    """

    threshold: float
    false_refusals: Share
    false_answers: Share

    def __str__(self) -> str:
        return f"{self.threshold:.2f}: false refusals {self.false_refusals}, false answers {self.false_answers}"


def calibrate(verdicts: Sequence[Verdict], *, thresholds: Sequence[float] = THRESHOLDS) -> tuple[Calibration, ...]:
    """Errors of refusing under several thresholds, from one pass over the prompts.

    Parameters
    ----------
    verdicts : sequence of Verdict
        A planner that has a threshold of its own refuses below it already: to see lower ones, run it with 0.
    thresholds : sequence of float
        In the order of the result.
    """
    doable = [one for one in verdicts if not one.to_refuse]
    refusable = [one for one in verdicts if one.to_refuse]
    return tuple(
        Calibration(
            threshold,
            share([one.at(threshold) == "refused" for one in doable]),
            share([one.at(threshold) == "ok" for one in refusable]),
        )
        for threshold in thresholds
    )
