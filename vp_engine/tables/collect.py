"""From the records of participants to the tables of the cohort, part by part: a part is some participants' rows."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import dask
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from dask.base import compute
from dask.delayed import delayed

from vp_engine import __version__
from vp_engine.errors import TableError
from vp_engine.tables.parquet import (
    PARTITION,
    file_metadata,
    parse_table,
    publish_table,
    refuse_duplicates,
    rows_to_table,
    sort_by_key,
)
from vp_engine.tables.schema import RECORDED, arrow_schema, key_columns

PLANNED = ("dataset", "participant", "session", "prompt_id", "prompt", "scope", "status")
"""Columns of the plan that decide which rows of the records are current."""

PLANNED_ROWS = 16_384
"""A part is closed with the participant that brings it to this many planned rows."""

_THREADS = 4
_DATASET_NAME = re.compile(r"[A-Za-z][0-9A-Za-z_-]*")
_NO_RECORD = "no_record: planned, but no result was recorded; run the workflow again"
_NO_LABEL = "/"  # stands for a missing session, as no label holds it

T = TypeVar("T")


@dataclass(frozen=True, slots=True, eq=False)
class Part:
    """Participants that follow each other, whose rows stand in one file of each table.

    Attributes
    ----------
    dataset : str
    number : int
        Within the dataset.
    plan : pyarrow.Table
        Their rows of the plan, columns `PLANNED`, in order.
    """

    dataset: str
    number: int
    plan: pa.Table

    @property
    def participants(self) -> list[str]:
        """Labels in the order of the key."""
        return list(pc.unique(self.plan.column("participant")).to_pylist())

    @property
    def sha256(self) -> str:
        """Hash of what is planned."""
        found = hashlib.sha256()
        for name in PLANNED:
            words = self.plan.column(name).combine_chunks().dictionary_encode()
            found.update(json.dumps([name, words.dictionary.to_pylist()]).encode())
            found.update(pc.fill_null(words.indices, -1).to_numpy().astype("<i4").tobytes())
        return found.hexdigest()

    def file(self, name: str) -> str:
        """Where the rows of a table stand, below the folder of all tables."""
        return f"{name}/{PARTITION}={self.dataset}/part-{self.number}.parquet"


def parts_of(plan: pa.Table) -> list[Part]:
    """Cut the plan into parts, between participants; the plan alone decides where.

    Parameters
    ----------
    plan : pyarrow.Table
        Columns `PLANNED` of the table `plan`, in order of its key.

    Raises
    ------
    TableError
        If a dataset has a name that no folder may have.
    """
    parts: list[Part] = []
    plan = plan.select(PLANNED).combine_chunks()
    starts = _starts(plan, ("dataset",))
    for start, end in zip(starts, [*starts[1:], plan.num_rows], strict=True):
        own = plan.slice(start, end - start)
        dataset = own.column("dataset")[0].as_py()
        if not _DATASET_NAME.fullmatch(dataset):
            raise TableError(f"expected a dataset name of letters, digits, _ and -, got {dataset!r}")
        for number, rows in enumerate(_cut(own)):
            parts.append(Part(dataset, number, rows))
    return parts


def for_each(parts: Iterable[Part], work: Callable[[Part], T]) -> list[T]:
    """What `work` gives for each part, in order: on threads here, on a cluster when a distributed client is active."""
    with dask.config.set(num_workers=dask.config.get("num_workers", _THREADS)):
        return list(compute(*[delayed(work)(part) for part in parts]))  # type: ignore[no-untyped-call]  # no types


def write_part(
    part: Part, records: Mapping[str, Mapping[str, bytes]], tables: Path, metadata: Mapping[str, str]
) -> list[Path]:
    """Join records into the files of one part; the same records give the same bytes.

    Rows of prompts that are not planned (any more), or whose text was another one, are left out. `runs` gets a row
    with status ``no_record`` for each planned prompt without one.

    Parameters
    ----------
    part : Part
    records : mapping of str to mapping of str to bytes
        Participant → table → content of the file that `write_table` made. Who has none is absent.
    tables : Path
        Folder of all tables.
    metadata : mapping of str to str
        As in `write_table`.

    Returns
    -------
    list of Path
        One file per table of `RECORDED`.

    Raises
    ------
    TableError
        If a file is damaged or of another table, if its rows are of another dataset or participant than it was given
        for, or if two rows share a key; the message lists the keys.
    """
    written = []
    current: pa.Array | None = None
    for name in RECORDED:  # `runs` first: it says which records answer what is planned
        table = _joined(part, records, name)
        if current is not None:
            table = table.filter(pc.is_in(table.column("record_id"), value_set=current))
        table = _current(table, part.plan, name)
        if name == "runs":
            current = table.column("record_id").drop_null().combine_chunks()
            table = pa.concat_tables([table, _no_records(table, part.plan)])
        table = sort_by_key(table, name)
        refuse_duplicates(table, name, where=f"records of dataset {part.dataset}")
        path = tables / part.file(name)
        publish_table(path, table.drop_columns([PARTITION]), file_metadata(name, metadata))
        written.append(path)
    return written


def remove_others(tables: Path, parts: Sequence[Part]) -> None:
    """Remove what an earlier collection left: parts with higher numbers, datasets no longer analysed."""
    for name in RECORDED:
        kept = {tables / part.file(name) for part in parts}
        folders = {path.parent for path in kept}
        for folder in sorted((tables / name).glob(f"{PARTITION}=*")):
            if folder not in folders:
                shutil.rmtree(folder)
                continue
            for path in sorted(set(folder.glob("part-*.parquet")) - kept):
                path.unlink()


def _starts(table: pa.Table, columns: Collection[str]) -> list[int]:
    """First rows of the groups of equal rows that follow each other; the columns hold no nulls."""
    new = np.zeros(table.num_rows, dtype=bool)
    new[:1] = True
    for name in columns:
        values = table.column(name).combine_chunks()
        new[1:] |= pc.not_equal(values.slice(1), values.slice(0, max(len(values) - 1, 0))).to_numpy(
            zero_copy_only=False
        )
    return [int(start) for start in np.flatnonzero(new)]


def _cut(plan: pa.Table) -> Iterator[pa.Table]:
    start = 0
    for end in [*_starts(plan, ("participant",))[1:], plan.num_rows]:
        if end - start >= PLANNED_ROWS or end == plan.num_rows:
            yield plan.slice(start, end - start)
            start = end


def _joined(part: Part, records: Mapping[str, Mapping[str, bytes]], name: str) -> pa.Table:
    """All rows of a table in the records of a part."""
    tables = [arrow_schema(name).empty_table()]
    for participant, files in sorted(records.items()):
        where = f"records/{part.dataset}/sub-{participant}/{name}.parquet"
        table = parse_table(files[name], name, where=where)
        for column, expected in ((PARTITION, part.dataset), ("participant", participant)):
            strange = [value for value in pc.unique(table.column(column)).to_pylist() if value != expected]
            if strange:
                raise TableError(f"{where}: expected rows of {column} {expected}, got {', '.join(map(repr, strange))}")
        tables.append(table)
    return pa.concat_tables(tables)


def _current(table: pa.Table, plan: pa.Table, name: str) -> pa.Table:
    """Rows that belong to a row of the plan: of its session, or about any session when it takes all of them."""
    keys = _keys(table, plan)
    if name == "runs":
        place = pc.index_in(keys.own, value_set=keys.planned)
        asked = plan.select(["prompt", "status"]).take(place)  # nulls where nothing is planned
        same_text = pc.fill_null(pc.equal(table.column("prompt"), asked.column("prompt")), False)
        open_or_same = pc.fill_null(pc.equal(table.column("status"), asked.column("status")), True)
        return table.filter(pc.and_(same_text, open_or_same))
    every_session = keys.planned.filter(pc.equal(plan.column("scope"), "participant"))
    about = pc.is_in(keys.whole, value_set=every_session)
    return table.filter(pc.or_(pc.is_in(keys.own, value_set=keys.planned), about))


def _no_records(runs: pa.Table, plan: pa.Table) -> pa.Table:
    """A row of `runs` for each row of the plan that has none."""
    keys = _keys(runs, plan)
    missing = plan.filter(pc.invert(pc.is_in(keys.planned, value_set=keys.own)))
    told = {"status": "no_record", "reason": _NO_RECORD, "vp_engine_version": __version__}
    schema = arrow_schema("runs")
    asked = {*key_columns("runs"), "prompt"}
    columns = [
        missing.column(field.name)
        if field.name in asked
        else pa.repeat(pa.scalar(told.get(field.name), field.type), missing.num_rows)
        for field in schema
    ]
    return rows_to_table("runs", pa.Table.from_arrays(columns, names=schema.names), where="plan")


@dataclass(frozen=True, slots=True)
class _Keys:
    """Participant, session and prompt of rows as one text each: of the rows, as if about no session, and planned."""

    own: Any
    whole: Any
    planned: Any


def _keys(table: pa.Table, plan: pa.Table) -> _Keys:
    def joined(rows: pa.Table, session: Any) -> Any:
        return pc.binary_join_element_wise(
            rows.column("participant"), pc.fill_null(session, _NO_LABEL), rows.column("prompt_id"), "/"
        ).combine_chunks()

    nobody = pa.chunked_array([pa.nulls(table.num_rows, pa.string())])
    return _Keys(joined(table, table.column("session")), joined(table, nobody), joined(plan, plan.column("session")))
