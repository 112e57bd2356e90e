"""The language model of the agent: a reader of texts, a small LLaMA that writes programs, and a head for φ.

Shapes: B dialogues, T positions, N texts of L word pieces, F image features of length C, H width of the writer,
V terminals, P length of φ.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor, nn
from transformers import BertConfig, BertModel, LlamaConfig, LlamaForCausalLM

from vp_engine.agent.dialogue import Dialogues
from vp_engine.agent.quantized import load_quantized, save_quantized
from vp_engine.agent.terminals import TERMINALS
from vp_engine.environment.values import FEATURES
from vp_engine.errors import WeightsError

CONFIG_FILE = "config.json"
WEIGHTS_FILE = "model.safetensors"
TOKENIZER_FILE = "tokenizer.json"

MAX_WORDS = 256
"""Longest text the reader takes, in word pieces."""

_GROUPS = 6
_LARGEST = 1 << 20
_MOST_LAYERS = 64


@dataclass(frozen=True, slots=True)
class AgentConfig:
    """Sizes of the language model and its limits at run time.

    Attributes
    ----------
    words : int
        Number of word pieces.
    terminals : tuple of str
        Terminals by number.
    hidden, layers, heads, feedforward : int
        Of the writer, as in LLaMA.
    reader_hidden, reader_layers, reader_heads, reader_feedforward : int
        Of the reader, as in BERT.
    features : int
        Length of pooled image features.
    phi_dim : int
        Length of φ.
    max_tokens : int
        Longest dialogue, in positions.
    min_confidence : float
        A program in which some choice was less probable than this is not trusted, and refused as ambiguous.
    """

    words: int
    terminals: tuple[str, ...] = TERMINALS
    hidden: int = 192
    layers: int = 4
    heads: int = 6
    feedforward: int = 512
    reader_hidden: int = 384
    reader_layers: int = 3
    reader_heads: int = 12
    reader_feedforward: int = 1536
    features: int = FEATURES
    phi_dim: int = 32
    max_tokens: int = 1024
    min_confidence: float = 0.0

    def writer(self) -> LlamaConfig:
        """Return the writer as a configuration of transformers."""
        return LlamaConfig(
            vocab_size=len(self.terminals),
            hidden_size=self.hidden,
            intermediate_size=self.feedforward,
            num_hidden_layers=self.layers,
            num_attention_heads=self.heads,
            num_key_value_heads=self.heads,
            max_position_embeddings=self.max_tokens,
            tie_word_embeddings=True,
            use_cache=True,
        )

    def reader(self) -> BertConfig:
        """Return the reader as a configuration of transformers."""
        return BertConfig(
            vocab_size=self.words,
            hidden_size=self.reader_hidden,
            intermediate_size=self.reader_feedforward,
            num_hidden_layers=self.reader_layers,
            num_attention_heads=self.reader_heads,
            max_position_embeddings=MAX_WORDS,
            pad_token_id=0,
            hidden_dropout_prob=0.0,
            attention_probs_dropout_prob=0.0,
        )


class LanguageModel(nn.Module):
    """Reader, writer and φ head (Hoopes et al. 2024, section 3: fully connected layer and SiLU)."""

    def __init__(self, config: AgentConfig) -> None:
        super().__init__()
        self.config = config
        self.reader = BertModel(config.reader(), add_pooling_layer=False)
        self.bridge = nn.Linear(config.reader_hidden, config.hidden)
        self.look = nn.Linear(config.features, config.hidden)
        self.llama = LlamaForCausalLM(config.writer())
        self.phi = nn.Sequential(nn.Linear(config.hidden, config.phi_dim), nn.SiLU())

    def inputs(self, dialogues: Dialogues) -> Tensor:
        """Vectors (B, T, H) of all positions: of terminals, of texts as the reader takes them, of image features."""
        table_VH = self.llama.get_input_embeddings().weight
        sources = [table_VH, self._read(dialogues.words_NL).flatten(0, 1), self.look(dialogues.features_FC)]
        vectors: Tensor = torch.cat(sources)[dialogues.sources_BT]
        return vectors

    def _read(self, words_NL: Tensor) -> Tensor:
        """Texts as the reader takes them, (N, L, H); those of one length at a time, to spend little on padding."""
        lengths_N = (words_NL != 0).sum(1)
        read_NLH = words_NL.new_zeros((*words_NL.shape, self.config.hidden), dtype=self.bridge.weight.dtype)
        for some in lengths_N.argsort(stable=True).tensor_split(min(_GROUPS, len(words_NL))):
            words_ML = words_NL[some, : int(lengths_N[some].max())]
            states_MLR = self.reader(input_ids=words_ML, attention_mask=(words_ML != 0).long()).last_hidden_state
            read_NLH[some, : words_ML.shape[1]] = self.bridge(states_MLR).to(read_NLH.dtype)
        return read_NLH

    def hidden_states(self, dialogues: Dialogues) -> Tensor:
        """Hidden states (B, T, H); padding behind never reaches what is before it."""
        states: Tensor = self.llama.model(inputs_embeds=self.inputs(dialogues), use_cache=False).last_hidden_state
        return states

    def step(self, inputs_1TH: Tensor, cache: Any | None) -> tuple[Tensor, Tensor, Any]:
        """Take in more positions of one dialogue.

        Returns
        -------
        logits_V : Tensor
            For the next terminal.
        hidden_H : Tensor
            At the last position.
        cache
            To hand in again with the positions that follow.
        """
        output = self.llama.model(inputs_embeds=inputs_1TH, past_key_values=cache, use_cache=True)
        hidden_H = output.last_hidden_state[0, -1]
        return self.llama.lm_head(hidden_H), hidden_H, output.past_key_values

    def embedded(self, terminals: list[int]) -> Tensor:
        """Vectors (1, T, H) of terminals."""
        vectors: Tensor = self.llama.get_input_embeddings()(torch.tensor([terminals]))
        return vectors


def save_model(model: LanguageModel, folder: Path) -> None:
    """Write configuration and weights of a language model into a folder; matrices in 8 bits per number."""
    folder.mkdir(parents=True, exist_ok=True)
    save_quantized(_own_weights(model), folder / WEIGHTS_FILE)
    text = json.dumps(asdict(model.config), indent=2, sort_keys=True)
    (folder / CONFIG_FILE).write_text(f"{text}\n", encoding="utf-8")


def load_model(folder: Path, *, terminals: Sequence[str] = TERMINALS) -> LanguageModel:
    """Read a language model, strictly: the same tensors with the same shapes, all finite.

    Parameters
    ----------
    folder : Path
        Of the weights.
    terminals : sequence of str
        What it must be able to write; all of the language, but for weights that are trained on.

    Raises
    ------
    WeightsError
        If files are missing or malformed (``unreadable``), settings unknown or without sense (``config``), if it was
        made for another program language (``terminals``), or tensors are missing or unknown (``tensors``), without
        their scales (``scales``), of another data type (``dtype``) or shape (``shape``), or not finite
        (``not_finite``).
    """
    config = _read_config(folder / CONFIG_FILE)
    try:
        weights = load_quantized(folder / WEIGHTS_FILE)
    except (OSError, ValueError, SafetensorError) as error:
        raise WeightsError(f"the agent's weights cannot be read: {error}", code="unreadable") from error
    if missing := [terminal for terminal in terminals if terminal not in config.terminals]:
        raise WeightsError(
            f"the agent was made for another program language: it lacks {', '.join(missing[:3])}; "
            "train it on with `vp train agent --start`",
            code="terminals",
        )
    try:
        with torch.device("meta"):  # sizes without memory: they may be made up
            expected = {name: tensor.shape for name, tensor in _own_weights(LanguageModel(config)).items()}
    except (TypeError, ValueError, LookupError, RuntimeError, ArithmeticError) as error:
        raise WeightsError(f"the agent of {CONFIG_FILE} cannot be built: {error}", code="config") from error
    if set(weights) != set(expected):
        odd = sorted(set(weights) ^ set(expected))
        raise WeightsError(f"the agent's weights have other tensors than its configuration: {odd[:3]}", code="tensors")
    for name, tensor in weights.items():
        if tensor.shape != expected[name]:
            raise WeightsError(
                f"{name}: expected shape {tuple(expected[name])}, got {tuple(tensor.shape)}", code="shape"
            )
        if not tensor.isfinite().all():
            raise WeightsError(f"{name} holds numbers that are not finite", code="not_finite")
    model = LanguageModel(config)
    # the output layer shares the embedding and is the only key that is not in the file
    full = {**weights, _TIED: weights[_EMBEDDING]}
    model.load_state_dict(full, strict=True)
    return model.eval().requires_grad_(requires_grad=False)


def _read_config(path: Path) -> AgentConfig:
    try:
        settings = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise WeightsError(f"the agent's {path.name} cannot be read: {error}", code="unreadable") from error
    known = {field.name for field in fields(AgentConfig)}
    got = set(settings) if isinstance(settings, dict) else {type(settings).__name__}
    if odd := sorted(got ^ known):
        raise WeightsError(
            f"the agent's {path.name} has settings unknown or missing: {', '.join(odd[:3])}; restore it", code="config"
        )
    terminals, sure = settings["terminals"], settings["min_confidence"]
    sizes = [value for name, value in settings.items() if name not in ("terminals", "min_confidence")]
    if (
        not isinstance(terminals, list)
        or not all(isinstance(terminal, str) for terminal in terminals)
        or not all(type(size) is int and 0 < size <= _LARGEST for size in sizes)
        or max(settings["layers"], settings["reader_layers"]) > _MOST_LAYERS
        or any(settings[f"{part}hidden"] % settings[f"{part}heads"] for part in ("", "reader_"))
        or type(sure) not in (int, float)
        or not 0 <= sure <= 1
    ):
        raise WeightsError(f"the agent's {path.name} holds sizes that no model has; restore it", code="config")
    return AgentConfig(**settings | {"terminals": tuple(terminals)})


_TIED = "llama.lm_head.weight"
_EMBEDDING = "llama.model.embed_tokens.weight"


def _own_weights(model: LanguageModel) -> dict[str, Tensor]:
    return {name: tensor for name, tensor in model.state_dict().items() if name != _TIED}
