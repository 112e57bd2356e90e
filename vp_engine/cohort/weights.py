"""Which weights these are, proven before they are loaded: a lock file with the hash of every file."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from vp_engine.agent.planner_files import BUILTIN, PICKLES, architecture, planner_files
from vp_engine.cohort.publish import publish_json, sha256_of
from vp_engine.errors import WeightsError

LOCK = "weights.lock.json"
"""Beside the folders `agent` and `vision` of a model."""

_NAME = re.compile(r"[0-9A-Za-z][0-9A-Za-z._-]{0,63}")
_SHA256 = re.compile(r"[0-9a-f]{64}")


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
        ``weights_missing`` or ``weights_lock`` if the lock is missing or damaged; ``weights_link``, ``weights_pickle``,
        ``weights_file_missing``, ``weights_file_unlisted``, ``weights_file_unreadable``, ``weights_swapped``,
        ``weights_size`` or ``weights_altered`` if a file is not what it says.
    """
    name, files = _read_lock(folder / LOCK)
    present = {path.relative_to(folder).as_posix() for path in _files(folder)}
    if lacking := sorted(files.keys() - present):
        raise WeightsError(
            f"{folder}: expected all files of {LOCK}, {', '.join(lacking[:3])} missing; restore the model.",
            code="weights_file_missing",
        )
    if strange := sorted(present - files.keys()):
        raise WeightsError(
            f"{folder}: expected only the files of {LOCK}, got also {', '.join(strange[:3])}; remove or lock them.",
            code="weights_file_unlisted",
        )
    for file, expected in sorted(files.items()):
        _verify_file(folder / file, expected, files)
    return _id(folder, name)


def _read_lock(path: Path) -> tuple[str, dict[str, tuple[int, str]]]:
    """Name of the model; file → bytes and sha256."""
    try:
        lock: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        name, licence = lock["name"], lock["licence"]
        files = {file: (entry["bytes"], entry["sha256"]) for file, entry in lock["files"].items()}
        plain = _NAME.fullmatch(name) and _NAME.fullmatch(licence) and files
        if not plain or not all(_is_entry(file, *entry) for file, entry in files.items()):
            raise ValueError("a name, a licence, and bytes and sha256 of files in this folder are needed")
    except FileNotFoundError as error:
        raise WeightsError(
            f"Expected a model with {LOCK} in {path.parent}, got none; train one or name its folder under `model:`.",
            code="weights_missing",
        ) from error
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise WeightsError(f"{path} is not a list of files ({error}); restore it.", code="weights_lock") from error
    return name, files


def _is_entry(file: str, size: object, sha256: object) -> bool:
    path = PurePosixPath(file)
    inside = file == path.as_posix() and not path.is_absolute() and ".." not in path.parts
    return inside and type(size) is int and isinstance(sha256, str) and _SHA256.fullmatch(sha256) is not None


def _verify_file(path: Path, expected: tuple[int, str], files: Mapping[str, tuple[int, str]]) -> None:
    try:
        found = path.stat().st_size, sha256_of(path)
    except OSError as error:
        raise WeightsError(
            f"{path} cannot be read ({error.strerror}); correct its permissions or restore it.",
            code="weights_file_unreadable",
        ) from error
    if found == expected:
        return
    if others := [file for file, entry in files.items() if entry == found]:
        raise WeightsError(f"{path} has the content of {others[0]}; restore the model.", code="weights_swapped")
    if found[0] != expected[0]:
        raise WeightsError(
            f"{path}: expected {expected[0]} bytes, got {found[0]}: cut off or exchanged; restore it.",
            code="weights_size",
        )
    raise WeightsError(f"{path} is not what {LOCK} says: damaged or exchanged; restore it.", code="weights_altered")


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
    """All files in the folder but the lock.

    Raises
    ------
    WeightsError
        If there are links, which may lead elsewhere by the time of loading, or pickles, which are never read.
    """
    found = sorted(path for path in folder.rglob("*") if path != folder / LOCK)
    if links := [path for path in found if path.is_symlink()]:
        raise WeightsError(f"{links[0]}: expected a file, got a link; copy what it leads to.", code="weights_link")
    if pickles := [path for path in found if path.suffix in PICKLES]:
        raise WeightsError(
            f"{pickles[0]}: expected safetensors, got a pickle, which can run any code when it is read; remove it.",
            code="weights_pickle",
        )
    return [path for path in found if path.is_file()]
