"""Scores of the agent suite."""

from __future__ import annotations

from pathlib import Path

import pytest

from vp_engine.agent.planner import Context, History
from vp_engine.environment.instruction import Instruction
from vp_engine.errors import ConfigError
from vp_engine.evaluation.agent import Case, held_out_cases, read_cases, run_case, score
from vp_engine.evaluation.intervals import share

RIGHT = Case(Context("brainstem"), frozenset({("brainstem", "volume")}))
REFUSE = Case(Context("liver"), frozenset(), ("out_of_domain",))


class Always:
    """Writes one program whatever is asked."""

    def __init__(self, code: str) -> None:
        self.code = code

    def next_instruction(self, context: Context, history: History) -> Instruction:
        return Instruction(self.code)


def test_wilson_interval_of_nine_in_ten() -> None:
    # Wilson 1927: (p + z²/2n ± z sqrt(p(1-p)/n + z²/4n²)) / (1 + z²/n)
    measured = share([True] * 9 + [False])
    assert (measured.hits, measured.trials, measured.value) == (9, 10, 0.9)
    assert measured.low == pytest.approx(0.5958, abs=1e-4)
    assert measured.high == pytest.approx(0.9821, abs=1e-4)


def test_no_trials_have_no_share() -> None:
    assert share([]).value is None
    assert str(share([])) == "no trials"


def test_scores_count_answers_and_refusals_apart() -> None:
    measures = Always('report(volume(segment(scan(current), "brainstem")))\n')
    refuses = Always('refuse("diagnosis")\n')
    scores = score("s", [run_case(p, case) for p in (measures, refuses) for case in (RIGHT, REFUSE)])
    assert (scores.right_outputs.hits, scores.right_outputs.trials) == (1, 2)
    assert (scores.refused.hits, scores.right_refusals.hits, scores.right_refusals.trials) == (1, 0, 2)
    assert scores.false_refusals.hits == 1
    assert len(scores.wrong) == 3
    assert "right outputs: 50.0%" in str(scores)


def test_extra_rows_are_wrong() -> None:
    both = Always('img = scan(current)\nsave(segment(img, "brainstem"))\nreport(volume(segment(img, "brainstem")))\n')
    outcome = run_case(both, RIGHT)
    assert outcome.outputs == {("brainstem", "volume"), ("brainstem", "segmentation")}
    assert not outcome.right


def test_held_out_cases_come_with_what_is_right() -> None:
    cases = held_out_cases(12, seed=1, split="test")
    assert all(bool(case.outputs) != bool(case.reasons) for case in cases)


def test_a_broken_line_of_cases_is_named(tmp_path: Path) -> None:
    path = tmp_path / "cases.jsonl"
    path.write_text('{"prompt": "x"}\n', encoding="utf-8")
    with pytest.raises(ConfigError, match="line 1"):
        read_cases(path)
