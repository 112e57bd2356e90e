"""What a job loads once, and only if there is something to do: the planner and the vision network."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from vp_engine.agent.planner_files import BUILTIN, planner_files
from vp_engine.anatomy import STRUCTURES
from vp_engine.cohort.scans import Segmenter
from vp_engine.cohort.weights import model_folder, planner_id, verify_weights
from vp_engine.errors import InfrastructureError, WeightsError

if TYPE_CHECKING:
    from vp_engine.agent.planner import Planner

LEAST_AGREEMENT = 0.9
"""Cosine from which a conditioning vector counts as the code of a structure although another is nearer."""

_DEVICE_FAILED = "The memory or the device failed: {}. Give the job more memory or another device, then run it again."
_DEVICE_WORDS = ("DefaultCPUAllocator", "CUDA error", "cuDNN error", "CUBLAS_STATUS")


@dataclass(frozen=True, slots=True)
class Models:
    """Loaded models.

    Attributes
    ----------
    planner : Planner
        Writes the programs.
    segmenter : Segmenter
        Delineates.
    agrees : callable or None
        Whether a conditioning vector stands for a structure; None when the planner writes no vectors.
    on_cpu : callable or None
        Gives the segmenter on the processor, for scans that are too large for the GPU.
    """

    planner: Planner
    segmenter: Segmenter
    agrees: Callable[[np.ndarray, str], bool] | None = None
    on_cpu: Callable[[], Segmenter] | None = None


@dataclass(frozen=True, slots=True)
class Engine:
    """Models that are known by name at once and loaded when first needed.

    Attributes
    ----------
    model_id : str
        Name of the weights and hash of their lock file; with another planner, its kind and the hash of its files.
    load : callable
        Gives the models; loads them once.
    clock : callable
        Seconds, for the column `seconds` and the budgets.
    """

    model_id: str
    load: Callable[[], Models]
    clock: Callable[[], float] = time.monotonic


def load_engine(model: str, planner: str = BUILTIN, *, device: str = "auto") -> Engine:
    """Verify the weights of a model folder and hash those of a planner; both are loaded when the first prompt is run.

    Parameters
    ----------
    model : str
        ``default`` or a folder with `agent`, `vision` and a lock file.
    planner : str
        ``builtin``, or the folder of a causal language model of transformers that writes the programs.
    device : str
        ``cpu``, ``cuda``, or ``auto``: the GPU when there is one.

    Raises
    ------
    WeightsError
        If anything is missing or altered; loading raises it when something is of another architecture.
    """
    folder = model_folder(model)
    verified = verify_weights(folder)

    def verify_again() -> None:
        if verify_weights(folder) != verified:  # the first prompt may come long after the start
            raise WeightsError(
                f"{folder}: the weights were exchanged after the job had begun; run it again.", code="weights_changed"
            )

    def on_cpu() -> Segmenter:
        verify_again()
        return _load_segmenter(folder, "cpu")

    def load() -> Models:
        verify_again()
        models = Models(_load_planner(folder, planner, device), _load_segmenter(folder, device), phi_agrees)
        return replace(models, on_cpu=cache(on_cpu))

    return Engine(verified + planner_id(planner), cache(load))


def load_planner(model: str, planner: str = BUILTIN, *, device: str = "auto") -> Planner:
    """Verify the weights of a model folder and load the planner alone; arguments and errors of `load_engine`."""
    folder = model_folder(model)
    verify_weights(folder)
    return _load_planner(folder, planner, device)


def load_segmenter(model: str, *, device: str = "auto") -> Segmenter:
    """Verify the weights of a model folder and load the vision network alone; arguments and errors of `load_engine`."""
    folder = model_folder(model)
    verify_weights(folder)
    return _load_segmenter(folder, device)


@contextmanager
def device_failures() -> Iterator[None]:
    """Tell memory that is used up, and a device that fails, from bugs.

    Raises
    ------
    InfrastructureError
        Instead of what PyTorch or Python raise then.
    """
    try:
        yield
    except MemoryError as error:
        raise InfrastructureError(_DEVICE_FAILED.format("out of memory")) from error
    except RuntimeError as error:
        import torch  # loaded already, if the error is one of its own

        ours = isinstance(error, torch.OutOfMemoryError | torch.AcceleratorError)
        # on the CPU, and where a library of the GPU fails, PyTorch has no type for it
        if ours or any(word in str(error) for word in _DEVICE_WORDS):
            raise InfrastructureError(_DEVICE_FAILED.format(str(error).partition("\n")[0])) from error
        raise


def phi_agrees(phi_D: np.ndarray, structure: str) -> bool:
    """Whether a conditioning vector stands for a structure: nothing else is nearer, or it is very near.

    Unions that share most parts have nearly the same code, so that for them the nearest alone would say too much.
    """
    from vp_engine.agent.phi import agreement, nearest_structure

    nearest, _ = nearest_structure(phi_D)
    return STRUCTURES[nearest].parts == STRUCTURES[structure].parts or agreement(phi_D, structure) >= LEAST_AGREEMENT


def _load_planner(folder: Path, planner: str, device: str) -> Planner:
    if planner != BUILTIN:
        planner_files(Path(planner))  # what is wrong with the folder is told before anything is loaded
    from vp_engine.agent.planner import Agent

    agent = Agent.from_pretrained(folder / "agent")
    if planner == BUILTIN:
        return agent
    from vp_engine.agent.external import CausalPlanner

    return CausalPlanner.from_pretrained(Path(planner), reader=agent, device=_found(device))


def _load_segmenter(folder: Path, device: str) -> Segmenter:
    from vp_engine.measure.signs import SIGNS
    from vp_engine.vision.segmenter import NetworkSegmenter

    segmenter = NetworkSegmenter.from_pretrained(folder / "vision", device=_found(device))
    if segmenter.signs not in ((), SIGNS):
        raise WeightsError(
            f"{folder}: the model of lesion descriptions looks at other signs than this version measures; "
            "`vp train description` fits it anew.",
            code="description_stale",
        )
    return segmenter


def _found(device: str) -> str:
    import torch

    if device != "auto":
        return str(device)
    return "cuda" if torch.cuda.is_available() else "cpu"
