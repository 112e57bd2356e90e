"""Word pieces of what people type; what a program consists of are terminals and never comes from text."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path

from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

from vp_engine.errors import WeightsError

MAX_PROMPT_TOKENS = 192
"""Prompts that take more are refused: nothing this long was ever trained on."""

SPECIAL: tuple[str, ...] = ("[PAD]", "[UNK]", "[CLS]", "[SEP]")
"""First entries of every vocabulary, in this order."""

_TRAINED_VOCABULARY = 4096


def build_tokenizer(pieces: Sequence[str]) -> Tokenizer:
    """Tokenizer over known word pieces: lower case, without accents, as BERT's.

    Parameters
    ----------
    pieces : sequence of str
        `SPECIAL` and then words and ``##`` continuations.

    References
    ----------
    Devlin et al. 2019, *BERT*; Wu et al. 2016 for word pieces.
    """
    vocabulary = {piece: number for number, piece in enumerate(pieces)}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]", max_input_chars_per_word=64))
    _dress(tokenizer)
    start, end = (vocabulary[mark] for mark in ("[CLS]", "[SEP]"))
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", start), ("[SEP]", end)]
    )
    return tokenizer


def train_pieces(prompts: Iterable[str]) -> list[str]:
    """Learn word pieces from prompts, for a model without a pre-trained reader."""
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    _dress(tokenizer)
    trainer = trainers.WordPieceTrainer(
        vocab_size=_TRAINED_VOCABULARY, special_tokens=list(SPECIAL), show_progress=False
    )
    tokenizer.train_from_iterator(prompts, trainer)
    numbers = tokenizer.get_vocab()
    return sorted(numbers, key=numbers.__getitem__)


def _dress(tokenizer: Tokenizer) -> None:
    """What happens to a text before and after its words are cut into pieces."""
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.BertNormalizer(lowercase=True)])
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()


def load_tokenizer(path: Path) -> Tokenizer:
    """Read a tokenizer file.

    Raises
    ------
    WeightsError
        If it is not one of word pieces.
    """
    try:
        text = path.read_text(encoding="utf-8")
        kind = json.loads(text)["model"]["type"]
        tokenizer = Tokenizer.from_str(text)
    # the library raises a bare Exception on malformed files
    except Exception as error:
        raise WeightsError(f"{path.name} is not a readable tokenizer: {error}", code="tokenizer") from error
    if kind != "WordPiece":
        raise WeightsError(
            f"{path.name}: expected word pieces, got {kind}; train the agent again with `vp train agent`",
            code="tokenizer",
        )
    return tokenizer
