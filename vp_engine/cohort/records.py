"""The record of one participant: rows in Parquet, and `done.json` that says what they cover and how to check it.

A *task* is one planned prompt on one session (or participant). Its key is a hash of everything that decides its result;
a task whose key is recorded and whose files still have their recorded hashes is not computed again.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vp_engine import __version__
from vp_engine.cohort.publish import publish_json, sha256_of
from vp_engine.errors import InfrastructureError, InputRefused, TableError
from vp_engine.tables.parquet import read_table, write_table
from vp_engine.tables.schema import RECORDED

FORMAT = 2
"""Version of `done.json`; a file of another version counts as absent."""

TABLES = RECORDED
"""The tables a record holds, one Parquet file each."""

NO_MODEL = "none"
"""`model_id` of collected files to which no model contributed, as no prompt was run."""

_OURS = re.compile(
    r"_(seg-[0-9A-Za-z]+_dseg|label-[0-9A-Za-z]+_desc-[0-9A-Za-z]+_mask|space-orig_desc-[0-9A-Za-z]+_[0-9A-Za-z]+"
    r"|transcript|mode-image_xfm)\.(nii\.gz|json|txt)$"
)
_NOT_FINAL = frozenset({"timeout", "interrupted"})

Rows = list[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class TaskRecord:
    """What became of one task.

    Attributes
    ----------
    key : str
        Hash of everything that decides the result.
    status : str
        As in the table `runs`.
    outputs : mapping of str to str
        File, relative to the root of the derivative dataset → sha256.
    rows : mapping of str to list of dict
        Table → its rows of this task.
    """

    key: str
    status: str
    outputs: Mapping[str, str]
    rows: Mapping[str, Rows]


def task_id(session: str | None, prompt_id: str) -> str:
    """Name of a task within its participant; labels hold no slash, so names cannot collide.

    >>> task_id("01", "hippvol"), task_id(None, "growth")
    ('01/hippvol', '/growth')
    """
    return f"{session or ''}/{prompt_id}"


def task_key(**parts: Any) -> str:
    """Hash of any JSON values, by name: everything that decides a task's result."""
    text = json.dumps(parts, sort_keys=True, ensure_ascii=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def record_folder(output: Path, dataset: str, participant: str) -> Path:
    """Where the record of a participant lies.

    Raises
    ------
    InputRefused
        ``outside_output`` when there is a link, through which files of another place would be replaced.
    """
    folder = output / "records" / dataset / f"sub-{participant}"
    if folder.is_symlink():
        raise InputRefused(f"{folder}: expected a folder, got a link; remove it", code="outside_output")
    return folder


def derivative_folder(output: Path, dataset: str) -> Path:
    """Root of the derivative dataset of a dataset."""
    return output / "derivatives" / dataset


def read_done(path: Path) -> dict[str, Any] | None:
    """Content of a `done.json`; None when it is absent, of another format, or not what its own hash says.

    Raises
    ------
    InfrastructureError
        When it is there and the disk does not give it.
    """
    content = read_bytes(path)
    return None if content is None else parse_done(content)


def parse_done(content: bytes) -> dict[str, Any] | None:
    """Content of a `done.json` that has been read; None as in `read_done`."""
    try:
        document = json.loads(content.decode())
    except ValueError:
        return None
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        return None
    return document if document.pop("sha256", None) == task_key(**document) else None


def read_bytes(path: Path) -> bytes | None:
    """Content of a file of a record; None when there is none.

    Raises
    ------
    InfrastructureError
        When it is there and the disk does not give it.
    """
    try:
        return path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise InfrastructureError(f"Expected to read {path}, got: {error}. Repair the disk and run again.") from error


def load_record(output: Path, dataset: str, participant: str) -> dict[str, TaskRecord]:
    """Read back the tasks of a participant that are proven good, by `task_id`; none when nothing is.

    A task survives when its status is final and each of its files has its recorded hash. When one of the Parquet files
    differs from its hash nothing survives, as no row can be trusted then.
    """
    folder = record_folder(output, dataset, participant)
    done = read_done(folder / "done.json")
    if done is None or not all(_same(folder / name, sha) for name, sha in done["tables"].items()):
        return {}
    try:
        tables = {name: read_table(folder / f"{name}.parquet", name).to_pylist() for name in TABLES}
    except TableError:
        return {}  # written by a version with other columns: computed again
    rows: dict[str, dict[str, Rows]] = {name: {table: [] for table in TABLES} for name in done["tasks"]}
    for table, table_rows in tables.items():
        for row in table_rows:
            own = task_id(row["session"], row["prompt_id"])
            # rows of a prompt over all sessions carry the session they are about; their task has none
            rows[own if own in rows else task_id(None, row["prompt_id"])][table].append(row)
    derivatives = derivative_folder(output, dataset)
    return {
        name: TaskRecord(entry["key"], entry["status"], entry["outputs"], rows[name])
        for name, entry in done["tasks"].items()
        if entry["status"] not in _NOT_FINAL
        and all(_same(derivatives / file, sha) for file, sha in entry["outputs"].items())
    }


def save_record(folder: Path, tasks: Mapping[str, TaskRecord], *, model_id: str) -> str:
    """Write the rows of a participant, then `done.json` last; return the sha256 of `done.json`.

    Raises
    ------
    InfrastructureError
        When the file system refuses.
    """
    tables: dict[str, str] = {}
    for name in TABLES:
        path = folder / f"{name}.parquet"
        rows = [row for task in tasks.values() for row in task.rows[name]]
        try:
            folder.mkdir(parents=True, exist_ok=True)
            write_table(path, name, rows, metadata={"model_id": model_id})
            tables[path.name] = sha256_of(path)
        except OSError as error:
            raise InfrastructureError(f"Expected to write {path}, got: {error}. Make room, then run again.") from error
    entries = {
        name: {"key": task.key, "status": task.status, "reason": _code(task), "outputs": dict(task.outputs)}
        for name, task in tasks.items()
    }
    document = {"format": FORMAT, "model_id": model_id, "vp_engine_version": __version__}
    document |= {"tables": tables, "tasks": entries}
    return publish_json(folder / "done.json", document | {"sha256": task_key(**document)})


def remove_strays(derivatives: Path, participant: str, tasks: Mapping[str, TaskRecord]) -> list[Path]:
    """Delete the derivatives of a participant that no task names: of removed prompts, of attempts that were killed.

    Files that are not called as ours are left alone.
    """
    named = {derivatives / file for task in tasks.values() for file in task.outputs}
    folder = derivatives / f"sub-{participant}"
    found = sorted(folder.rglob("*"), reverse=True)  # files before the folders they are in
    strays = [path for path in found if _OURS.search(path.name) and path not in named]
    for path in strays:
        path.unlink(missing_ok=True)
    for path in found:
        if path.is_dir() and not any(path.iterdir()):
            path.rmdir()
    return strays


def _code(task: TaskRecord) -> str | None:
    """Code of the reason, which tells those who watch a run why without opening the rows."""
    reason = task.rows["runs"][0]["reason"] if task.rows["runs"] else None
    return None if reason is None else str(reason).partition(":")[0]


def _same(path: Path, sha256: str) -> bool:
    try:
        return sha256_of(path) == sha256
    except OSError:
        return False
