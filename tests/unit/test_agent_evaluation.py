"""Scores of the agent suite."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from vp_engine.agent.planner import Context, History
from vp_engine.environment.instruction import Instruction
from vp_engine.errors import ConfigError
from vp_engine.evaluation.agent import Case, held_out_cases, read_cases, run_case, score
from vp_engine.evaluation.calibration import Verdict, calibrate
from vp_engine.evaluation.intervals import share

RIGHT = Case(Context("brainstem"), frozenset({("brainstem", "volume")}))
REFUSE = Case(Context("liver"), frozenset(), ("out_of_domain",))


class Always:
    """Writes one program whatever is asked, with one confidence."""

    def __init__(self, code: str, *, confidence: float = 1.0) -> None:
        self.instruction = Instruction(code, confidence=confidence)

    def next_instruction(self, context: Context, history: History) -> Instruction:
        return self.instruction


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


MEASURES = 'report(volume(segment(scan(current), "brainstem")))\n'


def test_answers_to_what_is_to_be_refused_are_counted_by_reason() -> None:
    poem = Case(Context("poem"), frozenset(), ("instruction_injection", "out_of_domain"))
    planners = (Always(MEASURES), Always(MEASURES), Always('refuse("out_of_domain")\n'))
    outcomes = [run_case(planner, case) for planner, case in zip(planners, (REFUSE, poem, poem), strict=True)]
    scores = score("s", outcomes)
    assert (scores.false_answers.hits, scores.false_answers.trials) == (2, 3)
    assert [(row.reason, row.false_answers.hits, row.right_refusals.hits) for row in scores.by_reason] == [
        ("instruction_injection", 1, 1),
        ("out_of_domain", 1, 0),
    ]
    assert "false answers: 66.7%" in str(scores)
    assert "out_of_domain: right refusals 0.0%" in str(scores)


def test_false_refusals_are_listed_with_the_reason_given() -> None:
    planners = (Always('refuse("diagnosis")\n'), Always('refuse("ambiguous")\n'), Always('refuse("diagnosis")\n'))
    scores = score("s", [run_case(planner, RIGHT) for planner in planners])
    assert scores.refused_as == (("diagnosis", 2), ("ambiguous", 1))
    assert "false refusals by reason given: diagnosis 2, ambiguous 1" in str(scores)


def test_programs_without_end_are_counted() -> None:
    asks = Always('read(volume(segment(scan(current), "brainstem")))\n')
    scores = score("s", [run_case(asks, RIGHT), run_case(Always(MEASURES), RIGHT)])
    assert (scores.runaway_programs.hits, scores.runaway_programs.trials) == (1, 2)
    assert "runaway programs: 50.0%" in str(scores)


def test_an_outcome_is_as_certain_as_its_least_certain_program() -> None:
    assert run_case(Always(MEASURES, confidence=0.6), RIGHT).confidence == 0.6


def test_thresholds_trade_false_answers_for_false_refusals() -> None:
    verdicts = [
        Verdict(to_refuse=False, status="ok", confidence=0.9),
        Verdict(to_refuse=False, status="ok", confidence=0.5),
        Verdict(to_refuse=False, status="failed", confidence=0.95),
        Verdict(to_refuse=True, status="ok", confidence=0.6),
        Verdict(to_refuse=True, status="refused", confidence=0.4),
    ]
    found = calibrate(verdicts, thresholds=(0.0, 0.55, 0.7, 1.0))
    assert [one.false_refusals.hits for one in found] == [0, 1, 1, 3]
    assert [one.false_answers.hits for one in found] == [1, 1, 0, 0]
    assert {(one.false_refusals.trials, one.false_answers.trials) for one in found} == {(3, 2)}
    assert str(found[0]) == f"0.00: false refusals {share([False] * 3)}, false answers {share([True, False])}"


def test_thresholds_are_printed_with_the_scores() -> None:
    printed = str(score("s", [run_case(Always(MEASURES, confidence=0.6), case) for case in (RIGHT, REFUSE)]))
    assert "    0.60: false refusals 0.0%" in printed
    assert "    0.70: false refusals 100.0%" in printed


def test_scores_of_nothing_can_be_printed() -> None:
    assert "no trials" in str(score("s", []))


def test_extra_rows_are_wrong() -> None:
    both = Always('img = scan(current)\nsave(segment(img, "brainstem"))\nreport(volume(segment(img, "brainstem")))\n')
    outcome = run_case(both, RIGHT)
    assert outcome.outputs == {("brainstem", "volume"), ("brainstem", "segmentation")}
    assert not outcome.right


def test_held_out_cases_come_with_what_is_right() -> None:
    cases = held_out_cases(12, seed=1, split="test")
    assert all(bool(case.outputs) != bool(case.reasons) for case in cases)


def test_a_prompt_may_have_a_separator_of_lines(tmp_path: Path) -> None:
    row = {"prompt": "the brain\u2028please", "images": ["T1w"], "sessions": 1, "scope": "session"}
    path = tmp_path / "cases.jsonl"
    path.write_text(json.dumps(row, ensure_ascii=False) + "\n", encoding="utf-8")
    assert [case.context.prompt for case in read_cases(path)] == [row["prompt"]]


def test_a_broken_line_of_cases_is_named(tmp_path: Path) -> None:
    path = tmp_path / "cases.jsonl"
    path.write_text('{"prompt": "x"}\n', encoding="utf-8")
    with pytest.raises(ConfigError, match="line 1"):
        read_cases(path)
