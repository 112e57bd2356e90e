"""Programs are untrusted: attacks are refused at once with a code and leave no trace; only refusals escape."""

from __future__ import annotations

import ast
import contextlib
import random
import time
from typing import Any

import pytest

from vp_engine.environment.budgets import Budget, Limits
from vp_engine.environment.instruction import Instruction
from vp_engine.environment.misuse import Misuse
from vp_engine.environment.omega import Environment
from vp_engine.environment.phantom import PhantomWorld
from vp_engine.environment.registry import Context
from vp_engine.environment.syntax import ALLOWED_NODES, MAX_CHARACTERS, parse
from vp_engine.environment.validator import check
from vp_engine.environment.walker import Run, run_block

GOOD = """\
t1 = scan(current)
flair = image("FLAIR", current)
m = segment(t1, "left_hippocampus")
v = volume(m)
vs = [v, volume(segment(t1, "right_hippocampus"))]
"""
"""What the environment holds when an attack comes."""

V = 'volume(segment(t1, "brainstem"))'

# name: (program, code of the refusal)
ATTACKS: dict[str, tuple[Any, str]] = {
    # ways out of the language
    "attribute": ("x = t1.data", "forbidden_syntax"),
    "dunder attribute": ("x = t1.__class__", "forbidden_syntax"),
    "class walk": ("x = ().__class__.__bases__[0].__subclasses__()", "forbidden_syntax"),
    "method call": ("t1.data.tofile('x')", "forbidden_syntax"),
    "subscript": ("x = vs[0]", "forbidden_syntax"),
    "slice": ("x = vs[0:1]", "forbidden_syntax"),
    "import": ("import os", "forbidden_syntax"),
    "import from": ("from os import system", "forbidden_syntax"),
    "dunder import": ("x = __import__('os')", "bad_name"),
    "eval": ("x = eval('1')", "unknown_op"),
    "exec": ("exec('x = 1')", "unknown_op"),
    "compile": ("x = compile('1', 'a', 'eval')", "unknown_op"),
    "open": ("x = open('passwd')", "unknown_op"),
    "getattr": ("x = getattr(t1, 'data')", "unknown_op"),
    "globals": ("x = globals()", "unknown_op"),
    "print": ("print(v)", "unknown_op"),
    "breakpoint": ("breakpoint()", "unknown_op"),
    "f-string": ('x = f"{t1}"', "forbidden_syntax"),
    "percent format": ('x = "%s" % t1', "forbidden_syntax"),
    "format method": ('x = "{0.__class__}".format(t1)', "forbidden_syntax"),
    "lambda": ("x = lambda: 1", "forbidden_syntax"),
    "lambda call": ("x = (lambda: t1)()", "forbidden_syntax"),
    "list comprehension": ("x = [s for s in sessions]", "forbidden_syntax"),
    "set comprehension": ("x = {s for s in sessions}", "forbidden_syntax"),
    "dict comprehension": ("x = {s: 1 for s in sessions}", "forbidden_syntax"),
    "generator": ("report(volume(m) for m in parcels(t1))", "forbidden_syntax"),
    "walrus": (f"report((x := {V}))", "forbidden_syntax"),
    "star args": ("report(*vs)", "forbidden_syntax"),
    "double star args": ("report(**vs)", "forbidden_syntax"),
    "keyword argument": ("report(value=v)", "forbidden_syntax"),
    "keyword phi": ('x = segment(t1, "brainstem", phi=v)', "forbidden_syntax"),
    "match": ("match v:\n    case x:\n        report(v)", "forbidden_syntax"),
    "try": ("try:\n    report(v)\nexcept Exception:\n    report(v)", "forbidden_syntax"),
    "try star": ("try:\n    report(v)\nexcept* ValueError:\n    report(v)", "forbidden_syntax"),
    "with": ("with t1:\n    report(v)", "forbidden_syntax"),
    "while": ("while v > 0:\n    report(v)", "forbidden_syntax"),
    "def": ("def f():\n    report(v)", "forbidden_syntax"),
    "async def": ("async def f():\n    report(v)", "forbidden_syntax"),
    "class": ("class A:\n    x = v", "forbidden_syntax"),
    "decorator": ("@report\ndef f():\n    report(v)", "forbidden_syntax"),
    "return": ("return v", "forbidden_syntax"),
    "yield": ("x = yield v", "forbidden_syntax"),
    "await": ("x = await v", "forbidden_syntax"),
    "raise": ("raise v", "forbidden_syntax"),
    "assert": ("assert v", "forbidden_syntax"),
    "del": ("del v", "forbidden_syntax"),
    "global": ("global v", "forbidden_syntax"),
    "nonlocal": ("nonlocal v", "forbidden_syntax"),
    "pass": ("pass", "forbidden_syntax"),
    "break": ("for s in sessions:\n    break", "forbidden_syntax"),
    "continue": ("for s in sessions:\n    continue", "forbidden_syntax"),
    "ternary": ("x = v if v > 0 else v", "forbidden_syntax"),
    "tuple": ("x = (v, v)", "forbidden_syntax"),
    "tuple assignment": ("x, y = v, v", "forbidden_syntax"),
    "chained assignment": ("x = y = v", "forbidden_syntax"),
    "list assignment": ("[x] = vs", "forbidden_syntax"),
    "for over list target": ("for [x] in vs:\n    report(v)", "forbidden_syntax"),
    "starred assignment": ("*x, y = vs", "forbidden_syntax"),
    "augmented assignment": ("v += v", "forbidden_syntax"),
    "annotated assignment": ("x: int = v", "forbidden_syntax"),
    "attribute assignment": ("t1.data = v", "forbidden_syntax"),
    "subscript assignment": ("vs[0] = v", "forbidden_syntax"),
    "dict": ("x = {1: v}", "forbidden_syntax"),
    "set": ("x = {v}", "forbidden_syntax"),
    "for over tuple target": ("for a, b in vs:\n    report(a)", "forbidden_syntax"),
    "for with attribute target": ("for t1.x in vs:\n    report(v)", "forbidden_syntax"),
    "for else": ("for x in vs:\n    report(x)\nelse:\n    report(v)", "forbidden_syntax"),
    "async for": ("async for x in vs:\n    report(x)", "forbidden_syntax"),
    "expression statement": ("v", "forbidden_syntax"),
    "docstring": ('"""a text"""', "forbidden_syntax"),
    "chained comparison": ("if 0 < v < 9:\n    report(v)", "forbidden_syntax"),
    "is": ("if v is v:\n    report(v)", "forbidden_syntax"),
    "in": ("if v in vs:\n    report(v)", "forbidden_syntax"),
    "call of a call": ("x = scan(current)(current)", "forbidden_syntax"),
    "immediate string call": ('x = "scan"(current)', "forbidden_syntax"),
    # numbers as bombs
    "power tower": ("x = 9**9**9", "forbidden_syntax"),
    "shift": ("x = 1 << 10**10", "forbidden_syntax"),
    "floor division": ("x = v // v", "forbidden_syntax"),
    "modulo": ("x = v % v", "forbidden_syntax"),
    "matrix product": ("x = v @ v", "forbidden_syntax"),
    "bitwise": ("x = v | v", "forbidden_syntax"),
    "invert": ("x = ~v", "forbidden_syntax"),
    "unary plus": ("x = +v", "forbidden_syntax"),
    "list repetition": ("x = [0]*10**9", "forbidden_syntax"),
    "list repetition, short": ("x = vs * 1000000000", "wrong_type"),
    "list addition": ("x = vs + vs", "wrong_type"),
    "string doubling": ('x = "aa" * 99999999', "misplaced_word"),
    "string addition": ('x = "a" + "b"', "misplaced_word"),
    "constant arithmetic": ("x = 9 * 9", "literal_arithmetic"),
    "constant comparison": ("if 1 < 2:\n    report(v)", "literal_arithmetic"),
    "huge literal": ("if v > " + "9" * 400 + ":\n    report(v)", "long_literal"),
    "huge hexadecimal": ("if v > 0x" + "f" * 300 + ":\n    report(v)", "long_literal"),
    "infinity": ("if v < 1e999:\n    report(v)", "forbidden_constant"),
    "NaN by inf - inf": ("x = 1e999 - 1e999", "forbidden_constant"),
    "imaginary": ("x = v * 2j", "forbidden_constant"),
    "overflow by products": ("x = v * 1e308\nx = x * 1e308", "not_finite"),
    "overflow by a tiny divisor": ("x = v / 1e-320", "not_finite"),
    "overflow inside an op": ("report(ratio(v * 1e9, v * 1e-9))", "not_finite"),
    "division by zero": ("x = v / 0", "zero_division"),
    "bool as number": ("x = v * True", "forbidden_constant"),
    "None": ("x = None", "forbidden_constant"),
    "Ellipsis": ("x = ...", "forbidden_constant"),
    "bytes": ("x = b'a'", "forbidden_constant"),
    "u-string": ('answer(u"left", "brainstem")', "forbidden_constant"),
    # shape bombs
    "nested list bomb": ("a = [v, v, v, v]\nb = [a, a, a, a]\nc = [b, b, b, b]", "wrong_type"),
    "list in list": ("a = [[v]]", "wrong_type"),
    "empty list": ("a = []", "list_length"),
    "long list": ("a = [" + "v," * 65 + "]", "list_length"),
    "mixed list": ("a = [v, t1]", "wrong_type"),
    "list of words": ('a = ["left"]', "misplaced_word"),
    "deep parentheses": ("x = " + "(" * 200 + "v" + ")" * 200, "too_deep"),
    "17 brackets": ("x = " + "(" * 17 + "v" + ")" * 17, "too_deep"),
    "deep lists": ("x = " + "[" * 90 + "]" * 90, "too_deep"),
    "deep minus": ("if v > " + "-" * 3000 + "1:\n    report(v)", "too_deep"),
    "deep not": ("if " + "not " * 900 + "v > 1:\n    report(v)", "too_deep"),
    "minus twice": ("if v > --1:\n    report(v)", "wrong_type"),
    "deep sum": ("x = " + "v+" * 1500 + "v", "too_deep"),
    "deep if": ("\n".join(" " * n + "if v > 1:" for n in range(40)) + "\n" + " " * 41 + "report(v)", "too_deep"),
    "long elif": ("if v > 1:\n report(v)\n" + "elif v > 1:\n report(v)\n" * 30, "too_deep"),
    "three loops": (
        "for a in sessions:\n for b in sessions:\n  for c in sessions:\n   report(v)",
        "too_deep",
    ),
    "too many characters": ("x = v\n" + "#" * MAX_CHARACTERS, "too_long"),
    "4 MB": ("x=1\n" * 1_000_000, "too_long"),
    "too many lines": ("x = v\n" * 64, "too_many_lines"),
    "too many variables": ("\n".join(f"x{n} = v" for n in range(60)), "budget_variables"),
    "nothing": ("", "empty_program"),
    "only a comment": ("# report(v)", "empty_program"),
    # characters
    "NUL": ("x = v\0", "forbidden_character"),
    "tab": ("if v > 1:\n\treport(v)", "forbidden_character"),
    "carriage return": ("x = v\rreport(x)", "forbidden_character"),
    "form feed": ("x = v\freport(x)", "forbidden_character"),
    "backslash continuation": ("x = \\\nv", "forbidden_character"),
    "escape in a word": (r'answer("\x6ceft", "brainstem")', "forbidden_character"),
    "NFKC look-alike": ("\uff52eport(v)", "forbidden_character"),
    "ligature": ("\ufb01rst2 = v", "forbidden_character"),
    "Cyrillic homoglyph": ("r\u0435port(v)", "forbidden_character"),
    "bidi mark": ("x = v  # \u202e", "forbidden_character"),
    "zero-width space": ("x\u200b = v", "forbidden_character"),
    "surrogate": ("x = v\ud800", "forbidden_character"),
    "byte order mark": ("\ufeffx = v", "forbidden_character"),
    "coding cookie": ("# -*- coding: utf-7 -*-\nx = +AHY-", "syntax"),
    "DEL": ("x = v\x7f", "forbidden_character"),
    "line separator": ("x = v\u2028", "forbidden_character"),
    # not text at all
    "bytes program": (b"report(v)", "not_text"),
    "subclass of str": (type("Text", (str,), {})("report(v)"), "not_text"),
    "None program": (None, "not_text"),
    "not a program": ("please report the volume", "syntax"),
    "open bracket": ("report(", "syntax"),
    "bad indentation": ("  x = v\n y = v", "syntax"),
    # names
    "shadowing an op": ("volume = v", "reserved_name"),
    "shadowing by a loop": ("for report in vs:\n    report(v)", "reserved_name"),
    "shadowing a session": ("current = first", "reserved_name"),
    "calling a variable": ("t1(current)", "unknown_op"),
    "op as value": ("x = volume", "op_as_value"),
    "op as argument": ("report(volume)", "op_as_value"),
    "unknown name": ("report(w)", "unknown_name"),
    "builtins name": ("report(__builtins__)", "bad_name"),
    "dunder variable": ("__class__ = v", "bad_name"),
    "long name": ("x" * 33 + " = v", "bad_name"),
    "unknown after one branch": ("if v > 1:\n    w = v\nreport(w)", "unknown_name"),
    "type change": ("t1 = v", "type_change"),
    "type change in a loop": ("for t1 in vs:\n    report(t1)", "type_change"),
    "types differ by branch": ("if v > 1:\n    w = v\nelse:\n    w = t1\nreport(v)", "type_change"),
    # words
    "path as structure": ('x = segment(t1, "../../etc/passwd")', "unknown_structure"),
    "SQL as structure": ('x = segment(t1, "\'; drop table x")', "unknown_structure"),
    "HTML as answer": ('answer("<script>", "brainstem")', "unknown_word"),
    "free reason": ('refuse("because")', "unknown_reason"),
    "free length": ('x = dilate(m, "1000mm")', "unknown_length"),
    "length without unit": ('x = dilate(m, "5")', "unknown_length"),
    "length as number": ("x = erode(m, 5)", "wrong_type"),
    "length from another list": ('x = near(m, m, "left")', "unknown_length"),
    "free direction": ('x = part(m, "../left")', "unknown_direction"),
    "cutout as image": ("x = mean_intensity(crop(t1, m), m)", "wrong_type"),
    "cutout of a cutout": ("x = crop(crop(t1, m), m)", "wrong_type"),
    "reported features": ("report(features(t1, m))", "wrong_type"),
    "saved features": ("save(features(t1, m))", "wrong_type"),
    "list of cutouts": ("x = [crop(t1, m), crop(t1, m)]", "wrong_type"),
    "list of features": ("x = [features(t1, m)]", "wrong_type"),
    "quality against a free word": ('if quality(m) == "bad":\n    report(v)', "unknown_comparison"),
    "region of many steps": (
        "a = m\nfor s in sessions:\n" + "    a = union(a, a)\n" * 12 + "save(a)",
        "long_name",
    ),
    "unknown suffix": ('x = image("../T1w", current)', "unknown_suffix"),
    "word from a variable": ("x = segment(t1, v)", "wrong_type"),
    "word from an expression": ('x = segment(t1, "left" + "_hippocampus")', "wrong_type"),
    "word kept": ('x = "left"', "misplaced_word"),
    "free comparison": ('if compare(v, v) == "more":\n    report(v)', "unknown_comparison"),
    "order of words": ('if compare(v, v) < "less":\n    report(v)', "wrong_type"),
    # types
    "image as number": ("report(t1)", "wrong_type"),
    "number as mask": ("x = volume(v)", "wrong_type"),
    "session as image": ('x = segment(current, "brainstem")', "wrong_type"),
    "literal as number": ("report(5)", "wrong_type"),
    "literal kept": ("x = 5", "wrong_type"),
    "condition kept": ("x = v > 1", "wrong_type"),
    "condition reported": ("report(v > 1)", "wrong_type"),
    "number as condition": ("if v:\n    report(v)", "wrong_type"),
    "not of a number": ("if not v:\n    report(v)", "wrong_type"),
    "or of numbers": ("if v or v:\n    report(v)", "wrong_type"),
    "literal as condition": ("if 1:\n    report(v)", "wrong_type"),
    "minus of a number": ("x = -v", "wrong_type"),
    "compare images": ("if t1 == t1:\n    report(v)", "wrong_type"),
    "add images": ("x = t1 + t1", "wrong_type"),
    "literal plus number": ("x = v + 1", "unit_mismatch"),
    "literal over number": ("x = 1 / v", "unit_mismatch"),
    "loop over an image": ("for x in t1:\n    report(v)", "wrong_type"),
    "loop over a word": ('for x in "left":\n    report(v)', "misplaced_word"),
    "too few arguments": ("x = volume()", "wrong_arguments"),
    "too many arguments": ("report(v, v)", "wrong_arguments"),
    "unused value": ("volume(m)", "unused_value"),
    "value of a statement": ("x = report(v)", "no_value"),
    "read first": ("read(v)\nreport(v)", "read_not_last"),
    "read first in a branch": ("if v > 1:\n    read(v)\n    report(v)", "read_not_last"),
    "read first in the other branch": ("if v > 1:\n    report(v)\nelse:\n    read(v)\n    report(v)", "read_not_last"),
    "wrong type in a loop": ("for x in sessions:\n    y = volume(x)", "wrong_type"),
    "read in a loop": ("for x in vs:\n    read(x)", "read_not_last"),
    # what only shows while running
    "units differ": ("x = v + max_diameter(m)", "unit_mismatch"),
    "units differ in a comparison": ("if v > max_diameter(m):\n    report(v)", "unit_mismatch"),
    "product of volumes": ("x = v * v", "unit_mismatch"),
    "quotient of units": ("x = v / max_diameter(m)", "unit_mismatch"),
    "units differ in compare": ("read(compare(v, max_diameter(m)))", "unit_mismatch"),
    "asymmetry of one side": ("report(asymmetry(v, v))", "not_two_sides"),
    "report twice, differently": (
        "report(v)\nreport(scaled)\n".replace("scaled", "v * 2") + "report(v * 3)",
        "duplicate_row",
    ),
    "late failure": ("y = v * 2\nreport(v)\nsave(m)\nx = v / 0", "zero_division"),
}


def prepared() -> Environment:
    environment = Environment(PhantomWorld(("T1w", "FLAIR")))
    observation = environment.run(Instruction(GOOD + 'report(volume(segment(t1, "csf")))\nsave(segment(t1, "csf"))'))
    assert observation.status == "done", observation.text()
    return environment


@pytest.fixture(scope="module")
def environment() -> Environment:
    """One for all attacks: each must leave it as it was."""
    return prepared()


def test_there_are_enough_attacks() -> None:
    assert len(ATTACKS) >= 90


@pytest.mark.parametrize(("program", "code"), ATTACKS.values(), ids=ATTACKS.keys())
def test_attack_is_refused_with_its_code_at_once_and_without_a_trace(
    environment: Environment, program: Any, code: str
) -> None:
    names, results = dict(environment._names), environment.results
    seconds = []
    for _ in range(3):
        environment.budget.steps = 0
        started = time.perf_counter()
        observation = environment.run(Instruction(program))
        seconds.append(time.perf_counter() - started)
        assert observation.status == "error"
        assert observation.code == code, observation.text()
        assert not observation.values
    assert min(seconds) < 0.05
    assert 0 < len(observation.text()) <= 300
    assert "Traceback" not in observation.text()
    assert environment.results == results
    assert environment._names.keys() == names.keys()
    assert all(environment._names[name] is value for name, value in names.items())


RUNNING_CODES = {
    "budget_variables",
    "duplicate_row",
    "long_name",
    "not_finite",
    "not_two_sides",
    "zero_division",
}
"""Codes of attacks that only show while the program runs; `unit_mismatch` is both."""


@pytest.mark.parametrize(
    ("program", "code"),
    [attack for attack in ATTACKS.values() if attack[1] not in {*RUNNING_CODES, "unit_mismatch"}],
    ids=[name for name, attack in ATTACKS.items() if attack[1] not in {*RUNNING_CODES, "unit_mismatch"}],
)
def test_attack_is_refused_before_anything_runs(program: Any, code: str) -> None:
    types = {"t1": "Image", "flair": "Image", "m": "Mask", "v": "Number", "vs": "List[Number]"}
    with pytest.raises(Misuse) as caught:
        check(parse(program), types)
    assert caught.value.code == code


@pytest.mark.parametrize("program", ["x = v + 1", "x = 1 - v"])
def test_written_number_has_no_unit_before_anything_runs(program: str) -> None:
    with pytest.raises(Misuse) as caught:
        check(parse(program), {"v": "Number"})
    assert caught.value.code == "unit_mismatch"


PARSER_ALONE = ("v", "x = y = v", "[x] = vs", "for [x] in vs:\n    report(v)")
VALIDATOR_ALONE = dict.fromkeys(("pass", "v", "x = y = v", "x = v.value", "x = [v][0]"), "forbidden_syntax")


@pytest.mark.parametrize("program", PARSER_ALONE)
def test_parser_alone_refuses_forms(program: str) -> None:
    with pytest.raises(Misuse) as caught:
        parse(program)
    assert caught.value.code == "forbidden_syntax"


@pytest.mark.parametrize(("program", "code"), VALIDATOR_ALONE.items())
def test_validator_alone_refuses_what_the_parser_would(program: str, code: str) -> None:
    with pytest.raises(Misuse) as caught:
        check(ast.parse(program), {"v": "Number"})
    assert caught.value.code == code


WALKER_ALONE = {
    "pass": "forbidden_syntax",
    "v": "forbidden_syntax",
    "x = v > 1": "no_value",
    "x = [v][0]": "no_value",
    "x = y = v": "forbidden_syntax",
    "x = report(v)": "no_value",
    "x = t1 + t1": "wrong_type",
    "x = v.value": "no_value",
    "x = (lambda: v)()": "unknown_op",
    "print(v)": "unknown_op",
    "for x in t1:\n    report(v)": "wrong_type",
    "if v:\n    report(v)": "wrong_type",
    "if t1 == t1:\n    report(v)": "wrong_type",
    "x = v ** 2": "unit_mismatch",
    "x = v % v": "forbidden_syntax",
    "if v is v:\n    report(v)": "wrong_type",
    "x = 2 + v": "unit_mismatch",
}


@pytest.mark.parametrize(("program", "code"), WALKER_ALONE.items())
def test_walker_alone_refuses_what_the_checks_before_it_would(
    environment: Environment, program: str, code: str
) -> None:
    context = Context(environment.world, results=[], read=[])
    run = Run(dict(environment._names), context, Budget(Limits()), {})
    with pytest.raises(Misuse) as caught:
        run_block(ast.parse(program).body, run)
    assert caught.value.code == code


def test_good_program_passes() -> None:
    assert prepared().variables == {
        "t1": "Image",
        "flair": "Image",
        "m": "Mask",
        "v": "Number",
        "vs": "List[Number]",
    }


REFUSED_NODES = frozenset(
    """
    AST Interactive Expression FunctionType FunctionDef AsyncFunctionDef ClassDef Return Delete AugAssign
    AnnAssign TypeAlias AsyncFor While With AsyncWith Match Raise Try TryStar Assert Import ImportFrom Global Nonlocal
    Pass Break Continue NamedExpr Lambda IfExp Dict Set ListComp SetComp DictComp GeneratorExp Await Yield YieldFrom
    FormattedValue JoinedStr TemplateStr Interpolation Attribute Subscript Starred Tuple Slice Del AugLoad AugStore
    Param MatMult Mod Pow LShift RShift BitOr BitXor BitAnd FloorDiv Invert UAdd Is IsNot In NotIn comprehension
    ExceptHandler arguments arg keyword alias withitem match_case MatchValue MatchSingleton MatchSequence MatchMapping
    MatchClass MatchStar MatchAs MatchOr TypeIgnore TypeVar ParamSpec TypeVarTuple ExtSlice Index Suite Num Str Bytes
    NameConstant Ellipsis mod stmt expr expr_context boolop operator unaryop cmpop excepthandler pattern type_ignore
    type_param slice
    """.split()  # noqa: SIM905  # easier to read than a hundred quoted words
)


def test_census_of_all_node_classes() -> None:
    """A class of a future Python that nobody has decided about fails here; unlisted ones are refused anyway."""
    classes = {name for name, value in vars(ast).items() if isinstance(value, type) and issubclass(value, ast.AST)}
    allowed = {node.__name__ for node in ALLOWED_NODES}
    assert not allowed & REFUSED_NODES
    assert classes <= allowed | REFUSED_NODES, sorted(classes - allowed - REFUSED_NODES)
    assert len(allowed) == 29


def test_longest_allowed_program_is_checked_quickly() -> None:
    line = "x = [" + "v," * 25 + "v]\n"
    program = (line * 64).rstrip("\n")[:MAX_CHARACTERS].rsplit("\n", 1)[0]
    started = time.perf_counter()
    check(parse(program), {"v": "Number"})
    assert time.perf_counter() - started < 0.5


SEEDS = [
    GOOD,
    f"report({V})",
    'for s in sessions:\n    x = volume(segment(scan(s), "ventricles"))\n    report(x)',
    "for m2 in parcels(t1):\n    if volume(m2) > 9000:\n        report(volume(m2))\n    else:\n        save(m2)",
    'if compare(v, volume(m)) == "equal" and not v < 1:\n    answer("equal", "hippocampus")',
    "report(ratio(v, v + v) * 2)\nread(vs)",
    "report(mean_intensity(flair, m))\nreport(count(m))\nreport(centroid_x(m))",
    'refuse("out_of_domain")',
    'report(percent_change(volume(segment(scan(first), "csf")), volume(segment(scan(last), "csf"))))',
]
TOKENS = (  # noqa: SIM905  # easier to read than eighty quoted words
    "t1 flair m v vs x current first last sessions scan image segment parcels volume count ratio asymmetry change "
    'report save read answer refuse compare if for in not and or else: = == < > + - * / ( ) [ ] , : . "FLAIR" '
    '"brainstem" "left" "equal" "one_session" 0 1 2.5 1e308 \n \n "\n    " lambda ** @ {{ }} ; # None True __x__'
).split(" ")


def mutated(rng: random.Random) -> str:
    text = rng.choice(SEEDS)
    for _ in range(rng.randint(0, 4)):
        at, kind = rng.randrange(len(text) + 1), rng.randrange(5)
        if kind == 0:
            text = text[:at] + text[at + rng.randint(1, 9) :]
        elif kind == 1:
            text = text[:at] + rng.choice(TOKENS) + text[at:]
        elif kind == 2:
            text = text[:at] + chr(rng.choice([*range(32, 127), 0, 9, 233, 0x202E, 0xFF56])) + text[at + 1 :]
        elif kind == 3:
            text = text + "\n" + rng.choice(SEEDS)
        else:
            other = rng.choice(SEEDS)
            text = text[:at] + other[rng.randrange(len(other)) :]
    return text


def soup(rng: random.Random) -> str:
    return " ".join(rng.choice(TOKENS) for _ in range(rng.randint(1, 40)))


def grown(rng: random.Random, depth: int = 0) -> str:
    """A random expression of mostly the right form."""
    leaf = rng.choice(["v", "t1", "m", "vs", "current", "sessions", "2", '"brainstem"', "x"])
    if depth > 5 or rng.random() < 0.3:
        return leaf
    op = rng.choice(["volume", "count", "ratio", "scan", "segment", "parcels", "compare", "report", "asymmetry"])
    arguments = ", ".join(grown(rng, depth + 1) for _ in range(rng.randint(1, 2)))
    return rng.choice(
        [f"{op}({arguments})", f"[{arguments}]", f"({grown(rng, depth + 1)} {rng.choice('+-*/<')} {leaf})"]
    )


def reported(rng: random.Random) -> str:
    return f"report({grown(rng)})"


def test_fuzz_lets_only_refusals_escape() -> None:
    rng = random.Random(20260)  # noqa: S311  # must be repeatable
    statuses: dict[str, int] = {}
    codes: set[str] = set()
    environment = prepared()
    for turn in range(1500):
        if turn % 50 == 0:
            environment = prepared()
        environment.budget.steps = 0
        program = rng.choice([mutated, mutated, soup, reported])(rng)
        before = environment.variables, environment.results
        observation = environment.run(Instruction(program))
        statuses[observation.status] = statuses.get(observation.status, 0) + 1
        codes.add(observation.code)
        assert len(observation.text()) <= 300
        if observation.status in ("error", "refused"):
            assert (environment.variables, environment.results) == before, program
            assert observation.code, program
            assert observation.message, program
    assert statuses.keys() == {"ok", "done", "error", "refused"}
    assert min(statuses.values()) > 10, statuses
    assert len(codes) > 15, codes


def test_parser_lets_only_refusals_escape() -> None:
    rng = random.Random(7)  # noqa: S311  # must be repeatable
    for _ in range(3000):
        text = "".join(chr(rng.randrange(32, 127)) if rng.random() < 0.97 else "\n" for _ in range(rng.randrange(200)))
        with contextlib.suppress(Misuse):
            check(parse(text), {"v": "Number"})
