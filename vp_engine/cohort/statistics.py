"""The statistics of the configuration, fitted to the collected measurements."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from vp_engine.bids.text_tables import read_participants, read_sessions
from vp_engine.cohort.config import Config
from vp_engine.cohort.lock import writing
from vp_engine.cohort.records import NO_MODEL
from vp_engine.cohort.statistic_config import StatisticConfig
from vp_engine.cohort.verify import write_manifest
from vp_engine.errors import ConfigError, InfrastructureError, InputRefused
from vp_engine.stats.models import StatisticSpec, analyse_statistic, read_model
from vp_engine.tables.parquet import iterate_table, read_metadata, write_table
from vp_engine.tables.schema import arrow_schema

_log = logging.getLogger(__name__)

_KEY = ("dataset", "participant", "session")

LOCATIONS: Mapping[str, Path] = MappingProxyType(
    {name: Path("tables") / name / "part-0.parquet" for name in ("statistics", "exclusions", "centiles")}
)
"""The tables, below the output directory; they are about all datasets together, so they have no partitions."""

LOCATION = LOCATIONS["statistics"]

_RUN = ("dataset", "participant", "session", "prompt_id", "status")


def run_statistics(config: Config, output: Path) -> int:
    """Fit every configured model and write the tables `statistics`, `exclusions` and `centiles`.

    Without statistics in the configuration they are empty.

    Parameters
    ----------
    config : Config
    output : Path
        Output directory with collected tables.

    Returns
    -------
    int
        Rows written to `statistics`.

    Raises
    ------
    ConfigError
        If a model cannot be read or names a column that no table has; the message names the statistic.
    TableError
        If the measurements or the runs are missing or damaged.
    OutputInUse, InfrastructureError
    """
    with writing(output, "stats", alone=True):
        folder = output / "tables" / "measurements"
        specs = [spec_of(statistic) for statistic in config.statistics]
        rows = _of_prompts(folder, "measurements", arrow_schema("measurements").names, specs)
        found: dict[str, list[pa.Table]] = {name: [arrow_schema(name).empty_table()] for name in LOCATIONS}
        if specs:
            runs = _of_prompts(output / "tables" / "runs", "runs", _RUN, specs)
            covariates = read_covariates(config)
            for spec in specs:
                for name, table in _tables(rows, covariates, spec, runs).items():
                    found[name].append(table)
        told = [read_metadata(path)["model_id"] for path in sorted(folder.rglob("part-*.parquet"))]
        models = {model for text in told for model in text.split(", ")} - {NO_MODEL} or {NO_MODEL}
        tables = {name: pa.concat_tables(parts) for name, parts in found.items()}
        for name, path in LOCATIONS.items():
            try:
                write_table(output / path, name, tables[name], metadata={"model_id": ", ".join(sorted(models))})
            except OSError as error:
                raise InfrastructureError(f"Expected to write {output / path}, got: {error}.") from error
        write_manifest(output)
    return int(tables["statistics"].num_rows)


def _of_prompts(folder: Path, name: str, columns: Sequence[str], specs: Sequence[StatisticSpec]) -> pd.DataFrame:
    """Rows of the prompts that the statistics are about, some at a time: most of a cohort's are not needed."""
    asked = [spec.prompts for spec in specs]
    prompts = pa.array(sorted({prompt for of in asked if of is not None for prompt in of}), pa.string())
    found = [arrow_schema(name).empty_table().select(list(columns))]
    for table in iterate_table(folder, name, columns=columns):
        own = table if None in asked else table.filter(pc.is_in(table.column("prompt_id"), value_set=prompts))
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
        with _named(statistic.id):
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


def _tables(
    rows: pd.DataFrame, covariates: pd.DataFrame, spec: StatisticSpec, runs: pd.DataFrame
) -> dict[str, pa.Table]:
    """What comes of one statistic, by table."""
    with _named(spec.id):
        result = analyse_statistic(rows, covariates, spec, runs=runs)
    found = {"statistics": result.terms, "exclusions": result.exclusions, "centiles": result.centiles}
    return {
        name: pa.Table.from_pandas(table, schema=arrow_schema(name).remove_metadata(), preserve_index=False)
        for name, table in found.items()
    }


def spec_of(statistic: StatisticConfig) -> StatisticSpec:
    """What the models need to know of an entry of `statistics` in the configuration."""
    return StatisticSpec(statistic.id, statistic.rows, statistic.model, statistic.options)


@contextmanager
def _named(statistic_id: str) -> Iterator[None]:
    """Errors of a statistic with its id."""
    try:
        yield
    except ConfigError as error:
        raise ConfigError(f"statistics.{statistic_id}: {error.message}") from error
