"""Templates with alternatives and slots."""

from __future__ import annotations

import pytest

from vp_engine.agent.language.generator import seeded
from vp_engine.agent.language.grammar import expand, parse_template

RULES = {"verb": (parse_template("measure"), parse_template("report"))}


def test_slots_and_alternatives_are_filled() -> None:
    template = parse_template("{verb} [the|a|] {S}")
    drawn = {expand(template, rules=RULES, slots={"S": "brain"}, rng=seeded(seed)) for seed in range(60)}
    assert drawn == {f"{verb} {article}brain" for verb in ("measure", "report") for article in ("the ", "a ", " ")}


def test_slots_inside_nested_alternatives_are_found() -> None:
    assert parse_template("[a|[{X}|{Y}] {Z}]").slots() == {"X", "Y", "Z"}


def test_the_meaning_goes_before_a_rule_of_the_same_name() -> None:
    assert expand(RULES["verb"][0], rules=RULES, slots={"verb": "x"}, rng=seeded(0)) == "measure"
    assert expand(parse_template("{verb}"), rules=RULES, slots={"verb": "x"}, rng=seeded(0)) == "x"


def test_a_slot_nobody_fills_is_an_error() -> None:
    with pytest.raises(KeyError, match="nothing"):
        expand(parse_template("{nothing}"), rules=RULES, slots={}, rng=seeded(0))


@pytest.mark.parametrize("text", ["[open", "a|b", "closed]"])
def test_unbalanced_templates_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="template"):
        parse_template(text)
