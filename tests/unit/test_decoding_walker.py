"""Constrained decoding: what the walker lets through is a program, and nothing else gets through."""

from __future__ import annotations

import pytest

from vp_engine.agent.decoding import MAX_LINES, Walker
from vp_engine.agent.language.generator import seeded
from vp_engine.agent.program import linearise, render
from vp_engine.agent.terminals import STOP
from vp_engine.environment.syntax import parse
from vp_engine.environment.validator import check


def _random_walk(seed: int, *, answering: bool = False) -> list[str]:
    rng = seeded(seed)
    walker = Walker(answering=answering)
    written: list[str] = []
    while not walker.finished:
        terminal = rng.choice(walker.allowed())
        walker.push(terminal)
        written.append(terminal)
    return written


def _after(*terminals: str) -> Walker:
    walker = Walker()
    for terminal in terminals:
        walker.push(terminal)
    return walker


@pytest.mark.parametrize("seed", range(60))
def test_random_walks_are_valid_programs(seed: int) -> None:
    written = _random_walk(seed, answering=seed % 3 == 0)
    code = render(written)
    if len(code) <= 4096:
        check(parse(code), {})
    assert linearise(code) == written


def test_only_images_can_be_segmented() -> None:
    walker = _after("set:img", "op:scan", "var:first", "set:x", "op:volume", "op:segment")
    assert set(walker.allowed()) == {"var:img", "op:scan", "op:image"}


def test_variables_are_known_after_their_line_only() -> None:
    walker = _after("set:img", "op:scan")
    assert set(walker.allowed()) == {"var:current", "var:first", "var:last"}
    assert "var:img" not in _after("op:report", "op:volume", "op:segment").allowed()


def test_a_variable_keeps_its_type() -> None:
    walker = _after("set:img", "op:scan", "var:last", "set:img")
    assert set(walker.allowed()) == {"op:scan", "op:image"}


def test_structures_are_followed_by_mod() -> None:
    walker = _after("op:save", "op:segment", "op:scan", "var:current", "structure:brain")
    assert walker.forced() == "mod"


def test_answers_need_something_read() -> None:
    assert "op:answer" not in Walker().allowed()
    assert "op:answer" in Walker(answering=True).allowed()


def test_refusing_and_reading_end_the_piece() -> None:
    assert _after("op:refuse", "reason:diagnosis").forced() == STOP
    assert "op:refuse" not in _after("set:img", "op:scan", "var:current").allowed()
    assert "op:read" not in _after("for:s", "var:sessions").allowed()


def test_a_piece_that_may_not_refuse_does_something_else() -> None:
    assert "op:refuse" in Walker().allowed()
    assert set(Walker().allowed()) - set(Walker(refusing=False).allowed()) == {"op:refuse"}


def test_a_program_does_something() -> None:
    assert STOP not in Walker().allowed()
    assert STOP not in _after("set:img", "op:scan", "var:current").allowed()


def test_loops_have_a_body_and_are_closed() -> None:
    assert "end" not in _after("for:s", "var:sessions").allowed()
    inside = _after("for:s", "var:sessions", "op:save", "op:segment", "op:scan", "var:s", "structure:csf", "mod")
    assert "end" in inside.allowed()
    assert STOP not in inside.allowed()


def test_programs_end() -> None:
    walker = Walker()
    line = ("op:save", "op:segment", "op:scan", "var:current", "structure:csf", "mod")
    for terminal in line * MAX_LINES:
        walker.push(terminal)
    assert walker.allowed() == (STOP,)


def test_what_is_not_allowed_is_not_taken() -> None:
    with pytest.raises(ValueError, match="op:volume"):
        Walker().push("op:volume")


def test_the_second_operand_of_an_asymmetry_is_the_first_of_the_other_side() -> None:
    walker = Walker()
    written = ["op:report", "op:asymmetry", "op:volume", "op:part", "op:segment", "op:scan", "var:current"]
    for terminal in written:
        walker.push(terminal)
    assert "structure:left_hippocampus" in walker.allowed()
    assert not any(terminal.startswith("structure:right_") for terminal in walker.allowed())
    for terminal in ("structure:left_hippocampus", "mod", "direction:anterior"):
        walker.push(terminal)
    forced = []
    while (terminal := walker.forced()) is not None:
        forced.append(terminal)
        walker.push(terminal)
    assert forced == [*written[2:], "structure:right_hippocampus", "mod", "direction:anterior"]


def test_the_second_operand_of_a_change_is_the_first_at_the_later_session() -> None:
    walker = Walker({"before": "Image", "after": "Image"})
    for terminal in ("op:report", "op:percent_change", "op:volume", "op:segment"):
        walker.push(terminal)
    assert "var:before" in walker.allowed()
    assert "var:after" not in walker.allowed()
    for terminal in ("var:before", "structure:ventricles", "mod"):
        walker.push(terminal)
    forced = []
    while (terminal := walker.forced()) is not None:
        forced.append(terminal)
        walker.push(terminal)
    assert forced == ["op:volume", "op:segment", "var:after", "structure:ventricles", "mod"]
