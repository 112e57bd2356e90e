"""The .tsv files of a dataset, read as text: ids such as ``01``, ``NA`` or ``1e5`` stay what they are."""

from __future__ import annotations

import csv
from pathlib import Path

import pandas as pd

from vp_engine.errors import InputRefused

_MISSING = ("n/a", "")


def read_participants(root: Path) -> pd.DataFrame:
    """Read ``participants.tsv``.

    Parameters
    ----------
    root : Path
        Dataset folder.

    Returns
    -------
    pd.DataFrame
        Every column text; ``participant_id`` without ``sub-``; ``n/a`` is missing, but never in the ids.
        Only the column ``participant_id``, without rows, when the file is absent.

    Raises
    ------
    InputRefused
        ``bad_tsv``.
    """
    return _read_with_ids(root / "participants.tsv", id_column="participant_id", prefix="sub-")


def read_sessions(root: Path, participant: str) -> pd.DataFrame:
    """Read ``sub-<participant>_sessions.tsv``.

    Parameters
    ----------
    root : Path
        Dataset folder.
    participant : str
        Label without ``sub-``.

    Returns
    -------
    pd.DataFrame
        Every column text; ``session_id`` without ``ses-``; ``n/a`` is missing, but never in the ids.
        Only the column ``session_id``, without rows, when the file is absent.

    Raises
    ------
    InputRefused
        ``bad_tsv``.
    """
    path = root / f"sub-{participant}" / f"sub-{participant}_sessions.tsv"
    return _read_with_ids(path, id_column="session_id", prefix="ses-")


def read_tsv(path: Path) -> pd.DataFrame:
    """Read a tab-separated file, every column text, nothing converted.

    Parameters
    ----------
    path : Path

    Returns
    -------
    pd.DataFrame

    Raises
    ------
    InputRefused
        ``bad_tsv`` when it is not UTF-8, has no header or a repeated column, or a row of another length.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            rows = [row for row in csv.reader(stream, delimiter="\t") if row]
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputRefused(f"{path.name}: expected tab-separated UTF-8 text ({error})", code="bad_tsv") from error
    if not rows:
        raise InputRefused(f"{path.name}: expected a header line, the file is empty", code="bad_tsv")
    header, *body = rows
    if len(set(header)) < len(header):
        raise InputRefused(f"{path.name}: expected each column once, got {header}", code="bad_tsv")
    for number, row in enumerate(body, start=2):
        if len(row) != len(header):
            message = f"{path.name}: expected {len(header)} fields, row {number} has {len(row)}"
            raise InputRefused(f"{message}; separate fields by one tab", code="bad_tsv")
    return pd.DataFrame(body, columns=header, dtype="str")


def _read_with_ids(path: Path, *, id_column: str, prefix: str) -> pd.DataFrame:
    if not path.is_file():
        return pd.DataFrame({id_column: pd.Series(dtype="str")})
    table = read_tsv(path)
    if id_column not in table:
        message = f"{path.name}: expected a column {id_column!r}, got {list(table.columns)}; name it so"
        raise InputRefused(message, code="bad_tsv")
    ids = table[id_column].str.removeprefix(prefix)
    if ids.duplicated().any():
        twice = sorted(set(ids[ids.duplicated()]))
        raise InputRefused(f"{path.name}: expected each id once, got several of {twice}", code="bad_tsv")
    table = table.mask(table.isin(_MISSING))
    table[id_column] = ids
    return table
