"""The error a program gets when it breaks a rule of the language, in fields the agent can be trained on."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

from vp_engine.errors import ProgramError


class Misuse(ProgramError):
    """A program that was refused, with what would have been right.

    Parameters
    ----------
    message : str
        One sentence, without paths.
    code : str
        Which rule.
    line : int, optional
        Line of the program, counted from 1.
    expected, got : str, optional
        What the rule wanted and what stood there.
    close : tuple of str, optional
        Names that may have been meant, the nearest first.
    """

    def __init__(
        self,
        message: str,
        *,
        code: str,
        line: int | None = None,
        expected: str = "",
        got: str = "",
        close: tuple[str, ...] = (),
    ) -> None:
        super().__init__(message, code=code, line=line)
        self.expected = expected
        self.got = got
        self.close = close


def close_names(name: str, known: Iterable[str]) -> tuple[str, ...]:
    """At most three of the known names that look like `name`.

    >>> close_names("left_hipocampus", ["left_hippocampus", "brainstem"])
    ('left_hippocampus',)
    """
    return tuple(get_close_matches(name[:64], sorted(known), n=3, cutoff=0.6))
