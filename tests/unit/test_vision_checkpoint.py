"""Weights are loaded as they were saved or not at all."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from vp_engine.anatomy import ANATOMICAL_PARTS, PARTS
from vp_engine.errors import WeightsError
from vp_engine.vision.checkpoint import extended, from_pretrained, save_pretrained
from vp_engine.vision.network import VisionConfig, VisionNetwork, voxel_rows


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
        (lambda folder: (folder / "model.safetensors").unlink(), "weights_file_missing"),
        (_other_config, "weights_config"),
        (_edit(lambda s: s.__delitem__("head.0.bias")), "weights_keys"),
        (_edit(lambda s: s.update({"head.0.bias": torch.zeros(3)})), "weights_shape"),
        (_edit(lambda s: s.update({"head.0.bias": s["head.0.bias"].half()})), "weights_dtype"),
        (_edit(lambda s: s.update({"head.0.bias": s["head.0.bias"] * torch.nan})), "weights_not_finite"),
    ],
)
def test_tampering_is_told_apart(folder: Path, tamper: Callable[[Path], None], code: str) -> None:
    tamper(folder)
    with pytest.raises(WeightsError) as caught:
        from_pretrained(folder)
    assert caught.value.code == code


OLD = VisionConfig((*ANATOMICAL_PARTS, "white_matter_lesion"), channels=(8, 8), fine_channels=4)
NEW = replace(OLD, structures=PARTS)


@pytest.fixture
def known(tmp_path: Path) -> Path:
    """Weights of before there were tumours, whose fine level has learnt something."""
    torch.manual_seed(1)
    network = VisionNetwork(OLD)
    for parameter in network.parameters():
        parameter.data += 0.05 * torch.randn_like(parameter)
    save_pretrained(network, tmp_path)
    return tmp_path


@pytest.mark.parametrize("fine", [False, True])
def test_extended_weights_say_of_known_structures_what_they_said(known: Path, *, fine: bool) -> None:
    before, after = from_pretrained(known), extended(known, NEW, like="white_matter_lesion")
    image, affine = torch.rand(16, 16, 16), torch.eye(4, dtype=torch.float64)
    with torch.no_grad():
        features = [network.trunk([image], [affine])[0] for network in (before, after)]
        if fine:
            features = [n.fine(image, x) for n, x in zip((before, after), features, strict=True)]
        assert torch.equal(*features)
        said, says = (n.part_logits(voxel_rows(x)) for n, x in zip((before, after), features, strict=True))
    count = 1 + len(OLD.structures)
    assert says.shape[0] == 1 + len(PARTS)
    torch.testing.assert_close(says[:count], said, atol=2e-3, rtol=0)
    assert float(said.std()) > 0.1
    assert after.config == NEW
    # What is new begins as a less probable copy, at both levels.
    copy = says[1 + OLD.structures.index("white_matter_lesion")] - says[count:]
    torch.testing.assert_close(copy, torch.full_like(copy, 1.5), atol=2e-3, rtol=0)


def test_weights_that_know_all_are_only_loaded(known: Path) -> None:
    before, after = from_pretrained(known).state_dict(), extended(known, OLD, like="csf").state_dict()
    assert all(torch.equal(before[key], after[key]) for key in before)


@pytest.mark.parametrize(
    "config",
    [
        replace(NEW, channels=(8, 16)),
        replace(NEW, fine_channels=0),
        replace(NEW, structures=PARTS[::-1]),
        replace(NEW, structures=PARTS[:20]),
    ],
)
def test_weights_of_other_sizes_or_structures_are_not_extended(known: Path, config: VisionConfig) -> None:
    with pytest.raises(WeightsError, match="cannot be extended") as caught:
        extended(known, config, like="white_matter_lesion")
    assert caught.value.code == "weights_config"
