"""Whatever rows are written come back, in the order of the key."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from vp_engine.tables.parquet import read_table, write_table
from vp_engine.tables.schema import SCHEMAS, key_columns, load_schema, validate

LABEL = st.from_regex(r"[0-9A-Za-z]{1,6}", fullmatch=True)
TEXT = st.text(st.characters(codec="utf-8"), max_size=20)


def column(rule: dict[str, Any], name: str) -> st.SearchStrategy[Any]:
    """Values a column of a schema may hold."""
    kinds = rule["type"] if isinstance(rule["type"], list) else [rule["type"]]
    kind = next(k for k in kinds if k != "null")
    low, high = rule.get("minimum"), rule.get("maximum")
    if "enum" in rule:
        return st.sampled_from(rule["enum"])
    if kind == "array":
        size = rule.get("minItems", 0)
        values: st.SearchStrategy[Any] = st.lists(column(rule["items"], name), min_size=size, max_size=max(size, 2))
    elif kind == "object":
        values = st.fixed_dictionaries({key: column(value, key) for key, value in rule["properties"].items()})
    elif kind == "boolean":
        values = st.booleans()
    elif kind == "integer":
        values = st.integers(min_value=low or 0, max_value=2**31 - 1)
    elif kind == "number":
        values = st.floats(min_value=low, max_value=high, allow_nan=False, allow_infinity=False)
    elif "pattern" in rule:
        values = st.from_regex(r"[0-9a-f]{64}", fullmatch=True)
    else:
        values = LABEL if name in ("dataset", "participant", "session", "prompt_id") else TEXT
    return st.none() | values if "null" in kinds else values


def rows_of(name: str) -> st.SearchStrategy[list[dict[str, Any]]]:
    rules = load_schema(name)["properties"]
    row = st.fixed_dictionaries({key: column(rule, key) for key, rule in rules.items()})
    return st.lists(row, max_size=6, unique_by=lambda r: tuple(r[key] for key in key_columns(name)))


@settings(max_examples=60, deadline=None)
@given(data=st.data(), name=st.sampled_from(SCHEMAS))
def test_rows_come_back_and_are_valid(data: st.DataObject, name: str) -> None:
    rows = data.draw(rows_of(name))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "table.parquet"
        write_table(path, name, rows, metadata={"model_id": "m"})
        back = read_table(path, name).to_pylist()

    def key(row: dict[str, Any]) -> list[tuple[bool, bytes]]:
        return [(row[c] is None, (row[c] or "").encode()) for c in key_columns(name)]

    assert back == sorted(rows, key=key)
    for row in back:
        validate(row, name)
