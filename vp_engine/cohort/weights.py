"""Which weights these are, proven before they are loaded: a lock file with the hash of every file."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from vp_engine.agent.planner_files import BUILTIN, architecture, planner_files
from vp_engine.cohort.publish import publish_json, sha256_of
from vp_engine.errors import WeightsError

LOCK = "weights.lock.json"
"""Beside the folders `agent` and `vision` of a model."""


def model_folder(model: str) -> Path:
    """Folder of a model: the one in this package for `default`, else the one named."""
    return Path(__file__).resolve().parents[1] / "models" / "default" if model == "default" else Path(model)


def lock_weights(folder: Path, *, name: str, licence: str) -> str:
    """Write the lock file of a model folder as it stands, and return its model id.

    Parameters
    ----------
    folder : Path
        With everything that is to be loaded.
    name : str
        Short name of the weights.
    licence : str
        SPDX identifier.
    """
    files = {
        path.relative_to(folder).as_posix(): {"bytes": path.stat().st_size, "sha256": sha256_of(path)}
        for path in _files(folder)
    }
    publish_json(folder / LOCK, {"name": name, "licence": licence, "files": files})
    return verify_weights(folder)


def model_id(folder: Path) -> str | None:
    """Name and hash of the lock file, ``default-0123456789ab``; None when there is none that can be read.

    The files of the model are not looked at: `verify_weights` does that.
    """
    try:
        name = json.loads((folder / LOCK).read_text(encoding="utf-8"))["name"]
    except (OSError, ValueError, KeyError, TypeError):
        return None  # whoever wants to load the model is told why
    return _id(folder, name)


def verify_weights(folder: Path) -> str:
    """Compare every file of a model folder with the lock file.

    Returns
    -------
    str
        The model id: name and hash of the lock file, ``default-0123456789ab``.

    Raises
    ------
    WeightsError
        If the lock is missing or damaged, or a file is missing, altered or not listed.
    """
    try:
        lock: dict[str, Any] = json.loads((folder / LOCK).read_text(encoding="utf-8"))
        name, files = str(lock["name"]), dict(lock["files"])
    except FileNotFoundError as error:
        raise WeightsError(
            f"Expected a model with {LOCK} in {folder}, got none; train one or name its folder under `model:`.",
            code="weights_missing",
        ) from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise WeightsError(f"{folder / LOCK} cannot be read; restore it.", code="weights_lock") from error
    present = {path.relative_to(folder).as_posix() for path in _files(folder)}
    if strange := sorted(present ^ files.keys()):
        raise WeightsError(
            f"{folder}: expected the files of {LOCK}, but {', '.join(strange[:3])} differ; restore the model.",
            code="weights_files",
        )
    for file, entry in sorted(files.items()):
        if (folder / file).stat().st_size != entry["bytes"] or sha256_of(folder / file) != entry["sha256"]:
            raise WeightsError(
                f"{folder / file} is not what {LOCK} says: damaged or exchanged; restore it.", code="weights_altered"
            )
    return _id(folder, name)


def planner_id(planner: str) -> str:
    """Say which language model writes the programs, as a part of the model id: ``+llama-0123456789ab``.

    It is made from the kind and the content of all files that are read, not from the name of the folder; empty for
    the planner that comes with the weights.

    Raises
    ------
    WeightsError
        If there is no such model, or its weights are not safetensors.
    """
    if planner == BUILTIN:
        return ""
    hashes = "".join(f"{path.name} {sha256_of(path)}\n" for path in planner_files(Path(planner)))
    return f"+{architecture(Path(planner))}-{hashlib.sha256(hashes.encode()).hexdigest()[:12]}"


def planner_stamp(planner: str) -> list[str]:
    """Tell files of a planner that changed without reading them: names, sizes and times; empty for `builtin`.

    The workflow asks at every start; what is recorded is compared by `planner_id`.
    """
    if planner == BUILTIN:
        return []
    files = [(path.name, path.stat()) for path in planner_files(Path(planner))]
    return [f"{name} {stat.st_size} {stat.st_mtime_ns}" for name, stat in files]


def _id(folder: Path, name: str) -> str:
    return f"{name}-{sha256_of(folder / LOCK)[:12]}"


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file() and path != folder / LOCK)
