"""The recipe of the language model on a tiny run."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import BertModel

from vp_engine.agent.dialogue import Shown, Written, length_of
from vp_engine.agent.language.generator import Example, seeded
from vp_engine.agent.model import (
    TOKENIZER_FILE,
    WEIGHTS_FILE,
    AgentConfig,
    LanguageModel,
    load_model,
    save_model,
)
from vp_engine.agent.planner import Agent
from vp_engine.agent.program import linearise
from vp_engine.agent.quantized import load_quantized
from vp_engine.agent.terminals import TERMINALS
from vp_engine.agent.tokenizer import SPECIAL, load_tokenizer
from vp_engine.environment.values import FEATURES
from vp_engine.errors import ConfigError, WeightsError
from vp_engine.training.agent import RECIPES, Beginning, learning_rate, train_agent
from vp_engine.training.agent_batches import IGNORED, Encoder, training_batches
from vp_engine.training.warm_start import keep_of_start, warm_start

EMBEDDING, TIED = "llama.model.embed_tokens.weight", "llama.lm_head.weight"


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


def test_a_run_is_not_resumed_as_another(trained: tuple[Path, list[str]]) -> None:
    looks = {"T1w": np.zeros((1, FEATURES), np.float32)}
    with pytest.raises(ConfigError, match="contrasts"):
        train_agent(trained[0], recipe="smoke", steps=5, appearances=looks, report=lambda _: None)


def test_batches_can_be_taken_up_anywhere(trained: tuple[Path, list[str]]) -> None:
    encoder = Encoder(load_tokenizer(trained[0] / TOKENIZER_FILE), {})
    batches = training_batches(encoder, seed=3, first_step=0, tokens_per_batch=256)
    skipped = [next(batches) for _ in range(35)][-1]
    direct = next(training_batches(encoder, seed=3, first_step=34, tokens_per_batch=256))
    assert torch.equal(skipped.targets_BT, direct.targets_BT)
    assert torch.equal(skipped.dialogues.words_NL, direct.dialogues.words_NL)


def test_only_programs_are_learnt_and_mod_positions_know_their_structure(trained: tuple[Path, list[str]]) -> None:
    encoder = Encoder(load_tokenizer(trained[0] / TOKENIZER_FILE), {})
    step = tuple(linearise('report(volume(segment(scan(current), "left_thalamus")))\n'))
    answer = tuple(linearise('answer("left", "thalamus")\n'))
    example = Example("left thalamus volume", ("T1w",), 1, "session", (step, answer), ("less",))
    encoded = encoder.encode(example, seeded(0))
    assert length_of(encoded.parts) == len(encoded.targets)
    learnt = [target for target in encoded.targets if target != IGNORED]
    assert learnt == [encoder.ids[terminal] for terminal in (*step, *answer)]
    written = [ids for part in encoded.parts for ids in (part.terminals if isinstance(part, Written) else ())]
    assert [target for target in written if target in learnt] == learnt
    ((place, structure),) = encoded.mods
    assert encoded.targets[place] == encoder.ids["mod"]
    assert structure == "left_thalamus"


def test_a_question_about_the_contrast_shows_an_image_of_it(trained: tuple[Path, list[str]]) -> None:
    seen = {"T1w": np.arange(2 * FEATURES, dtype=np.float32).reshape(2, FEATURES)}
    encoder = Encoder(load_tokenizer(trained[0] / TOKENIZER_FILE), seen)
    step = tuple(linearise('img = scan(current)\nread(features(img, segment(img, "brain")))\n'))
    answer = tuple(linearise('answer("T1w", "brain")\n'))
    known = Example("which contrast?", ("T1w",), 1, "session", (step, answer), ("features",), shown="T1w")
    for example, rows in ((known, seen["T1w"]), (replace(known, shown="FLAIR"), np.zeros((1, FEATURES)))):
        (shown,) = [part for part in encoder.encode(example, seeded(1)).parts if isinstance(part, Shown)]
        assert any(np.array_equal(shown.features, row) for row in rows)


def test_a_pretrained_reader_is_taken_over_word_by_word(tmp_path: Path) -> None:
    folder, out = tmp_path / "bert", tmp_path / "out"
    recipe = RECIPES["smoke"]
    torch.manual_seed(4)
    words = ["[PAD]", "[unused0]", *SPECIAL[1:], *"abcdefghijklmnopqrstuvwxyz", "volume", "hippocampus", "Ä"]
    sizes = AgentConfig(
        len(words),
        reader_hidden=recipe.reader_hidden,
        reader_layers=2,
        reader_heads=recipe.reader_heads,
        reader_feedforward=recipe.reader_feedforward,
    )
    bert = BertModel(sizes.reader(), add_pooling_layer=False)
    folder.mkdir()
    (folder / "vocab.txt").write_text("\n".join(words), encoding="utf-8")
    save_file(bert.state_dict(), folder / "model.safetensors")
    train_agent(out, recipe="smoke", steps=1, begin=Beginning(reader=folder), report=lambda _: None)
    tokenizer, weights = load_tokenizer(out / TOKENIZER_FILE), load_quantized(out / WEIGHTS_FILE)
    assert tokenizer.encode("volume").tokens == ["[CLS]", "volume", "[SEP]"]
    assert "Ä" not in tokenizer.get_vocab()
    kept = weights["reader.embeddings.word_embeddings.weight"][tokenizer.token_to_id("hippocampus")]
    original = bert.embeddings.word_embeddings.weight[words.index("hippocampus")].detach()
    torch.testing.assert_close(kept, original, atol=float(original.abs().max()) / 254, rtol=0)


def test_a_folder_without_a_reader_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"vocab\.txt"):
        train_agent(tmp_path / "out", recipe="smoke", begin=Beginning(reader=tmp_path))


def _older(folder: Path, out: Path, *, without: str) -> Path:
    """Weights as they were before some terminals came to the language, and with one that left it, in another order."""
    model, tokenizer = load_model(folder), (folder / TOKENIZER_FILE).read_text(encoding="utf-8")
    kept = [terminal for terminal in reversed(TERMINALS) if not terminal.startswith(without)]
    rows = torch.tensor([TERMINALS.index(terminal) for terminal in kept])
    old = LanguageModel(replace(model.config, terminals=(*kept, "op:forgotten")))
    weights = model.state_dict()
    table = weights[EMBEDDING][rows]
    table = torch.cat([table, torch.ones(1, table.shape[1])])
    old.load_state_dict({**weights, EMBEDDING: table, TIED: table})
    save_model(old, out)
    (out / TOKENIZER_FILE).write_text(tokenizer, encoding="utf-8")
    return out


def test_released_weights_gain_the_terminals_that_are_new_and_keep_what_they_know(
    trained: tuple[Path, list[str]], tmp_path: Path
) -> None:
    old = _older(trained[0], tmp_path / "old", without="place:")
    with pytest.raises(WeightsError, match="--start"):
        load_model(old)
    model, tokenizer = warm_start(old)
    before = load_model(old, terminals=())
    assert model.config.terminals == TERMINALS
    assert tokenizer.get_vocab_size() == model.config.words
    table, known = model.state_dict()[EMBEDDING], before.config.terminals
    for row, terminal in enumerate(TERMINALS):
        if not terminal.startswith("place:"):
            assert torch.equal(table[row], before.state_dict()[EMBEDDING][known.index(terminal)])
    others = {name for name in model.state_dict() if name not in (EMBEDDING, TIED)}
    assert all(torch.equal(model.state_dict()[name], before.state_dict()[name]) for name in others)
    new = table[[row for row, terminal in enumerate(TERMINALS) if terminal.startswith("place:")]]
    assert len({tuple(row.tolist()) for row in new}) == len(new) > 20
    assert new.isfinite().all()


def test_a_new_terminal_begins_near_the_mean_of_its_kind(trained: tuple[Path, list[str]], tmp_path: Path) -> None:
    old = _older(trained[0], tmp_path / "old", without="op:fo")
    table = warm_start(old)[0].state_dict()[EMBEDDING]
    ops = [row for row, terminal in enumerate(TERMINALS) if terminal.startswith("op:") and terminal != "op:follow"]
    away = (table[TERMINALS.index("op:follow")] - table[ops].mean(0)).norm()
    assert away < 0.6 * table.norm(dim=1).mean()


def test_a_run_goes_on_from_released_weights(trained: tuple[Path, list[str]], tmp_path: Path) -> None:
    old = _older(trained[0], tmp_path / "old", without="fate:")
    lines: list[str] = []
    train_agent(tmp_path / "out", recipe="smoke", steps=1, begin=Beginning(weights=old), report=lines.append)
    Agent.from_pretrained(tmp_path / "out")
    assert lines
    with pytest.raises(ConfigError, match="weights"):
        train_agent(tmp_path / "out", recipe="smoke", steps=2, report=lines.append)


def test_a_share_of_what_a_run_began_from_is_kept_but_for_what_is_new(
    trained: tuple[Path, list[str]], tmp_path: Path
) -> None:
    old = _older(trained[0], tmp_path / "old", without="place:")
    begun, changed = warm_start(old)[0], warm_start(old)[0]
    with torch.no_grad():
        for weight in changed.parameters():
            weight.add_(1.0)
    weights = keep_of_start(changed, old, 0.25).state_dict()
    before = begun.state_dict()
    away = {name: weights[name] - before[name] for name in weights}
    new = torch.tensor([terminal.startswith("place:") for terminal in TERMINALS])
    assert torch.allclose(away[EMBEDDING][new], torch.tensor(1.0))
    assert torch.allclose(away[EMBEDDING][~new], torch.tensor(0.75))
    assert torch.equal(weights[EMBEDDING], weights[TIED])
    assert torch.allclose(away["phi.0.weight"], torch.tensor(1.0))
    assert torch.allclose(away["bridge.weight"], torch.tensor(0.75), atol=1e-6)


def test_there_is_one_beginning_and_it_fits_the_recipe(trained: tuple[Path, list[str]], tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="both"):
        Beginning(tmp_path, tmp_path)
    with pytest.raises(ConfigError, match="hidden"):
        train_agent(tmp_path, recipe="further", steps=1, begin=Beginning(weights=trained[0]))


def test_the_learning_rate_warms_up_and_decays() -> None:
    recipe = RECIPES["default"]
    rates = [learning_rate(step, recipe) for step in (0, recipe.warmup - 1, recipe.steps // 2, recipe.steps)]
    assert rates[0] < rates[1] == 1.0 > rates[2] > rates[3] > 0


def test_an_unknown_recipe_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="smoke"):
        train_agent(tmp_path, recipe="nothing")


def test_new_looks_are_learnt_without_touching_anything_else(
    trained: tuple[Path, list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = replace(RECIPES["smoke"], looks_only=True)
    monkeypatch.setattr("vp_engine.training.agent.RECIPES", {"looks": small})
    looks = {contrast: np.ones((2, FEATURES), np.float32) for contrast in ("T1w", "T2w", "FLAIR", "PDw")}
    out = tmp_path / "out"
    train_agent(
        out, recipe="looks", steps=2, begin=Beginning(weights=trained[0]), appearances=looks, report=lambda _: None
    )
    before, after = (load_file(folder / WEIGHTS_FILE) for folder in (trained[0], out))
    changed = {name for name, values in before.items() if not torch.equal(values, after[name])}
    assert changed
    assert all(name.startswith("look.") for name in changed)


def test_batches_of_looks_show_an_image_each(trained: tuple[Path, list[str]]) -> None:
    encoder = Encoder(load_tokenizer(trained[0] / TOKENIZER_FILE), {})
    batch = next(training_batches(encoder, seed=3, first_step=0, tokens_per_batch=128, looking=True))
    assert len(batch.dialogues.features_FC) == len(batch.targets_BT)
