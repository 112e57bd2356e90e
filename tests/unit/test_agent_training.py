"""The recipe of the language model on a tiny run."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from vp_engine.agent.language.generator import Example
from vp_engine.agent.model import TOKENIZER_FILE, WEIGHTS_FILE
from vp_engine.agent.planner import Agent
from vp_engine.agent.program import linearise
from vp_engine.agent.tokenizer import load_tokenizer
from vp_engine.errors import ConfigError
from vp_engine.training.agent import RECIPES, learning_rate, train_agent
from vp_engine.training.agent_batches import IGNORED, Encoder, training_batches


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    """Folder and log of a run without a break."""
    out = tmp_path_factory.mktemp("whole")
    lines: list[str] = []
    train_agent(out, recipe="smoke", steps=4, report=lines.append)
    return out, lines


def test_a_run_leaves_an_agent_and_a_log(trained: tuple[Path, list[str]]) -> None:
    out, lines = trained
    Agent.from_pretrained(out)
    assert lines
    assert lines[-1].startswith("step 4 ")


def test_a_resumed_run_ends_where_a_whole_one_does(trained: tuple[Path, list[str]], tmp_path: Path) -> None:
    # the learning rate depends on the length of the whole run, hence warm-up steps only
    train_agent(tmp_path, recipe="smoke", steps=2, report=lambda _: None)
    train_agent(tmp_path, recipe="smoke", steps=4, report=lambda _: None)
    whole, resumed = (load_file(folder / WEIGHTS_FILE) for folder in (trained[0], tmp_path))
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


def test_batches_can_be_taken_up_anywhere(trained: tuple[Path, list[str]]) -> None:
    encoder = Encoder(load_tokenizer(trained[0] / TOKENIZER_FILE))
    batches = training_batches(encoder, seed=3, first_step=0, tokens_per_batch=256)
    skipped = [next(batches) for _ in range(35)][-1]
    direct = next(training_batches(encoder, seed=3, first_step=34, tokens_per_batch=256))
    assert torch.equal(skipped.ids_BT, direct.ids_BT)


def test_only_programs_are_learnt_and_mod_positions_know_their_structure(trained: tuple[Path, list[str]]) -> None:
    encoder = Encoder(load_tokenizer(trained[0] / TOKENIZER_FILE))
    step = tuple(linearise('report(volume(segment(scan(current), "left_thalamus")))\n'))
    answer = tuple(linearise('answer("left", "thalamus")\n'))
    encoded = encoder.encode(Example("left thalamus volume", ("T1w",), 1, "session", (step, answer), ("less",)))
    assert len(encoded.ids) == len(encoded.targets)
    learnt = [target for target in encoded.targets if target != IGNORED]
    assert learnt == [encoder.ids[terminal] for terminal in (*step, *answer)]
    for position, target in enumerate(encoded.targets):
        assert target in (IGNORED, encoded.ids[position])
    ((place, structure),) = encoded.mods
    assert encoded.ids[place] == encoder.ids["mod"]
    assert structure == "left_thalamus"


def test_the_learning_rate_warms_up_and_decays() -> None:
    recipe = RECIPES["default"]
    rates = [learning_rate(step, recipe) for step in (0, recipe.warmup - 1, recipe.steps // 2, recipe.steps)]
    assert rates[0] < rates[1] == 1.0 > rates[2] > rates[3] > 0


def test_an_unknown_recipe_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="smoke"):
        train_agent(tmp_path, recipe="nothing")
