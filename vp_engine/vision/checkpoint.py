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
        If a file is missing or damaged, if keys, shapes or dtypes are not those of the configuration, or if a weight
        is not finite.
    """
    config_file, weights_file = folder / "config.json", folder / "model.safetensors"
    try:
        settings = json.loads(config_file.read_text())
        state = load_file(weights_file)
    except (OSError, ValueError, SafetensorError) as error:
        raise WeightsError(
            f"vision weights in {folder.name} cannot be read: {error}", code="weights_unreadable"
        ) from error
    known = {f.name for f in fields(VisionConfig)}
    if set(settings) != known:
        raise WeightsError(
            f"{config_file.name} has keys {sorted(settings)}, expected {sorted(known)}", code="weights_config"
        )
    settings["structures"], settings["channels"] = tuple(settings["structures"]), tuple(settings["channels"])
    network = VisionNetwork(VisionConfig(**settings))
    expected = network.state_dict()
    if set(state) != set(expected):
        odd = sorted(set(state) ^ set(expected))[:3]
        raise WeightsError(f"vision weights and configuration do not belong together: {odd}", code="weights_keys")
    for key, value in state.items():
        if value.shape != expected[key].shape or value.dtype != expected[key].dtype:
            raise WeightsError(
                f"{key}: expected {tuple(expected[key].shape)} {expected[key].dtype}, "
                f"got {tuple(value.shape)} {value.dtype}",
                code="weights_shape",
            )
        if not torch.isfinite(value).all():
            raise WeightsError(f"{key} holds values that are not finite", code="weights_not_finite")
    network.load_state_dict(state)
    return network.to(device).eval().requires_grad_(False)
