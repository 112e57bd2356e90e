"""Shares with their confidence intervals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from statsmodels.stats.proportion import proportion_confint


@dataclass(frozen=True, slots=True)
class Share:
    """A share of trials with its 95 % Wilson interval.

    Attributes
    ----------
    hits, trials : int
        Counted.
    value, low, high : float or None
        Share and interval, 0 to 1; None without trials.
    """

    hits: int
    trials: int
    value: float | None
    low: float | None
    high: float | None

    def __str__(self) -> str:
        if self.value is None:
            return "no trials"
        return f"{self.value:.1%} [{self.low:.1%}, {self.high:.1%}] ({self.hits}/{self.trials})"


def share(outcomes: Sequence[bool]) -> Share:
    """Count how many of the outcomes are true.

    References
    ----------
    Wilson 1927, *Probable inference, the law of succession, and statistical inference*.
    """
    hits, trials = sum(outcomes), len(outcomes)
    if not trials:
        return Share(0, 0, None, None, None)
    low, high = proportion_confint(hits, trials, alpha=0.05, method="wilson")
    return Share(hits, trials, hits / trials, float(low), float(high))
