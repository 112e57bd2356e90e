"""The tables `runs` and `measurements` side by side, some participants at a time, so that no cohort is too large."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from vp_engine.errors import TableError
from vp_engine.tables.parquet import PARTITION, iterate_table
from vp_engine.tables.schema import arrow_schema


def by_participants(
    tables: Path,
    runs: Sequence[str],
    measurements: Sequence[str],
    *,
    size: int,
    prompts: Collection[str] = (),
) -> Iterator[tuple[str, pa.Table, pa.Table]]:
    """Dataset, rows of `runs` and rows of `measurements` of the next participants, in the order of the tables.

    Parameters
    ----------
    tables : Path
        Folder of the collected tables.
    runs, measurements : sequence of str
        Columns wanted; `participant` among them.
    size : int
        Participants at a time.
    prompts : collection of str
        Only rows of these; of all when empty. `prompt_id` has then to be among the columns.

    Raises
    ------
    TableError
        If a table is missing or damaged.
    """
    folders = sorted((tables / "runs").glob(f"{PARTITION}=*"))
    if not folders:
        raise TableError(f"{tables}: expected the table runs, found none; run `vp collect`", code="missing_table")
    for folder in folders:
        people: dict[str, None] = {}
        for table in iterate_table(folder, "runs", columns=("participant",)):
            people.update(dict.fromkeys(pc.unique(table.column("participant")).to_pylist()))
        names = list(people)
        asked = _Sorted(_chosen(folder, "runs", runs, prompts))
        measured = _Sorted(_chosen(tables / "measurements" / folder.name, "measurements", measurements, prompts))
        for start in range(0, len(names), size):
            last = names[min(start + size, len(names)) - 1]
            own, numbers = asked.up_to(last), measured.up_to(last)
            if own is not None:
                yield (
                    folder.name.removeprefix(f"{PARTITION}="),
                    own,
                    _empty("measurements", measurements) if numbers is None else numbers,
                )


def _chosen(path: Path, name: str, columns: Sequence[str], prompts: Collection[str]) -> Iterator[pa.Table]:
    wanted = pa.array(sorted(prompts), pa.string())
    for table in iterate_table(path, name, columns=columns):
        yield table.filter(pc.is_in(table.column("prompt_id"), value_set=wanted)) if prompts else table


def _empty(name: str, columns: Sequence[str]) -> pa.Table:
    schema = arrow_schema(name)
    return pa.schema([schema.field(column) for column in columns]).empty_table()


@dataclass(slots=True)
class _Sorted:
    """Rows of one dataset, sorted by participant, given out up to a participant."""

    tables: Iterator[pa.Table]
    held: list[pa.Table] = field(default_factory=list)

    def up_to(self, participant: str) -> pa.Table | None:
        """Rows not given out yet, of this participant and those before; None when there are none."""
        while not self.held or self.held[-1].column("participant")[-1].as_py() <= participant:
            table = next(self.tables, None)
            if table is None:
                break
            if table.num_rows:
                self.held.append(table)
        if not self.held:
            return None
        table = pa.concat_tables(self.held)
        count = pc.sum(pc.less_equal(table.column("participant"), participant)).as_py()
        rest = table.slice(count)
        self.held = [rest] if rest.num_rows else []
        return table.slice(0, count) if count else None
