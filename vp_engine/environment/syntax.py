"""From untrusted text to a small tree: scan before parsing, parse, and refuse every kind of node not listed.

Nothing here or later compiles or executes Python; the tree is only walked.
"""

from __future__ import annotations

import ast
import math
import re
import warnings
from collections.abc import Callable, Iterator
from typing import Any

from vp_engine.environment.misuse import Misuse

MAX_CHARACTERS = 4096
MAX_LINES = 64
MAX_BRACKET_DEPTH = 16
MAX_LITERAL_LENGTH = 15
MAX_TREE_DEPTH = 24
MAX_LOOP_DEPTH = 2
MAX_LIST_LENGTH = 64

ALLOWED_NODES: frozenset[type[ast.AST]] = frozenset(
    {
        ast.Module,
        ast.Assign,
        ast.Expr,
        ast.If,
        ast.For,
        ast.Name,
        ast.Load,
        ast.Store,
        ast.Constant,
        ast.Call,
        ast.List,
        ast.BinOp,
        ast.Add,
        ast.Sub,
        ast.Mult,
        ast.Div,
        ast.UnaryOp,
        ast.USub,
        ast.Not,
        ast.BoolOp,
        ast.And,
        ast.Or,
        ast.Compare,
        ast.Eq,
        ast.NotEq,
        ast.Lt,
        ast.LtE,
        ast.Gt,
        ast.GtE,
    }
)
"""The only classes of `ast` a program may consist of; a test lists all others as refused."""

_LITERAL = re.compile(r"(?<![0-9A-Za-z_])\.?[0-9][0-9A-Za-z_.]*")
_IDENTIFIER = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,31}")

_FORMS: tuple[tuple[type[ast.AST], Callable[[Any], bool], str, str], ...] = (
    (
        ast.Assign,
        lambda n: len(n.targets) != 1 or type(n.targets[0]) is not ast.Name,
        "forbidden_syntax",
        "one plain name left of =",
    ),
    (ast.Expr, lambda n: type(n.value) is not ast.Call, "forbidden_syntax", "a call of an op"),
    (ast.For, lambda n: type(n.target) is not ast.Name, "forbidden_syntax", "for NAME in LIST"),
    (ast.For, lambda n: bool(n.orelse), "forbidden_syntax", "for without else"),
    (ast.Call, lambda n: type(n.func) is not ast.Name, "forbidden_syntax", "an op by its name"),
    (ast.Compare, lambda n: len(n.ops) != 1, "forbidden_syntax", "one comparison at a time"),
    (
        ast.List,
        lambda n: not 1 <= len(n.elts) <= MAX_LIST_LENGTH,
        "list_length",
        f"1 to {MAX_LIST_LENGTH} elements",
    ),
    (
        ast.Name,
        lambda n: not _IDENTIFIER.fullmatch(n.id),
        "bad_name",
        "a letter, then at most 31 letters, digits or _",
    ),
    (
        ast.Constant,
        lambda n: type(n.value) not in (int, float, str) or n.kind is not None,
        "forbidden_constant",
        "a number or a word",
    ),
    (
        ast.Constant,
        lambda n: isinstance(n.value, float) and not math.isfinite(n.value),
        "forbidden_constant",
        "a finite number",
    ),
)
"""Forms of allowed nodes that are refused: kind, test, code, what was expected."""


def parse(code: str) -> ast.Module:
    """Parse the text of a program.

    Parameters
    ----------
    code : str
        At most 4096 characters in 64 lines of printable ASCII.

    Returns
    -------
    ast.Module
        Only allowed nodes, no deeper than `MAX_TREE_DEPTH`.

    Raises
    ------
    Misuse
        If a rule of the language is broken; the code says which.
    """
    _scan(code)
    try:
        with warnings.catch_warnings():
            # about odd literals; program text must not reach a log
            warnings.simplefilter("ignore")
            tree = ast.parse(code)
    except SyntaxError as error:
        raise Misuse(
            "this is not a program", code="syntax", line=error.lineno, expected="one statement a line"
        ) from None
    except (ValueError, MemoryError, RecursionError, OverflowError):
        raise Misuse(
            "the program is nested too deeply to be parsed", code="too_deep", expected=f"depth <= {MAX_TREE_DEPTH}"
        ) from None
    for node, parents in _walk(tree):
        _check_node(node, parents)
    return tree


def _scan(code: object) -> None:
    if type(code) is not str:
        raise Misuse("a program is text", code="not_text", expected="str", got=type(code).__name__[:40])
    if len(code) > MAX_CHARACTERS:
        raise Misuse(
            "the program is too long",
            code="too_long",
            expected=f"<= {MAX_CHARACTERS} characters",
            got=f"{len(code)} characters",
        )
    lines = code.split("\n")
    if len(lines) > MAX_LINES:
        raise Misuse(
            "the program has too many lines",
            code="too_many_lines",
            expected=f"<= {MAX_LINES} lines",
            got=f"{len(lines)} lines",
        )
    for number, text in enumerate(lines, start=1):
        for character in text:
            if not " " <= character <= "~" or character == "\\":
                raise Misuse(
                    "a character is not allowed here",
                    code="forbidden_character",
                    line=number,
                    expected="printable ASCII without backslash",
                    got=f"U+{ord(character):04X}",
                )
        if any(len(literal) > MAX_LITERAL_LENGTH for literal in _LITERAL.findall(text)):
            raise Misuse(
                "a number is too long",
                code="long_literal",
                line=number,
                expected=f"<= {MAX_LITERAL_LENGTH} characters",
            )
    _scan_brackets(code)


def _scan_brackets(code: str) -> None:
    depth = 0
    for position, character in enumerate(code):
        depth += (character in "([{") - (character in ")]}")
        if depth > MAX_BRACKET_DEPTH:
            raise Misuse(
                "brackets are nested too deeply",
                code="too_deep",
                line=code.count("\n", 0, position) + 1,
                expected=f"depth <= {MAX_BRACKET_DEPTH}",
            )


def _walk(tree: ast.AST) -> Iterator[tuple[ast.AST, tuple[ast.AST, ...]]]:
    """Every node with its ancestors, without recursion, stopping at the depth limit."""
    stack: list[tuple[ast.AST, tuple[ast.AST, ...]]] = [(tree, ())]
    while stack:
        node, parents = stack.pop()
        if len(parents) > MAX_TREE_DEPTH:
            raise Misuse(
                "the program is nested too deeply",
                code="too_deep",
                line=_line(parents),
                expected=f"depth <= {MAX_TREE_DEPTH}",
            )
        yield node, parents
        stack.extend((child, (*parents, node)) for child in ast.iter_child_nodes(node))


def _line(parents: tuple[ast.AST, ...]) -> int | None:
    return next((node.lineno for node in reversed(parents) if isinstance(node, (ast.expr, ast.stmt))), None)


def _check_node(node: ast.AST, parents: tuple[ast.AST, ...]) -> None:
    line = _line((*parents, node))
    if type(node) not in ALLOWED_NODES:
        raise Misuse(
            f"{type(node).__name__} is not part of the language",
            code="forbidden_syntax",
            line=line,
            expected="assignments, calls of ops, if, for",
            got=type(node).__name__,
        )
    for kind, is_wrong, code, expected in _FORMS:
        if isinstance(node, kind) and is_wrong(node):
            raise Misuse(
                f"this form of {type(node).__name__} is not part of the language",
                code=code,
                line=line,
                expected=expected,
            )
    if sum(isinstance(parent, ast.For) for parent in (*parents, node)) > MAX_LOOP_DEPTH:
        raise Misuse("loops are nested too deeply", code="too_deep", line=line, expected=f"depth <= {MAX_LOOP_DEPTH}")
