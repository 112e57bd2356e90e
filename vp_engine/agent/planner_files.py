"""The folder of an exchangeable planner: which files decide what it writes, and which are refused unread."""

from __future__ import annotations

import json
from pathlib import Path

from vp_engine.errors import WeightsError

BUILTIN = "builtin"
"""Name of the planner that comes with the weights."""

_CONFIG = "config.json"
_INDEX = ".safetensors.index.json"
_READ = frozenset({".json", ".safetensors", ".model", ".txt", ".jinja"})

PICKLES = frozenset({".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle", ".joblib"})
"""Endings of files that can run any code when they are read."""


def planner_files(folder: Path) -> tuple[Path, ...]:
    """Return the files of a causal language model that are read, sorted; what else is in the folder is not.

    Parameters
    ----------
    folder : Path
        As `save_pretrained` of transformers writes it.

    Raises
    ------
    WeightsError
        If the folder is missing, has no configuration, or its weights are not safetensors.
    """
    if not folder.is_dir():
        raise WeightsError(
            f"Expected a folder with a causal language model as planner, got {folder}, which is none; "
            f"give the folder that holds its {_CONFIG}, or {BUILTIN}.",
            code="planner_missing",
        )
    files = sorted(path for path in folder.iterdir() if path.is_file() and not path.name.startswith("."))
    if folder / _CONFIG not in files:
        raise WeightsError(
            f"Expected {_CONFIG} of a causal language model in {folder}, got none; "
            "give the folder of the model itself, not the one around it.",
            code="planner_missing",
        )
    if not any(path.suffix == ".safetensors" for path in files):
        pickled = any(path.suffix in PICKLES for path in files)
        found = "pickled weights, which can run any code when they are read" if pickled else "none"
        raise WeightsError(
            f"Expected weights as safetensors in {folder}, got {found}; save them anew with transformers.",
            code="planner_pickle" if pickled else "planner_missing",
        )
    for index in (path for path in files if path.name.endswith(_INDEX)):
        if strange := sorted(_indexed(index) - {path.name for path in files}):
            raise WeightsError(
                f"Expected all weights of {index} in this folder itself, got {', '.join(strange[:3])}; "
                "save them anew with transformers.",
                code="planner_index",
            )
    return tuple(path for path in files if path.suffix in _READ)


def _indexed(index: Path) -> set[str]:
    """Files of weights that an index names; what lies elsewhere would not be a part of the hash."""
    try:
        return set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise WeightsError(f"Expected an index of weights in {index}, got {error!r}.", code="planner_index") from error


def architecture(folder: Path) -> str:
    """Kind of model that a folder holds, such as ``llama``.

    Raises
    ------
    WeightsError
        If its configuration does not say.
    """
    try:
        return str(json.loads((folder / _CONFIG).read_text(encoding="utf-8"))["model_type"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise WeightsError(
            f"Expected {folder / _CONFIG} to name a model_type of transformers, got {error!r}; save the model anew.",
            code="planner_config",
        ) from error
