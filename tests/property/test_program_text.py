"""Programs written terminal by terminal: the text so far is always the beginning of the whole."""

from __future__ import annotations

from random import Random

import pytest

from vp_engine.agent.decoding import Walker
from vp_engine.agent.language.generator import draw_example, seeded
from vp_engine.agent.program import Cursor, linearise, render


def _random_walk(seed: int) -> list[str]:
    rng = Random(seed)  # noqa: S311 (programs are drawn, not secrets)
    walker = Walker(answering=seed % 3 == 0)
    written: list[str] = []
    while not walker.finished:
        written.append(rng.choice(walker.allowed()))
        walker.push(written[-1])
    return written


def _written(terminals: list[str]) -> str:
    cursor, code = Cursor(), ""
    whole = render(terminals)
    for terminal in terminals:
        text, cursor = cursor.write(terminal)
        code += text
        assert whole.startswith(code)
    assert cursor == Cursor()
    return code


@pytest.mark.parametrize("seed", range(40))
def test_random_programs_are_written_as_they_are_read(seed: int) -> None:
    terminals = _random_walk(seed)
    assert linearise(_written(terminals)) == terminals


def test_programs_of_the_training_language_are_written_as_they_are_read() -> None:
    rng = seeded("program text")
    for _ in range(300):
        for step in draw_example("train", rng).steps:
            assert linearise(_written(list(step))) == list(step)


@pytest.mark.parametrize(
    "terminals",
    [
        ["structure:csf"],
        ["op:save", "set:img"],
        ["op:save", "stop"],
        ["end"],
        ["for:s", "var:sessions", "stop"],
        ["op:measure"],
    ],
)
def test_what_cannot_follow_is_not_written(terminals: list[str]) -> None:
    with pytest.raises(ValueError, match="expected"):
        render(terminals)
