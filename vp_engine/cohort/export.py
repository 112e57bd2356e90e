"""The wide table as a file for spreadsheets and statistics programs: CSV, TSV or Parquet, and what its columns mean."""

from __future__ import annotations

import csv
import logging
import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from vp_engine.cohort.publish import publish_json, publishing
from vp_engine.cohort.wide import Batch, Layout, Quantity, batches, lay_out
from vp_engine.errors import ConfigError, InputRefused
from vp_engine.stats.covariates import join_covariates
from vp_engine.tables.parquet import iterate_table
from vp_engine.tables.schema import hint

FORMATS = (".csv", ".tsv", ".parquet")
"""Endings of the files that can be written."""

SHEET_ROWS, SHEET_COLUMNS = 1_048_576, 16_384
"""What a sheet of Excel or LibreOffice Calc holds."""

_CONFIG_HERE = Path("config.yaml")
_FORMULA = re.compile(r"\s*[=+\-@\uff1d\uff0b\uff0d\uff20\t\r]")
_NUMBER = re.compile(r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?")
_BREAKS = re.compile(r"[\x00-\x1f\x7f\x85\u2028\u2029]+")

_log = logging.getLogger(__name__)

Write = Callable[[pa.Table], None]


@dataclass(frozen=True, slots=True)
class Column:
    """One column of the file.

    Attributes
    ----------
    name, meaning : str
    values : callable
        From a batch and its covariates to the cells.
    number : bool
        Whether it holds numbers; else text.
    more : mapping of str to str
        What else is said of the column in the explanation.
    """

    name: str
    meaning: str
    values: Callable[[Batch, pd.DataFrame], Any]
    number: bool = False
    more: Mapping[str, str] = field(default_factory=dict)

    @property
    def type(self) -> pa.DataType:
        """Type of the cells."""
        return pa.float64() if self.number else pa.string()


def export(
    results: Path, path: Path, *, prompts: Collection[str] = (), covariates: pd.DataFrame | None = None
) -> tuple[int, int]:
    """Write the wide table to `path`, and what its columns mean beside it as JSON.

    Parameters
    ----------
    results : Path
        Output directory with collected tables.
    path : Path
        File to write; its ending says the format.
    prompts : collection of str
        Only these; all when empty.
    covariates : DataFrame, optional
        Columns of participants.tsv and sessions.tsv, as `read_covariates` gives them.

    Returns
    -------
    rows, columns : int

    Raises
    ------
    ConfigError
        If the file has another ending or lies in `results`, or a prompt is not there.
    TableError
        If a table is missing or damaged.
    InfrastructureError
        If the disk refuses.
    """
    _check(path, results)
    layout = lay_out(results, prompts=prompts)
    texts = _prompt_texts(results)
    for prompt in prompts:
        if prompt not in texts:
            raise ConfigError(f"--prompt: no prompt {prompt!r} in the table runs{hint(prompt, texts)}")
    columns = _columns(layout, covariates, texts)
    rows = 0
    with publishing(path) as temporary, _writer(temporary, [(column.name, column.type) for column in columns]) as write:
        for batch in batches(results, layout, prompts=prompts):
            write(_table(batch, columns, covariates))
            rows += len(batch.rows)
    publish_json(
        explanation_of(path), {column.name: {"Description": column.meaning, **column.more} for column in columns}
    )
    if path.suffix != ".parquet" and (rows >= SHEET_ROWS or len(columns) > SHEET_COLUMNS):
        _log.warning(
            "%s has %d rows and %d columns; a spreadsheet shows the first %d and %d: take fewer prompts (--prompt)",
            path, rows, len(columns), SHEET_ROWS, SHEET_COLUMNS,
        )  # fmt: skip
    return rows, len(columns)


def find_covariates(results: Path, config: Path | None) -> pd.DataFrame | None:
    """What participants.tsv and sessions.tsv say, for `export`; None, with a line in the log, when nobody can tell.

    Parameters
    ----------
    results : Path
        Output directory.
    config : Path or None
        Configuration that names the datasets; None takes the one here if it is that of `results`.

    Raises
    ------
    ConfigError
        If `config` is given and wrong.
    InputRefused
        If a participants.tsv cannot be read.
    """
    # with it comes statsmodels, which takes seconds to load
    from vp_engine.cohort.config import load_config
    from vp_engine.cohort.statistics import read_covariates

    if config is not None:
        return read_covariates(load_config(config))
    if _CONFIG_HERE.is_file():
        try:
            settings = load_config(_CONFIG_HERE)
            if settings.output.resolve() == results.resolve():
                return read_covariates(settings)
        except (ConfigError, InputRefused) as error:
            _log.warning("%s", error.message)
    _log.warning("without the columns of participants.tsv: which datasets these are says --config FILE")
    return None


def explanation_of(path: Path) -> Path:
    """Where the meaning of the columns of an exported file stands.

    >>> explanation_of(Path("wide.csv")).name
    'wide.csv.json'
    """
    return path.with_name(f"{path.name}.json")


def _check(path: Path, results: Path) -> None:
    if path.suffix not in FORMATS:
        raise ConfigError(f"--output: expected a file that ends in {', '.join(FORMATS)}, got {path}")
    if path.resolve().is_relative_to(results.resolve()):
        raise ConfigError(f"--output: expected a file outside of {results}, which the workflow owns, got {path}")


def _columns(layout: Layout, covariates: pd.DataFrame | None, prompts: Mapping[str, str]) -> list[Column]:
    """Columns in their order: keys, covariates, quantities, what is said of the row."""
    first = [
        Column("dataset", "Name of the dataset: its key in config.yaml.", _dataset),
        Column("participant_id", "BIDS participant label with sub-, as in participants.tsv.", _participant),
        Column("session_id", "BIDS session label with ses-; missing on rows about no session, or about all.", _session),
    ]
    measured = []
    for quantity in layout.quantities:
        measured.append(_quantity(quantity, prompts))
        if quantity in layout.dated:
            name = f"{quantity.name}.reference_session"
            meaning = f"Session that {quantity.name} is relative to."
            measured.append(Column(name, meaning, partial(_reference, quantity)))
    last = [
        Column(
            "lowest_qc_score",
            "Lowest confidence of the delineations behind the numbers of the row, 0 (bad) to 1 (good).",
            lambda batch, _: batch.qc_score,
            number=True,
        ),
        Column(
            "flags",
            "What was repaired or noticed in the images and delineations of the row; docs/tables.md lists all flags.",
            lambda batch, _: [text or None for text in batch.flags],
        ),
        Column(
            "not_answered",
            "Prompts without an answer in this row: id, status and code of the reason, as in the table runs.",
            lambda batch, _: [text or None for text in batch.reasons],
        ),
    ]
    taken = {column.name for column in (*first, *measured, *last)}
    own = [] if covariates is None else _covariate_columns(covariates, taken)
    return [*first, *own, *measured, *last]


def _covariate_columns(covariates: pd.DataFrame, taken: Collection[str]) -> list[Column]:
    own: dict[str, Column] = {}
    for covariate in _names_of(covariates):
        name = _one_line(covariate) or "column"
        while name in taken or name in own:
            name = f"participants.{name}"
        meaning = f"{_one_line(covariate)} of participants.tsv, or of sessions.tsv, which goes before."
        own[name] = Column(name, meaning, partial(_covariate, covariate))
    return list(own.values())


def _quantity(quantity: Quantity, prompts: Mapping[str, str]) -> Column:
    words = [
        quantity.measure,
        quantity.target and f"of {quantity.target}",
        quantity.image and f"on {quantity.image}",
        quantity.reference and f"since ses-{quantity.reference}",
    ]
    more = {
        "Units": quantity.unit,
        "prompt_id": quantity.prompt_id,
        "prompt": prompts.get(quantity.prompt_id),
        "target": quantity.target,
        "measure": quantity.measure,
        "image": quantity.image,
        "reference_session": quantity.reference,
    }
    return Column(
        quantity.name,
        " ".join(filter(None, words)).replace("_", " "),
        partial(_measured, quantity),
        number=quantity.unit is not None,
        more={key: value for key, value in more.items() if value is not None},
    )


def _dataset(batch: Batch, _: pd.DataFrame) -> list[str]:
    return [batch.dataset] * len(batch.rows)


def _participant(batch: Batch, _: pd.DataFrame) -> list[str]:
    return [f"sub-{participant}" for participant, _ in batch.rows]


def _session(batch: Batch, _: pd.DataFrame) -> list[str | None]:
    return [None if session is None else f"ses-{session}" for _, session in batch.rows]


def _measured(quantity: Quantity, batch: Batch, _: pd.DataFrame) -> Any:
    return batch.columns[quantity]


def _reference(quantity: Quantity, batch: Batch, _: pd.DataFrame) -> list[str | None]:
    return [None if label is None else f"ses-{label}" for label in batch.references[quantity]]


def _covariate(name: str, _: Batch, joined: pd.DataFrame) -> list[str | None]:
    return [_one_line(value) if isinstance(value, str) else None for value in joined[name]]


def _table(batch: Batch, columns: Sequence[Column], covariates: pd.DataFrame | None) -> pa.Table:
    """One batch as a table; missing is null."""
    joined = pd.DataFrame() if covariates is None else _joined(batch, covariates)
    arrays = []
    for column in columns:
        array = pa.array(column.values(batch, joined), type=column.type)
        arrays.append(pc.if_else(pc.is_nan(array), None, array) if column.number else array)
    return pa.Table.from_arrays(arrays, names=[column.name for column in columns])


def _joined(batch: Batch, covariates: pd.DataFrame) -> pd.DataFrame:
    rows = pd.DataFrame(batch.rows, columns=["participant", "session"], dtype=object).assign(dataset=batch.dataset)
    people = covariates["participant"].isin(set(rows["participant"])) & (covariates["dataset"] == batch.dataset)
    return join_covariates(rows, covariates[people], _names_of(covariates))


def _names_of(covariates: pd.DataFrame) -> list[str]:
    return [str(name) for name in covariates.columns if name not in ("dataset", "participant", "session")]


@contextmanager
def _writer(path: Path, columns: Sequence[tuple[str, pa.DataType]]) -> Iterator[Write]:
    """A function that appends a table to the file."""
    if path.suffix == ".parquet":
        with pq.ParquetWriter(path, pa.schema(columns), compression="zstd", write_page_checksum=True) as file:
            yield file.write_table
        return
    missing = "n/a" if path.suffix == ".tsv" else ""
    with path.open("x", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream, delimiter="\t" if path.suffix == ".tsv" else ",", lineterminator="\n")
        writer.writerow([no_formula(name) for name, _ in columns])

        def write(table: pa.Table) -> None:
            writer.writerows(zip(*(_cells(column, missing) for column in table.columns), strict=True))

        yield write


def _cells(column: pa.ChunkedArray, missing: str) -> list[Any]:
    values = column.to_pylist()
    if pa.types.is_floating(column.type):
        return [missing if value is None else value for value in values]
    return [missing if value is None else no_formula(value) for value in values]


def no_formula(text: str) -> str:
    """A cell that no spreadsheet takes as a formula: with an apostrophe before it where one might; numbers stay.

    >>> no_formula("=1+1"), no_formula("-2.5"), no_formula("left")
    ("'=1+1", '-2.5', 'left')
    """
    return f"'{text}" if _FORMULA.match(text) and not _NUMBER.fullmatch(text) else text


def _one_line(text: str) -> str:
    return _BREAKS.sub(" ", text).strip()


def _prompt_texts(results: Path) -> dict[str, str]:
    texts: dict[str, str] = {}
    for table in iterate_table(results / "tables" / "runs", "runs", columns=("prompt_id", "prompt")):
        texts.update(
            (row["prompt_id"], row["prompt"])
            for row in table.group_by(["prompt_id", "prompt"]).aggregate([]).to_pylist()
        )
    return texts
