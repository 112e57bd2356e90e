"""One tokenizer for both sides: byte-level BPE for prompts, one token per terminal for programs.

Terminals are entries of the vocabulary that no merge leads to: no text a user can type becomes one.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path

from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

from vp_engine.agent.terminals import MAX_SESSIONS, TERMINALS
from vp_engine.errors import WeightsError

MAX_PROMPT_TOKENS = 192
"""Prompts that take more are refused: nothing this long was ever trained on."""

_BPE_VOCABULARY = 1536


def train_tokenizer(prompts: Iterable[str]) -> Tokenizer:
    """Learn the merges of the prompt side and add the terminals of the program side.

    Parameters
    ----------
    prompts : iterable of str
        Prompts of the training language.
    """
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.NFKC(), normalizers.Lowercase(), normalizers.Replace("\n", " . "), normalizers.Strip()]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=True)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=_BPE_VOCABULARY,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(prompts, trainer)
    state = json.loads(tokenizer.to_str())
    vocabulary = state["model"]["vocab"]
    for terminal in TERMINALS:
        vocabulary[_spelling(terminal)] = len(vocabulary)
    return Tokenizer.from_str(json.dumps(state))


def load_tokenizer(path: Path) -> Tokenizer:
    """Read a tokenizer file and check that it knows the terminals of this version.

    Raises
    ------
    WeightsError
        If it cannot be read, or its terminals are others.
    """
    try:
        tokenizer = Tokenizer.from_str(path.read_text(encoding="utf-8"))
    # the library raises a bare Exception on malformed files
    except Exception as error:
        raise WeightsError(f"{path.name} is not a readable tokenizer: {error}", code="tokenizer") from error
    missing = [terminal for terminal in TERMINALS if tokenizer.token_to_id(_spelling(terminal)) is None]
    if missing:
        raise WeightsError(
            f"the tokenizer was made for another program language: it lacks {', '.join(missing[:3])}; "
            "train the agent again with `vp train agent`",
            code="tokenizer",
        )
    return tokenizer


def terminal_ids(tokenizer: Tokenizer) -> dict[str, int]:
    """Token number of every terminal."""
    vocabulary = tokenizer.get_vocab()
    return {terminal: vocabulary[_spelling(terminal)] for terminal in TERMINALS}


def context_terminals(images: Sequence[str], sessions: int, scope: str) -> list[str]:
    """Terminals in front of a prompt.

    Parameters
    ----------
    images : sequence of str
        Suffixes at hand, the preferred first; those outside the vocabulary are left out.
    sessions : int
        Number of sessions, at least 1.
    scope : str
        ``session`` or ``participant``.
    """
    known = [f"has:{suffix}" for suffix in images if f"has:{suffix}" in TERMINALS]
    return ["begin", f"scope:{scope}", f"sessions:{min(sessions, MAX_SESSIONS)}", *known, "prompt"]


def _spelling(terminal: str) -> str:
    return f"<{terminal}>"
