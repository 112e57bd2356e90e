"""Word pieces of what people type; what a program consists of are terminals and never comes from text."""

from __future__ import annotations

import json
import string
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

from vp_engine.errors import WeightsError

MAX_PROMPT_TOKENS = 192
"""Prompts that take more are refused: nothing this long was ever trained on."""

SPECIAL: tuple[str, ...] = ("[PAD]", "[UNK]", "[CLS]", "[SEP]")
"""First entries of every vocabulary, in this order."""

_, _UNKNOWN, _START, _END = SPECIAL

_FREQUENT = 4096


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
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token=_UNKNOWN, max_input_chars_per_word=64))
    _dress(tokenizer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{_START} $A {_END}", special_tokens=[(mark, vocabulary[mark]) for mark in (_START, _END)]
    )
    return tokenizer


def frequent_pieces(prompts: Iterable[str]) -> list[str]:
    """Word pieces for a model without a pre-trained reader: all characters, and the words that occur most often.

    The library's own trainer gives other pieces at every run.
    """
    tokenizer = Tokenizer(models.WordPiece(unk_token=_UNKNOWN))
    _dress(tokenizer)
    counts = Counter(
        word
        for prompt in prompts
        for word, _ in tokenizer.pre_tokenizer.pre_tokenize_str(tokenizer.normalizer.normalize_str(prompt))
    )
    letters = sorted({letter for word in counts for letter in word} | set(string.ascii_lowercase + string.digits))
    words = sorted((word for word in counts if len(word) > 1), key=lambda word: (-counts[word], word))
    return [*SPECIAL, *letters, *(f"##{letter}" for letter in letters), *words[:_FREQUENT]]


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
