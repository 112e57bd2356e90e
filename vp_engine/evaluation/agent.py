"""How well the agent understands: right rows, right refusals, and what it costs, on language it never saw."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from vp_engine.agent.language.generator import NAMED_CONTRASTS, Example, draw_example, seeded
from vp_engine.agent.language.lexicon import Split
from vp_engine.agent.loop import run_prompt
from vp_engine.agent.planner import Agent, Context, History, Planner
from vp_engine.agent.program import render
from vp_engine.environment.instruction import Instruction
from vp_engine.environment.omega import Environment
from vp_engine.environment.phantom import PhantomWorld
from vp_engine.environment.values import Cutout, Mask, Result, Text
from vp_engine.errors import ConfigError
from vp_engine.evaluation.intervals import Share, share

Outputs = frozenset[tuple[str, str]]
"""Pairs of target and measure; a mask has the measure ``segmentation``."""


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
    """What the agent made of a case."""

    case: Case
    status: str
    code: str
    outputs: Outputs
    program: str
    seconds: float

    @property
    def right(self) -> bool:
        """Whether rows, or status and reason, are exactly those wanted."""
        if self.case.reasons:
            return self.status == "refused" and self.code in self.case.reasons
        return self.status == "ok" and self.outputs == self.case.outputs


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
    failures : Share
        Of all prompts: programs that failed at run time.
    seconds_median, seconds_max : float
        Planning time per prompt.
    wrong : tuple of Outcome
        Everything that was not right, to read.
    """

    suite: str
    right_outputs: Share
    right_refusals: Share
    refused: Share
    false_refusals: Share
    failures: Share
    seconds_median: float
    seconds_max: float
    wrong: tuple[Outcome, ...]

    def __str__(self) -> str:
        rows = ("right_outputs", "right_refusals", "refused", "false_refusals", "failures")
        lines = [f"{self.suite}:"] + [f"  {row.replace('_', ' ')}: {getattr(self, row)}" for row in rows]
        return "\n".join([*lines, f"  seconds per prompt: {self.seconds_median:.2f}, at most {self.seconds_max:.2f}"])


def evaluate_agent(
    model_dir: Path, *, prompts: Path | None = None, held_out: int = 300, seed: int = 0, split: Split = "test"
) -> list[AgentScores]:
    """Score the agent of a folder.

    Parameters
    ----------
    model_dir : Path
        Folder with `config.json`, `tokenizer.json` and `model.safetensors`.
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
    agent = Agent.from_pretrained(model_dir)
    suites = [("held_out", held_out_cases(held_out, seed=seed, split=split))] if held_out else []
    suites += [("hand_written", read_cases(prompts))] if prompts is not None else []
    return [score(suite, [run_case(agent, case) for case in cases]) for suite, cases in suites]


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
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
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
    for _ in range(number):
        example = draw_example(split, rng)
        # everything at hand, so that what is scored is the understanding and not the data
        context = Context(example.prompt, NAMED_CONTRASTS, max(2, example.sessions), example.scope)
        wanted = run_case(_Scripted(example), Case(context, frozenset()))
        refused = wanted.status == "refused"
        cases.append(Case(context, wanted.outputs, (wanted.code,) if refused else ()))
    return cases


def run_case(planner: Planner, case: Case) -> Outcome:
    """Run one prompt on the phantom."""
    environment = Environment(PhantomWorld(case.context.images, sessions=case.context.sessions))
    transcript = run_prompt(planner, case.context.prompt, environment, scope=case.context.scope)
    planning = sum(turn.planning_seconds for turn in transcript.turns)
    outputs = frozenset(map(_output, environment.results))
    kept = outputs if transcript.status == "ok" else frozenset()
    return Outcome(case, transcript.status, transcript.code, kept, transcript.program, planning)


def _output(row: Result) -> tuple[str, str]:
    """Target and measure, as in `run_case`."""
    match row:
        case Mask():
            return row.structure, "segmentation"
        case Cutout():
            return row.structure, "image"
        case Text():
            return row.target or "", "answer"
        case _:
            return row.target, row.measure


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
        failures=share([one.status == "failed" for one in outcomes]),
        seconds_median=seconds[len(seconds) // 2] if seconds else 0.0,
        seconds_max=seconds[-1] if seconds else 0.0,
        wrong=tuple(one for one in outcomes if not one.right),
    )


class _Scripted:
    """A planner that writes the program an example came with, whatever the phantom says to its question."""

    def __init__(self, example: Example) -> None:
        self._steps = [render(step) for step in example.steps]

    def next_instruction(self, context: Context, history: History) -> Instruction:
        del context
        return Instruction(self._steps[min(len(history), len(self._steps) - 1)])
