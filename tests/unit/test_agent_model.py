"""Language model, tokenizer and planner: strict loading, and the grammar whatever the weights."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from vp_engine.agent.language.generator import draw_example, seeded
from vp_engine.agent.model import CONFIG_FILE, TOKENIZER_FILE, WEIGHTS_FILE, AgentConfig, LanguageModel, save_model
from vp_engine.agent.planner import Agent, Context
from vp_engine.agent.terminals import TERMINALS
from vp_engine.agent.tokenizer import terminal_ids, train_tokenizer
from vp_engine.environment.instruction import Instruction, Observation
from vp_engine.environment.syntax import parse
from vp_engine.environment.validator import check
from vp_engine.environment.values import Text
from vp_engine.errors import WeightsError


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of an agent with random weights."""
    path = tmp_path_factory.mktemp("agent")
    rng = seeded("model test")
    tokenizer = train_tokenizer(draw_example("train", rng).prompt for _ in range(300))
    (path / TOKENIZER_FILE).write_text(tokenizer.to_str(), encoding="utf-8")
    torch.manual_seed(0)
    config = AgentConfig(tokenizer.get_vocab_size(), hidden=32, layers=1, heads=4, feedforward=32)
    save_model(LanguageModel(config), path)
    return path


@pytest.fixture
def broken(folder: Path, tmp_path: Path) -> Path:
    """A copy of the folder to damage."""
    for file in folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    return tmp_path


@pytest.mark.parametrize(
    "prompt", ["volume of the brain", "", "x" * 5000, "\u202e\x00 ☃ <op:volume>", "a" + "z " * 400]
)
def test_random_weights_still_write_valid_programs(folder: Path, prompt: str) -> None:
    agent = Agent.from_pretrained(folder)
    instruction = agent.next_instruction(Context(prompt), [])
    check(parse(instruction.code), {})


def test_every_segment_call_gets_its_phi(folder: Path) -> None:
    agent = Agent.from_pretrained(folder)
    for number in range(12):
        instruction = agent.next_instruction(Context(f"prompt {number}"), [])
        assert len(instruction.embeddings) == instruction.code.count("segment(")
        assert all(phi.shape == (32,) for phi in instruction.embeddings.values())


def test_planning_is_repeatable_and_reads_the_history(folder: Path) -> None:
    agent = Agent.from_pretrained(folder)
    context = Context("which hippocampus is larger?")
    first = Instruction(
        'img = scan(current)\nread(compare(volume(segment(img, "csf")), volume(segment(img, "csf"))))\n'
    )
    history = [(first, Observation("ok", (Text("less"),)))]
    again = Agent.from_pretrained(folder)
    assert agent.next_instruction(context, history).code == again.next_instruction(context, history).code
    check(parse(agent.next_instruction(context, history).code), {"img": "Image"})


def test_what_users_type_never_becomes_a_terminal(folder: Path) -> None:
    agent = Agent.from_pretrained(folder)
    ids = set(terminal_ids(agent._tokenizer).values())
    typed = " ".join(f"<{terminal}>" for terminal in TERMINALS)
    assert not ids & set(agent._tokenizer.encode(typed).ids)


def test_saving_and_loading_keeps_the_weights(folder: Path) -> None:
    one, other = (Agent.from_pretrained(folder)._model.state_dict() for _ in range(2))
    assert all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("name", [CONFIG_FILE, TOKENIZER_FILE, WEIGHTS_FILE])
def test_a_missing_file_is_named(broken: Path, name: str) -> None:
    (broken / name).unlink()
    with pytest.raises(WeightsError, match=name):
        Agent.from_pretrained(broken)


def test_a_missing_tensor_is_refused(broken: Path) -> None:
    weights = load_file(broken / WEIGHTS_FILE)
    weights.pop("phi.0.bias")
    save_file(weights, broken / WEIGHTS_FILE)
    with pytest.raises(WeightsError, match=r"phi\.0\.bias") as caught:
        Agent.from_pretrained(broken)
    assert caught.value.code == "tensors"


def test_another_shape_is_refused(broken: Path) -> None:
    weights = load_file(broken / WEIGHTS_FILE)
    weights["phi.0.bias"] = torch.zeros(7)
    save_file(weights, broken / WEIGHTS_FILE)
    with pytest.raises(WeightsError, match="expected shape") as caught:
        Agent.from_pretrained(broken)
    assert caught.value.code == "shape"


def test_numbers_that_are_not_finite_are_refused(broken: Path) -> None:
    weights = load_file(broken / WEIGHTS_FILE)
    weights["phi.0.bias"][3] = torch.nan
    save_file(weights, broken / WEIGHTS_FILE)
    with pytest.raises(WeightsError, match="not finite"):
        Agent.from_pretrained(broken)


def test_truncated_weights_are_refused(broken: Path) -> None:
    data = (broken / WEIGHTS_FILE).read_bytes()
    (broken / WEIGHTS_FILE).write_bytes(data[: len(data) // 2])
    with pytest.raises(WeightsError, match="cannot be read"):
        Agent.from_pretrained(broken)


def test_an_unknown_setting_is_refused(broken: Path) -> None:
    config = json.loads((broken / CONFIG_FILE).read_text(encoding="utf-8"))
    (broken / CONFIG_FILE).write_text(json.dumps({**config, "colour": "red"}), encoding="utf-8")
    with pytest.raises(WeightsError, match="colour"):
        Agent.from_pretrained(broken)


def test_a_tokenizer_of_another_language_is_refused(broken: Path) -> None:
    text = (broken / TOKENIZER_FILE).read_text(encoding="utf-8").replace("<op:volume>", "<op:velocity>")
    (broken / TOKENIZER_FILE).write_text(text, encoding="utf-8")
    with pytest.raises(WeightsError, match="op:volume"):
        Agent.from_pretrained(broken)
