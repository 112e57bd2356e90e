"""From the records of the participants to the tables of the cohort, and the last files of the derivative datasets.

A part of the tables (the rows of some participants) rests on nothing but the files of their records and what is planned
for them. So it is made again only when one of these, by its hash, or the part itself is not what it was; what comes out
is the same as if all had been made again.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa

from vp_engine import __version__
from vp_engine.cohort.config import Config
from vp_engine.cohort.derivatives import describe_dataset
from vp_engine.cohort.lock import writing
from vp_engine.cohort.publish import publish_json, sha256_of
from vp_engine.cohort.records import NO_MODEL, TABLES, parse_done, read_bytes, record_folder
from vp_engine.cohort.verify import write_manifest
from vp_engine.errors import InfrastructureError
from vp_engine.tables.collect import PLANNED, Part, for_each, parts_of, remove_others, write_part
from vp_engine.tables.parquet import read_table
from vp_engine.tables.schema import readable_versions

RECEIPT = Path("records") / "parts.json"
"""What each part was made of, below the output directory; without it all are made again."""


@dataclass(frozen=True, slots=True)
class _Collected:
    """One part as it is now.

    Attributes
    ----------
    inputs : str
        Hash of all it was made of.
    tables : dict of str to str
        File, relative to the folder of all tables → sha256.
    done : dict of str to str
        `done.json` of each participant, relative to the output directory → sha256; of those that have one.
    """

    inputs: str
    tables: dict[str, str]
    done: dict[str, str]


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
        parts = parts_of(read_table(output / "plan.parquet", "plan", columns=PLANNED))
        earlier = _read_receipt(output / RECEIPT)
        try:
            collected = for_each(parts, partial(_collect, output=output, earlier=earlier))
            remove_others(output / "tables", parts)
        except OSError as error:
            raise InfrastructureError(f"Expected to write tables below {output}, got: {error}.") from error
        receipt = {
            _name(part): {"inputs": one.inputs, "tables": one.tables}
            for part, one in zip(parts, collected, strict=True)
        }
        publish_json(output / RECEIPT, receipt)
        for dataset in config.datasets:
            describe_dataset(config, dataset.name, output)
        hashes = {f"tables/{file}": sha for one in collected for file, sha in one.tables.items()}
        write_manifest(output, known=hashes | {file: sha for one in collected for file, sha in one.done.items()})
    status = read_table(output / "tables" / "runs", "runs", columns=["status"]).column("status")
    return {str(entry["values"]): entry["counts"] for entry in status.value_counts().to_pylist()}


def _collect(part: Part, *, output: Path, earlier: Mapping[str, Any]) -> _Collected:
    """Make a part, unless it is there already and rests on the same bytes."""
    participants = part.participants
    files = {participant: _read_files(output, part.dataset, participant) for participant in participants}
    inputs = hashlib.sha256(json.dumps([_makers(), part.sha256]).encode())
    done: dict[str, str] = {}
    for participant, contents in files.items():
        hashes = {name: _sha256(content) for name, content in contents.items()}
        inputs.update(json.dumps([participant, hashes]).encode())
        if (sha := hashes["done.json"]) is not None:
            folder = record_folder(output, part.dataset, participant)
            done[(folder / "done.json").relative_to(output).as_posix()] = sha
    before = earlier.get(_name(part), {})
    if before.get("inputs") == inputs.hexdigest() and _as_they_were(output / "tables", part, before["tables"]):
        return _Collected(inputs.hexdigest(), before["tables"], done)
    records: dict[str, dict[str, bytes]] = {}
    models: set[str] = set()
    for participant in participants:
        contents = files.pop(participant)
        record = None if contents["done.json"] is None else parse_done(contents["done.json"])
        if record is None or not all(_sha256(contents.get(name)) == sha for name, sha in record["tables"].items()):
            continue
        models.add(record["model_id"])
        records[participant] = {name: contents[f"{name}.parquet"] or b"" for name in TABLES}
    metadata = {"model_id": ", ".join(sorted(models)) or NO_MODEL}
    written = write_part(part, records, output / "tables", metadata)
    tables = {path.relative_to(output / "tables").as_posix(): sha256_of(path) for path in written}
    return _Collected(inputs.hexdigest(), tables, done)


def _name(part: Part) -> str:
    return f"{part.dataset}/{part.number}"


def _makers() -> dict[str, Any]:
    """What decides the bytes of a part beside what it is made of."""
    versions = {name: readable_versions(name)[0] for name in TABLES}
    return {"vp_engine": __version__, "pyarrow": pa.__version__, "tables": versions}


def _read_files(output: Path, dataset: str, participant: str) -> dict[str, bytes | None]:
    folder = record_folder(output, dataset, participant)
    return {name: read_bytes(folder / name) for name in ("done.json", *(f"{table}.parquet" for table in TABLES))}


def _as_they_were(tables: Path, part: Part, hashes: Mapping[str, str]) -> bool:
    """Whether the files of a part are all there with the hashes they had."""
    if set(hashes) != {part.file(name) for name in TABLES}:
        return False
    try:
        return all(sha256_of(tables / file) == sha for file, sha in hashes.items())
    except FileNotFoundError:
        return False


def _sha256(content: bytes | None) -> str | None:
    return None if content is None else hashlib.sha256(content).hexdigest()


def _read_receipt(path: Path) -> dict[str, Any]:
    """Earlier receipt of the parts; nothing when there is none, or it is damaged."""
    content = read_bytes(path)
    try:
        receipt = {} if content is None else json.loads(content)
        return {name: {"inputs": str(of["inputs"]), "tables": dict(of["tables"])} for name, of in receipt.items()}
    except (ValueError, TypeError, KeyError, AttributeError):
        return {}
