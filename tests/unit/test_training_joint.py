"""Joint training: the mask loss is the softmax for codes, its gradient reaches the words, and a run leaves weights."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from vp_engine.agent.model import TOKENIZER_FILE, WEIGHTS_FILE, AgentConfig, LanguageModel
from vp_engine.agent.planner import Agent
from vp_engine.agent.tokenizer import load_tokenizer
from vp_engine.anatomy import PARTS
from vp_engine.errors import ConfigError
from vp_engine.training import appearances
from vp_engine.training.agent import batch_losses, train_agent
from vp_engine.training.agent_batches import Encoder, training_batches
from vp_engine.training.appearances import APPEARANCES_FILE, make_appearances
from vp_engine.training.joint import masks_loss, train_joint
from vp_engine.training.muon import Muon, orthogonal
from vp_engine.vision.checkpoint import from_pretrained, save_pretrained
from vp_engine.vision.network import VisionConfig, VisionNetwork


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of random weights of both networks."""
    folder = tmp_path_factory.mktemp("start")
    train_agent(folder / "agent", recipe="smoke", steps=1, report=lambda _: None)
    torch.manual_seed(0)
    # the language model takes features of 3 x 24 channels
    save_pretrained(VisionNetwork(VisionConfig(PARTS, channels=(24, 8), fine_channels=0)), folder / "vision")
    return folder


def test_for_the_code_of_a_part_the_mask_is_the_softmax_over_all_parts() -> None:
    torch.manual_seed(1)
    network = VisionNetwork(VisionConfig(PARTS, channels=(8, 8), fine_channels=0))
    x_NC, truth_N = torch.randn(50, 8), torch.randint(0, 3, (50,))
    loss, dice = masks_loss(network, x_NC, truth_N, network.phi[:1], [PARTS[:1]])
    p_N = network.part_logits(x_NC).softmax(0)[1]
    inside_N = (truth_N == 1).float()
    wanted = (2 * (p_N * inside_N).sum() + 1) / (p_N.sum() + inside_N.sum() + 1)
    assert dice == pytest.approx(float(wanted.detach()), abs=1e-5)
    cross_entropy = torch.nn.functional.binary_cross_entropy(p_N, inside_N)
    assert float(loss) == pytest.approx(float((cross_entropy + 1 - wanted).detach()), abs=1e-4)


def test_nothing_to_find_costs_nothing() -> None:
    network = VisionNetwork(VisionConfig(PARTS, channels=(8, 8), fine_channels=0))
    loss, dice = masks_loss(network, torch.randn(5, 8), torch.zeros(5, dtype=torch.int64), torch.zeros(0, 32), [])
    assert (float(loss), dice) == (0.0, 0.0)


def test_the_gradient_of_the_mask_reaches_the_words(start: Path) -> None:
    model = LanguageModel(AgentConfig(load_tokenizer(start / "agent" / TOKENIZER_FILE).get_vocab_size()))
    encoder = Encoder(load_tokenizer(start / "agent" / TOKENIZER_FILE), {})
    network = VisionNetwork(VisionConfig(PARTS, channels=(8, 8), fine_channels=0)).requires_grad_(requires_grad=False)
    batch = next(
        one
        for one in training_batches(encoder, seed=2, first_step=0, tokens_per_batch=256)
        if "left_hippocampus" in one.structures
    )
    row = batch.structures.index("left_hippocampus")
    phi_MP = batch_losses(model, batch).phi_MP[[row]]
    loss, _ = masks_loss(network, torch.randn(20, 8), torch.randint(0, 20, (20,)), phi_MP, [["left_hippocampus"]])
    loss.backward()
    for weight in (model.phi[0].weight, model.bridge.weight, model.reader.encoder.layer[0].output.dense.weight):
        assert weight.grad is not None
        assert float(weight.grad.norm()) > 0


def test_a_joint_run_moves_both_networks_and_leaves_weights_that_load(
    start: Path, archive: Path, tmp_path: Path
) -> None:
    make_appearances(archive, start / "vision", tmp_path / APPEARANCES_FILE, per_contrast=1, report=lambda _: None)
    lines: list[str] = []
    train_joint(archive, start, tmp_path, recipe="smoke", report=lines.append)
    Agent.from_pretrained(tmp_path / "agent")
    assert lines[-1].startswith("step 2 ")
    before, after = (load_file(folder / "agent" / WEIGHTS_FILE) for folder in (start, tmp_path))
    assert any(not torch.equal(before[name], after[name]) for name in before)
    frozen = "reader.embeddings.word_embeddings.weight"
    assert (before[frozen].int() - after[frozen].int()).abs().max() <= 1  # rounding of what was rounded before
    heads = [from_pretrained(folder / "vision").head[0].weight for folder in (start, tmp_path)]
    assert not torch.equal(*heads)


def test_an_unknown_joint_recipe_is_refused(start: Path, archive: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="smoke"):
        train_joint(archive, start, tmp_path, recipe="nothing")


def test_appearances_of_one_contrast_are_those_of_its_own_scans(start: Path, archive: Path, tmp_path: Path) -> None:
    kept = [
        load_file(make_appearances(archive, start / "vision", tmp_path / name, per_contrast=1, report=lambda _: None))
        for name in ("a.safetensors", "b.safetensors")
    ]
    assert sorted(kept[0]) == ["FLAIR", "PDw", "T1w", "T2w"]
    assert all(torch.equal(kept[0][name], kept[1][name]) for name in kept[0])
    assert not torch.equal(kept[0]["T1w"], kept[0]["T2w"])


def test_muon_steps_as_that_of_torch_does() -> None:
    torch.manual_seed(0)
    ours = torch.nn.Parameter(torch.randn(24, 48))
    theirs = torch.nn.Parameter(ours.detach().clone())
    optimizers = (
        Muon([ours], lr=0.01, weight_decay=0.05),
        torch.optim.Muon([theirs], lr=0.01, weight_decay=0.05, adjust_lr_fn="match_rms_adamw"),
    )
    for _ in range(3):
        gradient = torch.randn(24, 48)
        for weight, optimizer in zip((ours, theirs), optimizers, strict=True):
            weight.grad = gradient.clone()
            optimizer.step()
    torch.testing.assert_close(ours, theirs, atol=2e-3, rtol=0)  # theirs multiplies in bfloat16


@pytest.mark.parametrize("shape", [(5, 9), (9, 5), (6, 12)])
def test_orthogonal_levels_the_singular_values(shape: tuple[int, int]) -> None:
    matrix = torch.from_numpy(np.random.default_rng(3).standard_normal(shape)).float()
    values = torch.linalg.svdvals(orthogonal(matrix))
    assert 0.6 < float(values.min()) <= float(values.max()) < 1.3


def test_appearances_that_were_not_written_to_the_end_are_not_found(
    start: Path, archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(_: object, path: Path) -> None:
        path.write_bytes(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(appearances, "save_file", killed)
    with pytest.raises(KeyboardInterrupt):
        appearances.make_appearances(archive, start / "vision", tmp_path / "looks.safetensors", per_contrast=1)
    assert not (tmp_path / "looks.safetensors").exists()
