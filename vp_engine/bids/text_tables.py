"""The .tsv files of a dataset, read as text: ids such as ``01``, ``NA`` or ``1e5`` stay what they are.

Messages go to logs and results, so they give rows and columns by number and quote nothing.
"""

from __future__ import annotations

import csv
import os
from dataclasses import dataclass
from pathlib import Path

from vp_engine.errors import InputRefused

MAX_BYTES = 2**26
"""Largest table that is read: a hundred times what any dataset has."""

_MISSING = ("n/a", "")


@dataclass(frozen=True, slots=True)
class TextTable:
    """Rows of a small table without the weight of a data frame, of which a cohort would need tens of thousands.

    Attributes
    ----------
    columns : tuple of str
    rows : tuple of tuple of str
        Of as many cells as there are columns; None where one is missing.
    """

    columns: tuple[str, ...]
    rows: tuple[tuple[str | None, ...], ...]

    def column(self, name: str) -> list[str | None]:
        """Cells of a column, from above."""
        place = self.columns.index(name)
        return [row[place] for row in self.rows]

    def by(self, key: str) -> dict[str | None, dict[str, str | None]]:
        """Rows by their cell in a column; of equal ones the last."""
        return {of[key]: of for of in (dict(zip(self.columns, row, strict=True)) for row in self.rows)}


def read_participants(root: Path) -> TextTable:
    """Read ``participants.tsv``.

    Parameters
    ----------
    root : Path
        Dataset folder.

    Returns
    -------
    TextTable
        ``participant_id`` without ``sub-``; ``n/a`` is missing, but never in the ids.
        Only the column ``participant_id``, without rows, when the file is absent.

    Raises
    ------
    InputRefused
        ``bad_tsv``.
    """
    return _read_with_ids(root, "participants.tsv", id_column="participant_id", prefix="sub-")


def read_sessions(root: Path, participant: str) -> TextTable:
    """Read ``sub-<participant>_sessions.tsv``.

    Parameters
    ----------
    root : Path
        Dataset folder.
    participant : str
        Label without ``sub-``.

    Returns
    -------
    TextTable
        ``session_id`` without ``ses-``; ``n/a`` is missing, but never in the ids.
        Only the column ``session_id``, without rows, when the file is absent.

    Raises
    ------
    InputRefused
        ``bad_tsv``.
    """
    path = f"sub-{participant}/sub-{participant}_sessions.tsv"
    return _read_with_ids(root, path, id_column="session_id", prefix="ses-")


def read_tsv(root: Path, name: str) -> TextTable:
    """Read a tab-separated file of a dataset, every column text, nothing converted.

    Parameters
    ----------
    root : Path
        Dataset folder that the file must lie in.
    name : str
        Path below it.

    Returns
    -------
    TextTable
        No cell is missing.

    Raises
    ------
    InputRefused
        ``bad_tsv`` when it is no readable file inside the dataset, is larger than `MAX_BYTES`, is not UTF-8, has no
        header or a repeated column, or a row of another length.
    """
    path = root / name
    _check_file(path, root)
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            rows = [row for row in csv.reader(stream, delimiter="\t") if row]
    except PermissionError as error:
        message = f"{path.name}: expected a readable file, it may not be read; correct its permissions"
        raise InputRefused(message, code="bad_tsv") from error
    except (UnicodeDecodeError, csv.Error) as error:
        message = f"{path.name}: expected tab-separated UTF-8 text, got other bytes ({error}); save it as UTF-8"
        raise InputRefused(message, code="bad_tsv") from error
    if not rows:
        message = f"{path.name}: expected a header line, the file is empty; write the table again or remove it"
        raise InputRefused(message, code="bad_tsv")
    header, *body = rows
    if len(set(header)) < len(header):
        twice = next(number for number, name in enumerate(header, start=1) if name in header[: number - 1])
        message = f"{path.name}: expected each column once, column {twice} is called like one before; rename it"
        raise InputRefused(message, code="bad_tsv")
    for number, row in enumerate(body, start=2):
        if len(row) != len(header):
            message = f"{path.name}: expected {len(header)} fields, row {number} has {len(row)}"
            raise InputRefused(f"{message}; separate fields by one tab", code="bad_tsv")
    return TextTable(tuple(header), tuple(map(tuple, body)))


def _check_file(path: Path, root: Path) -> None:
    """Refuse what would hang, fill the memory, or show what is no part of the dataset."""
    if not Path(os.path.realpath(path)).is_relative_to(os.path.realpath(root)):
        message = f"{path.name}: expected a file inside the dataset, it links to one outside; copy it into the dataset"
    elif not os.path.isfile(path):  # noqa: PTH113  # unlike Path.is_file never raises
        message = f"{path.name}: expected a text file, it is none or was not fetched; restore or remove it"
    elif path.stat().st_size > MAX_BYTES:
        message = f"{path.name}: expected at most {MAX_BYTES} bytes, got {path.stat().st_size}; correct the table"
    else:
        return
    raise InputRefused(message, code="bad_tsv")


def _read_with_ids(root: Path, name: str, *, id_column: str, prefix: str) -> TextTable:
    path = root / name
    if not os.path.lexists(path):
        return TextTable((id_column,), ())
    table = read_tsv(root, name)
    if id_column not in table.columns:
        count = len(table.columns)
        message = f"{path.name}: expected a column {id_column!r}, none of the {count} is called so; name it so"
        raise InputRefused(message, code="bad_tsv")
    place = table.columns.index(id_column)
    rows, seen = [], set()
    for number, row in enumerate(table.rows, start=2):
        label = str(row[place]).removeprefix(prefix)
        if label in seen:
            message = f"{path.name}: expected each id once, row {number} has that of a row before; merge them"
            raise InputRefused(message, code="bad_tsv")
        seen.add(label)
        cells = [None if cell in _MISSING else cell for cell in row]
        cells[place] = label
        rows.append(tuple(cells))
    return TextTable(table.columns, tuple(rows))
