"""The part of `config.yaml` that asks for statistics."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from vp_engine.anatomy import STRUCTURES
from vp_engine.environment.ops import OPS
from vp_engine.errors import ConfigError
from vp_engine.stats.formula import parse_formula
from vp_engine.stats.spec import ICV, ROW_COLUMNS, CentilesOption, ExcludeOption, IcvOption, Options
from vp_engine.tables.schema import hint

LEAST_PERMUTATIONS = 99
"""With fewer the smallest p value would be above 0.01."""

MEASURES: frozenset[str] = frozenset(
    {op.name for op in OPS.values() if op.returns == "Number"} - {"annual_percent_rate"}
    | {"sum", "difference", "product", "quotient", "scaled"}
)
"""What a number of `measurements` can measure: the ops, whose rates have one name, and what a program calculates."""

_NUMBERS = re.compile(r"[0-9]+(\.[0-9]*)?|\.[0-9]+")


@dataclass(frozen=True, slots=True)
class StatisticConfig:
    """One family of models.

    Attributes
    ----------
    id : str
        Names the rows of the table `statistics`.
    rows : mapping of str to tuple of str
        Column of `measurements` → values the rows may have; the prompt is called ``prompt``.
    model : str
        Formula with ``value`` on the left.
    per : tuple of str
        One model per combination of these columns.
    options : Options
        Everything else.
    """

    id: str
    rows: Mapping[str, tuple[str, ...]]
    model: str
    per: tuple[str, ...] = ("target",)
    options: Options = field(default_factory=Options)


def numbers_of(entries: object) -> None:
    """Turn the texts of `statistics` that are numbers into numbers; what is none is left to the schema."""
    for entry in entries if isinstance(entries, list) else ():
        if not isinstance(entry, dict):
            continue
        if str(entry.get("permutations", "")).isdecimal():
            entry["permutations"] = int(entry["permutations"])
        rule = entry.get("exclude")
        for key in ("qc_below", "outliers"):
            if isinstance(rule, dict) and _NUMBERS.fullmatch(str(rule.get(key, ""))):
                rule[key] = float(rule[key])


def statistic_of(entry: Mapping[str, Any]) -> StatisticConfig:
    """A statistic from its entry, which the schema has seen."""
    centiles = entry.get("centiles")
    return StatisticConfig(
        id=entry["id"],
        rows=_lists(entry["rows"]),
        model=entry["model"],
        per=tuple(entry.get("per", ("target",))),
        options=Options(
            icv=IcvOption(**entry["icv"]) if "icv" in entry else None,
            sessions=entry.get("sessions", "first"),
            standard_errors=entry.get("standard_errors", "classical"),
            family=entry.get("family", "term"),
            permutations=entry.get("permutations", 0),
            site=entry.get("harmonise", {}).get("site"),
            exclude=ExcludeOption(**entry["exclude"]) if "exclude" in entry else None,
            centiles=CentilesOption(centiles["age"], _lists(centiles["reference"])) if centiles else None,
        ),
    )


def check_statistic(
    statistic: StatisticConfig,
    key: str,
    *,
    prompts: Sequence[str],
    datasets: Sequence[str],
    headers: Iterable[Iterable[str]],
) -> None:
    """Refuse what makes no sense, or names what is not there.

    Parameters
    ----------
    statistic : StatisticConfig
    key : str
        Where it stands, for messages.
    prompts, datasets : sequence of str
        Ids and names that there are.
    headers : iterable of iterable of str
        Columns of `participants.tsv` and `sessions.tsv`, one table at a time; read until all columns are found.

    Raises
    ------
    ConfigError
        Naming the key and the nearest valid one.
    """
    options = statistic.options
    named = [("rows.prompt", statistic.rows.get("prompt", ()), prompts)]
    named += [("rows.dataset", statistic.rows.get("dataset", ()), datasets)]
    named += [("icv.prompt", (options.icv.prompt,) if options.icv is not None else (), prompts)]
    for where, values, known_values in named:
        for value in values:
            if value not in known_values:
                kind = where.partition(".")[2]
                raise ConfigError(f"{key}.{where}: no {kind} {value!r}{hint(value, known_values)}")
    _check_rows(statistic.rows, key)
    try:
        formula = parse_formula(statistic.model)
    except ConfigError as error:
        raise ConfigError(f"{key}.{error.message}") from error
    _check_combination(options, formula.columns, key)
    wanted = dict.fromkeys(formula.columns, "model")
    if options.site is not None:
        wanted |= {options.site: "harmonise.site"}
    if options.centiles is not None:
        wanted |= {options.centiles.age: "centiles.age"} | dict.fromkeys(
            options.centiles.reference, "centiles.reference"
        )
    _check_columns(wanted, headers, key)


def _check_rows(rows: Mapping[str, tuple[str, ...]], key: str) -> None:
    """Measures and targets are such as a program can give."""
    for measure in rows.get("measure", ()):
        if measure not in MEASURES:
            raise ConfigError(f"{key}.rows.measure: no number is called {measure!r}{hint(measure, MEASURES)}")
    for target in rows.get("target", ()):
        if target not in STRUCTURES and not _may_be_region(target):
            raise ConfigError(f"{key}.rows.target: no structure {target!r}{hint(target, STRUCTURES)}")


def _may_be_region(target: str) -> bool:
    """Whether it begins as names of regions do: with a structure, or with both hemispheres together.

    >>> _may_be_region("lesion_001"), _may_be_region("thalamus_medial_part"), _may_be_region("left_hipocampus")
    (True, True, False)
    """
    return target.startswith(tuple(f"{name}_" for name in (*STRUCTURES, "hemisphere")))


def _check_combination(options: Options, columns: Sequence[str], key: str) -> None:
    """Options that exclude each other."""
    if options.sessions == "mixed":
        for name, given, why in (
            ("standard_errors", options.standard_errors != "classical", "its standard errors are those of the model"),
            ("permutations", options.permutations > 0, "sessions of a participant cannot be exchanged with others'"),
            ("harmonise", options.site is not None, "ComBat takes every value for independent; put the site into it"),
        ):
            if given:
                raise ConfigError(f"{key}.{name}: not together with `sessions: mixed`: {why}")
    if 0 < options.permutations < LEAST_PERMUTATIONS:
        raise ConfigError(
            f"{key}.permutations: expected 0 or at least {LEAST_PERMUTATIONS}, got {options.permutations}"
        )
    if options.icv is not None and ICV in (*columns, *options.columns):
        raise ConfigError(f"{key}.icv: there is a column {ICV!r} already; give it another name or take one out")
    if options.site is not None and options.site in columns:
        raise ConfigError(
            f"{key}.harmonise.site: {options.site!r} is a column of the model too; harmonise, or let the model have it"
        )
    if options.site == "session":
        raise ConfigError(f"{key}.harmonise.site: expected a column of participants.tsv or `dataset`, got 'session'")
    if options.centiles is not None and options.centiles.age in options.centiles.reference:
        raise ConfigError(f"{key}.centiles.reference: {options.centiles.age!r} is the age")
    if options.centiles is not None and options.centiles.age in ROW_COLUMNS:
        raise ConfigError(f"{key}.centiles.age: expected a column of numbers, got {options.centiles.age!r}")


def _check_columns(wanted: Mapping[str, str], headers: Iterable[Iterable[str]], key: str) -> None:
    """Every column is somewhere."""
    known = set(ROW_COLUMNS)
    if wanted.keys() <= known:
        return
    for columns in headers:
        known.update(columns)
        if wanted.keys() <= known:
            return
    for column in sorted(wanted.keys() - known):
        raise ConfigError(
            f"{key}.{wanted[column]}: no column {column!r} in participants.tsv or sessions.tsv{hint(column, known)}"
        )


def _lists(rows: Mapping[str, str | list[str]]) -> dict[str, tuple[str, ...]]:
    return {key: (value,) if isinstance(value, str) else tuple(value) for key, value in rows.items()}
