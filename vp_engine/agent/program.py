"""Between the text of a program and its terminals in prefix order."""

from __future__ import annotations

import ast
from collections.abc import Sequence

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
    lines: list[str] = []
    depth = position = 0
    while position < len(terminals):
        kind, name = split_terminal(terminals[position])
        if terminals[position] == STOP:
            position += 1
        elif terminals[position] == END:
            depth, position = depth - 1, position + 1
        elif kind in ("set", "for"):
            text, position = _expression(terminals, position + 1)
            lines.append(INDENT * depth + (f"{name} = {text}" if kind == "set" else f"for {name} in {text}:"))
            depth += kind == "for"
        else:
            text, position = _expression(terminals, position)
            lines.append(INDENT * depth + text)
    if depth:
        raise ValueError(f"expected every loop closed, got {depth} open after {terminals[-1]}")
    return "".join(f"{line}\n" for line in lines)


def _expression(terminals: Sequence[str], position: int) -> tuple[str, int]:
    if position >= len(terminals):
        raise ValueError("expected an expression, got the end of the program")
    terminal, position = terminals[position], position + 1
    kind, name = split_terminal(terminal)
    if kind == "var":
        return name, position
    if constant_kind(kind):
        if position < len(terminals) and terminals[position] == MOD:
            position += 1
        return f'"{name}"', position
    if kind != "op":
        raise ValueError(f"expected an expression, got {terminal}")
    arguments: list[str] = []
    for _ in OPS[name].parameters:
        text, position = _expression(terminals, position)
        arguments.append(text)
    return f"{name}({', '.join(arguments)})", position


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
