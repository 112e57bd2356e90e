"""The reference of the program language as Markdown, from the registry of ops and the vocabulary."""

from __future__ import annotations

import inspect
import re


def ops_reference() -> str:
    """Every op with its signature and what it does, every structure, every reason to refuse."""
    from vp_engine.anatomy import STRUCTURES
    from vp_engine.environment.ops import OPS
    from vp_engine.environment.vocabulary import COMPARISONS, REASONS, SUFFIXES, WORDS

    lines = [
        "# The program language",
        "",
        "Programs are short lists of these ops; the agent writes them, you read them.",
        "",
    ]
    lines += ["## Ops", ""]
    for op in OPS.values():
        lines += [f"### `{op.signature()}`", "", _markdown(inspect.cleandoc(op.doc)), ""]
    lines += ["## Words", ""]
    for name, words in (("Image suffixes", SUFFIXES), ("Answers", WORDS), ("Comparisons", COMPARISONS)):
        lines += [f"- {name}: {', '.join(f'`{word}`' for word in words)}"]
    lines += ["", "## Reasons to refuse", ""]
    lines += [f"- `{reason}`: {text}" for reason, text in REASONS.items()]
    lines += ["", "## Structures", "", "| name | label | kind | other words |", "|---|---|---|---|"]
    lines += [f"| `{s.name}` | {s.label} | {s.kind} | {', '.join(s.synonyms)} |" for s in STRUCTURES.values()]
    return "\n".join(lines) + "\n"


def _markdown(doc: str) -> str:
    """Numpydoc as Markdown: titles in bold, parameters as a list."""
    doc = re.sub(r"^(\w[\w ]*)\n-+\n", r"**\1**\n\n", doc, flags=re.MULTILINE)
    doc = re.sub(r"^(\w+) : (.+)\n    ", r"- `\1` (\2): ", doc, flags=re.MULTILINE)
    return re.sub(r"^(\w+)\n    ", r"- \1: ", doc, flags=re.MULTILINE).replace("``", "`")
