"""From the records of the participants to the tables of the cohort, and the last files of the derivative datasets."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa

from vp_engine.cohort.config import Config
from vp_engine.cohort.derivatives import describe_dataset
from vp_engine.cohort.lock import writing
from vp_engine.cohort.publish import sha256_of
from vp_engine.cohort.records import TABLES, read_done, record_folder
from vp_engine.cohort.verify import write_manifest
from vp_engine.errors import InfrastructureError
from vp_engine.tables.collect import collect
from vp_engine.tables.parquet import read_table

NO_MODEL = "none"
"""`model_id` of tables to which no model contributed, as no prompt was run."""


def collect_tables(config: Config, output: Path) -> dict[str, int]:
    """Join the records of the planned participants into `tables/` and write `manifest.sha256`.

    A planned prompt without a valid record of its present text gets a row with status `no_record`; records of
    participants and prompts that are no longer planned are left out.

    Parameters
    ----------
    config : Config
    output : Path
        Output directory with a plan.

    Returns
    -------
    dict of str to int
        Status of `runs` → rows.

    Raises
    ------
    TableError
        If the plan is missing or damaged.
    OutputInUse, InfrastructureError
    """
    with writing(output, "collect", alone=True):
        plan = read_table(output / "plan.parquet", "plan")
        records, models = _records(plan, output)
        metadata = {"model_id": ", ".join(sorted(models)) or NO_MODEL}
        try:
            current: pa.Array | None = None
            for name in TABLES:  # `runs` first: it says which records answer what is planned
                files = {dataset: [folder / f"{name}.parquet" for folder in own] for dataset, own in records.items()}
                collect(files, name, output / "tables", metadata, plan=plan, records=current)
                if current is None:
                    runs = read_table(output / "tables" / "runs", "runs", columns=["record_id"])
                    current = runs.column("record_id").drop_null().combine_chunks()
        except OSError as error:
            raise InfrastructureError(f"Expected to write tables below {output}, got: {error}.") from error
        for dataset in config.datasets:
            describe_dataset(config, dataset.name, output)
        write_manifest(output)
    status = read_table(output / "tables" / "runs", "runs", columns=["status"]).column("status")
    return {str(entry["values"]): entry["counts"] for entry in status.value_counts().to_pylist()}


def _records(plan: pa.Table, output: Path) -> tuple[dict[str, list[Path]], set[str]]:
    """Folders of valid records by dataset, and the models that made them."""
    pairs = plan.select(["dataset", "participant"]).group_by(["dataset", "participant"]).aggregate([]).to_pylist()
    records: dict[str, list[Path]] = {pair["dataset"]: [] for pair in pairs}
    models: set[str] = set()
    for pair in sorted(pairs, key=lambda pair: (pair["dataset"], pair["participant"])):
        folder = record_folder(output, pair["dataset"], pair["participant"])
        done = read_done(folder / "done.json")
        if done is not None and all(_has(folder / name, sha) for name, sha in done["tables"].items()):
            records[pair["dataset"]].append(folder)
            models.add(done["model_id"])
    return records, models


def _has(path: Path, sha256: str) -> bool:
    try:
        return sha256_of(path) == sha256
    except FileNotFoundError:
        return False
