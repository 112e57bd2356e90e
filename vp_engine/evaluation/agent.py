"""How well the agent understands: right rows, right refusals, and what it costs, on language it never saw."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from vp_engine.agent.language.generator import NAMED_CONTRASTS, Example, draw_example, seeded
from vp_engine.agent.language.lexicon import Split
from vp_engine.agent.loop import run_prompt
from vp_engine.agent.planner import Context, History, Planner
from vp_engine.agent.program import render
from vp_engine.environment.instruction import Instruction
from vp_engine.environment.omega import Environment
from vp_engine.environment.phantom import PhantomWorld
from vp_engine.environment.values import Cutout, Mask, Result, Text
from vp_engine.errors import ConfigError
from vp_engine.evaluation.calibration import Calibration, Verdict, calibrate
from vp_engine.evaluation.intervals import Share, share

_BUDGET = "budget_"
_PIECE = re.compile(r"_\d{3}(?=_|$)")

Outputs = frozenset[tuple[str, str]]
"""Pairs of target and measure; a mask has the measure ``segmentation``, pieces have ``#`` for their number."""


@dataclass(frozen=True, slots=True)
class Case:
    """A prompt and what is right for it.

    Attributes
    ----------
    context : Context
        As the agent is told.
    outputs : frozenset of (str, str)
        Targets and measures; empty when it is to be refused.
    reasons : tuple of str
        Any of these codes is right; empty when it is to be answered.
    """

    context: Context
    outputs: Outputs
    reasons: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the agent made of a case.

    Attributes
    ----------
    case : Case
        Prompt, and what is right.
    status, code : str
        As in `Transcript`.
    outputs : frozenset of (str, str)
        Targets and measures; empty unless the status is ``ok``.
    program : str
        All code.
    seconds : float
        Of planning.
    confidence : float
        Of the least certain choice in all programs.
    """

    case: Case
    status: str
    code: str
    outputs: Outputs
    program: str
    seconds: float
    confidence: float = 1.0

    @property
    def right(self) -> bool:
        """Whether rows, or status and reason, are exactly those wanted."""
        if self.case.reasons:
            return self.status == "refused" and self.code in self.case.reasons
        return self.status == "ok" and self.outputs == self.case.outputs


@dataclass(frozen=True, slots=True)
class ReasonScores:
    """Prompts to be refused for one reason; of several right ones the first counts.

    Attributes
    ----------
    reason : str
        Code.
    right_refusals, false_answers : Share
        Refused with a right reason; answered.
    """

    reason: str
    right_refusals: Share
    false_answers: Share

    def __str__(self) -> str:
        return f"{self.reason}: right refusals {self.right_refusals}, false answers {self.false_answers}"


@dataclass(frozen=True, slots=True)
class AgentScores:
    """Scores of one suite, each with its 95 % interval.

    Attributes
    ----------
    suite : str
        ``held_out`` or ``hand_written``.
    right_outputs : Share
        Of the prompts that can be done: exactly the right targets and measures.
    right_refusals : Share
        Of the prompts to be refused: refused, with a right reason.
    refused : Share
        Of the prompts to be refused: refused for whatever reason.
    false_refusals : Share
        Of the prompts that can be done: refused.
    false_answers : Share
        Of the prompts to be refused: answered.
    failures : Share
        Of all prompts: programs that failed at run time.
    runaway_programs : Share
        Of all prompts: ended because turns, time, calls or memory were used up.
    seconds_median, seconds_max : float
        Planning time per prompt.
    by_reason : tuple of ReasonScores
        Prompts to be refused, by the reason they are to be refused for.
    refused_as : tuple of (str, int)
        Code and number of the false refusals, the most frequent first.
    calibration : tuple of Calibration
        False refusals and false answers, had the threshold of confidence been another.
    wrong : tuple of Outcome
        Everything that was not right, to read.
    """

    suite: str
    right_outputs: Share
    right_refusals: Share
    refused: Share
    false_refusals: Share
    false_answers: Share
    failures: Share
    runaway_programs: Share
    seconds_median: float
    seconds_max: float
    by_reason: tuple[ReasonScores, ...]
    refused_as: tuple[tuple[str, int], ...]
    calibration: tuple[Calibration, ...]
    wrong: tuple[Outcome, ...]

    def __str__(self) -> str:
        lines = [f"  {name.replace('_', ' ')}: {getattr(self, name)}" for name in _SHARES]
        lines += [f"  seconds per prompt: {self.seconds_median:.2f}, at most {self.seconds_max:.2f}"]
        if self.by_reason:
            lines += ["  to be refused, by reason:", *(f"    {row}" for row in self.by_reason)]
        if self.refused_as:
            lines += [f"  false refusals by reason given: {', '.join(f'{code} {n}' for code, n in self.refused_as)}"]
        lines += ["  by least confidence asked for:", *(f"    {row}" for row in self.calibration)]
        return "\n".join([f"{self.suite}:", *lines])


_SHARES = (
    *("right_outputs", "right_refusals", "refused", "false_refusals", "false_answers"),
    *("failures", "runaway_programs"),
)


def evaluate_agent(
    planner: Planner, *, prompts: Path | None = None, held_out: int = 300, seed: int = 0, split: Split = "test"
) -> list[AgentScores]:
    """Score who writes the programs.

    Parameters
    ----------
    planner : Planner
        The built-in one or another.
    prompts : Path, optional
        Hand-written cases, one JSON object a line (`read_cases`).
    held_out : int
        Prompts drawn from the language of `split`.
    seed : int
        Of that draw.
    split : str
        ``test``; ``val`` while developing.

    Returns
    -------
    list of AgentScores
        One per suite.
    """
    suites = [("held_out", held_out_cases(held_out, seed=seed, split=split))] if held_out else []
    suites += [("hand_written", read_cases(prompts))] if prompts is not None else []
    return [score(suite, [run_case(planner, case) for case in cases]) for suite, cases in suites]


def read_cases(path: Path) -> list[Case]:
    """Read hand-written cases.

    Parameters
    ----------
    path : Path
        Lines ``{"prompt", "images", "sessions", "scope", "status": "ok", "outputs": [[target, measure], ...]}`` or
        ``{..., "status": "refused", "reasons": [...]}``.

    Raises
    ------
    ConfigError
        If a line is not of this form.
    """
    cases: list[Case] = []
    # a separator of lines in Unicode may stand inside a text of JSON
    for number, line in enumerate(path.read_text(encoding="utf-8").removesuffix("\n").split("\n"), start=1):
        try:
            row = json.loads(line)
            context = Context(row["prompt"], tuple(row["images"]), row["sessions"], row["scope"])
            outputs = frozenset((target, measure) for target, measure in row.get("outputs", ()))
            cases.append(Case(context, outputs, tuple(row.get("reasons", ()))))
        except (json.JSONDecodeError, KeyError, TypeError, ValueError) as error:
            raise ConfigError(f"{path.name}, line {number}: expected a case of the suite, got {error!r}") from error
    return cases


def held_out_cases(number: int, *, seed: int, split: Split) -> list[Case]:
    """Draw cases from templates and words that training never used; what is right comes from their own programs."""
    rng = seeded(seed, "evaluation", split)
    cases: list[Case] = []
    while len(cases) < number:
        example = draw_example(split, rng)
        if any("=0 " in heard for heard in example.observations):
            continue  # the phantom has lesions
        # everything at hand, so that what is scored is the understanding and not the data
        context = Context(example.prompt, NAMED_CONTRASTS, max(2, example.sessions), example.scope)
        wanted = run_case(_Scripted(example), Case(context, frozenset()))
        refused = wanted.status == "refused"
        if not (wanted.outputs or refused):
            continue  # no lesion of the phantom is of this kind
        cases.append(Case(context, wanted.outputs, (wanted.code,) if refused else ()))
    return cases


def run_case(planner: Planner, case: Case) -> Outcome:
    """Run one prompt on the phantom."""
    environment = Environment(PhantomWorld(case.context.images, sessions=case.context.sessions))
    transcript = run_prompt(planner, case.context.prompt, environment, scope=case.context.scope)
    planning = sum(turn.planning_seconds for turn in transcript.turns)
    outputs = frozenset(map(_output, environment.results))
    return Outcome(
        case=case,
        status=transcript.status,
        code=transcript.code,
        outputs=outputs if transcript.status == "ok" else frozenset(),
        program=transcript.program,
        seconds=planning,
        confidence=min(turn.instruction.confidence for turn in transcript.turns),
    )


def _output(row: Result) -> tuple[str, str]:
    """Target and measure, as in `run_case`."""
    match row:
        case Mask():
            return _unnumbered(row.structure), "segmentation"
        case Cutout():
            return row.structure, "image"
        case Text():
            return _unnumbered(row.target or ""), row.measure
        case _:
            return _unnumbered(row.target), row.measure


def _unnumbered(target: str) -> str:
    """Target without the numbers of pieces: what is right does not depend on how many the phantom has.

    >>> _unnumbered("lesion_at_least_10mm_003")
    'lesion_at_least_10mm_#'
    """
    return _PIECE.sub("_#", target)


def score(suite: str, outcomes: Sequence[Outcome]) -> AgentScores:
    """Count the outcomes of a suite."""
    doable = [one for one in outcomes if not one.case.reasons]
    refusable = [one for one in outcomes if one.case.reasons]
    seconds = sorted(one.seconds for one in outcomes)
    return AgentScores(
        suite=suite,
        right_outputs=share([one.right for one in doable]),
        right_refusals=share([one.right for one in refusable]),
        refused=share([one.status == "refused" for one in refusable]),
        false_refusals=share([one.status == "refused" for one in doable]),
        false_answers=share([one.status == "ok" for one in refusable]),
        failures=share([one.status == "failed" for one in outcomes]),
        runaway_programs=share([one.code.startswith(_BUDGET) for one in outcomes]),
        seconds_median=seconds[len(seconds) // 2] if seconds else 0.0,
        seconds_max=seconds[-1] if seconds else 0.0,
        by_reason=_by_reason(refusable),
        refused_as=tuple(Counter(one.code for one in doable if one.status == "refused").most_common()),
        calibration=calibrate([Verdict(bool(one.case.reasons), one.status, one.confidence) for one in outcomes]),
        wrong=tuple(one for one in outcomes if not one.right),
    )


def _by_reason(refusable: Sequence[Outcome]) -> tuple[ReasonScores, ...]:
    groups: dict[str, list[Outcome]] = {}
    for one in refusable:
        groups.setdefault(one.case.reasons[0], []).append(one)
    return tuple(
        ReasonScores(reason, share([one.right for one in group]), share([one.status == "ok" for one in group]))
        for reason, group in sorted(groups.items())
    )


class _Scripted:
    """A planner that writes the program an example came with, whatever the phantom says to its question."""

    def __init__(self, example: Example) -> None:
        self._steps = [render(step) for step in example.steps]

    def next_instruction(self, context: Context, history: History) -> Instruction:
        del context
        return Instruction(self._steps[min(len(history), len(self._steps) - 1)])
