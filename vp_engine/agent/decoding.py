"""Constrained decoding: which terminals may follow, from the signatures of the op registry alone.

A push-down walker: it holds the types that the op calls opened so far still ask for, and the types of all
variables. Whatever is written under it parses, type-checks, and names only known words.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from types import MappingProxyType

from vp_engine.agent.terminals import END, LOOP_VARIABLES, MOD, STOP, VARIABLES, constant_kind, split_terminal
from vp_engine.anatomy import STRUCTURES
from vp_engine.environment.ops import OPS
from vp_engine.environment.registry import LIST_TYPES
from vp_engine.environment.vocabulary import PROGRAM_VARIABLES, TEXT_TYPES

MAX_NESTING = 8
"""Most op calls inside each other."""
MAX_LOOPS = 2
"""Most loops inside each other."""
MAX_LINES = 60
"""Longest piece of code."""

_STATEMENTS = tuple(name for name, op in OPS.items() if op.returns is None)
_ASSIGNED = tuple(sorted({op.returns for op in OPS.values() if op.returns is not None}))
_MOD_OP = "segment"


@dataclass(slots=True)
class _Expression:
    """An expression that is still to come: the types it may have, its nesting, and whether it must be a call."""

    accepts: tuple[str, ...]
    nesting: int
    call: bool = False


@dataclass(slots=True)
class _Binding:
    """A variable to be bound once its expression is complete."""

    name: str
    loop: bool
    type: str = ""


@dataclass(slots=True)
class _Twin:
    """The first operand of an op whose second is the same of the other side or session, as far as it is written."""

    op: str
    first: list[str]

    def fits(self, terminal: str, variables: Mapping[str, str]) -> bool:
        """Whether the first operand may go on with a terminal: the left side and the earlier session come first."""
        twins = _twins()[self.op]
        kind, name = split_terminal(twins.get(terminal, terminal))
        if kind == "var" and variables.get(name) != variables.get(split_terminal(terminal)[1]):
            return False  # the second operand would need a variable that is not there
        return any(one in twins for one in self.first) or not terminal.startswith(_SECOND[self.op])

    def second(self) -> list[str]:
        """Return the whole second operand."""
        twins = _twins()[self.op]
        return [twins.get(terminal, terminal) for terminal in self.first]


class Walker:
    """One piece of code being written.

    Parameters
    ----------
    variables : mapping of str to str
        Variables that earlier pieces left, with their types.
    answering : bool
        Whether something has been read, so that an answer is possible.
    refusing : bool
        Whether the piece may be a refusal.
    """

    def __init__(
        self,
        variables: Mapping[str, str] = MappingProxyType({}),
        *,
        answering: bool = False,
        refusing: bool = True,
    ) -> None:
        self.variables = {**variables, **PROGRAM_VARIABLES}
        self.finished = False
        self._answering = answering
        self._refusing = refusing
        self._pending: list[_Expression | _Binding | _Twin | str] = []
        # statements in each open block: [top level, loop, loop in the loop]
        self._blocks = [0]
        self._lines = 0
        self._useful = False
        self._closed = False

    def allowed(self) -> tuple[str, ...]:
        """Terminals that may come next; never empty before the piece is finished."""
        if self._pending:
            return self._continued(self._pending[-1])
        if self._closed:
            return (STOP,)
        choices: list[str] = []
        inside = len(self._blocks) > 1
        full = self._lines >= MAX_LINES
        if inside and self._blocks[-1]:
            choices.append(END)
        if not inside and self._useful:
            choices.append(STOP)
        if not full or not choices:
            choices += self._statements(inside=inside)
        return tuple(choices)

    def forced(self) -> str | None:
        """Return the only terminal that may come next; None when there is a choice or nothing more to come."""
        if self.finished:
            return None
        choices = self.allowed()
        return choices[0] if len(choices) == 1 else None

    def push(self, terminal: str) -> None:
        """Take the next terminal.

        Raises
        ------
        ValueError
            If it is not allowed here.
        """
        if self.finished or terminal not in self.allowed():
            raise ValueError(f"{terminal} is not allowed here")
        for pending in self._pending:
            if isinstance(pending, _Twin):
                pending.first.append(terminal)
        if self._pending:
            self._push_expression(terminal)
        else:
            self._push_statement(terminal)
        self._complete()

    def _statements(self, *, inside: bool) -> list[str]:
        first = self._lines == 0
        barred = {"read"} if inside else set()
        barred |= set() if self._answering else {"answer"}
        barred |= set() if first and self._refusing else {"refuse"}
        choices = [f"op:{name}" for name in _STATEMENTS if name not in barred and self._reachable(name, 0)]
        choices += [f"set:{name}" for name in VARIABLES if self._first_terminals(self._assignable(name), 0, call=True)]
        if len(self._blocks) <= MAX_LOOPS:
            choices += [f"for:{name}" for name in LOOP_VARIABLES if self._first_terminals(self._iterable(name), 0)]
        return choices

    def _assignable(self, name: str) -> tuple[str, ...]:
        return (self.variables[name],) if name in self.variables else _ASSIGNED

    def _iterable(self, name: str) -> tuple[str, ...]:
        return tuple(one for one in LIST_TYPES if one == f"List[{LOOP_VARIABLES[name]}]")

    def _continued(self, pending: _Expression | _Binding | _Twin | str) -> tuple[str, ...]:
        if isinstance(pending, str):
            return (pending,)
        if not isinstance(pending, _Expression):
            raise TypeError("what waits for an expression is completed by it")
        choices = self._first_terminals(pending.accepts, pending.nesting, call=pending.call)
        twins = [one for one in self._pending if isinstance(one, _Twin)]
        return tuple(choice for choice in choices if all(twin.fits(choice, self.variables) for twin in twins))

    def _first_terminals(self, accepts: tuple[str, ...], nesting: int, *, call: bool = False) -> tuple[str, ...]:
        """Terminals an expression of these types can begin with."""
        if accepts[0] in _constants():
            return _constants()[accepts[0]]
        choices = [f"var:{name}" for name, kind in self.variables.items() if kind in accepts and not call]
        choices += [
            f"op:{name}" for name, op in OPS.items() if op.returns in accepts and self._reachable(name, nesting)
        ]
        return tuple(choices)

    def _reachable(self, name: str, nesting: int) -> bool:
        return nesting + _op_depths()[name] <= MAX_NESTING

    def _push_statement(self, terminal: str) -> None:
        kind, name = split_terminal(terminal)
        if terminal == STOP:
            self.finished = True
            return
        if terminal == END:
            self._blocks.pop()
            return
        self._lines += 1
        self._blocks[-1] += 1
        if kind == "set":
            self._pending += [_Binding(name, loop=False), _Expression(self._assignable(name), 0, call=True)]
        elif kind == "for":
            self._pending += [_Binding(name, loop=True), _Expression(self._iterable(name), 0)]
        else:
            self._useful = True
            self._closed = name in ("read", "refuse")
            self._open(name, 0)

    def _push_expression(self, terminal: str) -> None:
        pending = self._pending.pop()
        if isinstance(pending, str):
            return
        kind, name = split_terminal(terminal)
        if constant_kind(kind):
            return
        returned = self.variables[name] if kind == "var" else OPS[name].returns
        below = self._pending[-1] if self._pending else None
        if isinstance(below, _Binding) and not below.type:
            below.type = returned or ""
        if kind == "op":
            self._open(name, pending.nesting if isinstance(pending, _Expression) else 0)

    def _open(self, name: str, nesting: int) -> None:
        if name == _MOD_OP:
            self._pending.append(MOD)
        expected = [_Expression(parameter.accepts, nesting + 1) for parameter in OPS[name].parameters]
        if name in _twins():
            self._pending += [*reversed(expected[2:]), _Twin(name, []), expected[0]]
        else:
            self._pending += reversed(expected)

    def _complete(self) -> None:
        while self._pending and isinstance(binding := self._pending[-1], _Binding | _Twin):
            self._pending.pop()
            if isinstance(binding, _Twin):
                self._pending += reversed(binding.second())
            elif binding.loop:
                self.variables[binding.name] = binding.type.removeprefix("List[").removesuffix("]")
                self._blocks.append(0)
            else:
                self.variables[binding.name] = binding.type


_SIDES = "asymmetry"
_CHANGES = ("change", "percent_change", "annual_rate", "annual_percent_rate", "changed", "follow")
_SECOND = {_SIDES: ("structure:right_", "direction:right")} | dict.fromkeys(
    _CHANGES, ("var:after", "var:last", "var:current")
)
"""Beginnings of terminals that only the second operand can have before it is decided which the first is."""


@lru_cache(maxsize=1)
def _twins() -> dict[str, dict[str, str]]:
    """Op → what is exchanged in its first operand to give the second."""
    left = [name for name in STRUCTURES if name.startswith("left_")]
    sides = {f"structure:{name}": f"structure:right_{name.removeprefix('left_')}" for name in left}
    sides["direction:left"] = "direction:right"
    later = {"var:before": "var:after", "var:first": "var:last"}
    return {_SIDES: sides | {right: left for left, right in sides.items()}, **dict.fromkeys(_CHANGES, later)}


@lru_cache(maxsize=1)
def _constants() -> dict[str, tuple[str, ...]]:
    return {
        kind: tuple(f"{kind.lower()}:{word}" for word in words)
        for kind, words in TEXT_TYPES.items()
        if constant_kind(kind.lower())
    }


@lru_cache(maxsize=1)
def _op_depths() -> dict[str, int]:
    """Least nesting each op call needs, with no variables but those every program has."""
    unreachable = MAX_NESTING + 1
    types = dict.fromkeys((*PROGRAM_VARIABLES.values(), *TEXT_TYPES), 0)
    depths: dict[str, int] = {}
    for _ in range(MAX_NESTING):
        for name, op in OPS.items():
            needs = [min(types.get(one, unreachable) for one in p.accepts) for p in op.parameters]
            depths[name] = min(unreachable, 1 + max(needs, default=0))
            if op.returns is not None:
                types[op.returns] = min(types.get(op.returns, unreachable), depths[name])
    return depths
