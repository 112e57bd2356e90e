"""The statistics of the configuration, fitted to the collected measurements."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from vp_engine.bids.text_tables import read_participants, read_sessions
from vp_engine.cohort.config import Config, StatisticConfig
from vp_engine.cohort.lock import writing
from vp_engine.cohort.records import NO_MODEL
from vp_engine.cohort.verify import write_manifest
from vp_engine.errors import ConfigError, InfrastructureError, InputRefused
from vp_engine.stats.models import StatisticSpec, fit_statistics, read_model
from vp_engine.tables.parquet import iterate_table, read_metadata, write_table
from vp_engine.tables.schema import arrow_schema

_log = logging.getLogger(__name__)

_KEY = ("dataset", "participant", "session")

LOCATION = Path("tables") / "statistics" / "part-0.parquet"
"""The table, below the output directory; it is about all datasets together, so it has no partitions."""


def run_statistics(config: Config, output: Path) -> int:
    """Fit every configured model and write the table `statistics`; empty when none is configured.

    Parameters
    ----------
    config : Config
    output : Path
        Output directory with collected tables.

    Returns
    -------
    int
        Rows written.

    Raises
    ------
    ConfigError
        If a model cannot be read or names a column that no table has; the message names the statistic.
    TableError
        If the measurements are missing or damaged.
    OutputInUse, InfrastructureError
    """
    with writing(output, "stats", alone=True):
        folder = output / "tables" / "measurements"
        rows = _measurements(folder, config.statistics)
        results: list[dict[str, Any]] = []
        if config.statistics:
            covariates = read_covariates(config)
            for statistic in config.statistics:
                results += _fit(rows, covariates, statistic)
        told = [read_metadata(path)["model_id"] for path in sorted(folder.rglob("part-*.parquet"))]
        models = {model for text in told for model in text.split(", ")} - {NO_MODEL} or {NO_MODEL}
        try:
            write_table(output / LOCATION, "statistics", results, metadata={"model_id": ", ".join(sorted(models))})
        except OSError as error:
            raise InfrastructureError(f"Expected to write {output / LOCATION}, got: {error}.") from error
        write_manifest(output)
    return len(results)


def _measurements(folder: Path, statistics: Sequence[StatisticConfig]) -> pd.DataFrame:
    """Measurements of the prompts that the statistics are about, some at a time: most of a cohort's are not needed."""
    columns = arrow_schema("measurements").names
    open_to_all = any("prompt" not in statistic.rows for statistic in statistics)
    prompts = pa.array(sorted({prompt for of in statistics for prompt in of.rows.get("prompt", ())}), pa.string())
    found = [arrow_schema("measurements").empty_table()]
    for table in iterate_table(folder, "measurements", columns=columns):
        own = table if open_to_all else table.filter(pc.is_in(table.column("prompt_id"), value_set=prompts))
        found.append(own)
    rows: pd.DataFrame = pa.concat_tables(found).to_pandas()
    return rows


def check_statistics(config: Config) -> None:
    """Read every model and the columns it needs, so that mistakes are told before scans are analysed.

    Raises
    ------
    ConfigError
        As `run_statistics`.
    InputRefused
        If a `participants.tsv` cannot be read.
    """
    covariates = read_covariates(config) if config.statistics else pd.DataFrame()
    for statistic in config.statistics:
        with _named(statistic):
            read_model(covariates, spec_of(statistic))


def read_covariates(config: Config) -> pd.DataFrame:
    """What `participants.tsv` and the `sessions.tsv` of all datasets say, as text.

    Returns
    -------
    DataFrame
        Columns `dataset`, `participant`, `session` (None on the rows of participants.tsv) and all columns there are.
        A `sessions.tsv` that cannot be read is left out, with a line in the log: it costs its participant, not all.

    Raises
    ------
    InputRefused
        If a `participants.tsv` cannot be read.
    """
    rows: list[dict[str, str | None]] = []
    for dataset in config.datasets:
        for label, cells in read_participants(dataset.path).by("participant_id").items():
            del cells["participant_id"]
            rows.append(cells | {"dataset": dataset.name, "participant": label, "session": None})
        for participant in _participants_with_sessions(dataset.path):
            try:
                table = read_sessions(dataset.path, participant)
            except InputRefused as refusal:
                _log.warning("sub-%s: what it says of sessions is missing: %s", participant, refusal.message)
                continue
            for label, cells in table.by("session_id").items():
                del cells["session_id"]
                rows.append(cells | {"dataset": dataset.name, "participant": participant, "session": label})
    columns = dict.fromkeys(name for row in rows for name in row)
    return pd.DataFrame({name: pd.Series([row.get(name) for row in rows], dtype=object) for name in (*_KEY, *columns)})


def _participants_with_sessions(root: Path) -> list[str]:
    names = (path.parent.name for path in root.glob("sub-*/sub-*_sessions.tsv"))
    return sorted(name.removeprefix("sub-") for name in names)


def _fit(rows: pd.DataFrame, covariates: pd.DataFrame, statistic: StatisticConfig) -> list[dict[str, Any]]:
    with _named(statistic):
        table = fit_statistics(rows, covariates, spec_of(statistic))
    filled = table.astype(object).where(table.notna(), None)
    return [dict(zip(table.columns, row, strict=True)) for row in filled.itertuples(index=False, name=None)]


def spec_of(statistic: StatisticConfig) -> StatisticSpec:
    """What the models need to know of an entry of `statistics` in the configuration."""
    return StatisticSpec(statistic.id, statistic.rows, statistic.model)


@contextmanager
def _named(statistic: StatisticConfig) -> Iterator[None]:
    """Errors of a statistic with its id."""
    try:
        yield
    except ConfigError as error:
        raise ConfigError(f"statistics.{statistic.id}: {error.message}") from error
