"""What a program calculates from what, read from its text: the row of a ratio does not say what it was divided by."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from vp_engine.agent.wording import MEASURES
from vp_engine.environment.syntax import parse
from vp_engine.errors import ProgramError

OPS = (
    *("asymmetry", "ratio", "change", "percent_change", "annual_rate", "annual_percent_rate"),
    *("compare", "distance"),
)
"""Ops of two operands that a sentence explains."""

_SESSIONS = ("current", "first", "last")


@dataclass(frozen=True, slots=True)
class Operand:
    """A session, an image, a mask or a number of one mask, as far as the text says; what it does not say is empty.

    Attributes
    ----------
    measure : str
        Of a number.
    structure : str
        Canonical name.
    session : str
        ``current``, ``first`` or ``last``.
    """

    measure: str = ""
    structure: str = ""
    session: str = ""


@dataclass(frozen=True, slots=True)
class Calculation:
    """One call of an op of `OPS`; an operand that is a sum, say, is empty."""

    op: str
    operands: tuple[Operand, ...]


def calculations(pieces: Iterable[str]) -> tuple[tuple[Calculation, ...], ...]:
    r"""What each piece of code of a prompt calculates; variables live on from piece to piece.

    Parameters
    ----------
    pieces : iterable of str
        Untrusted; what is no program calculates nothing.

    Examples
    --------
    >>> code = 'm = segment(scan(current), "csf")\nreport(ratio(volume(m), volume(segment(scan(last), "brain"))))\n'
    >>> [operand.structure for operand in calculations([code])[0][0].operands]
    ['csf', 'brain']
    """
    known = {name: Operand(session=name) for name in _SESSIONS}
    return tuple(tuple(_of_piece(code, known)) for code in pieces)


def _of_piece(code: str, known: dict[str, Operand]) -> Iterator[Calculation]:
    try:
        tree = parse(code)
    except ProgramError:
        return
    yield from _of_block(tree.body, known)


def _of_block(statements: list[ast.stmt], known: dict[str, Operand]) -> Iterator[Calculation]:
    for statement in statements:
        match statement:
            case ast.Assign(targets=[ast.Name(id=name)], value=value):
                yield from _called(value, known)
                known[name] = _described(value, known)
            case ast.Expr(value=value):
                yield from _called(value, known)
            case ast.For() | ast.If():
                yield from _of_branches(statement, known)
            case _:
                continue


def _of_branches(statement: ast.For | ast.If, known: dict[str, Operand]) -> Iterator[Calculation]:
    """What runs any number of times: a variable set in it is not known any more."""
    assigned = {n.id for n in ast.walk(statement) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
    known |= dict.fromkeys(assigned, Operand())
    yield from _called(statement.test if isinstance(statement, ast.If) else statement.iter, known)
    for block in (statement.body, statement.orelse):
        yield from _of_block(block, dict(known))


def _called(node: ast.expr, known: dict[str, Operand]) -> Iterator[Calculation]:
    for call in ast.walk(node):
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id in OPS:
            yield Calculation(call.func.id, tuple(_described(argument, known) for argument in call.args))


def _described(node: ast.expr, known: dict[str, Operand]) -> Operand:
    match node:
        case ast.Name(id=name):
            return known.get(name, Operand())
        case (
            ast.Call(func=ast.Name(id="scan"), args=[session]) | ast.Call(func=ast.Name(id="image"), args=[_, session])
        ):
            return _described(session, known)
        case ast.Call(func=ast.Name(id="segment"), args=[image, ast.Constant(value=str() as structure)]):
            return replace(_described(image, known), structure=structure)
        case ast.Call(func=ast.Name(id=op), args=[*_, mask]) if op in MEASURES:
            measured = _described(mask, known)
            return Operand() if measured.measure else replace(measured, measure=op)
    return Operand()
