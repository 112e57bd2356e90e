"""What tables and the configuration must look like: `schemas/*.schema.json`, as Arrow schemas and as rules."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any

import jsonschema
import pyarrow as pa

from vp_engine.errors import ConfigError

SCHEMAS: tuple[str, ...] = ("plan", "runs", "measurements", "segmentations", "statistics", "exclusions", "centiles")
"""Names of the tables."""

RECORDED: tuple[str, ...] = ("runs", "measurements", "segmentations")
"""Tables of which every participant has an own file, from which the collected ones are made; `runs` is first."""

_ARROW_TYPES: Mapping[tuple[str, str | None], pa.DataType] = MappingProxyType(
    {
        ("string", None): pa.string(),
        ("boolean", None): pa.bool_(),
        ("integer", "int32"): pa.int32(),
        ("integer", "int64"): pa.int64(),
        ("number", "double"): pa.float64(),
    }
)


def schema_folder() -> Path:
    """Folder of the JSON Schemas: inside an installed package, else at the root of the repository.

    Raises
    ------
    FileNotFoundError
        If neither place has it: the installation is incomplete.
    """
    package = Path(__file__).resolve().parents[1]
    for folder in (package / "schemas", package.parent / "schemas"):
        if (folder / "plan.schema.json").is_file():
            return folder
    raise FileNotFoundError(f"expected the JSON Schemas in {package / 'schemas'}; reinstall the package")


def load_schema(name: str) -> dict[str, Any]:
    """The JSON Schema of a table, or of the configuration (`config`), as parsed JSON; the caller may change it.

    Raises
    ------
    KeyError
        If there is no schema of this name.
    """
    if name not in (*SCHEMAS, "config"):
        raise KeyError(f"no schema {name!r}; the schemas are config, {', '.join(SCHEMAS)}")
    schema: dict[str, Any] = json.loads(_schema_text(name))
    return schema


@cache
def key_columns(name: str) -> tuple[str, ...]:
    """Columns that together name one row of a table; no two rows share them.

    >>> key_columns("runs")
    ('dataset', 'participant', 'session', 'prompt_id')
    """
    return tuple(load_schema(name)["key"])


@cache
def readable_versions(name: str) -> tuple[str, ...]:
    """Versions of a table that can be read, the present one first; their columns are the same.

    >>> readable_versions("segmentations")
    ('2', '1')
    """
    schema = load_schema(name)
    return schema["schema_version"], *schema.get("earlier_versions", ())


@cache
def arrow_schema(name: str) -> pa.Schema:
    """Columns of a table in order, with type, nullability and description (field metadata `description`, `unit`).

    Raises
    ------
    KeyError
        If there is no table of this name.
    """
    if name not in SCHEMAS:
        raise KeyError(f"no table {name!r}; the tables are {', '.join(SCHEMAS)}")
    return pa.schema([_field(column, rule) for column, rule in load_schema(name)["properties"].items()])


def allowed_values(name: str) -> dict[str, frozenset[str]]:
    """Columns of a table that hold words of a closed set, and that set."""
    rules = load_schema(name)["properties"]
    return {column: frozenset(filter(None, rule["enum"])) for column, rule in rules.items() if "enum" in rule}


def validate(instance: object, schema_name: str) -> None:
    """Check parsed YAML or JSON against a schema.

    Parameters
    ----------
    instance : object
        The configuration, or one row of a table as a dict.
    schema_name : str
        `config` or the name of a table.

    Raises
    ------
    ConfigError
        Naming every key that is wrong (at most five), what was expected there, and the nearest valid name.
    """
    rules = {"uniqueBy": _unique_by, "pattern": _whole_pattern}
    validator_class = jsonschema.validators.extend(jsonschema.Draft202012Validator, rules)
    validator = validator_class(load_schema(schema_name))
    errors = sorted(
        validator.iter_errors(instance), key=lambda error: ([str(p) for p in error.absolute_path], error.message)
    )
    if errors:
        lines = [_explain(error) for error in errors[:5]]
        if len(errors) > 5:
            lines.append(f"and {len(errors) - 5} more")
        raise ConfigError("\n".join(lines))


def nearest(word: str, candidates: Iterable[str]) -> str | None:
    """The candidate most like a word, ignoring case; None when none comes near.

    >>> nearest("promts", ["datasets", "prompts"])
    'prompts'
    """
    by_lower = {candidate.lower(): candidate for candidate in sorted(candidates, reverse=True)}
    close = difflib.get_close_matches(word.lower(), sorted(by_lower), n=1, cutoff=0.6)
    return by_lower[close[0]] if close else None


def hint(word: str, known: Iterable[str]) -> str:
    """What to add to a message about an unknown word: the nearest known one, else some of them.

    >>> hint("aeg", ["age", "group"]), hint("x", [])
    ("; did you mean 'age'?", '')
    """
    choices = tuple(sorted(set(known)))
    close = nearest(word, choices)
    if close:
        return f"; did you mean {close!r}?"
    return f"; known: {', '.join(choices[:12])}" if choices else ""


def _field(name: str, rule: Mapping[str, Any]) -> pa.Field:
    kinds = rule["type"] if isinstance(rule["type"], list) else [rule["type"]]
    (kind,) = (k for k in kinds if k != "null")
    if kind == "array":
        # readers other than Arrow see the name of the element; "element" is what the Parquet format prescribes
        arrow_type: pa.DataType = pa.list_(_field("element", rule["items"]))
    elif kind == "object":
        arrow_type = pa.struct([_field(key, value) for key, value in rule["properties"].items()])
    else:
        arrow_type = _ARROW_TYPES[kind, rule.get("format")]
    metadata = {key: rule[key] for key in ("description", "unit") if key in rule}
    return pa.field(name, arrow_type, nullable="null" in kinds, metadata=metadata)


@cache
def _schema_text(name: str) -> str:
    return (schema_folder() / f"{name}.schema.json").read_text(encoding="utf-8")


def _whole_pattern(
    _validator: object, pattern: str, instance: object, _schema: object
) -> Iterator[jsonschema.exceptions.ValidationError]:
    """Keyword `pattern`, where `$` does not pass over a final line break as it does in Python's `re.search`."""
    if isinstance(instance, str) and not re.fullmatch(pattern, instance):
        yield jsonschema.exceptions.ValidationError(f"{instance!r} does not match {pattern!r}")


def _unique_by(
    _validator: object, key: str, instance: object, _schema: object
) -> Iterator[jsonschema.exceptions.ValidationError]:
    """Keyword `uniqueBy`: no two objects of a list share the value of this key."""
    if not isinstance(instance, list):
        return
    seen: set[str] = set()
    for number, item in enumerate(instance):
        value = item.get(key) if isinstance(item, dict) else None
        if isinstance(value, str) and value in seen:
            yield jsonschema.exceptions.ValidationError(
                f"{value!r} is used twice; each {key} must be unique", path=(number, key)
            )
        elif isinstance(value, str):
            seen.add(value)


def _explain(error: jsonschema.exceptions.ValidationError) -> str:
    """One line for a person: where, what was expected, what was got, what to do."""
    if error.validator == "anyOf":
        return _explain_alternatives(error)
    explain = _EXPLANATIONS.get(str(error.validator))
    return f"{_location(error.absolute_path)}: {explain(error) if explain else error.message}"


def _explain_alternatives(error: jsonschema.exceptions.ValidationError) -> str:
    """Of alternatives, the fault inside the one whose type fits; else what the alternatives are."""
    branches: dict[int, list[jsonschema.exceptions.ValidationError]] = {}
    for inner in error.context or ():
        branches.setdefault(int(inner.relative_schema_path[0]), []).append(inner)
    for faults in branches.values():
        if not any(fault.validator in ("type", "const") and not fault.relative_path for fault in faults):
            return _explain(faults[0])
    where = _location(error.absolute_path)
    return f"{where}: got {_shown(error.instance)}; expected: {error.schema.get('description', error.message)}"


def _location(path: Any) -> str:
    text = ""
    for step in path:
        text += f"[{step}]" if isinstance(step, int) else f".{step}" if text else str(step)
    return text or "top level"


def _unknown_key(error: jsonschema.exceptions.ValidationError) -> str:
    known = list(error.schema.get("properties", {}))
    parts = []
    for key in sorted(str(k) for k in error.instance if k not in known):
        close = nearest(key, known)
        parts.append(
            f"unknown key {key!r}" + (f"; did you mean {close!r}?" if close else f"; known are {', '.join(known)}")
        )
    return ", ".join(parts)


def _missing_key(error: jsonschema.exceptions.ValidationError) -> str:
    missing = [key for key in error.validator_value if key not in error.instance]
    return f"missing key{'s' if len(missing) > 1 else ''} {', '.join(map(repr, missing))}"


def _wrong_type(error: jsonschema.exceptions.ValidationError) -> str:
    expected = error.validator_value if isinstance(error.validator_value, str) else " or ".join(error.validator_value)
    hint = "; put it in quotes" if expected == "string" and isinstance(error.instance, int | float) else ""
    return f"expected {expected}, got {_shown(error.instance)}{hint}"


def _wrong_word(error: jsonschema.exceptions.ValidationError) -> str:
    words = [str(word) for word in error.validator_value]
    close = nearest(str(error.instance), words)
    return f"expected one of {', '.join(words)}, got {_shown(error.instance)}" + (
        f"; did you mean {close!r}?" if close else ""
    )


def _wrong_form(error: jsonschema.exceptions.ValidationError) -> str:
    form = (
        "letters and digits only" if error.validator_value == "^[0-9A-Za-z]+$" else f"text like {error.validator_value}"
    )
    return f"expected {form}, got {_shown(error.instance)}"


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


_EXPLANATIONS: Mapping[str, Callable[[jsonschema.exceptions.ValidationError], str]] = MappingProxyType(
    {
        "additionalProperties": _unknown_key,
        "required": _missing_key,
        "type": _wrong_type,
        "enum": _wrong_word,
        "pattern": _wrong_form,
    }
)
