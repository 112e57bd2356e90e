"""Constrained decoding for any tokenizer: the tokens that a program can go on with, whatever their cuts.

Tokens of a foreign tokenizer do not end where the choices of the grammar do: ``(volume`` is one token of many, and
``img`` the beginning of ``img2``. So the draft keeps every way the text written so far can be read, and asks for each
token of the vocabulary only whether the program can go on with its characters.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass
from functools import lru_cache
from itertools import takewhile

from vp_engine.agent.decoding import Walker
from vp_engine.agent.program import Cursor
from vp_engine.agent.terminals import PROGRAM_TERMINALS, STOP
from vp_engine.errors import WeightsError

FENCE = "```"
"""Line before and after a piece of code; a model says with the second that it has finished."""


class Vocabulary:
    """Text of every token that program text can consist of.

    Parameters
    ----------
    texts : sequence of str
        By token id; empty for tokens that are not text.

    Raises
    ------
    WeightsError
        If some character of programs cannot be written alone, so that some programs could not be written at all.
    """

    def __init__(self, texts: Sequence[str]) -> None:
        self.texts = texts
        self.ids: dict[str, list[int]] = {}
        for number, text in enumerate(texts):
            if text and _alphabet().issuperset(text):
                self.ids.setdefault(text, []).append(number)
        self.beginnings = frozenset(text[:end] for text in self.ids for end in range(1, len(text) + 1))
        if missing := sorted(_alphabet() - self.ids.keys()):
            raise WeightsError(
                f"Expected a tokenizer that can write any text, got one without {missing[:5]}; take another model.",
                code="planner_tokenizer",
            )


@lru_cache(maxsize=1)
def _alphabet() -> frozenset[str]:
    return frozenset("".join(PROGRAM_TERMINALS) + FENCE + ' =()",:\n')


@dataclass(slots=True, eq=False)
class _Node:
    """A terminal that may be written; what can follow is found when it is asked for."""

    walker: Walker  # before the terminal
    cursor: Cursor  # after it
    terminal: str
    text: str
    _following: tuple[_Node, ...] | None = None

    def following(self) -> tuple[_Node, ...]:
        if self._following is None:
            walker = deepcopy(self.walker)
            walker.push(self.terminal)
            self._following = _choices(walker, self.cursor)
        return self._following


_Place = tuple[_Node, int]
"""A terminal and how many characters of it are written."""


def _choices(walker: Walker, cursor: Cursor) -> tuple[_Node, ...]:
    if walker.finished:
        return ()
    return tuple(
        _Node(walker, after, terminal, FENCE if terminal == STOP else text)
        for terminal in walker.allowed()
        for text, after in [cursor.write(terminal)]
    )


class Draft:
    """A piece of code being written, character by character if need be.

    Parameters
    ----------
    walker : Walker
        At the beginning of a piece; it is not changed.
    """

    def __init__(self, walker: Walker) -> None:
        self.text = ""
        self._places: list[_Place] = [(node, 0) for node in _choices(walker, Cursor())]

    @property
    def finished(self) -> bool:
        """Whether the second fence is written."""
        return not _opened(self._places)

    @property
    def code(self) -> str:
        """The text without the fence behind it."""
        return self.text.removesuffix(FENCE)

    def forced(self) -> str:
        """Text that comes next whatever is chosen, up to the next choice or the end."""
        text, places = "", _opened(self._places)
        while len(places) == 1:
            [(node, written)] = places
            text += node.text[written:]
            places = _opened([(node, len(node.text))])
        return text + _shared([node.text[written:] for node, written in places])

    def fitting(self, vocabulary: Vocabulary) -> list[int]:
        """Ids of the tokens that may come next, sorted; there is one for every way on."""
        found = {text for node, written in self._places for text in _fitting(node, written, "", vocabulary)}
        return sorted(number for text in found for number in vocabulary.ids[text])

    def push(self, text: str) -> None:
        """Take the text of a token.

        Raises
        ------
        ValueError
            If no program goes on like that.
        """
        places = [later for node, written in self._places for later in _after(node, written, text)]
        if not places:
            raise ValueError(f"expected the next piece of a program, got {text!r} after {self.text[-40:]!r}")
        self.text += text
        self._places = places


def _shared(texts: Sequence[str]) -> str:
    """What all texts begin with."""
    if not texts:
        return ""
    low, high = min(texts), max(texts)
    return "".join(a for a, _ in takewhile(lambda pair: pair[0] == pair[1], zip(low, high, strict=False)))


def _opened(places: Sequence[_Place]) -> list[_Place]:
    """Places with something left of their text: those at an end are replaced by what can follow."""
    opened: list[_Place] = []
    for node, written in places:
        if written < len(node.text):
            opened.append((node, written))
        else:
            opened += _opened([(later, 0) for later in node.following()])
    return opened


def _fitting(node: _Node, written: int, start: str, vocabulary: Vocabulary) -> Iterator[str]:
    """Texts of tokens that begin with `start` and go on with what a node and its followers allow."""
    for character in node.text[written:]:
        start += character
        if start not in vocabulary.beginnings:
            return
        if start in vocabulary.ids:
            yield start
    for later in node.following():
        yield from _fitting(later, 0, start, vocabulary)


def _after(node: _Node, written: int, text: str) -> Iterator[_Place]:
    rest = node.text[written:]
    if rest.startswith(text):
        yield node, written + len(text)
    elif text.startswith(rest):
        for later in node.following():
            yield from _after(later, 0, text[len(rest) :])
