"""Tables in Parquet: written sorted, checked and atomically; checked again when read."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from vp_engine import __version__
from vp_engine.errors import TableError
from vp_engine.tables.publish import publishing
from vp_engine.tables.schema import allowed_values, arrow_schema, key_columns, load_schema, readable_versions

PARTITION = "dataset"
"""The column that is a folder name (`dataset=demo`) in a collected table."""

_RESERVED = ("schema_name", "schema_version", "vp_engine_version", "partition")
_LISTED = 5
_WRITING: Mapping[str, Any] = MappingProxyType({"compression": "zstd", "write_page_checksum": True})


def write_table(
    path: Path, name: str, rows: Sequence[Mapping[str, Any]] | pa.Table, *, metadata: Mapping[str, str]
) -> None:
    """Write a table as one Parquet file, which appears whole or not at all.

    The rows are checked against the schema and sorted by key; equal rows give equal bytes.

    Parameters
    ----------
    path : Path
        File to write; its folder is made when it does not exist.
    name : str
        Name of the table, such as ``runs``.
    rows : sequence of mapping, or pyarrow.Table
        Every column of the table in each row, in any order; null where there is nothing.
    metadata : mapping of str to str
        Goes into the file; ``model_id`` is required for every table but ``plan``.

    Raises
    ------
    TableError
        If a column is missing, unknown, of another type or null where it must not be, if a word is not of
        its closed set, or if two rows share a key.
    """
    publish_table(path, checked(name, rows, where=str(path)), file_metadata(name, metadata))


def read_table(path: Path, name: str, *, columns: Sequence[str] | None = None) -> pa.Table:
    """Read a table, verifying page checksums, its name, its version and its columns.

    Parameters
    ----------
    path : Path
        A file, or the folder of a collected table with its ``dataset=...`` folders.
    name : str
        Name of the table that is expected there.
    columns : sequence of str, optional
        Only these, in this order; all of them by default.

    Returns
    -------
    pyarrow.Table
        With the columns of `arrow_schema(name)`; the column ``dataset`` comes back from the folder names.

    Raises
    ------
    TableError
        If the file is missing, damaged, another table, or of another version.
    """
    wanted = _known_columns(name, columns)
    return pa.concat_tables([_read_file(file, name, wanted) for file in _files_of(path, name)])


def read_rows(path: Path, name: str, *, where: Mapping[str, str | int]) -> pa.Table:
    """Rows with given values in some columns, read without the row groups that cannot hold any.

    Parameters
    ----------
    path : Path
        A file.
    name : str
        Name of the table that is expected there.
    where : mapping of str to str or int
        Column → value.

    Raises
    ------
    TableError
        As `read_table`.
    """
    with _table_errors(path):
        file, _ = _opened(path, name)
        groups = [number for number in range(file.num_row_groups) if _may_hold(file, number, where)]
        table = file.read_row_groups(groups).replace_schema_metadata(None)
    for column, value in where.items():
        table = table.filter(pc.equal(table.column(column), value))
    return table


def _may_hold(file: pq.ParquetFile, group: int, where: Mapping[str, str | int]) -> bool:
    columns = file.metadata.row_group(group)
    for number in range(columns.num_columns):
        column = columns.column(number)
        value, known = where.get(column.path_in_schema), column.statistics
        if value is not None and known is not None and known.has_min_max and not known.min <= value <= known.max:
            return False
    return True


def parse_table(content: bytes, name: str, *, where: str) -> pa.Table:
    """Read a table from the content of a file, with the checks of `read_table`.

    Parameters
    ----------
    content : bytes
    name : str
        Name of the table that is expected there.
    where : str
        What an error message calls the file.

    Raises
    ------
    TableError
        As `read_table`.
    """
    with _table_errors(where):
        file = _checked_file(pa.BufferReader(content), name, where=where, partitioned=False)
        # many small files: starting threads for each takes longer than reading it
        return file.read(use_threads=False).replace_schema_metadata(None)


def iterate_table(path: Path, name: str, *, columns: Sequence[str], rows: int = 1 << 16) -> Iterator[pa.Table]:
    """Read a table some rows at a time, in the order of its files, with the checks of `read_table`.

    Parameters
    ----------
    path, name, columns
        As in `read_table`.
    rows : int
        At most this many at a time.

    Raises
    ------
    TableError
        As `read_table`.
    """
    wanted = _known_columns(name, columns)
    for path_of_part in _files_of(path, name):
        with _table_errors(path_of_part):
            file, dataset = _opened(path_of_part, name)
            stored = [column for column in wanted if column in file.schema_arrow.names]
            batches = file.iter_batches(rows, columns=stored)
        while True:
            with _table_errors(path_of_part):
                batch = next(batches, None)
            if batch is None:
                break
            yield _with_partition(pa.Table.from_batches([batch]), name, dataset, wanted)


def _known_columns(name: str, columns: Sequence[str] | None) -> list[str]:
    names = arrow_schema(name).names
    wanted = list(columns) if columns is not None else names
    unknown = sorted(set(wanted) - set(names))
    if unknown:
        raise TableError(f"table {name} has no column {', '.join(unknown)}; it has {', '.join(names)}")
    return wanted


def _files_of(path: Path, name: str) -> list[Path]:
    files = sorted(path.rglob("part-*.parquet"), key=_part_order) if path.is_dir() else [path]
    if not files:
        raise TableError(f"{path}: expected part-*.parquet files of the table {name}, found none; run `vp collect`")
    return files


def read_metadata(path: Path) -> dict[str, str]:
    """Metadata of a table file: schema_name, schema_version, vp_engine_version, model_id and what else was given.

    Raises
    ------
    TableError
        If the file is missing or damaged.
    """
    with _table_errors(path):
        found = pq.read_schema(path).metadata or {}
    return {key.decode(): value.decode() for key, value in found.items() if not key.startswith(b"ARROW:")}


def file_metadata(name: str, metadata: Mapping[str, str]) -> dict[str, str]:
    """Metadata of a file: the identity of the table first, then what the caller gives.

    Raises
    ------
    TableError
        If something required is missing or a reserved name is used.
    """
    rules = load_schema(name)
    missing = sorted(set(rules["metadata"]) - set(metadata))
    if missing:
        raise TableError(f"table {name}: the file metadata need {', '.join(missing)}")
    reserved = sorted(set(_RESERVED) & set(metadata))
    if reserved:
        raise TableError(f"table {name}: the file metadata {', '.join(reserved)} are set here, not by the caller")
    own = {"schema_name": name, "schema_version": rules["schema_version"], "vp_engine_version": __version__}
    return own | {key: metadata[key] for key in sorted(metadata)}


def checked(name: str, rows: Sequence[Mapping[str, Any]] | pa.Table, *, where: str) -> pa.Table:
    """Rows as a table that follows the schema, sorted by key.

    Parameters
    ----------
    name, rows
        As in `write_table`.
    where : str
        What an error message calls the rows.

    Raises
    ------
    TableError
        As `write_table`.
    """
    table = rows_to_table(name, rows, where=where)
    for field in table.schema:
        values = table.column(field.name)
        if not field.nullable and values.null_count:
            raise TableError(f"{where}: table {name}, column {field.name} must not be null")
        if _holds_null(values, field.type):
            raise TableError(f"{where}: table {name}, column {field.name} must not hold nulls")
    for column, words in allowed_values(name).items():
        strange = set(pc.unique(table.column(column)).to_pylist()) - words - {None}
        if strange:
            raise TableError(
                f"{where}: table {name}, column {column}: expected one of {', '.join(sorted(words))}, "
                f"got {', '.join(map(repr, sorted(strange)))}"
            )
    table = sort_by_key(table, name)
    refuse_duplicates(table, name, where=where)
    return table


def sort_by_key(table: pa.Table, name: str) -> pa.Table:
    """Rows in the order of the key, nulls last, in one chunk."""
    return table.sort_by([(column, "ascending") for column in key_columns(name)]).combine_chunks()


def refuse_duplicates(table: pa.Table, name: str, *, where: str) -> None:
    """Check a table sorted by key for rows that share a key.

    Raises
    ------
    TableError
        With the keys that occur more than once (the first five).
    """
    if table.num_rows < 2:
        return
    same: Any = pa.repeat(pa.scalar(True), table.num_rows - 1)
    for column in key_columns(name):
        values = table.column(column)
        before, after = values.slice(0, table.num_rows - 1), values.slice(1)
        both_null = pc.and_(pc.is_null(before), pc.is_null(after))
        same = pc.and_(same, pc.or_(both_null, pc.fill_null(pc.equal(before, after), False)))
    again = table.slice(1).filter(same).select(key_columns(name)).to_pylist()
    if again:
        keys = sorted({", ".join(f"{key}={value}" for key, value in row.items()) for row in again})
        more = f" and {len(keys) - _LISTED} more" if len(keys) > _LISTED else ""
        raise TableError(
            f"{where}: table {name}: more than one row for {'; '.join(keys[:_LISTED])}{more}", code="duplicate_key"
        )


def publish_table(path: Path, table: pa.Table, metadata: Mapping[str, str]) -> None:
    """Write a table that is checked and sorted already, atomically."""
    with publishing(path) as file:
        pq.write_table(table.replace_schema_metadata(dict(metadata)), file, **_WRITING)


def publish_tables(path: Path, tables: Iterable[pa.Table], schema: pa.Schema, metadata: Mapping[str, str]) -> None:
    """Write tables below each other, as row groups of one file; each is checked, and sorted after the one before.

    Only one is in memory at a time, and readers that want a few rows find them by the statistics of the groups.
    """
    schema = schema.with_metadata(dict(metadata))
    with publishing(path) as file, pq.ParquetWriter(file, schema, **_WRITING) as writer:
        for table in tables:
            writer.write_table(table.replace_schema_metadata(dict(metadata)))


def rows_to_table(name: str, rows: Sequence[Mapping[str, Any]] | pa.Table, *, where: str) -> pa.Table:
    """Rows with exactly the columns and types of a table, in the order given; NaN becomes null.

    Raises
    ------
    TableError
        If a column is missing or unknown, or a value is of another type.
    """
    schema = arrow_schema(name)
    given = [rows.column_names] if isinstance(rows, pa.Table) else rows
    for number, row in enumerate(given):
        missing, unknown = set(schema.names) - set(row), set(row) - set(schema.names)
        if missing or unknown:
            faults = [f"missing {c}" for c in schema.names if c in missing] + [f"unknown {c}" for c in sorted(unknown)]
            place = "" if isinstance(rows, pa.Table) else f", row {number}"
            raise TableError(f"{where}: table {name}{place}: columns differ from the schema: {', '.join(faults)}")
    columns = []
    for field in schema:
        try:
            if isinstance(rows, pa.Table):
                column = rows.column(field.name).cast(field.type)
            else:
                column = _column([row[field.name] for row in rows], field.type)
        except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError, OverflowError) as error:
            place = f"{where}: table {name}, column {field.name}"
            raise TableError(f"{place}: expected {field.type}; {error}") from error
        if pa.types.is_floating(field.type):
            # not a number means missing; one spelling of it, so that readers need to test for one
            column = pc.if_else(pc.is_nan(column), pa.scalar(None, field.type), column)
        columns.append(column)
    return pa.Table.from_arrays(columns, schema=schema)


def _holds_null(column: pa.ChunkedArray, arrow_type: pa.DataType) -> bool:
    """Whether elements or fields inside a column are null where their type forbids it."""
    if pa.types.is_list(arrow_type):
        inside = [(arrow_type.value_field, pc.list_flatten(column))]
    elif pa.types.is_struct(arrow_type):
        inside = [(field, pc.struct_field(column, field.name)) for field in arrow_type]
    else:
        return False
    return any((not field.nullable and part.null_count) or _holds_null(part, field.type) for field, part in inside)


def _column(values: list[Any], arrow_type: pa.DataType) -> pa.Array:
    if pa.types.is_integer(arrow_type):
        return pa.array(values).cast(arrow_type)  # given the type at once, Arrow would cut 1.5 to 1
    if pa.types.is_list(arrow_type) and any(isinstance(value, str) for value in values):
        raise pa.ArrowTypeError("got text, which Arrow would take as a list of letters")
    return pa.array(values, type=arrow_type)


def _read_file(path: Path, name: str, columns: list[str]) -> pa.Table:
    with _table_errors(path):
        file, dataset = _opened(path, name)
        table = file.read(columns=[column for column in columns if column in file.schema_arrow.names])
    return _with_partition(table, name, dataset, columns)


def _opened(path: Path, name: str) -> tuple[pq.ParquetFile, str | None]:
    """A file whose name, version and columns are those of a table, and the dataset its folder names."""
    folder = path.parent.name
    dataset = folder.removeprefix(f"{PARTITION}=") if folder.startswith(f"{PARTITION}=") else None
    return _checked_file(path, name, where=str(path), partitioned=dataset is not None), dataset


def _checked_file(source: Path | pa.NativeFile, name: str, *, where: str, partitioned: bool) -> pq.ParquetFile:
    """A file whose name, version and columns are those of a table; a partitioned one may lack the partition."""
    expected = arrow_schema(name)
    file = pq.ParquetFile(source, page_checksum_verification=True)
    found = file.schema_arrow
    identity = found.metadata or {}
    versions = readable_versions(name)
    got = [identity.get(key, b"nothing").decode() for key in (b"schema_name", b"schema_version")]
    if got[0] != name or got[1] not in versions:
        raise TableError(
            f"{where}: expected table {name} version {' or '.join(versions)}, got {got[0]} version {got[1]}"
        )
    if partitioned and PARTITION not in found.names:
        expected = expected.remove(expected.get_field_index(PARTITION))
    if not found.equals(expected, check_metadata=False):
        raise TableError(f"{where}: the columns are not those of table {name} version {got[1]}")
    return file


def _with_partition(table: pa.Table, name: str, dataset: str | None, columns: Sequence[str]) -> pa.Table:
    if dataset is not None and PARTITION in columns and PARTITION not in table.column_names:
        table = table.append_column(
            arrow_schema(name).field(PARTITION), pa.repeat(pa.scalar(dataset, pa.string()), table.num_rows)
        )
    return table.select(columns).replace_schema_metadata(None)


@contextmanager
def _table_errors(path: Path | str) -> Iterator[None]:
    """Faults of the file as `TableError`; those of the machine pass."""
    try:
        yield
    except FileNotFoundError as error:
        raise TableError(f"{path}: expected a Parquet file, found nothing", code="missing_table") from error
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, OSError, UnicodeDecodeError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise  # of the machine; Arrow reports a wrong checksum as an OSError without a number
        raise TableError(
            f"{path}: damaged ({error}); restore it or run the step again", code="damaged_table"
        ) from error


def _part_order(path: Path) -> tuple[str, int, str]:
    number = path.stem.removeprefix("part-")
    return str(path.parent), int(number) if number.isdecimal() else -1, path.name
