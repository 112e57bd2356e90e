"""Model formulas: what is allowed in one, and which columns it needs.

Formula libraries evaluate Python inside a formula. Here a formula is text from a configuration file, so it is
read by a small grammar first and nothing outside that grammar reaches a library.
"""

from __future__ import annotations

import difflib
import keyword
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from vp_engine.errors import ConfigError

RESPONSE = "value"
"""Left side of every formula: the number of the table `measurements`."""

MAX_CHARACTERS = 500
_MAX_NAMES = 30
_MAX_CROSSINGS = 6
_TOKEN = re.compile(r"\s*(?:(?P<name>[A-Za-z_][A-Za-z0-9_]*)|(?P<number>[0-9]+)|(?P<operator>\*\*|[-+:*()]))")
_FACTOR = re.compile(r"\s*\(\s*([A-Za-z_][A-Za-z0-9_]*)\s*\)")
_GRAMMAR = "columns joined by + - : *, C(column), parentheses, (...)**2 and 0 or 1 for the intercept"


@dataclass(frozen=True, slots=True)
class Formula:
    """A formula that was read and found harmless.

    Attributes
    ----------
    text : str
        As written.
    right : str
        What stands on the right of ``~``, rebuilt from the tokens that were understood.
    columns : tuple of str
        Columns it needs, in order of appearance.
    factors : tuple of str
        Those written as ``C(column)``: categories even when they look like numbers.
    """

    text: str
    right: str
    columns: tuple[str, ...]
    factors: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str  # column, factor, number or the operator itself
    text: str


def parse_formula(text: str, *, columns: Iterable[str] | None = None) -> Formula:
    """Read a model formula.

    Parameters
    ----------
    text : str
        ``value ~`` and columns joined by ``+ - : *``, ``C(column)``, parentheses, ``(...)**2`` or ``**3``, and ``0``
        or ``1`` for the intercept.
    columns : iterable of str, optional
        The columns there are; without it names are not compared with anything.

    Returns
    -------
    Formula

    Raises
    ------
    ConfigError
        If there is anything else in it, or a column that does not exist; the message names the nearest one.

    Examples
    --------
    >>> parse_formula("value ~ C(group) + age*sex").columns
    ('group', 'age', 'sex')
    """
    left, tilde, right = text.partition("~")
    if left.strip() != RESPONSE or not tilde:
        raise ConfigError(f"model {text!r}: expected `{RESPONSE} ~ ...`, with {_GRAMMAR}")
    if len(text) > MAX_CHARACTERS:
        raise ConfigError(f"model: expected at most {MAX_CHARACTERS} characters, got {len(text)}")
    known = None if columns is None else sorted(set(columns))
    tokens = list(_tokens(right, text, known))
    _check_order(tokens, text)
    _check_size(tokens, text)
    bare = {token.text for token in tokens if token.kind == "column"}
    factors = tuple(dict.fromkeys(token.text for token in tokens if token.kind == "factor"))
    both = sorted(bare & set(factors))
    if both:
        raise ConfigError(f"model {text!r}: {both[0]} stands there with and without C(); write it one way")
    names = tuple(dict.fromkeys(token.text for token in tokens if token.kind in ("column", "factor")))
    rebuilt = " ".join(f"C({token.text})" if token.kind == "factor" else token.text for token in tokens)
    return Formula(text=text, right=rebuilt, columns=names, factors=factors)


def _tokens(right: str, text: str, known: list[str] | None) -> Iterator[_Token]:
    right = right.rstrip()
    position = 0
    while position < len(right):
        match = _TOKEN.match(right, position)
        if match is None:
            raise ConfigError(f"model {text!r}: cannot read {right[position:].strip()[:40]!r}; allowed are {_GRAMMAR}")
        position = match.end()
        if match["name"] == "C" and (factor := _FACTOR.match(right, position)):
            position = factor.end()
            yield _Token("factor", _column(factor[1], text, known))
        elif match["name"]:
            if right[position:].lstrip().startswith("("):
                raise ConfigError(f"model {text!r}: {match['name']}(...) is not allowed; allowed are {_GRAMMAR}")
            yield _Token("column", _column(match["name"], text, known))
        elif match["number"]:
            yield _Token("number", match["number"])
        else:
            yield _Token(match["operator"], match["operator"])


def _column(name: str, text: str, known: list[str] | None) -> str:
    if name in (RESPONSE, "C") or keyword.iskeyword(name) or name.startswith("__"):
        raise ConfigError(f"model {text!r}: {name!r} cannot be a column on the right; rename the column")
    if known is not None and name not in known:
        close = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
        hint = f"did you mean {close[0]!r}?" if close else f"there are {', '.join(known) or 'none'}"
        raise ConfigError(f"model {text!r}: no column {name!r}; {hint}")
    return name


def _check_order(tokens: list[_Token], text: str) -> None:
    """Operand, operator, operand ...; powers only of a parenthesis; only 0 and 1 as numbers, added or subtracted."""
    depth = 0
    before = "+"
    for index, token in enumerate(tokens):
        after = tokens[index + 1].kind if index + 1 < len(tokens) else "+"
        expects_operand = before in ("+", "-", ":", "*", "**", "(")
        if token.kind in ("column", "factor"):
            good = expects_operand and before != "**"
        elif token.kind == "number":
            exponent = before == "**" and token.text in ("2", "3")
            good = exponent or (before in "+-(" and after in ("+", "-", ")") and token.text in ("0", "1"))
        elif token.kind == "(":
            good = expects_operand and before != "**"
            depth += 1
        elif token.kind == ")":
            good = not expects_operand and depth > 0
            depth -= 1
        else:
            good = not expects_operand and (token.kind != "**" or before == ")")
        if not good:
            shown = " ".join(part.text for part in tokens[max(0, index - 1) : index + 2])
            raise ConfigError(f"model {text!r}: cannot read it at {shown!r}; allowed are {_GRAMMAR}")
        before = token.kind
    if depth or not tokens or before in ("+", "-", ":", "*", "**", "("):
        raise ConfigError(f"model {text!r}: it is not complete; allowed are {_GRAMMAR}")


def _check_size(tokens: list[_Token], text: str) -> None:
    """Crossings multiply terms: 20 columns joined by * would be a million of them."""
    kinds = [token.kind for token in tokens]
    names = kinds.count("column") + kinds.count("factor")
    if names > _MAX_NAMES or kinds.count("*") > _MAX_CROSSINGS or kinds.count("**") > 1:
        raise ConfigError(
            f"model {text!r}: expected at most {_MAX_NAMES} columns, {_MAX_CROSSINGS} times * and one **; simplify it"
        )
