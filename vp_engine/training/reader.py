"""Weights of a pre-trained encoder for the reader of the language model, cut down to what it needs."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor

from vp_engine.agent.model import MAX_WORDS, LanguageModel
from vp_engine.agent.tokenizer import SPECIAL, build_tokenizer
from vp_engine.errors import ConfigError

_VOCABULARY_FILE = "vocab.txt"
_WEIGHTS_FILE = "model.safetensors"
_WORDS = "embeddings.word_embeddings.weight"
_POSITIONS = "embeddings.position_embeddings.weight"


@dataclass(frozen=True, slots=True)
class PretrainedReader:
    """Word pieces that are kept and the weights that go with them.

    Attributes
    ----------
    pieces : list of str
        `SPECIAL` first.
    weights : dict of str to Tensor
        By their names in `transformers.BertModel`.
    """

    pieces: list[str]
    weights: dict[str, Tensor]

    def load_into(self, model: LanguageModel) -> None:
        """Give the reader of a model these weights; deeper layers than it has are left out."""
        wanted = model.reader.state_dict()
        model.reader.load_state_dict({name: self.weights[name] for name in wanted})


def pretrained_reader(folder: Path, *, prompts: Iterable[str], pieces: int) -> PretrainedReader:
    """Read a BERT encoder of uncased English.

    Parameters
    ----------
    folder : Path
        With `vocab.txt` and `model.safetensors`, such as all-MiniLM-L6-v2's.
    prompts : iterable of str
        Whose word pieces are kept whatever their rank.
    pieces : int
        How many of the most frequent pieces to keep beside them; BERT's vocabulary is ordered by frequency.

    Raises
    ------
    ConfigError
        If the folder does not hold these files.
    """
    for name in (_VOCABULARY_FILE, _WEIGHTS_FILE):
        if not (folder / name).is_file():
            raise ConfigError(f"--reader: expected {name} in {folder}, the folder of a BERT encoder")
    known = (folder / _VOCABULARY_FILE).read_text(encoding="utf-8").splitlines()
    candidates = [piece for piece in known if _usable(piece)]
    whole = build_tokenizer([*SPECIAL, *candidates])
    used = {piece for prompt in prompts for piece in whole.encode(prompt).tokens}
    frequent = {piece for piece in candidates if len(piece.removeprefix("##")) == 1} | set(candidates[:pieces])
    kept = [*SPECIAL, *(piece for piece in candidates if piece in frequent or piece in used)]
    numbers = {piece: number for number, piece in enumerate(known)}
    weights = load_file(folder / _WEIGHTS_FILE)
    weights[_WORDS] = weights[_WORDS][torch.tensor([numbers[piece] for piece in kept])]
    weights[_POSITIONS] = weights[_POSITIONS][:MAX_WORDS]
    return PretrainedReader(kept, weights)


def _usable(piece: str) -> bool:
    """Whether a piece can come up in English: no mark of the vocabulary, no letters of other scripts."""
    return piece.isascii() and not (piece.startswith("[") and piece.endswith("]"))
