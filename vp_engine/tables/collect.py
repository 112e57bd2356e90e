"""From the records of participants to the tables of the cohort."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from dask.base import compute
from dask.delayed import delayed

from vp_engine import __version__
from vp_engine.errors import TableError
from vp_engine.tables.parquet import (
    PARTITION,
    file_metadata,
    publish_table,
    read_table,
    refuse_duplicates,
    rows_to_table,
    sort_by_key,
)
from vp_engine.tables.schema import arrow_schema, key_columns

FOLDERS_PER_TASK = 64
"""Record folders (participants) that one task reads."""

ROWS_PER_FILE = 1_000_000
"""A part is closed as soon as it has this many rows."""

_TASKS_AT_ONCE = 64
_DATASET_NAME = re.compile(r"[A-Za-z][0-9A-Za-z_-]*")
_NO_RECORD = "no_record: planned, but no result was recorded; run the workflow again"

Planned = dict[str, list[dict[str, Any]]]
"""Participant to its rows of the plan."""


def collect(
    record_files: Mapping[str, Sequence[Path]],
    name: str,
    out_dir: Path,
    metadata: Mapping[str, str],
    *,
    plan: pa.Table | None = None,
    records: pa.Array | None = None,
) -> list[Path]:
    """Join record files into one table, ``<out_dir>/<name>/dataset=<dataset>/part-<n>.parquet``.

    One task per shard of participants, run by dask: on threads here, on a cluster when a distributed client is
    active. Rows are sorted by key within a dataset, and the same records give the same bytes. Parts and datasets
    of an earlier collection that are no longer made are removed.

    Parameters
    ----------
    record_files : mapping of str to sequence of Path
        Name of the dataset to the files that `write_table` made, ``.../sub-<participant>/<any name>``, in any order.
    name : str
        Name of the table: ``runs``, ``measurements`` or ``segmentations``.
    out_dir : Path
        Folder of all tables.
    metadata : mapping of str to str
        As in `write_table`.
    plan : pyarrow.Table, optional
        The table `plan`. Rows of prompts that are not planned (any more), or whose text was another one, are then
        left out, and `runs` gets a row with status ``no_record`` for each planned prompt without one.
    records : pyarrow.Array of string, optional
        Only rows of these records (column `record_id`), as those of `runs` that are left.

    Returns
    -------
    list of Path
        The files written, in order.

    Raises
    ------
    TableError
        If a file is damaged or of another table, if its rows are of another dataset or participant than its
        folder, or if two rows share a key; the message lists the keys.
    """
    planned = None if plan is None else _planned(plan)
    datasets = sorted(set(record_files) | set(planned or ()))
    for dataset in datasets:
        if not _DATASET_NAME.fullmatch(dataset):
            raise TableError(f"expected a dataset name of letters, digits, _ and -, got {dataset!r}")
    written: list[Path] = []
    for dataset in datasets:
        wanted = None if planned is None else planned.get(dataset, {})
        shards = _shards(record_files.get(dataset, ()), wanted)
        read = partial(_read_shard, name=name, dataset=dataset, records=records)
        tasks = [delayed(partial(read, files, asked))() for files, asked in shards]
        for number, part in enumerate(_parts(_computed(tasks), name)):
            path = out_dir / name / f"{PARTITION}={dataset}" / f"part-{number}.parquet"
            publish_table(path, part.drop_columns([PARTITION]), file_metadata(name, metadata))
            written.append(path)
    _remove_others(out_dir / name, written)
    return written


def _planned(plan: pa.Table) -> dict[str, Planned]:
    """Rows of the plan by dataset and participant."""
    planned: dict[str, Planned] = {}
    for row in plan.select([*key_columns("plan"), "prompt", "scope", "status"]).to_pylist():
        planned.setdefault(row["dataset"], {}).setdefault(row["participant"], []).append(row)
    return planned


def _shards(files: Sequence[Path], wanted: Planned | None) -> list[tuple[list[Path], Planned | None]]:
    """Files and plan of up to `FOLDERS_PER_TASK` participants at a time, in the order of the key."""
    by_participant: dict[str, list[Path]] = {participant: [] for participant in wanted or ()}
    for participant, group in groupby(sorted(files), key=_participant_of):
        by_participant.setdefault(participant, []).extend(group)
    names = sorted(by_participant)
    shards = []
    for start in range(0, len(names), FOLDERS_PER_TASK):
        chosen = names[start : start + FOLDERS_PER_TASK]
        asked = None if wanted is None else {name: wanted.get(name, []) for name in chosen}
        shards.append(([file for name in chosen for file in by_participant[name]], asked))
    return shards


def _participant_of(path: Path) -> str:
    if not path.parent.name.startswith("sub-"):
        raise TableError(f"{path}: expected a record in a folder sub-<participant>")
    return path.parent.name.removeprefix("sub-")


def _read_shard(
    files: list[Path], asked: Planned | None, *, name: str, dataset: str, records: pa.Array | None
) -> pa.Table:
    """Rows of some participants, sorted by key, each key once."""
    tables = [arrow_schema(name).empty_table()]
    for file in files:
        table = read_table(file, name)
        for column, expected in ((PARTITION, dataset), ("participant", _participant_of(file))):
            strange = [value for value in pc.unique(table.column(column)).to_pylist() if value != expected]
            if strange:
                raise TableError(f"{file}: expected rows of {column} {expected}, got {', '.join(map(repr, strange))}")
        tables.append(table)
    table = pa.concat_tables(tables)
    if records is not None:
        table = table.filter(pc.is_in(table.column("record_id"), value_set=records))
    if asked is not None:
        planned = [row for rows in asked.values() for row in rows]
        table = _current(table, planned, name)
        if name == "runs":
            table = pa.concat_tables([table, _no_records(table, planned)])
    table = sort_by_key(table, name)
    refuse_duplicates(table, name, where=f"records of dataset {dataset}")
    return table


def _current(table: pa.Table, planned: Sequence[Mapping[str, Any]], name: str) -> pa.Table:
    """Rows that belong to a row of the plan: of its session, or about any session when it takes all of them."""
    by_key = {_key(row): row for row in planned}
    if name == "runs":
        runs = table.select([*key_columns("runs"), "prompt", "status"]).to_pylist()
        return table.filter(pa.array([_answers(row, by_key.get(_key(row))) for row in runs], pa.bool_()))
    every_session = {_key(row) for row in planned if row["scope"] == "participant"}
    rows = table.select(key_columns("runs")).to_pylist()
    kept = [_key(row) in by_key or _key(row | {"session": None}) in every_session for row in rows]
    return table.filter(pa.array(kept, pa.bool_()))


def _answers(run: Mapping[str, Any], planned: Mapping[str, Any] | None) -> bool:
    """Whether a recorded row is about what is planned now, not about an earlier wording or a scan that has gone."""
    return planned is not None and run["prompt"] == planned["prompt"] and planned["status"] in (None, run["status"])


def _no_records(runs: pa.Table, planned: Sequence[Mapping[str, Any]]) -> pa.Table:
    """A row of `runs` for each row of the plan that has none."""
    found = {_key(row) for row in runs.select(key_columns("runs")).to_pylist()}
    empty = dict.fromkeys(arrow_schema("runs").names)
    told = {"status": "no_record", "reason": _NO_RECORD, "vp_engine_version": __version__}
    missing = [row for row in planned if _key(row) not in found]
    rows = [empty | {name: row[name] for name in (*key_columns("runs"), "prompt")} | told for row in missing]
    return rows_to_table("runs", rows, where="plan")


def _key(row: Mapping[str, Any]) -> tuple[Any, ...]:
    return tuple(row[column] for column in ("participant", "session", "prompt_id"))


def _computed(tasks: Sequence[Any]) -> Iterator[pa.Table]:
    """Results in order; only some at a time are held in memory."""
    for start in range(0, len(tasks), _TASKS_AT_ONCE):
        yield from compute(*tasks[start : start + _TASKS_AT_ONCE])  # type: ignore[no-untyped-call]  # dask has no types


def _parts(tables: Iterable[pa.Table], name: str) -> Iterator[pa.Table]:
    """Tables joined to parts of at least `ROWS_PER_FILE` rows, the last one excepted; one empty part for no rows."""
    held: list[pa.Table] = [arrow_schema(name).empty_table()]
    made = False
    for table in tables:
        held.append(table)
        if sum(part.num_rows for part in held) >= ROWS_PER_FILE:
            yield pa.concat_tables(held).combine_chunks()
            held, made = [], True
    if sum(part.num_rows for part in held) or not made:
        yield pa.concat_tables(held).combine_chunks()


def _remove_others(folder: Path, written: Sequence[Path]) -> None:
    """Remove what an earlier collection left: parts with higher numbers, datasets no longer analysed."""
    for partition in sorted(folder.glob(f"{PARTITION}=*")):
        kept = [path for path in written if path.parent == partition]
        if not kept:
            shutil.rmtree(partition)
        for path in sorted(partition.glob("part-*.parquet")):
            if path not in kept:
                path.unlink()
