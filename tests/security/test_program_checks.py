"""No check of the language is idle: without any single one, an attack gets through or is told as something else."""

from __future__ import annotations

import ast
import itertools
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.security import test_programs as suite
from vp_engine.environment import budgets, omega, syntax, validator, walker
from vp_engine.environment.budgets import Budget, Limits
from vp_engine.environment.instruction import Instruction
from vp_engine.environment.misuse import Misuse
from vp_engine.environment.omega import Environment
from vp_engine.environment.phantom import PhantomWorld
from vp_engine.environment.registry import Context

TYPES = {"t1": "Image", "flair": "Image", "m": "Mask", "v": "Number", "vs": "List[Number]"}
LOOP = 'for s in sessions:\n    x = volume(segment(scan(s), "csf"))\n'
BUDGETS: tuple[tuple[str, Limits, str], ...] = (
    (LOOP, Limits(statements=1), "budget_statements"),
    (LOOP, Limits(calls=2), "budget_calls"),
    ("x = scan(current)\ny = scan(first)", Limits(variables=3), "budget_variables"),
    ('x = segment(scan(current), "csf")', Limits(memory_bytes=1), "budget_memory"),
    ("x = scan(current)", Limits(steps=0), "budget_steps"),
    # by a clock that goes on by a second whenever it is looked at: before the step, and before a call in it
    ("x = current", Limits(seconds=0.5), "budget_seconds"),
    ("x = scan(current)", Limits(seconds=1.5), "budget_seconds"),
)


def code_of(act: Any) -> str:
    """Code of the refusal; what else came of it in the same place."""
    try:
        act()
    except Misuse as error:
        return error.code
    except Exception as error:  # noqa: BLE001  # whatever a missing check lets happen
        return type(error).__name__
    return "accepted"


class Language:
    """Parser, validator, walker and budget, any of them exchanged."""

    def __init__(self, **exchanged: types.ModuleType) -> None:
        found = {"syntax": syntax, "validator": validator, "walker": walker, "budgets": budgets} | exchanged
        self.parse, self.check = found["syntax"].parse, found["validator"].check
        self.walker, self.Budget = found["walker"], found["budgets"].Budget

    def install(self, patch: pytest.MonkeyPatch) -> None:
        patch.setattr(omega, "parse", self.parse)
        patch.setattr(omega, "check", self.check)
        patch.setattr(omega, "Run", self.walker.Run)
        patch.setattr(omega, "run_block", self.walker.run_block)
        patch.setattr(omega, "segment_nodes", self.walker.segment_nodes)
        patch.setattr(omega, "Budget", self.Budget)

    def failures(self, patch: pytest.MonkeyPatch) -> Iterator[str]:
        """What the suite of attacks would complain of; the same calls as its tests make."""
        with patch.context() as inner:
            self.install(inner)
            yield from _run_failures()
        yield from self._alone_failures()

    def _alone_failures(self) -> Iterator[str]:
        running = {*suite.RUNNING_CODES, "unit_mismatch"}
        before = [(p, code) for p, code in suite.ATTACKS.values() if code not in running]
        before += [("x = v + 1", "unit_mismatch"), ("x = 1 - v", "unit_mismatch")]
        calls = [(lambda p=p: self.check(self.parse(p), TYPES), code) for p, code in before]
        calls += [(lambda p=p: self.parse(p), "forbidden_syntax") for p in suite.PARSER_ALONE]
        calls += [(lambda p=p: self.check(ast.parse(p), TYPES), code) for p, code in suite.VALIDATOR_ALONE.items()]
        calls += [(lambda p=p: self._walk(p), code) for p, code in suite.WALKER_ALONE.items()]
        for call, code in calls:
            if (got := code_of(call)) != code:
                yield f"{code}: {got}"

    def _walk(self, program: str) -> None:
        environment = suite.prepared()
        context = Context(environment.world, results=[], read=[])
        run = self.walker.Run(dict(environment._names), context, Budget(Limits()), {})
        self.walker.run_block(ast.parse(program).body, run)


def _run_failures() -> Iterator[str]:
    environment = suite.prepared()
    for name, (program, code) in suite.ATTACKS.items():
        environment.budget.steps = 0
        before = environment.variables, environment.results
        try:
            observation = environment.run(Instruction(program))
        except Exception as error:  # noqa: BLE001  # whatever a missing check lets happen
            yield f"{name}: {type(error).__name__} escaped"
            environment = suite.prepared()
            continue
        if (observation.status, observation.code) != ("error", code):
            yield f"{name}: {observation.status} {observation.code}"
        if (environment.variables, environment.results) != before:
            yield f"{name}: left a trace"
            environment = suite.prepared()
    for program, limits, code in BUDGETS:
        clock = map(float, itertools.count()).__next__
        observation = Environment(PhantomWorld(("T1w",)), limits=limits, clock=clock).run(Instruction(program))
        if observation.code != code:
            yield f"{code}: {observation.status} {observation.code}"


def test_with_all_checks_in_place_nothing_gets_through(monkeypatch: pytest.MonkeyPatch) -> None:
    assert list(Language().failures(monkeypatch)) == []


class WithoutCheck(ast.NodeTransformer):
    """Takes the k-th `raise`, or call of something that checks, out of a module; or `_bounded` from around a value."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.seen = 0
        self.line = 0

    def visit_Raise(self, node: ast.Raise) -> ast.stmt:
        return self._pass(node) if node.exc is not None and self._is_next(node) else node

    def visit_Expr(self, node: ast.Expr) -> ast.stmt:
        if isinstance(node.value, ast.Call):
            name = ast.unparse(node.value.func).rpartition(".")[2]
            if name.startswith(("_check", "_scan", "_require", "count_", "start_", "check")) and self._is_next(node):
                return self._pass(node)
        return node

    def visit_Call(self, node: ast.Call) -> ast.expr:
        self.generic_visit(node)
        return node.args[0] if ast.unparse(node.func) == "_bounded" and self._is_next(node) else node

    def _is_next(self, node: ast.AST) -> bool:
        self.seen += 1
        if self.seen - 1 == self.number:
            self.line = getattr(node, "lineno", 0)
            return True
        return False

    @staticmethod
    def _pass(node: ast.stmt) -> ast.stmt:
        return ast.copy_location(ast.Pass(), node)


def rebuilt(module: types.ModuleType, tree: ast.Module) -> types.ModuleType:
    made = types.ModuleType(module.__name__)
    made.__file__ = module.__file__
    code = compile(ast.fix_missing_locations(tree), str(module.__file__), "exec")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(__import__("sys").modules, module.__name__, made)  # dataclasses look their module up
        exec(code, made.__dict__)  # noqa: S102  # our own module, changed
    return made


def without_each_check(module: types.ModuleType) -> Iterator[tuple[str, types.ModuleType]]:
    source = Path(str(module.__file__)).read_text(encoding="utf-8")
    number = 0
    while True:
        removing = WithoutCheck(number)
        tree = removing.visit(ast.parse(source))
        if removing.seen <= number:
            return
        yield f"{Path(str(module.__file__)).name}:{removing.line}", rebuilt(module, tree)
        number += 1


def without_each_form() -> Iterator[tuple[str, types.ModuleType]]:
    source = ast.parse(Path(str(syntax.__file__)).read_text(encoding="utf-8"))
    for number, form in enumerate(syntax._FORMS):
        made = rebuilt(syntax, source)
        made._FORMS = syntax._FORMS[:number] + syntax._FORMS[number + 1 :]  # type: ignore[attr-defined]
        yield f"form {number}: {form[0].__name__}, {form[3]}", made


def with_each_limit_lifted() -> Iterator[tuple[str, types.ModuleType]]:
    source = ast.parse(Path(str(syntax.__file__)).read_text(encoding="utf-8"))
    for name in sorted(name for name in vars(syntax) if name.startswith("MAX_")):
        made = rebuilt(syntax, source)
        setattr(made, name, 10**9)
        if name == "MAX_LIST_LENGTH":
            continue  # a form, made when the module is
        yield name, made


SOURCES = {"syntax": syntax, "validator": validator, "walker": walker, "budgets": budgets}


@pytest.mark.stress
@pytest.mark.parametrize("name", SOURCES)
def test_no_check_can_be_taken_out_unnoticed(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    source = ast.parse(Path(str(SOURCES[name].__file__)).read_text(encoding="utf-8"))
    unchanged = rebuilt(SOURCES[name], source)
    assert list(Language(**{name: unchanged}).failures(monkeypatch)) == [], "only what is taken out may be noticed"
    changed = list(without_each_check(SOURCES[name]))
    if name == "syntax":
        changed += [*without_each_form(), *with_each_limit_lifted()]
    idle = [what for what, module in changed if not any(Language(**{name: module}).failures(monkeypatch))]
    print(f"{name}: {len(changed)} checks taken out one by one, {len(changed) - len(idle)} noticed")  # noqa: T201
    assert idle == []
