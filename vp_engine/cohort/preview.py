"""What would be done for a prompt, without any scan: its program is run on a built-in phantom."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from vp_engine.agent.loop import run_prompt
from vp_engine.agent.planner import Planner
from vp_engine.environment.omega import Environment
from vp_engine.environment.phantom import PhantomWorld
from vp_engine.environment.values import Cutout, Mask, Number, Result, Text

SEGMENTATION = "segmentation"
"""Measure of a mask without a number."""
IMAGE = "image"
"""Measure of what is cut out of an image."""


@dataclass(frozen=True, slots=True)
class Output:
    """One row that the prompt would give per session.

    Attributes
    ----------
    target : str or None
        Canonical name of the structure, or the name of a region.
    measure : str
        As in `measurements`, `segmentation`, or `image`.
    unit : str or None
        None for answers, masks and images.
    """

    target: str | None
    measure: str
    unit: str | None


@dataclass(frozen=True, slots=True)
class Preview:
    """What would be done.

    Attributes
    ----------
    status : str
        ``ok`` or ``refused``.
    reason : str or None
        Why it is refused: code, colon, sentence.
    program : str
        What the agent wrote.
    outputs : tuple of Output
        Empty when refused.
    """

    status: str
    reason: str | None
    program: str
    outputs: tuple[Output, ...]

    def as_json(self) -> dict[str, Any]:
        """Return what `vp plan --json` prints."""
        return asdict(self) | {"outputs": [asdict(output) for output in self.outputs]}


def plan_prompt(prompt: str, *, planner: Planner, images: Sequence[str] = ("T1w",), sessions: int = 1) -> Preview:
    """Run the program of a prompt on the phantom.

    Parameters
    ----------
    prompt : str
        The user's words.
    planner : Planner
        Writes the program.
    images : sequence of str
        Suffixes every session would have, the preferred first.
    sessions : int
        Sessions at hand; several are taken together, as with ``scope: participant``.

    Returns
    -------
    Preview
        A prompt that the agent cannot bring to an end counts as refused, with that reason.
    """
    environment = Environment(PhantomWorld(tuple(images), sessions=sessions))
    scope = "participant" if sessions > 1 else "session"
    transcript = run_prompt(planner, prompt, environment, scope=scope)
    if transcript.status != "ok":
        return Preview("refused", f"{transcript.code}: {transcript.reason}", transcript.program, ())
    return Preview("ok", None, transcript.program, outputs_of(environment.results))


def outputs_of(results: Iterable[Result]) -> tuple[Output, ...]:
    """Kinds of rows among results, each once, in order; a mask that is also measured is no row of its own.

    Only a scan tells how many lesions there are: rows of `lesion_001`, `lesion_002`, ... are those of `lesion_NNN`.
    """
    results = list(results)
    measured = {result.target for result in results if isinstance(result, Number)}
    outputs: dict[Output, None] = {}
    for result in results:
        match result:
            case Number():
                outputs[Output(_any_piece(result.target), result.measure, result.unit)] = None
            case Text():
                target = None if result.target is None else _any_piece(result.target)
                outputs[Output(target, result.measure, None)] = None
            case Cutout():
                outputs[Output(_any_piece(result.structure), IMAGE, None)] = None
            case Mask() if result.structure not in measured:
                outputs[Output(_any_piece(result.structure), SEGMENTATION, None)] = None
            case _:
                continue
    return tuple(outputs)


def _any_piece(name: str) -> str:
    """Name of a numbered piece without its number; other names as they are."""
    return re.sub(r"_\d{3}$", "_NNN", name)
