"""What the agent hands to the environment, and what it gets back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from vp_engine.environment.values import Cutout, Features, Image, Mask, Number, SessionInfo, Text, Value

MAX_TEXT = 300
"""Longest text of an observation, in characters."""


@dataclass(frozen=True, slots=True, eq=False)
class Instruction:
    """One piece of code.

    Attributes
    ----------
    code : str
        Program text; untrusted.
    embeddings : mapping of int to (D,) float array
        Conditioning vector of the k-th call of `segment` in the order of the text; calls without one use the
        network's own vector of the structure.
    confidence : float
        Probability of the least certain choice, as the planner sees it; 1 from a planner that gives none.
    """

    code: str
    embeddings: Mapping[int, np.ndarray] = field(default_factory=dict)
    confidence: float = 1.0


@dataclass(frozen=True, slots=True, eq=False)
class Observation:
    """What came of an instruction.

    Attributes
    ----------
    status : str
        ``ok``: the program ended with `read`, and the agent goes on. ``done``: it ran to its end, the prompt is
        finished. ``error``: the program was refused; another may be tried. ``refused``: the request cannot be met;
        the prompt is finished.
    values : tuple
        What was read.
    code, message : str
        Which rule or reason, and one sentence; empty when all went well.
    line : int or None
        Line of the program, from 1.
    expected, got : str
        What the rule wanted and what stood there.
    close : tuple of str
        Names that may have been meant.
    """

    status: Literal["ok", "done", "error", "refused"]
    values: tuple[Value, ...] = ()
    code: str = ""
    message: str = ""
    line: int | None = None
    expected: str = ""
    got: str = ""
    close: tuple[str, ...] = ()

    def text(self) -> str:
        """Return the observation as the agent reads it: one line, at most 300 characters, nothing from files."""
        if self.status in ("ok", "done"):
            return _shortened([self.status, *(_described(value) for value in self.values)])
        where = f" line {self.line}" if self.line is not None else ""
        fields = [f"{self.status} {self.code}{where}: {self.message}"]
        fields += [f"expected {self.expected}"] if self.expected else []
        fields += [f"got {self.got}"] if self.got else []
        fields += [f"close {', '.join(self.close)}"] if self.close else []
        return _shortened(fields)


def _described(value: Value) -> str:
    match value:
        case list():
            return "; ".join(_described(one) for one in value)
        case Number():
            amount = "undefined" if value.value is None else f"{value.value:.6g} {value.unit}"
            return f"{value.measure}({value.target})={amount}"
        case Text():
            return value.word
        case Mask():
            return f"mask of {value.structure}"
        case Image():
            return f"image {value.suffix}"
        case Cutout():
            return f"image {value.image.suffix} of {value.structure}"
        case Features():
            return "features"
        case SessionInfo():
            return "session"


def _shortened(fields: list[str]) -> str:
    text = "; ".join(fields)
    return text if len(text) <= MAX_TEXT else text[: MAX_TEXT - 3] + "..."
