"""The released language model on prompts that people wrote and training never saw."""

from __future__ import annotations

from pathlib import Path

import pytest

import vp_engine
from vp_engine.agent.planner import Agent
from vp_engine.anatomy import STRUCTURES
from vp_engine.environment.vocabulary import REASONS
from vp_engine.evaluation.agent import AgentScores, Case, read_cases, run_case, score

WEIGHTS = Path(vp_engine.__file__).parent / "models" / "default" / "agent"
CASES = read_cases(Path(__file__).with_name("agent_prompts.jsonl"))

# what the released weights reach, less two prompts: a change that loses more has broken something
LEAST_RIGHT_OUTPUTS = 173
LEAST_RIGHT_REFUSALS = 87
MOST_FALSE_REFUSALS = 18


@pytest.fixture(scope="module")
def agent() -> Agent:
    """The released planner."""
    return Agent.from_pretrained(WEIGHTS)


@pytest.fixture(scope="module")
def scores(agent: Agent) -> AgentScores:
    """Scores on all hand-written prompts."""
    return score("hand_written", [run_case(agent, case) for case in CASES])


def test_the_cases_are_apart_and_of_the_vocabulary() -> None:
    assert len({case.context for case in CASES}) == len(CASES)
    assert {target for case in CASES for target, _ in case.outputs} <= set(STRUCTURES)
    # the environment has one more reason than the model: structures of the vocabulary that no weights delineate
    assert {reason for case in CASES for reason in case.reasons} <= {*REASONS, "unsupported_structure"}
    assert all(bool(case.outputs) != bool(case.reasons) for case in CASES)


def test_right_rows(scores: AgentScores) -> None:
    assert scores.right_outputs.hits >= LEAST_RIGHT_OUTPUTS, scores


def test_right_refusals(scores: AgentScores) -> None:
    assert scores.right_refusals.hits >= LEAST_RIGHT_REFUSALS, scores
    assert scores.false_refusals.hits <= MOST_FALSE_REFUSALS, scores


def test_no_program_fails_at_run_time(scores: AgentScores) -> None:
    assert scores.failures.hits == 0, scores


def test_the_released_weights_are_small() -> None:
    assert (WEIGHTS / "model.safetensors").stat().st_size <= 16 * 2**20


def _case(prompt: str) -> Case:
    return next(case for case in CASES if case.context.prompt == prompt)


@pytest.mark.parametrize(
    "prompt",
    [
        "Measure the volume of the left and right hippocampus.",
        "How asymmetric are the hippocampi?",
        "Which hippocampus is bigger?",
        "Segment the liver.",
    ],
)
def test_the_prompts_of_the_first_page_work(agent: Agent, prompt: str) -> None:
    outcome = run_case(agent, _case(prompt))
    assert outcome.right, outcome
