"""The tables of a cohort laid out for people: one row per participant and session, one column per quantity."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from vp_engine.errors import TableError
from vp_engine.tables.participants import by_participants

CELLS_AT_ONCE = 1_000_000
"""Cells that are held in memory; more are made one batch of participants after the other."""

_SESSIONS_EACH = 2  # a guess, for the size of batches
_RUN = ("participant", "session", "prompt_id", "status", "reason")
_MEASURED = (
    "participant", "session", "prompt_id", "target", "measure", "image", "reference_session", "unit", "value", "text",
    "qc_score", "flags",
)  # fmt: skip
_QUANTITY = ("prompt_id", "target", "measure", "image", "unit")
_SEPARATOR = "\x1f"

Row = tuple[str, str | None]
"""Participant and session; None for what is about no session, or all."""


@dataclass(frozen=True, slots=True)
class Quantity:
    """What one column of numbers or words is about.

    Attributes
    ----------
    prompt_id, measure : str
    target, image : str or None
    unit : str or None
        None for words.
    reference : str or None
        Session that a change is relative to, where one column cannot hold those of all.
    """

    prompt_id: str
    target: str | None
    measure: str
    image: str | None
    unit: str | None
    reference: str | None = None

    @property
    def name(self) -> str:
        """Name of the column.

        >>> Quantity("hippvol", "left_hippocampus", "volume", "T1w", "mm3").name
        'hippvol.left_hippocampus.volume.T1w'
        """
        since = f"since-{self.reference}" if self.reference is not None else None
        return ".".join(filter(None, (self.prompt_id, self.target, self.measure, self.image, since)))


@dataclass(frozen=True, slots=True)
class Layout:
    """Columns of the wide table.

    Attributes
    ----------
    quantities : tuple of Quantity
        In the order of the columns.
    split : frozenset of Quantity
        Quantities, without reference, that have a column for each session a change is relative to: someone has
        changes since several.
    dated : frozenset of Quantity
        Quantities whose reference session stands in a column of its own.
    """

    quantities: tuple[Quantity, ...]
    split: frozenset[Quantity]
    dated: frozenset[Quantity]


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """Rows of some participants of one dataset.

    Attributes
    ----------
    dataset : str
    rows : list of (str, str or None)
    columns : mapping of Quantity to array
        Numbers, NaN where there is none, or words, None where there is none; as long as `rows`.
    references : mapping of Quantity to array of object
        The reference sessions of `Layout.dated`.
    qc_score : (rows,) float64 array
        Lowest of the numbers of the row; NaN when none has one.
    flags, reasons : list of str
        Flags of the row's measurements, and the prompts that were not answered; parts separated by ``; ``.
    """

    dataset: str
    rows: list[Row]
    columns: Mapping[Quantity, np.ndarray]
    references: Mapping[Quantity, np.ndarray]
    qc_score: np.ndarray
    flags: list[str]
    reasons: list[str]


def lay_out(results: Path, *, prompts: Collection[str] = ()) -> Layout:
    """Find the columns that the wide table of `results` needs.

    Parameters
    ----------
    results : Path
        Output directory with collected tables.
    prompts : collection of str
        Only these; all when empty.

    Raises
    ------
    TableError
        If a table is missing or damaged, or two columns would have one name.
    """
    found: dict[Quantity, set[str]] = {}
    split: set[Quantity] = set()
    for _, _, measured in by_participants(results / "tables", _RUN, _MEASURED, size=256, prompts=prompts):
        for row in measured.group_by([*_QUANTITY, "reference_session"]).aggregate([]).to_pylist():
            references = found.setdefault(Quantity(*(row[name] for name in _QUANTITY)), set())
            references.update(filter(None, [row["reference_session"]]))
        cells = measured.group_by([*_QUANTITY, "participant", "session"]).aggregate([([], "count_all")])
        for row in cells.filter(pc.greater(cells.column("count_all"), 1)).to_pylist():
            split.add(Quantity(*(row[name] for name in _QUANTITY)))
    quantities: list[Quantity] = []
    for quantity, references in found.items():
        own = sorted(references) if quantity in split else [None]
        quantities += [replace(quantity, reference=reference) for reference in own]
    quantities.sort(key=_order)
    _refuse_twins(quantities)
    dated = frozenset(quantity for quantity, references in found.items() if references and quantity not in split)
    return Layout(tuple(quantities), frozenset(split), dated)


def batches(results: Path, layout: Layout, *, prompts: Collection[str] = ()) -> Iterator[Batch]:
    """Rows of the wide table, participant by participant in the order of the tables.

    Every session asked about has a row. What is about no session of a participant who has some, such as a prompt about
    all of them that was refused, has a row of its own without session, after the others.

    Parameters
    ----------
    results, prompts
        As in `lay_out`.
    layout : Layout

    Raises
    ------
    TableError
        If a table is missing or damaged.
    """
    size = max(8, CELLS_AT_ONCE // (_SESSIONS_EACH * (len(layout.quantities) + 1)))
    for dataset, runs, measured in by_participants(results / "tables", _RUN, _MEASURED, size=size, prompts=prompts):
        rows = _rows(runs, measured)
        place = {row: number for number, row in enumerate(rows)}
        columns, references = _filled(measured, layout, place)
        yield Batch(
            dataset=dataset,
            rows=rows,
            columns=columns,
            references=references,
            qc_score=_lowest(measured, place),
            flags=_flags(measured, place),
            reasons=_reasons(runs, place),
        )


def _order(quantity: Quantity) -> tuple[str, ...]:
    return tuple(getattr(quantity, name) or "" for name in (*_QUANTITY, "reference"))


def _refuse_twins(quantities: Sequence[Quantity]) -> None:
    by_name: dict[str, Quantity] = {}
    for quantity in quantities:
        other = by_name.setdefault(quantity.name, quantity)
        if other != quantity:
            units = " and in ".join(one.unit or "words" for one in (other, quantity))
            raise TableError(
                f"expected one unit per column, got {quantity.name} in {units}; leave the prompt out (--prompt)"
            )


def _rows(runs: pa.Table, measured: pa.Table) -> list[Row]:
    """Participants and sessions, sorted, those without session last."""
    rows = {_row(entry) for entry in _unique(measured, "participant", "session")}
    empty = {row for row in (_row(entry) for entry in _unique(runs, "participant", "session")) if row[1] is None}
    rows |= {_row(entry) for entry in _unique(runs, "participant", "session")} - empty
    unanswered = runs.filter(pc.not_equal(runs.column("status"), "ok"))
    with_rows = {participant for participant, _ in rows}
    rows |= empty & {_row(entry) for entry in _unique(unanswered, "participant", "session")}
    rows |= {row for row in empty if row[0] not in with_rows}
    return sorted(rows, key=lambda row: (row[0], row[1] is None, row[1] or ""))


def _unique(table: pa.Table, *columns: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = table.group_by(list(columns)).aggregate([]).to_pylist()
    return found


def _row(entry: Mapping[str, Any]) -> Row:
    return entry["participant"], entry["session"]


def _codes(table: pa.Table, columns: Sequence[str]) -> tuple[np.ndarray, list[tuple[str | None, ...]]]:
    """Number of the combination of values of each row, and the combinations."""
    parts = [pc.fill_null(table.column(name), "") for name in columns]
    joined = pc.binary_join_element_wise(*parts, _SEPARATOR).combine_chunks().dictionary_encode()
    found = [tuple(value or None for value in text.split(_SEPARATOR)) for text in joined.dictionary.to_pylist()]
    return joined.indices.to_numpy(zero_copy_only=False), found


def _places(measured: pa.Table, place: Mapping[Row, int]) -> np.ndarray:
    """Number of the row that each measurement belongs to."""
    codes, found = _codes(measured, ("participant", "session"))
    numbers = np.array([place[participant or "", session] for participant, session in found], dtype=np.int64)
    return np.take(numbers, codes)


def _filled(
    measured: pa.Table, layout: Layout, place: Mapping[Row, int]
) -> tuple[dict[Quantity, np.ndarray], dict[Quantity, np.ndarray]]:
    """Columns of the quantities, and of the reference sessions."""
    columns = {
        quantity: np.full(len(place), None, dtype=object) if quantity.unit is None else np.full(len(place), np.nan)
        for quantity in layout.quantities
    }
    references = {quantity: np.full(len(place), None, dtype=object) for quantity in sorted(layout.dated, key=_order)}
    if not measured.num_rows:
        return columns, references
    where = _places(measured, place)
    values = measured.column("value").to_numpy()
    words = measured.column("text").to_numpy()
    codes, found = _codes(measured, (*_QUANTITY, "reference_session"))
    order = np.argsort(codes, kind="stable")
    bounds = np.searchsorted(codes[order], np.arange(len(found) + 1))
    for number, (*parts, reference) in enumerate(found):
        own = order[bounds[number] : bounds[number + 1]]
        base = Quantity(*parts)  # type: ignore[arg-type]  # prompt and measure are never null
        quantity = replace(base, reference=reference) if base in layout.split else base
        columns[quantity][where[own]] = (words if base.unit is None else values)[own]
        if base in references:
            references[base][where[own]] = reference
    return columns, references


def _lowest(measured: pa.Table, place: Mapping[Row, int]) -> np.ndarray:
    scores = np.full(len(place), np.nan)
    numbers = measured.filter(pc.is_valid(measured.column("unit")))  # the score of a word is another one
    if numbers.num_rows:
        np.fmin.at(scores, _places(numbers, place), numbers.column("qc_score").to_numpy())
    return scores


def _flags(measured: pa.Table, place: Mapping[Row, int]) -> list[str]:
    found: list[set[str]] = [set() for _ in place]
    flagged = measured.filter(pc.greater(pc.list_value_length(measured.column("flags")), 0))
    for row in flagged.select(["participant", "session", "flags"]).to_pylist():
        found[place[_row(row)]].update(row["flags"])
    return ["; ".join(sorted(flags)) for flags in found]


def _reasons(runs: pa.Table, place: Mapping[Row, int]) -> list[str]:
    found: list[list[str]] = [[] for _ in place]
    for row in runs.filter(pc.not_equal(runs.column("status"), "ok")).to_pylist():
        code = (row["reason"] or "").partition(":")[0]
        found[place[_row(row)]].append(f"{row['prompt_id']}: {row['status']}" + (f" ({code})" if code else ""))
    return ["; ".join(sorted(reasons)) for reasons in found]
