"""Between the text of a program and its terminals in prefix order."""

from __future__ import annotations

import ast
from collections.abc import Sequence
from dataclasses import dataclass, replace

from vp_engine.agent.terminals import END, LOOP_VARIABLES, MOD, STOP, constant, constant_kind, split_terminal
from vp_engine.environment.ops import OPS

INDENT = "    "


def render(terminals: Sequence[str]) -> str:
    r"""Write terminals as a program.

    Parameters
    ----------
    terminals : sequence of str
        Complete statements in prefix order; `STOP` and `MOD` leave no trace in the text.

    Returns
    -------
    str
        One statement a line, with a line end after the last.

    Raises
    ------
    ValueError
        If a statement or a loop is not complete.

    Examples
    --------
    >>> render(["set:img", "op:scan", "var:current"])
    'img = scan(current)\n'
    """
    cursor, pieces = Cursor(), []
    for terminal in terminals:
        text, cursor = cursor.write(terminal)
        pieces.append(text)
    if cursor.expected or cursor.depth:
        raise ValueError(f"expected complete statements and loops, got an end after {terminals[-1]}")
    return "".join(pieces)


@dataclass(frozen=True, slots=True)
class Cursor:
    r"""Where the next terminal goes: a program is written terminal by terminal, and can be read at any of them.

    Attributes
    ----------
    depth : int
        Loops that are open.
    expected : tuple of int
        Expressions still to come in the statement and in each of its open calls, the innermost last; empty at the
        beginning of a line.
    line_end : str
        What closes the statement.

    Examples
    --------
    >>> text, cursor = Cursor().write("op:save")
    >>> text, cursor.write("var:mask")[0]
    ('save(', 'mask)\n')
    """

    depth: int = 0
    expected: tuple[int, ...] = ()
    line_end: str = "\n"

    def write(self, terminal: str) -> tuple[str, Cursor]:
        """Return the text that a terminal adds, with all that follows from it, and where the next one goes.

        Raises
        ------
        ValueError
            If a program cannot go on with it.
        """
        if terminal == MOD:
            return "", self
        if self.expected:
            return _expression(self, terminal)
        kind, name = split_terminal(terminal)
        if terminal == STOP and not self.depth:
            return "", self
        if terminal == END and self.depth:
            return "", Cursor(self.depth - 1)
        indent = INDENT * self.depth
        if kind == "set":
            return f"{indent}{name} = ", Cursor(self.depth, (1,))
        if kind == "for":
            return f"{indent}for {name} in ", Cursor(self.depth, (1,), ":\n")
        if kind == "op":
            text, cursor = _expression(Cursor(self.depth, (1,)), terminal)
            return indent + text, cursor
        raise ValueError(f"expected a statement, got {terminal}")


def _expression(cursor: Cursor, terminal: str) -> tuple[str, Cursor]:
    kind, name = split_terminal(terminal)
    if kind == "op" and name in OPS:
        return f"{name}(", replace(cursor, expected=(*cursor.expected, len(OPS[name].parameters)))
    if kind != "var" and not constant_kind(kind):
        raise ValueError(f"expected an expression, got {terminal}")
    text = name if kind == "var" else f'"{name}"'
    *outer, left = cursor.expected
    while left == 1 and outer:
        text += ")"
        left = outer.pop()
    if left > 1:
        return f"{text}, ", replace(cursor, expected=(*outer, left - 1))
    return text + cursor.line_end, Cursor(cursor.depth + (cursor.line_end != "\n"))


def linearise(code: str) -> list[str]:
    """Terminals of a program in prefix order, `STOP` at the end.

    Raises
    ------
    ValueError
        If the text is not a program of assignments, calls and loops over the known names.
    """
    terminals: list[str] = []
    for statement in ast.parse(code).body:
        _statement(statement, terminals)
    return [*terminals, STOP]


def relates_to_itself(code: str) -> bool:
    """Whether an op gets the same operand twice, such as the ratio of a volume to itself: always a slip.

    >>> relates_to_itself('x = ratio(volume(m), volume(m))')
    True
    """
    calls = (node for node in ast.walk(ast.parse(code)) if isinstance(node, ast.Call) and len(node.args) > 1)
    return any(len({ast.dump(argument) for argument in call.args}) < len(call.args) for call in calls)


def _statement(node: ast.stmt, terminals: list[str]) -> None:
    match node:
        case ast.Assign(targets=[ast.Name(id=name)], value=value):
            terminals.append(f"set:{name}")
            _call(value, terminals)
        case ast.Expr(value=value):
            _call(value, terminals)
        case ast.For(target=ast.Name(id=name), iter=over, body=body) if name in LOOP_VARIABLES:
            terminals.append(f"for:{name}")
            _call(over, terminals)
            for inner in body:
                _statement(inner, terminals)
            terminals.append(END)
        case _:
            raise ValueError(f"expected an assignment, a call or a loop, got line {node.lineno}")


def _call(node: ast.expr, terminals: list[str], kind: str | None = None) -> None:
    match node:
        case ast.Name(id=name):
            terminals.append(f"var:{name}")
        case ast.Constant(value=str(word)) if kind is not None:
            terminals.append(constant(kind, word))
        case ast.Call(func=ast.Name(id=name), args=arguments) if name in OPS:
            terminals.append(f"op:{name}")
            for argument, parameter in zip(arguments, OPS[name].parameters, strict=True):
                _call(argument, terminals, parameter.accepts[0])
            if name == "segment":
                terminals.append(MOD)
        case _:
            raise ValueError(f"expected a known op, variable or word, got {ast.dump(node)[:80]}")
