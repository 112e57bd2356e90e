"""The language model of the agent: a small LLaMA decoder with a head that turns `<MOD>` positions into φ."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import LlamaConfig, LlamaForCausalLM

from vp_engine.errors import WeightsError

CONFIG_FILE = "config.json"
WEIGHTS_FILE = "model.safetensors"
TOKENIZER_FILE = "tokenizer.json"


@dataclass(frozen=True, slots=True)
class AgentConfig:
    """Sizes of the language model and its limits at run time.

    Attributes
    ----------
    vocabulary : int
        Number of tokens.
    hidden, layers, heads, feedforward : int
        As in LLaMA.
    phi_dim : int
        Length of φ.
    max_tokens : int
        Longest dialogue, in tokens.
    min_confidence : float
        A program in which some choice was less probable than this is not trusted, and refused as ambiguous.
    """

    vocabulary: int
    hidden: int = 192
    layers: int = 4
    heads: int = 6
    feedforward: int = 512
    phi_dim: int = 32
    max_tokens: int = 1024
    min_confidence: float = 0.0

    def llama(self) -> LlamaConfig:
        """Return the same as a configuration of transformers."""
        return LlamaConfig(
            vocab_size=self.vocabulary,
            hidden_size=self.hidden,
            intermediate_size=self.feedforward,
            num_hidden_layers=self.layers,
            num_attention_heads=self.heads,
            num_key_value_heads=self.heads,
            max_position_embeddings=self.max_tokens,
            tie_word_embeddings=True,
            use_cache=True,
        )


class LanguageModel(nn.Module):
    """LLaMA decoder and φ head (Hoopes et al. 2024, section 3: fully connected layer and SiLU)."""

    def __init__(self, config: AgentConfig) -> None:
        super().__init__()
        self.config = config
        self.llama = LlamaForCausalLM(config.llama())
        self.phi = nn.Sequential(nn.Linear(config.hidden, config.phi_dim), nn.SiLU())

    def hidden_states(self, ids_BT: Tensor) -> Tensor:
        """Hidden states (B, T, H) of right-padded token sequences; padding behind never reaches what is before it."""
        states: Tensor = self.llama.model(input_ids=ids_BT, use_cache=False).last_hidden_state
        return states

    def step(self, ids_1T: Tensor, cache: Any | None) -> tuple[Tensor, Tensor, Any]:
        """Read more tokens of one dialogue.

        Returns
        -------
        logits_V : Tensor
            For the next token.
        hidden_H : Tensor
            At the last token.
        cache
            To hand in again with the tokens that follow.
        """
        output = self.llama.model(input_ids=ids_1T, past_key_values=cache, use_cache=True)
        hidden_H = output.last_hidden_state[0, -1]
        return self.llama.lm_head(hidden_H), hidden_H, output.past_key_values


def save_model(model: LanguageModel, folder: Path) -> None:
    """Write configuration and weights of a language model into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    weights = {name: tensor.detach().to(torch.bfloat16).contiguous() for name, tensor in _own_weights(model).items()}
    save_file(weights, folder / WEIGHTS_FILE)
    text = json.dumps(asdict(model.config), indent=2, sort_keys=True)
    (folder / CONFIG_FILE).write_text(f"{text}\n", encoding="utf-8")


def load_model(folder: Path) -> LanguageModel:
    """Read a language model, strictly: the same tensors with the same shapes, all finite.

    Raises
    ------
    WeightsError
        If files are missing or malformed, or tensors are missing, unknown, of another shape, or not finite.
    """
    try:
        config = AgentConfig(**json.loads((folder / CONFIG_FILE).read_text(encoding="utf-8")))
        weights = load_file(folder / WEIGHTS_FILE)
    except (OSError, json.JSONDecodeError, TypeError, SafetensorError) as error:
        raise WeightsError(f"the agent's weights cannot be read: {error}", code="unreadable") from error
    with torch.device("meta"):
        expected = {name: tensor.shape for name, tensor in _own_weights(LanguageModel(config)).items()}
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
    full = {**{name: tensor.float() for name, tensor in weights.items()}}
    full[_TIED] = full[_EMBEDDING]
    model.load_state_dict(full, strict=True)
    return model.eval().requires_grad_(requires_grad=False)


_TIED = "llama.lm_head.weight"
_EMBEDDING = "llama.model.embed_tokens.weight"


def _own_weights(model: LanguageModel) -> dict[str, Tensor]:
    return {name: tensor for name, tensor in model.state_dict().items() if name != _TIED}
