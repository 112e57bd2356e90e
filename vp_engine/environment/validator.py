"""The type check: every call, name and word of a program against the registry, before anything runs."""

from __future__ import annotations

import ast
from collections.abc import Mapping

from vp_engine.anatomy import SIDES, STRUCTURES
from vp_engine.environment.misuse import Misuse, close_names
from vp_engine.environment.ops import OPS
from vp_engine.environment.registry import LIST_TYPES, Parameter
from vp_engine.environment.vocabulary import PROGRAM_VARIABLES, TEXT_TYPES

LITERAL = "Literal"
"""Type of a number written in the program: only an operand, never a result."""

CONDITION = "Condition"
"""Type of a comparison: only between `if` and the colon."""

_LAST_ONLY = "read"


def check(tree: ast.Module, variables: Mapping[str, str]) -> None:
    """Type-check a parsed program.

    Parameters
    ----------
    tree : ast.Module
        From `syntax.parse`.
    variables : mapping of str to str
        Variables that earlier programs left, with their types.

    Raises
    ------
    Misuse
        At the first thing that is wrong.
    """
    if not tree.body:
        raise Misuse("the program is empty", code="empty_program", expected="at least one statement")
    _check_read_last(tree.body, may_read=True)
    _check_block(tree.body, {**variables, **PROGRAM_VARIABLES})


def _check_read_last(body: list[ast.stmt], *, may_read: bool) -> None:
    for statement in body:
        last = may_read and statement is body[-1]
        match statement:
            case ast.Expr(value=ast.Call(func=ast.Name(id=name))) if name == _LAST_ONLY and not last:
                raise Misuse(
                    "read ends the program",
                    code="read_not_last",
                    line=statement.lineno,
                    expected="read as the last line, outside loops",
                )
            case ast.If():
                _check_read_last(statement.body, may_read=last)
                _check_read_last(statement.orelse, may_read=last)
            case ast.For():
                _check_read_last(statement.body, may_read=False)


def _check_block(body: list[ast.stmt], scope: dict[str, str]) -> None:
    """Check statements in order; `scope` gains the variables they assign."""
    for statement in body:
        match statement:
            case ast.Assign(targets=[ast.Name() as target]):
                _bind(target, _value_type(statement.value, scope), scope)
            case ast.Expr(value=ast.Call() as call):
                returned = _call_type(call, scope)
                if returned is not None:
                    raise Misuse(
                        "the value of this call is not used",
                        code="unused_value",
                        line=call.lineno,
                        expected="report(...), save(...) or NAME = ...",
                        got=returned,
                    )
            case ast.For(target=ast.Name() as target):
                iterated = _value_type(statement.iter, scope)
                if iterated not in LIST_TYPES:
                    raise _wrong_type(statement.iter, "a list such as sessions or parcels(image)", iterated)
                _bind(target, iterated.removeprefix("List[").removesuffix("]"), scope)
                _check_block(statement.body, scope)
            case ast.If():
                _check_if(statement, scope)
            case _:
                raise Misuse(
                    "this statement is not part of the language", code="forbidden_syntax", line=statement.lineno
                )


def _check_if(statement: ast.If, scope: dict[str, str]) -> None:
    condition = _expression_type(statement.test, scope)
    if condition != CONDITION:
        raise _wrong_type(statement.test, "a comparison", condition)
    yes, no = dict(scope), dict(scope)
    _check_block(statement.body, yes)
    _check_block(statement.orelse, no)
    # a variable that only one branch assigns is not known afterwards
    for name in sorted(yes.keys() & no.keys()):
        if yes[name] != no[name]:
            raise Misuse(
                f"{name} has one type in one branch and another in the other",
                code="type_change",
                line=statement.lineno,
                expected=yes[name],
                got=no[name],
            )
        scope[name] = yes[name]


def _bind(target: ast.Name, value_type: str, scope: dict[str, str]) -> None:
    name = target.id
    if name in OPS or name in PROGRAM_VARIABLES:
        raise Misuse(
            f"{name} is a word of the language and cannot be assigned",
            code="reserved_name",
            line=target.lineno,
            expected="another name",
            got=name,
        )
    if scope.get(name, value_type) != value_type:
        raise Misuse(
            f"{name} cannot change its type",
            code="type_change",
            line=target.lineno,
            expected=scope[name],
            got=value_type,
        )
    scope[name] = value_type


def _value_type(node: ast.expr, scope: Mapping[str, str]) -> str:
    """Type of an expression whose value is kept: no literal and no condition."""
    found = _expression_type(node, scope)
    if found in (LITERAL, CONDITION):
        raise _wrong_type(node, "a value that an op gives", found)
    return found


def _expression_type(node: ast.expr, scope: Mapping[str, str]) -> str:
    match node:
        case ast.Name():
            return _name_type(node, scope)
        case ast.Constant():
            return _constant_type(node)
        case ast.Call():
            return _result_type(node, scope)
        case ast.List():
            return _list_type(node, scope)
        case ast.BinOp():
            return _arithmetic_type(node, scope)
        case ast.UnaryOp(op=ast.USub()):
            return _negative_type(node, scope)
        case ast.UnaryOp():
            return _condition_type([node.operand], scope)
        case ast.BoolOp():
            return _condition_type(node.values, scope)
        case ast.Compare():
            return _comparison_type(node, scope)
    raise Misuse("this expression is not part of the language", code="forbidden_syntax", line=node.lineno)


def _constant_type(node: ast.Constant) -> str:
    if isinstance(node.value, str):
        raise Misuse(
            "a word stands only where an op or a comparison asks for one",
            code="misplaced_word",
            line=node.lineno,
            got=node.value[:40],
        )
    return LITERAL


def _result_type(node: ast.Call, scope: Mapping[str, str]) -> str:
    returned = _call_type(node, scope)
    if returned is None:
        raise Misuse(
            "this op has no value", code="no_value", line=node.lineno, expected="a line of its own", got=_op_name(node)
        )
    return returned


def _negative_type(node: ast.UnaryOp, scope: Mapping[str, str]) -> str:
    operand = _expression_type(node.operand, scope)
    if operand != LITERAL or not isinstance(node.operand, ast.Constant):
        raise _wrong_type(node, "- before a written number", operand)
    return LITERAL


def _condition_type(operands: list[ast.expr], scope: Mapping[str, str]) -> str:
    for operand in operands:
        found = _expression_type(operand, scope)
        if found != CONDITION:
            raise _wrong_type(operand, "a comparison", found)
    return CONDITION


def _name_type(node: ast.Name, scope: Mapping[str, str]) -> str:
    if node.id in scope:
        return scope[node.id]
    if node.id in OPS:
        raise Misuse(f"{node.id} is an op and needs brackets", code="op_as_value", line=node.lineno, got=node.id)
    raise Misuse(
        f"no variable {node.id} here",
        code="unknown_name",
        line=node.lineno,
        expected="a variable assigned on every way to this line",
        got=node.id,
        close=close_names(node.id, scope),
    )


def _list_type(node: ast.List, scope: Mapping[str, str]) -> str:
    types = [_value_type(element, scope) for element in node.elts]
    if len(set(types)) > 1:
        raise _wrong_type(node, "a list of one type", ", ".join(sorted(set(types))))
    if f"List[{types[0]}]" not in LIST_TYPES:
        raise _wrong_type(node, "a flat list of sessions, images, masks or numbers", f"List[{types[0]}]")
    return f"List[{types[0]}]"


def _arithmetic_type(node: ast.BinOp, scope: Mapping[str, str]) -> str:
    types = [_expression_type(side, scope) for side in (node.left, node.right)]
    for side, found in zip((node.left, node.right), types, strict=True):
        if found not in ("Number", LITERAL):
            raise _wrong_type(side, "Number", found)
    if types == [LITERAL, LITERAL]:
        raise Misuse(
            "write the result itself", code="literal_arithmetic", line=node.lineno, expected="a measured number"
        )
    if LITERAL in types and isinstance(node.op, (ast.Add, ast.Sub)):
        raise Misuse(
            "a written number has no unit",
            code="unit_mismatch",
            line=node.lineno,
            expected="two measured numbers with one unit",
            got="a written number",
        )
    return "Number"


def _comparison_type(node: ast.Compare, scope: Mapping[str, str]) -> str:
    left, right = node.left, node.comparators[0]
    left_type = _expression_type(left, scope)
    if left_type == "Text":
        if not isinstance(node.ops[0], (ast.Eq, ast.NotEq)):
            raise _wrong_type(node, "== or != between words", type(node.ops[0]).__name__)
        _check_word(right, "Comparison", TEXT_TYPES["Comparison"])
        return CONDITION
    right_type = _expression_type(right, scope)
    for side, found in ((left, left_type), (right, right_type)):
        if found not in ("Number", LITERAL):
            raise _wrong_type(side, "Number", found)
    if left_type == right_type == LITERAL:
        raise Misuse(
            "comparing two written numbers says nothing",
            code="literal_arithmetic",
            line=node.lineno,
            expected="a measured number",
        )
    return CONDITION


def _op_name(node: ast.Call) -> str:
    return node.func.id if isinstance(node.func, ast.Name) else ""


def _call_type(node: ast.Call, scope: Mapping[str, str]) -> str | None:
    name = _op_name(node)
    op = OPS.get(name)
    if op is None:
        raise Misuse(
            f"no op {name[:40]}", code="unknown_op", line=node.lineno, got=name[:40], close=close_names(name, OPS)
        )
    if len(node.args) != len(op.parameters):
        raise Misuse(
            "wrong number of arguments",
            code="wrong_arguments",
            line=node.lineno,
            expected=op.signature(),
            got=f"{len(node.args)} arguments",
        )
    for argument, parameter in zip(node.args, op.parameters, strict=True):
        _check_argument(argument, parameter, op.signature(), scope)
    return op.returns


def _check_argument(node: ast.expr, parameter: Parameter, signature: str, scope: Mapping[str, str]) -> None:
    text_type = parameter.accepts[0]
    if text_type in TEXT_TYPES:
        _check_word(node, text_type, TEXT_TYPES[text_type])
        return
    found = _expression_type(node, scope)
    if found not in parameter.accepts:
        raise _wrong_type(node, signature, f"{found} as {parameter.name}")


def _check_word(node: ast.expr, text_type: str, words: tuple[str, ...]) -> None:
    if not isinstance(node, ast.Constant) or not isinstance(node.value, str):
        raise _wrong_type(node, f"a {text_type} in quotes", type(node).__name__)
    if node.value in words:
        return
    close = close_names(node.value, words)
    if text_type == "Structure":
        close = (*_named_by(node.value), *close)[:3]
    raise Misuse(
        f"no such {text_type.lower()}",
        code=f"unknown_{text_type.lower()}",
        line=node.lineno,
        expected=f"a {text_type}" if len(words) > 20 else " | ".join(words),
        got=node.value[:40],
        close=tuple(dict.fromkeys(close)),
    )


def _named_by(words: str) -> tuple[str, ...]:
    """Structures that another word stands for, with or without a side before it."""
    spoken = words.lower().replace("_", " ").strip()
    side = next((side for side in SIDES if spoken.startswith(f"{side} ")), "")
    sides = (side,) if side else ("both", "none")
    bare = spoken.removeprefix(f"{side} ")
    return tuple(name for name, known in STRUCTURES.items() if bare in known.synonyms and known.side in sides)


def _wrong_type(node: ast.expr, expected: str, got: str) -> Misuse:
    return Misuse("wrong type", code="wrong_type", line=node.lineno, expected=expected, got=got)
