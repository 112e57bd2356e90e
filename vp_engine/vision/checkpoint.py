"""Weights of the vision network on disk: `config.json` and `model.safetensors`, loaded strictly."""

from __future__ import annotations

import json
from dataclasses import asdict, fields, replace
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from vp_engine.errors import WeightsError
from vp_engine.vision.network import VisionConfig, VisionNetwork

_LESS_PROBABLE = 1.5
"""By how much the evidence for a new structure is below that for the one it begins as a copy of."""

_LARGEST = 1 << 16
_MOST_LEVELS = 8


def save_pretrained(network: VisionNetwork, folder: Path) -> None:
    """Write configuration and weights (float32)."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(asdict(network.config), indent=1) + "\n")
    save_file({k: v.detach().cpu().contiguous() for k, v in network.state_dict().items()}, folder / "model.safetensors")


def extended(folder: Path, config: VisionConfig, *, like: str) -> VisionNetwork:
    """Load a network that is to know more structures: it begins with all it knew.

    A new structure begins as a less probable copy of a known one, since what is never predicted is hardly learnt. The
    last layers of the heads change by the least that does this and leaves all known structures as they are.

    Parameters
    ----------
    folder : Path
        Of weights that know the first structures of `config`.
    config : VisionConfig
    like : str
        Known structure that the new ones begin as copies of.

    Raises
    ------
    WeightsError
        As `from_pretrained`; and if the weights have other sizes, or their structures are not the first of those asked.
    """
    known = from_pretrained(folder)
    names = known.config.structures
    if replace(known.config, structures=config.structures) != config or config.structures[: len(names)] != names:
        raise WeightsError(
            f"the weights in {folder.name} cannot be extended: expected the sizes and first structures of {config}, "
            f"got {known.config}",
            code="weights_config",
        )
    network = VisionNetwork(config)
    network.load_state_dict({**known.state_dict(), "phi": network.phi})
    copied = 1 + names.index(like)
    for head in (network.head, network.fine_head) if config.fine_channels else (network.head,):
        heads_KC = network.heads(head)
        wanted_KC = heads_KC.clone()
        wanted_KC[1 + len(names) :] = heads_KC[copied]
        if head is network.head:
            wanted_KC[1 + len(names) :, -1] -= _LESS_PROBABLE
        network.change_heads(head, wanted_KC - heads_KC)
    return network


def from_pretrained(folder: Path, *, device: str = "cpu") -> VisionNetwork:
    """Load a network for inference.

    Raises
    ------
    WeightsError
        If a file is missing or damaged (``weights_file_missing``, ``weights_unreadable``), if the configuration is not
        one of this network (``weights_config``), if keys, shapes or dtypes are not those of the configuration
        (``weights_keys``, ``weights_shape``, ``weights_dtype``), or if a weight is not finite (``weights_not_finite``).
    """
    config = _read_config(folder / "config.json")
    try:
        state = load_file(folder / "model.safetensors")
    except FileNotFoundError as error:
        raise _missing(folder / "model.safetensors") from error
    except (OSError, ValueError, SafetensorError) as error:
        raise _unreadable(folder / "model.safetensors", error) from error
    try:
        with torch.device("meta"):  # sizes without memory: they may be made up
            expected = VisionNetwork(config).state_dict()
    except (TypeError, ValueError, LookupError, RuntimeError, ArithmeticError) as error:
        raise WeightsError(
            f"the vision network of {folder.name}/config.json cannot be built: {error}", code="weights_config"
        ) from error
    if set(state) != set(expected):
        odd = sorted(set(state) ^ set(expected))[:3]
        raise WeightsError(f"vision weights and configuration do not belong together: {odd}", code="weights_keys")
    for key, value in state.items():
        if value.shape != expected[key].shape:
            raise WeightsError(
                f"{key}: expected shape {tuple(expected[key].shape)}, got {tuple(value.shape)}", code="weights_shape"
            )
        if value.dtype != expected[key].dtype:
            raise WeightsError(f"{key}: expected {expected[key].dtype}, got {value.dtype}", code="weights_dtype")
        if not torch.isfinite(value).all():
            raise WeightsError(f"{key} holds values that are not finite", code="weights_not_finite")
    network = VisionNetwork(config)
    network.load_state_dict(state)
    return network.to(device).eval().requires_grad_(False)


def _read_config(path: Path) -> VisionConfig:
    try:
        settings = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise _missing(path) from error
    except (OSError, ValueError, RecursionError) as error:
        raise _unreadable(path, error) from error
    known = {f.name for f in fields(VisionConfig)}
    got = set(settings) if isinstance(settings, dict) else {type(settings).__name__}
    if got != known:
        raise WeightsError(f"{path.name} has keys {sorted(got)}, expected {sorted(known)}", code="weights_config")
    structures, channels = settings["structures"], settings["channels"]
    sizes = [settings["fine_channels"], settings["groups"], *(channels if isinstance(channels, list) else [None])]
    if (
        not isinstance(structures, list)
        or not all(isinstance(name, str) for name in structures)
        or not all(type(size) is int and 0 <= size <= _LARGEST for size in sizes)
        or not 1 <= len(channels) <= _MOST_LEVELS
        or type(settings["entry_spacing_mm"]) not in (int, float)
        or not 0 < settings["entry_spacing_mm"] < _LARGEST
    ):
        raise WeightsError(f"{path.name} holds sizes that no network has; restore it", code="weights_config")
    return VisionConfig(**{**settings, "structures": tuple(structures), "channels": tuple(channels)})


def _missing(path: Path) -> WeightsError:
    return WeightsError(f"expected {path.name} among the vision weights; it is missing", code="weights_file_missing")


def _unreadable(path: Path, error: Exception) -> WeightsError:
    return WeightsError(f"{path.name} of the vision weights cannot be read: {error}", code="weights_unreadable")
