"""Covariates: from the text of participants.tsv and sessions.tsv to numbers and categories beside each measurement."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable

import pandas as pd

from vp_engine.errors import ConfigError
from vp_engine.stats.spec import ROW_COLUMNS

MISSING = ("", "n/a")
"""Text that means no value, in any case; `n/a` is what BIDS prescribes."""

_NUMBER = re.compile(r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?")


def join_covariates(rows: pd.DataFrame, covariates: pd.DataFrame, columns: Iterable[str]) -> pd.DataFrame:
    """Put covariates beside rows; what a session says of a participant goes before what participants.tsv says.

    Parameters
    ----------
    rows : DataFrame
        With `dataset`, `participant`, `session`.
    covariates : DataFrame
        One row per participant (`session` missing, or no such column) and, where there is one, per session.
        With `dataset` when the rows are of several datasets. Every value is text.
    columns : iterable of str
        Covariates wanted.

    Returns
    -------
    DataFrame
        The rows, in their order and with their index, and the covariates as text; missing where there is none.

    Raises
    ------
    ConfigError
        If a participant or session occurs twice, a covariate is called like a column of the rows, or the datasets
        cannot be told apart.
    """
    wanted = [column for column in columns if column not in ROW_COLUMNS]
    absent = sorted(set(wanted) - set(covariates.columns))
    if absent or "participant" not in covariates.columns:
        raise ConfigError(f"covariates: no column {(absent or ['participant'])[0]!r}")
    if "dataset" not in covariates.columns and len(rows["dataset"].unique()) > 1:
        raise ConfigError("covariates: expected a column `dataset`, as the measurements are of several datasets")
    if taken := sorted(set(wanted) & set(rows.columns)):
        raise ConfigError(
            f"covariates: the measurements have a column {taken[0]!r} too; give the covariate another name"
        )
    person = [column for column in ("dataset", "participant") if column in covariates.columns]
    table = covariates.copy()
    if "session" not in table.columns:
        table["session"] = None
    table[wanted] = table[wanted].map(_present)
    keys = [*person, "session"]
    table[keys] = table[keys].astype(object)  # a column of nothing but nulls has a type that does not join with text
    rows = rows.astype(dict.fromkeys(keys, object))
    again = table[table.duplicated(keys, keep=False)]
    if len(again):
        row = again.iloc[0]
        raise ConfigError(f"covariates: participant {row['participant']}, session {row['session']} occurs twice")
    general = table[table["session"].isna()][[*person, *wanted]]
    special = table[table["session"].notna()][[*keys, *wanted]]
    joined = rows.merge(general, how="left", on=person, validate="many_to_one")
    own = rows.merge(special, how="left", on=keys, validate="many_to_one")
    for column in wanted:
        joined[column] = own[column].where(own[column].notna(), joined[column])
    return joined.set_axis(rows.index, axis=0)


def numeric_columns(covariates: pd.DataFrame, columns: Iterable[str]) -> frozenset[str]:
    """Columns whose every value is a number.

    Raises
    ------
    ConfigError
        If a column is mostly numbers but not all: it would silently become a category per number.
    """
    numeric = set()
    for column in columns:
        if column in ROW_COLUMNS:
            continue
        values = [str(value) for value in covariates[column].map(_present).dropna()]
        other = sorted({value for value in values if not _is_number(value)})
        if values and not other:
            numeric.add(column)
        elif 2 * sum(map(_is_number, values)) > len(values):
            raise ConfigError(
                f"covariates: column {column!r} holds numbers and also {', '.join(map(repr, other[:3]))}; "
                f"write n/a for a missing value, or C({column}) in the model to make each value a category"
            )
    return frozenset(numeric)


def sorted_levels(values: Iterable[str]) -> list[str]:
    """Levels of a category in order: by number when all are numbers, else as text; the first is the reference.

    >>> sorted_levels(["10", "9", "10"]), sorted_levels(["patient", "control"])
    (['9', '10'], ['control', 'patient'])
    """
    levels = sorted(set(values))
    if all(map(_is_number, levels)):
        levels.sort(key=float)
    return levels


def _is_number(text: str) -> bool:
    return bool(_NUMBER.fullmatch(text)) and math.isfinite(float(text))


def _present(value: object) -> str | None:
    """Text of a value; None when it is missing."""
    if value is None or value is pd.NA or (isinstance(value, float) and math.isnan(value)):
        return None
    text = str(value).strip()
    return None if text.lower() in MISSING else text
