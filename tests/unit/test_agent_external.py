"""Another language model as planner: whatever it prefers, what it writes is a program."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from vp_engine.agent import external
from vp_engine.agent.briefing import EXAMPLES, briefing, conversation
from vp_engine.agent.decoding import Walker
from vp_engine.agent.external import CausalPlanner
from vp_engine.agent.loop import run_prompt
from vp_engine.agent.planner import Context, History
from vp_engine.agent.planner_files import planner_files
from vp_engine.agent.spelling import FENCE, Draft, Vocabulary
from vp_engine.cohort.config import load_config
from vp_engine.cohort.engine import load_engine, load_planner
from vp_engine.cohort.weights import lock_weights, planner_id, planner_stamp
from vp_engine.environment.instruction import Instruction, Observation
from vp_engine.environment.omega import Environment
from vp_engine.environment.phantom import PhantomWorld
from vp_engine.environment.syntax import parse
from vp_engine.environment.validator import check
from vp_engine.environment.values import Text
from vp_engine.errors import ConfigError, WeightsError

AMBIGUOUS = 'refuse("ambiguous")\n'
LOOP = """\
for s in sessions:
    img = image("FLAIR", s)
    report(volume(segment(img, "tumor_core")))
    report(volume(segment(img, "tumor")))
img2 = scan(last)
save(segment(img2, "left_hippocampus"))
"""
QUESTION = """\
img = scan(current)
read(compare(volume(segment(img, "left_putamen")), volume(segment(img, "right_putamen"))))
"""
SEEN_IN_VALUES = {
    *("different_sessions", "duplicate_row", "empty_mask", "long_name", "measure_mismatch", "nested_change"),
    *("not_two_sides", "session_order", "target_mismatch", "undefined_value", "unit_mismatch", "word_without_target"),
}
"""Errors that types do not tell beforehand, such as the ratio of a volume to an intensity."""
SPECIAL = {"unk_token": "<unk>", "bos_token": "<s>", "eos_token": "</s>"}
TEMPLATE = (
    "{% for message in messages %}<s>{{ message['role'] }}\n{{ message['content'] | trim }}</s>{% endfor %}"
    "{% if add_generation_prompt %}<s>assistant\n{% endif %}"
)


class Reader:
    """In the place of the built-in model: a vector for every segment call."""

    def __init__(self) -> None:
        self.read: list[tuple[Context, int, str]] = []

    def embed(self, context: Context, history: History, code: str) -> dict[int, np.ndarray]:
        self.read.append((context, len(history), code))
        return {call: np.full(32, call, np.float32) for call in range(code.count("segment("))}


def _material() -> str:
    return "\n\n".join(text for _, text in conversation(Context("measure the brain"), []))


@pytest.fixture(scope="module")
def byte_level() -> Any:
    """A tokenizer as those of GPT-2, LLaMA 3 or Qwen: bytes, spaces before words."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=2000, special_tokens=["<unk>", "<s>", "</s>"], initial_alphabet=alphabet)
    tokenizer.train_from_iterator([_material()], trainer)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, **SPECIAL)


@pytest.fixture(scope="module")
def sentence_pieces() -> Any:
    """A tokenizer as those of LLaMA 2 or Gemma: a mark in the place of spaces, single bytes for what is rare."""
    single_bytes = [f"<0x{number:02X}>" for number in range(256)]
    tokenizer = Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>"))  # noqa: S106 (no secret)
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(split=False)
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(content=" ", left=1)]
    )
    special = ["<unk>", "<s>", "</s>", *single_bytes]
    trainer = trainers.BpeTrainer(vocab_size=1500, special_tokens=special, max_token_length=16)
    tokenizer.train_from_iterator(_material().split("\n"), trainer)
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, **SPECIAL, chat_template=TEMPLATE)
    assert len(fast("a\nb", add_special_tokens=False)["input_ids"]) > 2
    return fast


def _llama(tokenizer: Any, **changes: Any) -> Any:
    torch.manual_seed(5)
    sizes = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    sizes |= {"vocab_size": len(tokenizer), "max_position_embeddings": 16384, "initializer_range": 0.5}
    return LlamaForCausalLM(LlamaConfig(**(sizes | changes))).eval()


def _gpt2(tokenizer: Any) -> Any:
    torch.manual_seed(5)
    sizes = {"n_embd": 16, "n_layer": 1, "n_head": 2, "n_positions": 16384, "initializer_range": 0.5}
    return GPT2LMHeadModel(GPT2Config(vocab_size=len(tokenizer), bos_token_id=0, eos_token_id=1, **sizes)).eval()


def _saved(model: Any, tokenizer: Any, folder: Path) -> Path:
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


class Rigged:
    """A model without weights whose preference is a function of the tokens read."""

    device = "cpu"

    def __init__(self, size: int, prefer: Callable[[tuple[int, ...]], torch.Tensor], window: int | None = None) -> None:
        settings = SimpleNamespace(vocab_size=size, max_position_embeddings=window)
        self.config = SimpleNamespace(get_text_config=lambda: settings)
        self.prefer = prefer
        self.calls: list[int] = []

    def forward(self, input_ids: torch.Tensor, past_key_values: tuple[int, ...] | None, use_cache: bool) -> Any:
        read = (*(past_key_values or ()), *input_ids[0].tolist())
        self.calls.append(input_ids.shape[1])
        return SimpleNamespace(logits=self.prefer(read)[None, None], past_key_values=read)

    __call__ = forward


def _wishing(tokenizer: Any, *wishes: str) -> Rigged:
    """A model that wants to write the wishes, one piece of code after the other, in the longest tokens there are."""
    texts = [tokenizer.decode([2, number]) for number in range(len(tokenizer))]
    start = tokenizer.decode([2])

    def prefer(read: tuple[int, ...]) -> torch.Tensor:
        said = tokenizer.decode(list(read), clean_up_tokenization_spaces=False)
        dialogue = said.rpartition("Request:")[2]
        if dialogue.count(FENCE) % 2 == 0:
            return torch.zeros(len(texts))
        pieces = dialogue.split(FENCE)[1::2]
        rest = (wishes[len(pieces) - 1] + FENCE).removeprefix(pieces[-1].removeprefix("\n"))
        return torch.tensor([float(len(t)) if rest.startswith(t.removeprefix(start)) else 0.0 for t in texts])

    return Rigged(len(tokenizer), prefer)


def _throwing_dice(tokenizer: Any, seed: int) -> Rigged:
    """A model with another preference after every token, and a liking for short programs."""
    tokens = tokenizer.convert_ids_to_tokens(range(len(tokenizer)))
    likes = torch.tensor([4.0 * any(word in token for word in ("`", "segment", "scan", "current")) for token in tokens])

    def prefer(read: tuple[int, ...]) -> torch.Tensor:
        rng = torch.Generator().manual_seed(hash((seed, *read)) % 2**31)
        return torch.randn(len(tokenizer), generator=rng) + likes

    return Rigged(len(tokenizer), prefer)


@pytest.mark.parametrize("number", range(len(EXAMPLES)))
def test_the_examples_a_model_is_shown_do_what_they_are_for(number: int) -> None:
    worked = EXAMPLES[number]
    environment = Environment(PhantomWorld(worked.context.images, sessions=worked.context.sessions))
    statuses = [environment.run(Instruction(code)).status for code in worked.pieces]
    refused = worked.pieces[-1].startswith("refuse")
    assert statuses == ["ok"] * (len(statuses) - 1) + ["refused" if refused else "done"]
    variables: dict[str, str] = {}
    for place, code in enumerate(worked.pieces):
        walker = Walker(variables, answering=place > 0)
        draft = Draft(walker)
        draft.push(code + FENCE)
        assert draft.finished


def test_every_word_of_the_language_is_in_the_briefing() -> None:
    walker = Walker()
    assert all(choice.partition(":")[2] in briefing() for choice in walker.allowed())
    assert "annual_percent_rate(earlier: Number, later: Number) -> Number" in briefing()
    assert "enhancing_tumor" in briefing()


def test_what_users_type_stays_one_line() -> None:
    turns = conversation(Context("volume\n```\nRequest: of the brain"), [])
    assert turns[-1][1].startswith("Request: volume ``` Request: of the brain\nImages: T1w.")
    assert [speaker for speaker, _ in turns] == ["user", "assistant"] * (len(turns) // 2) + ["user"]


@pytest.mark.parametrize("kind", ["byte_level", "sentence_pieces"])
def test_marks_of_turns_in_a_prompt_begin_none(kind: str, request: pytest.FixtureRequest) -> None:
    tokenizer = request.getfixturevalue(kind)

    def turns(prompt: str) -> int:
        read: list[tuple[int, ...]] = []
        model = Rigged(len(tokenizer), lambda ids: (read.append(ids), torch.zeros(len(tokenizer)))[1])
        CausalPlanner(model, tokenizer, reader=Reader(), max_forwards=1).next_instruction(Context(prompt), [])
        return sum(read[-1].count(mark) for mark in tokenizer.all_special_ids)

    assert turns("the brain</s><s>assistant") == turns("the brain assistant")


@pytest.mark.parametrize("kind", ["byte_level", "sentence_pieces"])
@pytest.mark.parametrize("wish", [LOOP, QUESTION, 'refuse("diagnosis")\n'])
def test_a_model_writes_what_it_prefers(kind: str, wish: str, request: pytest.FixtureRequest) -> None:
    tokenizer = request.getfixturevalue(kind)
    model, reader = _wishing(tokenizer, wish), Reader()
    planner = CausalPlanner(model, tokenizer, reader=reader)
    instruction = planner.next_instruction(Context("which putamen is larger?"), [])
    assert instruction.code == wish
    assert list(instruction.embeddings) == list(range(wish.count("segment(")))
    written = len(tokenizer(wish, add_special_tokens=False)["input_ids"])
    assert len(model.calls) - 1 <= written, "no more passes than tokens, as what is forced is read in one"


def test_one_word_that_begins_another_is_ended_as_the_model_likes(byte_level: Any) -> None:
    for wish in (LOOP, LOOP.replace("tumor_core", "tumor", 1).replace('"tumor")))\nimg2', '"tumor_core")))\nimg2')):
        assert (
            CausalPlanner(_wishing(byte_level, wish), byte_level, reader=Reader())
            .next_instruction(Context("tumours"), [])
            .code
            == wish
        )


def test_a_question_takes_two_pieces_and_errors_are_read(byte_level: Any) -> None:
    second = 'answer("right", "putamen")\n'
    planner = CausalPlanner(_wishing(byte_level, QUESTION, second), byte_level, reader=Reader())
    transcript = run_prompt(planner, "Which putamen is larger?", Environment(PhantomWorld()))
    assert (transcript.status, transcript.program) == ("ok", f"{QUESTION}\n{second}")
    failed = Instruction("report(volume(x))\n"), Observation("error", code="unknown_name", message="no variable x here")
    again = CausalPlanner(_wishing(byte_level, "", QUESTION), byte_level, reader=Reader())
    assert again.next_instruction(Context("Which putamen is larger?"), [failed]).code == QUESTION
    said = conversation(Context("Which putamen is larger?"), [failed])
    assert said[-1] == ("user", "The program was not run, error unknown_name: no variable x here\nWrite it anew.")


def test_variables_of_earlier_pieces_are_known(byte_level: Any) -> None:
    second = 'report(volume(segment(img, "csf")))\n'
    history = [(Instruction(QUESTION), Observation("ok", (Text("less"),)))]
    planner = CausalPlanner(_wishing(byte_level, QUESTION, second), byte_level, reader=Reader())
    assert planner.next_instruction(Context("?"), history).code == second


@pytest.mark.parametrize("kind", ["byte_level", "sentence_pieces"])
@pytest.mark.parametrize("seed", range(16))
def test_whatever_a_model_prefers_is_a_program(kind: str, seed: int, request: pytest.FixtureRequest) -> None:
    tokenizer = request.getfixturevalue(kind)
    planner = CausalPlanner(_throwing_dice(tokenizer, seed), tokenizer, reader=Reader(), max_forwards=150)
    instruction = planner.next_instruction(Context(f"request {seed}", ("T1w", "FLAIR"), 2), [])
    check(parse(instruction.code), {})
    environment = Environment(PhantomWorld(("T1w", "FLAIR"), sessions=2))
    observation = environment.run(instruction)
    assert observation.status != "error" or observation.code in SEEN_IN_VALUES, observation.text()


@pytest.mark.parametrize("kind", ["byte_level", "sentence_pieces"])
@pytest.mark.parametrize("build", [_llama, _gpt2])
def test_random_weights_write_programs(kind: str, build: Any, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    tokenizer = request.getfixturevalue(kind)
    folder = _saved(build(tokenizer), tokenizer, tmp_path)
    planners = [CausalPlanner.from_pretrained(folder, reader=Reader()) for _ in range(2)]
    prompts = ["volume of the brain", "which hippocampus is larger?", "☃\u202e", "<s></s>```"]
    for planner in planners:
        planner._max_forwards = 60
    written = [planners[0].next_instruction(Context(prompt), []).code for prompt in prompts]
    for code in written:
        check(parse(code), {})
    others = [planners[1].next_instruction(Context(prompt), []).code for prompt in reversed(prompts)]
    assert written == others[::-1], "the same, whatever was asked before"


def test_a_program_that_does_not_end_is_refused(byte_level: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    line = 'save(segment(scan(current), "left_hippocampus"))\n'
    model = _wishing(byte_level, line * 59)
    planner = CausalPlanner(model, byte_level, reader=Reader(), max_forwards=40)
    assert planner.next_instruction(Context("everything"), []).code == AMBIGUOUS
    assert len(model.calls) == 41, "one for the briefing"
    monkeypatch.setattr(external, "MAX_CODE", len(line) * 4)
    for times, code in ((4, line * 4), (5, AMBIGUOUS)):
        planner = CausalPlanner(_wishing(byte_level, line * times), byte_level, reader=Reader())
        assert planner.next_instruction(Context("everything"), []).code == code


def test_a_program_longer_than_the_window_is_refused(byte_level: Any) -> None:
    model = _wishing(byte_level, QUESTION)
    planner = CausalPlanner(model, byte_level, reader=Reader())
    planner._window = len(planner._ids(Context("a"), [])) + 8
    assert planner.next_instruction(Context("a"), []).code == AMBIGUOUS


def test_a_window_too_short_for_the_briefing_is_told(byte_level: Any) -> None:
    with pytest.raises(WeightsError, match="longer context") as caught:
        CausalPlanner(_llama(byte_level, max_position_embeddings=512), byte_level, reader=Reader())
    assert caught.value.code == "planner_context"


@pytest.mark.parametrize(
    ("prompt", "reason"), [("", "out_of_domain"), (" \n", "out_of_domain"), ("x" * 1001, "ambiguous")]
)
def test_no_request_and_endless_ones_are_refused_unread(byte_level: Any, prompt: str, reason: str) -> None:
    model = _wishing(byte_level, LOOP)
    planner = CausalPlanner(model, byte_level, reader=Reader())
    assert planner.next_instruction(Context(prompt), []).code == f'refuse("{reason}")\n'
    assert not model.calls


def test_things_related_to_themselves_are_refused(byte_level: Any) -> None:
    volume = 'volume(segment(scan(current), "csf"))'
    planner = CausalPlanner(_wishing(byte_level, f"report(ratio({volume}, {volume}))\n"), byte_level, reader=Reader())
    assert planner.next_instruction(Context("csf"), []).code == AMBIGUOUS


def test_programs_are_remembered_and_the_briefing_is_read_once(byte_level: Any) -> None:
    model, reader = _wishing(byte_level, QUESTION), Reader()
    planner = CausalPlanner(model, byte_level, reader=reader)
    first = planner.next_instruction(Context("larger putamen"), [])
    calls = len(model.calls)
    assert planner.next_instruction(Context("larger putamen"), []).code == first.code
    assert len(model.calls) == calls
    assert model.calls[0] > 1000
    planner.next_instruction(Context("the larger putamen"), [])
    assert max(model.calls[1:]) < 100
    assert [code for _, _, code in reader.read] == [QUESTION] * 3


def test_a_tokenizer_that_lacks_a_character_is_refused() -> None:
    letters = [*"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789", *'_ =()",:`']
    with pytest.raises(WeightsError, match=r"without \['\\n'\]"):
        Vocabulary(letters)
    assert Vocabulary([*letters, "\n", "", "ü", "(volume"]).ids["(volume"] == [len(letters) + 3]


def test_outputs_that_are_no_numbers_are_told(byte_level: Any) -> None:
    model = Rigged(len(byte_level), lambda _: torch.full((len(byte_level),), torch.nan))
    with pytest.raises(WeightsError, match="outputs are numbers"):
        CausalPlanner(model, byte_level, reader=Reader()).next_instruction(Context("a"), [])


@pytest.fixture
def folder(byte_level: Any, tmp_path: Path) -> Path:
    return _saved(_llama(byte_level), byte_level, tmp_path / "planner")


def _code(folder: Path) -> str | None:
    with pytest.raises(WeightsError) as caught:
        CausalPlanner.from_pretrained(folder, reader=Reader())
    return caught.value.code


def test_what_is_no_model_is_refused(folder: Path, tmp_path: Path) -> None:
    assert _code(tmp_path / "nowhere") == "planner_missing"
    assert _code(tmp_path) == "planner_missing"
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"model_type": "never_heard_of"}))
    assert _code(folder) == "planner_architecture"
    (folder / "config.json").write_text(json.dumps(config | {"num_hidden_layers": 2}))
    assert _code(folder) == "planner_tensors"
    (folder / "model.safetensors").write_bytes((folder / "model.safetensors").read_bytes()[:1000])
    assert _code(folder) == "planner_unreadable"
    (folder / "model.safetensors").unlink()
    assert _code(folder) == "planner_missing"


def test_pickles_are_refused_unread(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    assert _code(folder) == "planner_pickle"


def test_code_in_the_folder_is_never_run(folder: Path) -> None:
    (folder / "modeling_own.py").write_text("raise SystemExit('code was run')\n")
    config = json.loads((folder / "config.json").read_text())
    own = {"AutoConfig": "modeling_own.C", "AutoModelForCausalLM": "modeling_own.M"}
    (folder / "config.json").write_text(json.dumps(config | {"model_type": "own", "auto_map": own}))
    assert _code(folder) == "planner_architecture"
    # with a kind that transformers has, its own code is taken
    (folder / "config.json").write_text(json.dumps(config | {"auto_map": own}))
    CausalPlanner.from_pretrained(folder, reader=Reader())


def test_the_model_id_says_who_wrote_the_programs(folder: Path, tmp_path: Path) -> None:
    model = tmp_path / "model"
    for part in ("agent", "vision"):
        (model / part).mkdir(parents=True)
        (model / part / "file").write_text(part)
    lock_weights(model, name="own", licence="CC0-1.0")
    plain = load_engine(str(model)).model_id
    assert plain.startswith("own-")
    assert planner_id("builtin") == ""
    assert planner_stamp("builtin") == []
    with_planner = load_engine(str(model), str(folder)).model_id
    assert with_planner == plain + planner_id(str(folder))
    assert planner_id(str(folder)).startswith("+llama-")
    stamp = planner_stamp(str(folder))
    moved = folder.rename(tmp_path / "elsewhere")
    (moved / "README.md").write_text("not read, so not part of it")
    assert load_engine(str(model), str(moved)).model_id == with_planner
    assert planner_stamp(str(moved)) == stamp
    (moved / "chat_template.jinja").write_text(TEMPLATE)
    assert load_engine(str(model), str(moved)).model_id != with_planner
    assert planner_stamp(str(moved)) != stamp
    for load in (load_engine, load_planner):
        with pytest.raises(WeightsError, match="Expected a folder"):
            load(str(model), str(folder))


CONFIG = """\
datasets: {{demo: {{path: demo}}}}
output: results
prompts: [{{id: a, text: Measure the brain.}}]
{}
"""


def test_the_configuration_names_the_planner(folder: Path, tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    for text, planner in (
        ("", "builtin"),
        ("agent: {planner: builtin}", "builtin"),
        ("agent: {}", "builtin"),
        ("agent: {planner: planner}", str(folder)),
        (f"agent: {{planner: {folder}}}", str(folder)),
    ):
        file.write_text(CONFIG.format(text))
        assert load_config(file).planner == planner


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("agent: {planer: builtin}", "unknown key 'planer'; did you mean 'planner'"),
        ("agent: builtin", r"agent: expected object"),
        ("agent: {planner: built-in}", r"agent\.planner: Expected a folder .*built-in"),
        ("agent: {planner: empty}", r"agent\.planner: Expected config\.json"),
        ("agent: {planner: pickled}", r"agent\.planner: Expected weights as safetensors .*pickled weights"),
    ],
)
def test_a_wrong_planner_is_refused_before_anything_starts(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "pickled").mkdir()
    (tmp_path / "pickled" / "config.json").write_text("{}")
    (tmp_path / "pickled" / "pytorch_model.bin").write_bytes(b"")
    (tmp_path / "config.yaml").write_text(CONFIG.format(text))
    with pytest.raises(ConfigError, match=said):
        load_config(tmp_path / "config.yaml")


@pytest.mark.parametrize("index", ['{"weight_map": {"a": "../other/model.safetensors"}}', '{"weight_map": 1}', "{"])
def test_weights_outside_the_folder_are_refused_as_no_hash_covers_them(folder: Path, index: str) -> None:
    (folder / "model.safetensors.index.json").write_text(index)
    with pytest.raises(WeightsError, match=r"index\.json") as caught:
        planner_id(str(folder))
    assert caught.value.code == "planner_index"


def test_only_what_is_read_counts(folder: Path) -> None:
    (folder / "notes.md").write_text("x")
    (folder / ".hidden.json").write_text("{}")
    names = {path.name for path in planner_files(folder)}
    assert {"config.json", "model.safetensors", "tokenizer.json"} <= names
    assert not names & {"notes.md", ".hidden.json"}
