"""Templates with alternatives and slots, and how one sentence is drawn from them."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from random import Random

_TOKEN = re.compile(r"\{(\w+)\}|[\[\]|]")

Slots = Mapping[str, str | Callable[[], str]]
"""What a sentence is filled with: a text, or a function called once per occurrence."""


@dataclass(frozen=True, slots=True)
class Slot:
    """A place to be filled: by the meaning first, else by the rule of that name."""

    name: str


@dataclass(frozen=True, slots=True)
class Choice:
    """Alternatives of which one is drawn."""

    options: tuple[Template, ...]


@dataclass(frozen=True, slots=True)
class Template:
    """A parsed template: texts, slots and choices in order."""

    items: tuple[str | Slot | Choice, ...]

    def slots(self) -> frozenset[str]:
        """Names of all slots, those inside choices too."""
        names: set[str] = set()
        for item in self.items:
            if isinstance(item, Slot):
                names.add(item.name)
            elif isinstance(item, Choice):
                names.update(*(option.slots() for option in item.options))
        return frozenset(names)


def parse_template(text: str) -> Template:
    """Parse ``{slot}`` and ``[one|other|]``.

    Raises
    ------
    ValueError
        If a bracket is not closed.

    Examples
    --------
    >>> sorted(parse_template("[measure|report] {MS}").slots())
    ['MS']
    """
    template, end = _parse(text, 0, nested=False)
    if end != len(text):
        raise ValueError(f"unexpected bracket at {end} of the template {text!r}")
    return template


def _parse(text: str, start: int, *, nested: bool) -> tuple[Template, int]:
    items: list[str | Slot | Choice] = []
    position = start
    while match := _TOKEN.search(text, position):
        mark = match.group(0)
        if not nested and mark == "|":
            raise ValueError(f"an alternative outside brackets in the template {text!r}")
        if mark in "]|":
            break
        if match.start() > position:
            items.append(text[position : match.start()])
        if mark == "[":
            options: list[Template] = []
            position = match.end()
            while True:
                option, position = _parse(text, position, nested=True)
                options.append(option)
                if position >= len(text):
                    raise ValueError(f"a bracket is not closed in the template {text!r}")
                position += 1
                if text[position - 1] == "]":
                    break
            items.append(Choice(tuple(options)))
        else:
            items.append(Slot(match.group(1)))
            position = match.end()
    end = match.start() if match else len(text)
    if end > position:
        items.append(text[position:end])
    return Template(tuple(items)), end


def expand(template: Template, *, rules: Mapping[str, Sequence[Template]], slots: Slots, rng: Random) -> str:
    """Draw one sentence from a template.

    Raises
    ------
    KeyError
        If a slot is neither in `slots` nor a rule.
    """
    pieces: list[str] = []
    for item in template.items:
        if isinstance(item, str):
            pieces.append(item)
        elif isinstance(item, Choice):
            pieces.append(expand(rng.choice(item.options), rules=rules, slots=slots, rng=rng))
        elif item.name in slots:
            filling = slots[item.name]
            pieces.append(filling if isinstance(filling, str) else filling())
        else:
            pieces.append(expand(rng.choice(rules[item.name]), rules=rules, slots=slots, rng=rng))
    return "".join(pieces)
