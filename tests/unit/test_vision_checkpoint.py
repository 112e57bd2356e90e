"""Weights are loaded as they were saved or not at all."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from vp_engine.anatomy import PARTS
from vp_engine.errors import WeightsError
from vp_engine.vision.checkpoint import from_pretrained, save_pretrained
from vp_engine.vision.network import VisionConfig, VisionNetwork


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    save_pretrained(VisionNetwork(VisionConfig(PARTS, channels=(8, 8))), tmp_path)
    return tmp_path


def test_round_trip(folder: Path) -> None:
    saved = load_file(folder / "model.safetensors")
    loaded = from_pretrained(folder).state_dict()
    assert all(torch.equal(saved[key], loaded[key]) for key in loaded)


def _edit(change: Callable[[dict[str, torch.Tensor]], None]) -> Callable[[Path], None]:
    def tamper(folder: Path) -> None:
        state = load_file(folder / "model.safetensors")
        change(state)
        save_file(state, folder / "model.safetensors")

    return tamper


def _cut_short(folder: Path) -> None:
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])


def _other_config(folder: Path) -> None:
    settings = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(settings | {"surprise": 1}))


@pytest.mark.parametrize(
    ("tamper", "code"),
    [
        (_cut_short, "weights_unreadable"),
        (lambda folder: (folder / "model.safetensors").unlink(), "weights_unreadable"),
        (_other_config, "weights_config"),
        (_edit(lambda s: s.__delitem__("head.0.bias")), "weights_keys"),
        (_edit(lambda s: s.update({"head.0.bias": torch.zeros(3)})), "weights_shape"),
        (_edit(lambda s: s.update({"head.0.bias": s["head.0.bias"].half()})), "weights_shape"),
        (_edit(lambda s: s.update({"head.0.bias": s["head.0.bias"] * torch.nan})), "weights_not_finite"),
    ],
)
def test_tampering_is_told_apart(folder: Path, tamper: Callable[[Path], None], code: str) -> None:
    tamper(folder)
    with pytest.raises(WeightsError) as caught:
        from_pretrained(folder)
    assert caught.value.code == code
