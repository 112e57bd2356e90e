"""Runs a checked tree node by node on a copy of the name table; the caller keeps the copy if all went well."""

from __future__ import annotations

import ast
import math
import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any, TypeVar

import numpy as np

from vp_engine.anatomy import without_side
from vp_engine.environment.budgets import Budget
from vp_engine.environment.misuse import Misuse
from vp_engine.environment.ops import OPS
from vp_engine.environment.ops_numbers import combined, defined
from vp_engine.environment.regions import twin_name
from vp_engine.environment.registry import Context
from vp_engine.environment.values import Number, Text, Value
from vp_engine.errors import ProgramError
from vp_engine.measure import arithmetic

LARGEST = 1e15
"""Largest magnitude of a number; a result beyond it is an error of the program."""

_COMPARE: Mapping[type[ast.cmpop], Callable[[Any, Any], bool]] = MappingProxyType(
    {
        ast.Eq: operator.eq,
        ast.NotEq: operator.ne,
        ast.Lt: operator.lt,
        ast.LtE: operator.le,
        ast.Gt: operator.gt,
        ast.GtE: operator.ge,
    }
)

_N = TypeVar("_N", bound=Value | None)


@dataclass(frozen=True, slots=True)
class Run:
    """Everything one walk works on.

    Attributes
    ----------
    names : dict
        Copy of the name table; assignments go here.
    context : Context
        For ops; its lists are copies too.
    budget : Budget
        Counts on.
    embeddings : mapping of ast.Call to array
        Conditioning vector of each segment call that has one.
    """

    names: dict[str, Value]
    context: Context
    budget: Budget
    embeddings: Mapping[ast.Call, np.ndarray]


def segment_nodes(tree: ast.AST) -> list[ast.Call]:
    """Return the calls of `segment` in the order of the text; the k-th takes the k-th embedding."""
    calls = [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "segment"
    ]
    return sorted(calls, key=lambda node: (node.lineno, node.col_offset))


def run_block(body: list[ast.stmt], run: Run) -> None:
    """Run statements that the validator has passed.

    Raises
    ------
    ProgramError
        If an op refuses its arguments or a budget ends; with the line.
    RequestRefused
        If the request cannot be met with these images or weights.
    """
    for statement in body:
        try:
            run.budget.count_statement()
            _run_statement(statement, run)
        except ProgramError as error:
            if error.line is None:
                error.line = statement.lineno
            raise


def _run_statement(statement: ast.stmt, run: Run) -> None:
    match statement:
        case ast.Assign(targets=[ast.Name(id=name)]):
            _assign(name, _evaluate(statement.value, run), run)
        case ast.Expr(value=ast.Call() as call):
            _call(call, run)
        case ast.For(target=ast.Name(id=name)):
            for value in _as_list(_evaluate(statement.iter, run)):
                _assign(name, value, run)
                run_block(statement.body, run)
        case ast.If():
            run_block(statement.body if _holds(statement.test, run) else statement.orelse, run)
        case _:
            raise Misuse("this statement is not part of the language", code="forbidden_syntax")


def _assign(name: str, value: Value, run: Run) -> None:
    run.names[name] = value
    run.budget.count_variables(len(run.names))


def _as_list(value: Value) -> list[Value]:
    if not isinstance(value, list):
        raise Misuse("a loop runs over a list", code="wrong_type", expected="a list", got=type(value).__name__)
    return list(value)


def _evaluate(node: ast.expr, run: Run) -> Value:
    match node:
        case ast.Name(id=name) if name in run.names:
            return run.names[name]
        case ast.Call():
            return _required(_call(node, run))
        case ast.List():
            # the validator has seen that all elements have one type
            return [_evaluate(element, run) for element in node.elts]  # type: ignore[return-value]
        case ast.BinOp():
            return _bounded(_arithmetic(node, run))
    raise Misuse("this expression has no value", code="no_value", line=node.lineno)


def _call(node: ast.Call, run: Run) -> Value | None:
    op = OPS.get(node.func.id) if isinstance(node.func, ast.Name) else None
    if op is None:
        raise Misuse("only ops can be called", code="unknown_op", line=node.lineno)
    arguments: list[Any] = [
        argument.value if isinstance(argument, ast.Constant) else _evaluate(argument, run) for argument in node.args
    ]
    run.budget.count_call(op.name, arguments, lambda: [*run.names.values(), *run.context.results])
    if op.needs_context:
        arguments.insert(0, run.context.with_phi(run.embeddings.get(node)))
    result: Value | None = op.function(*arguments)
    return _bounded(result)


def _bounded(value: _N) -> _N:
    if not isinstance(value, Number) or value.value is None:
        return value
    if not math.isfinite(value.value) or abs(value.value) > LARGEST:
        raise Misuse(
            f"{value.measure} of {value.target} is not a usable number",
            code="not_finite",
            expected=f"finite, below {LARGEST:.0e}",
            got=f"{value.value:.6g}",
        )
    return value


def _required(value: Value | None) -> Value:
    if value is None:
        raise Misuse("this op has no value", code="no_value")
    return value


def _literal(node: ast.expr) -> float | None:
    """Value of a number written in the program, or None."""
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        value = _literal(node.operand)
        return None if value is None else -value
    if isinstance(node, ast.Constant) and type(node.value) in (int, float):
        return float(node.value)  # type: ignore[arg-type]  # the line above has seen that it is a number
    return None


def _arithmetic(node: ast.BinOp, run: Run) -> Number:
    """Sum, difference, product or quotient; a written number is a factor without unit.

    The result has a measure of its own, as it no longer is the volume (...) of a structure.
    """
    left, right = _literal(node.left), _literal(node.right)
    if left is not None:
        return _scaled(node.op, left, _number(node.right, run), literal_first=True)
    if right is not None:
        return _scaled(node.op, right, _number(node.left, run), literal_first=False)
    return _of_two(node.op, _number(node.left, run), _number(node.right, run))


def _number(node: ast.expr, run: Run) -> Number:
    value = _evaluate(node, run)
    if not isinstance(value, Number):
        raise Misuse("arithmetic needs numbers", code="wrong_type", line=node.lineno, got=type(value).__name__)
    return value


def _scaled(op: ast.operator, factor: float, number: Number, *, literal_first: bool) -> Number:
    if isinstance(op, ast.Mult):
        scale = factor
    elif isinstance(op, ast.Div) and not literal_first:
        if factor == 0:
            raise Misuse("division by zero", code="zero_division", expected="a divisor other than 0")
        scale = 1.0 / factor
    else:
        raise Misuse(
            "a written number is only a factor or a divisor",
            code="unit_mismatch",
            expected="number * literal or number / literal",
        )
    return replace(number, value=None if number.value is None else number.value * scale, measure="scaled")


def _of_two(op: ast.operator, a: Number, b: Number) -> Number:
    plain = a.unit == "1" or b.unit == "1"
    if isinstance(op, ast.Mult):
        if not plain:
            raise _units("a product needs one factor without unit", a, b)
        return combined(a, b, "product", b.unit if a.unit == "1" else a.unit, operator.mul)
    if isinstance(op, ast.Div):
        if b.unit not in (a.unit, "1"):
            raise _units("a quotient needs one unit, or a divisor without", a, b)
        unit = "1" if a.unit == b.unit else a.unit
        return combined(a, b, "ratio" if unit == "1" else "quotient", unit, arithmetic.ratio)
    if a.unit != b.unit:
        raise _units("a sum or difference needs one unit", a, b)
    both = without_side(a.target)
    if both != without_side(b.target):
        both = twin_name(a.target, b.target) or twin_name(b.target, a.target) or a.target
    target = a.target if a.target == b.target else both
    if isinstance(op, ast.Add):
        return combined(a, b, "sum", a.unit, operator.add, target=target)
    if isinstance(op, ast.Sub):
        return combined(a, b, "difference", a.unit, operator.sub, target=target)
    raise Misuse("this operator is not part of the language", code="forbidden_syntax", got=type(op).__name__)


def _units(message: str, a: Number, b: Number) -> Misuse:
    return Misuse(message, code="unit_mismatch", expected=a.unit, got=b.unit)


def _holds(node: ast.expr, run: Run) -> bool:
    match node:
        case ast.BoolOp(op=ast.And()):
            return all(_holds(value, run) for value in node.values)
        case ast.BoolOp(op=ast.Or()):
            return any(_holds(value, run) for value in node.values)
        case ast.UnaryOp(op=ast.Not()):
            return not _holds(node.operand, run)
        case ast.Compare(ops=[op], comparators=[other]) if type(op) in _COMPARE:
            left = _comparable(node.left, run)
            right = _comparable(other, run)
            if left[1] and right[1] and left[1] != right[1]:
                raise Misuse(
                    "the two numbers have different units", code="unit_mismatch", expected=left[1], got=right[1]
                )
            return _COMPARE[type(op)](left[0], right[0])
    raise Misuse("this is not a condition", code="wrong_type", line=node.lineno, expected="a comparison")


def _comparable(node: ast.expr, run: Run) -> tuple[float | str, str]:
    """Value to compare and its unit; written numbers and words have none and fit any."""
    literal = _literal(node)
    if literal is not None:
        return literal, ""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value, ""
    value = _evaluate(node, run)
    if isinstance(value, Text):
        return value.word, ""
    if isinstance(value, Number):
        return defined(value), value.unit
    raise Misuse(
        "only numbers and words can be compared", code="wrong_type", line=node.lineno, got=type(value).__name__
    )
