"""Programs as text and as terminals."""

from __future__ import annotations

import pytest

from vp_engine.agent.program import linearise, relates_to_itself, render
from vp_engine.agent.terminals import TERMINALS

LOOP = """\
for s in sessions:
    img = image("FLAIR", s)
    report(mean_intensity(img, segment(img, "lesion")))
before = scan(first)
read(compare(volume(segment(before, "csf")), volume(segment(before, "brain"))))
"""


def test_text_and_terminals_are_the_same_program() -> None:
    terminals = linearise(LOOP)
    assert render(terminals) == LOOP
    assert set(terminals) <= set(TERMINALS)
    assert terminals.count("mod") == 3


def test_terminals_are_distinct() -> None:
    assert len(set(TERMINALS)) == len(TERMINALS)


@pytest.mark.parametrize(
    "code",
    ["x = 1\n", "report(volume(segment(scan(current), 'liver')))\n", "while x: pass\n", "img.data\n", "f(current)\n"],
)
def test_other_text_has_no_terminals(code: str) -> None:
    with pytest.raises(ValueError, match="expected"):
        linearise(code)


@pytest.mark.parametrize("terminals", [["op:save"], ["for:s", "var:sessions"], ["op:save", "set:img"]])
def test_half_a_program_is_not_rendered(terminals: list[str]) -> None:
    with pytest.raises(ValueError, match="expected"):
        render(terminals)


def test_a_ratio_of_a_thing_to_itself_is_noticed() -> None:
    volume = 'volume(segment(img, "{}"))'
    same, other = volume.format("csf"), volume.format("brain")
    assert relates_to_itself(f"report(ratio({same}, {same}))\n")
    assert not relates_to_itself(f"report(ratio({same}, {other}))\nreport({same})\nreport({same})\n")
