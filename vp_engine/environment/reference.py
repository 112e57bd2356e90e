"""The reference of the program language, written from the registry."""

from __future__ import annotations

import re

from vp_engine.anatomy import STRUCTURES, Structure, without_side
from vp_engine.environment.ops import OPS
from vp_engine.environment.vocabulary import ASPECTS, PROGRAM_VARIABLES, REASONS, TEXT_TYPES

_RULES = """\
One statement a line: `NAME = EXPRESSION`, `OP(...)`, `if CONDITION:` with or without `else:`, and `for NAME in LIST:`.
Ops take their arguments by position. A variable keeps its type. Conditions are comparisons (`<`, `<=`, `>`, `>=`, `==`,
`!=`) joined by `and`, `or`, `not`; a written number in a comparison takes the unit of the other side.
`+` and `-` need two numbers with one unit and give the measures `sum` and `difference`; `*` needs a factor without
unit (`product`), `/` two equal units (`ratio`) or a divisor without unit (`quotient`); a written number is a factor
without unit (`scaled`). Nothing else of Python is part of the language."""


def reference() -> str:
    """Return the whole language as Markdown: rules, variables, ops with their docstrings, word lists, structures."""
    parts = ["# The program language", _RULES, "## Variables that are always there"]
    parts.append("\n".join(f"- `{name}`: {kind}" for name, kind in PROGRAM_VARIABLES.items()))
    parts.append("## Ops")
    for op in OPS.values():
        parts += [f"### {op.name}", f"`{op.signature()}`", _as_markdown(op.doc)]
    parts.append("## Words")
    for name, words in TEXT_TYPES.items():
        if name == "Structure":
            continue  # the table at the end says more
        parts += [f"### {name}", ", ".join(f"`{word}`" for word in words)]
    parts.append("## Words of describe")
    parts.append("\n".join(f"- `{one}`: {', '.join(f'`{w}`' for w in words)}" for one, words in ASPECTS.items()))
    parts.append("## Reasons of refusal")
    parts.append("\n".join(f"- `{code}`: {sentence}" for code, sentence in REASONS.items()))
    parts.append("## Structures")
    rows = [
        f"| `{s.name}` | {s.label} | {s.kind} | {_union(s)} | {', '.join(s.synonyms)} |" for s in STRUCTURES.values()
    ]
    parts.append("\n".join(["| name | label | kind | union of | other words |", "|---|---|---|---|---|", *rows]))
    return "\n\n".join(parts) + "\n"


def _union(structure: Structure) -> str:
    """Parts of a union as a list, both sides of a part as one; nothing for a part."""
    if structure.parts == (structure.name,):
        return ""
    whole = structure.kind == "composite" and structure.side == "none"
    return ", ".join(dict.fromkeys(f"`{without_side(part) if whole else part}`" for part in structure.parts))


def _as_markdown(doc: str) -> str:
    """Numpydoc text with section titles in bold and their entries as a list."""
    titled = re.sub(r"^(\w[\w ]*)\n-+$", r"**\1**\n", doc, flags=re.MULTILINE)
    listed = re.sub(r"^(\S.*)\n    (?=\S)", r"- `\1`: ", titled, flags=re.MULTILINE)
    return listed.replace("``", "`")
