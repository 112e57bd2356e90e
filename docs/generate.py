"""Writes the pages of docs/ that are made from the code; with --check only says whether they are up to date."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from vp_engine.bids.findings import FINDINGS
from vp_engine.cohort.flags import FLAGS
from vp_engine.environment.reference import reference
from vp_engine.stats.checks import FLAGS as MODEL_FLAGS
from vp_engine.tables.schema import SCHEMAS, load_schema
from vp_engine.volumes.codes import REFUSALS

DOCS = Path(__file__).resolve().parent
NOTE = "<!-- Made by docs/generate.py; `make docs` writes it anew. -->\n"


def tables_reference() -> str:
    """Every table with its key and columns, from schemas/, and every flag."""
    lines = ["# Tables", "", "Parquet files in `results/tables/`; the rules are the JSON Schemas in `schemas/`.", ""]
    for name in SCHEMAS:
        schema = load_schema(name)
        lines += [f"## `{name}`, version {schema['schema_version']}", "", schema["description"], ""]
        lines += [f"Key: {', '.join(f'`{column}`' for column in schema['key'])}", ""]
        lines += ["| column | type | meaning |", "|---|---|---|"]
        lines += [f"| `{column}` | {_type(rule)} | {_cell(rule)} |" for column, rule in schema["properties"].items()]
        lines += [""]
    lines += [
        "## Flags",
        "",
        "What can stand in the column `flags` of `measurements`, without details after a colon.",
        "",
    ]
    lines += ["| flag | meaning |", "|---|---|"]
    lines += [f"| `{flag}` | {meaning} |" for flag, meaning in FLAGS.items()]
    lines += ["", "## Flags of models", "", "What can stand in the column `flags` of `statistics`.", ""]
    lines += ["| flag | meaning |", "|---|---|"]
    lines += [f"| `{flag}` | {meaning} |" for flag, meaning in MODEL_FLAGS.items()]
    lines += [
        "",
        "## Reasons",
        "",
        "What the column `reason` of `runs` begins with when an image or a dataset cannot be used.",
        "",
    ]
    lines += ["| code | meaning |", "|---|---|"]
    lines += [f"| `{code}` | {meaning} |" for code, meaning in (FINDINGS | REFUSALS).items()]
    return "\n".join([*lines, ""])


def _type(rule: dict[str, Any]) -> str:
    kinds = rule["type"] if isinstance(rule["type"], list) else [rule["type"]]
    shown = " or ".join(f"list of {rule['items']['type']}" if kind == "array" else kind for kind in kinds)
    return shown.replace("null", "missing")


def _cell(rule: dict[str, Any]) -> str:
    unit = f" ({rule['unit']})" if "unit" in rule else ""
    words = [f"`{word}`" for word in rule.get("enum", ()) if word is not None]
    text = str(rule.get("description", "")) + unit + (f" One of {', '.join(words)}." if words else "")
    return text.replace("|", "\\|")


def main() -> int:
    """Write or check; exit 1 when a page is out of date."""
    stale = []
    for name, text in (("ops.md", reference()), ("tables.md", tables_reference())):
        path = DOCS / name
        wanted = NOTE + text
        if path.exists() and path.read_text(encoding="utf-8") == wanted:
            continue
        if "--check" in sys.argv[1:]:
            stale.append(name)
        else:
            path.write_text(wanted, encoding="utf-8")
            print(f"wrote docs/{name}")
    if stale:
        print(f"out of date: {', '.join(stale)}; run `make docs`")
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main())
