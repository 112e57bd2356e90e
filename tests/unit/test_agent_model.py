"""Language model, tokenizer and planner: strict loading, and the grammar whatever the weights."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from vp_engine.agent.decoding import Walker
from vp_engine.agent.dialogue import Spoken, Written, collate
from vp_engine.agent.language.generator import draw_example, seeded
from vp_engine.agent.model import (
    CONFIG_FILE,
    MAX_WORDS,
    TOKENIZER_FILE,
    WEIGHTS_FILE,
    AgentConfig,
    LanguageModel,
    load_model,
    save_model,
)
from vp_engine.agent.planner import Agent, Context
from vp_engine.agent.tokenizer import build_tokenizer, frequent_pieces
from vp_engine.environment.instruction import Instruction, Observation
from vp_engine.environment.syntax import parse
from vp_engine.environment.validator import check
from vp_engine.environment.values import FEATURES, Features, Text
from vp_engine.errors import WeightsError


@pytest.fixture(scope="module")
def model() -> LanguageModel:
    """Random weights of a small model."""
    torch.manual_seed(0)
    sizes = {"reader_hidden": 32, "reader_layers": 1, "reader_heads": 4, "reader_feedforward": 32}
    return LanguageModel(AgentConfig(len(_pieces()), hidden=32, layers=1, heads=4, feedforward=32, **sizes)).eval()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, model: LanguageModel) -> Path:
    """Folder of an agent with random weights."""
    path = tmp_path_factory.mktemp("agent")
    (path / TOKENIZER_FILE).write_text(build_tokenizer(_pieces()).to_str(), encoding="utf-8")
    save_model(model, path)
    return path


@cache
def _pieces() -> list[str]:
    rng = seeded("model test")
    return frequent_pieces(draw_example("train", rng).prompt for _ in range(300))


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


@pytest.mark.parametrize(
    ("prompt", "code", "confidence", "read_again"),
    [
        ("volume of the left hippocampus", 'refuse("unknown_structure")\n', 0.7, True),
        ("volume of the left claustrum", 'refuse("unknown_structure")\n', 0.7, False),  # such a word is unknown
        ("volume of the left hippocampus", 'refuse("unknown_structure")\n', 0.95, False),  # it is sure
        ("volume of the left hippocampus", 'refuse("diagnosis")\n', 0.7, False),
    ],
)
def test_a_doubtful_refusal_of_known_words_is_read_again(
    folder: Path, monkeypatch: pytest.MonkeyPatch, prompt: str, code: str, confidence: float, *, read_again: bool
) -> None:
    second = Instruction("img = scan(current)\n", {}, 0.9)
    asked: list[bool] = []

    def decode(_agent: Agent, _parts: object, walker: Walker) -> Instruction:
        asked.append("op:refuse" in walker.allowed())
        return Instruction(code, {}, confidence) if asked[-1] else second

    monkeypatch.setattr(Agent, "_decode", decode)
    agent = Agent.from_pretrained(folder)
    assert (agent.next_instruction(Context(prompt), []) is second) is read_again
    assert asked == ([True, False] if read_again else [True])


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


def test_the_same_words_about_another_image_are_read_anew(folder: Path) -> None:
    agent = Agent.from_pretrained(folder)
    context = Context("which contrast is this?")
    first = Instruction('img = scan(current)\nread(features(img, segment(img, "brain")))\n')
    seen = [Features(np.full(FEATURES, value, np.float32), "T1w", "brain") for value in (0.0, 100.0)]
    histories = [[(first, Observation("ok", (one,)))] for one in seen]
    written = [agent.next_instruction(context, history) for history in histories]
    assert written[0].confidence != written[1].confidence


def test_features_of_another_vision_network_are_refused(folder: Path) -> None:
    first = Instruction('img = scan(current)\nread(features(img, segment(img, "brain")))\n')
    seen = Observation("ok", (Features(np.zeros(FEATURES - 24, np.float32), "T1w", "brain"),))
    with pytest.raises(WeightsError, match=f"reads {FEATURES} .* gives {FEATURES - 24}") as caught:
        Agent.from_pretrained(folder).next_instruction(Context("which contrast is this?"), [(first, seen)])
    assert caught.value.code == "features"


def test_an_observation_longer_than_the_reader_is_cut(broken: Path, model: LanguageModel) -> None:
    letters = [*_pieces()[:100], *(f"x{number}" for number in range(len(_pieces()) - 100))]
    (broken / TOKENIZER_FILE).write_text(build_tokenizer(letters).to_str(), encoding="utf-8")
    first = Instruction('img = scan(current)\nread(quality(segment(img, "brain")))\n')
    seen = Observation("ok", (Text("a-" * 140),))
    assert len(build_tokenizer(letters).encode(seen.text()).ids) > MAX_WORDS
    assert Agent.from_pretrained(broken).next_instruction(Context("is it good?"), [(first, seen)]).code
    assert model.config.words == len(letters)


def test_phi_of_a_program_read_depends_on_what_is_before_it_alone(folder: Path) -> None:
    agent = Agent.from_pretrained(folder)
    first, second = (f'report(volume(segment(scan(current), "{side}_hippocampus")))\n' for side in ("left", "right"))
    context = Context("volume of the left and right hippocampus")
    short, long = agent.embed(context, [], first), agent.embed(context, [], first + second)
    assert (sorted(short), sorted(long)) == ([0], [0, 1])
    np.testing.assert_allclose(long[0], short[0], atol=1e-5)
    assert np.abs(long[1] - long[0]).max() > 1e-3
    assert agent.embed(Context("x " * 600), [], first) == {}


def test_padding_changes_nothing(model: LanguageModel) -> None:
    short = [Written((1, 2)), Spoken((2, 7, 3)), Written((4,))]
    long = [Written((1,)), Spoken((2, 9, 11, 13, 8, 3)), Written((4, 5, 6))]
    size = {"terminals": len(model.config.terminals), "features": FEATURES}
    alone = model.hidden_states(collate([short], **size))
    together = model.hidden_states(collate([long, short], **size))
    torch.testing.assert_close(together[1, : alone.shape[1]], alone[0], atol=1e-5, rtol=1e-4)


def test_weights_on_disk_are_within_half_a_level_of_the_row(model: LanguageModel, folder: Path) -> None:
    loaded = load_model(folder).state_dict()
    for name, weight in model.state_dict().items():
        most = weight.abs().amax(-1, keepdim=True) / 254 if weight.ndim == 2 else weight.abs() / 128
        assert ((loaded[name] - weight).abs() <= most + 1e-6).all(), name


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
    weights["phi.0.bias"] = torch.zeros(7, dtype=torch.bfloat16)
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


@pytest.mark.parametrize("damage", ["missing", "orphan", "one for all rows"])
def test_a_scale_that_fits_no_matrix_is_refused(broken: Path, damage: str) -> None:
    weights = load_file(broken / WEIGHTS_FILE)
    if damage == "missing":
        weights.pop("bridge.weight.scale")
    elif damage == "orphan":
        weights["bridge.bias.scale"] = torch.ones(1)
    else:
        weights["bridge.weight.scale"] = weights["bridge.weight.scale"][:1]
    save_file(weights, broken / WEIGHTS_FILE)
    with pytest.raises(WeightsError, match=r"bridge\.(weight|bias)") as caught:
        Agent.from_pretrained(broken)
    assert caught.value.code == "scales"


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


def test_an_agent_of_another_program_language_is_refused(broken: Path) -> None:
    text = (broken / CONFIG_FILE).read_text(encoding="utf-8").replace('"op:volume"', '"op:velocity"')
    (broken / CONFIG_FILE).write_text(text, encoding="utf-8")
    with pytest.raises(WeightsError, match="op:volume"):
        Agent.from_pretrained(broken)


def test_a_tokenizer_of_another_kind_is_refused(broken: Path) -> None:
    text = (broken / TOKENIZER_FILE).read_text(encoding="utf-8").replace('"WordPiece"', '"BPE"')
    (broken / TOKENIZER_FILE).write_text(text, encoding="utf-8")
    with pytest.raises(WeightsError, match="tokenizer"):
        Agent.from_pretrained(broken)
