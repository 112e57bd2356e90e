"""Examples of the language as padded batches of tokens."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from tokenizers import Tokenizer
from torch import Tensor

from vp_engine.agent.language.generator import Example, draw_example, seeded
from vp_engine.agent.language.lexicon import Split
from vp_engine.agent.terminals import MOD, split_terminal
from vp_engine.agent.tokenizer import context_terminals, terminal_ids

IGNORED = -100
"""Target of positions without a loss."""


@dataclass(frozen=True, slots=True)
class Encoded:
    """One dialogue as tokens.

    Attributes
    ----------
    ids : list of int
        Tokens.
    targets : list of int
        The same tokens inside programs, `IGNORED` elsewhere.
    mods : list of (int, str)
        Positions of `<MOD>` and the structures they stand for.
    """

    ids: list[int]
    targets: list[int]
    mods: list[tuple[int, str]]


@dataclass(frozen=True, slots=True)
class Batch:
    """Padded dialogues.

    Attributes
    ----------
    ids_BT, targets_BT : (B, T) int64 Tensor
        Tokens and targets.
    mod_rows_M, mod_columns_M : (M,) int64 Tensor
        Where the `<MOD>` tokens are.
    structures : list of str
        What they stand for.
    """

    ids_BT: Tensor
    targets_BT: Tensor
    mod_rows_M: Tensor
    mod_columns_M: Tensor
    structures: list[str]


class Encoder:
    """From examples to tokens."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self.tokenizer = tokenizer
        self.ids: Mapping[str, int] = terminal_ids(tokenizer)

    def encode(self, example: Example) -> Encoded:
        """Tokens of a dialogue with targets on its programs."""
        context = context_terminals(example.images, example.sessions, example.scope)
        ids = [self.ids[terminal] for terminal in context] + self.tokenizer.encode(example.prompt).ids
        targets = [IGNORED] * len(ids)
        mods: list[tuple[int, str]] = []
        for index, step in enumerate(example.steps):
            if index:
                read = self.tokenizer.encode(example.observations[index - 1]).ids
                ids += [self.ids["observation"], *read]
                targets += [IGNORED] * (len(read) + 1)
            ids.append(self.ids["program"])
            written = [self.ids[terminal] for terminal in step]
            mods += [
                (len(ids) + place, split_terminal(step[place - 1])[1])
                for place, terminal in enumerate(step)
                if terminal == MOD
            ]
            ids += written
            targets += [IGNORED, *written]
        return Encoded(ids, targets, mods)

    def batch(self, encoded: Sequence[Encoded]) -> Batch:
        """Pad dialogues on the right to the longest of them."""
        length = max(len(one.ids) for one in encoded)
        pad = self.ids["pad"]
        return Batch(
            ids_BT=torch.tensor([one.ids + [pad] * (length - len(one.ids)) for one in encoded]),
            targets_BT=torch.tensor([one.targets + [IGNORED] * (length - len(one.targets)) for one in encoded]),
            mod_rows_M=torch.tensor([row for row, one in enumerate(encoded) for _ in one.mods], dtype=torch.int64),
            mod_columns_M=torch.tensor([column for one in encoded for column, _ in one.mods], dtype=torch.int64),
            structures=[name for one in encoded for _, name in one.mods],
        )


def training_batches(
    encoder: Encoder, *, seed: int, first_step: int, tokens_per_batch: int, split: Split = "train"
) -> Iterator[Batch]:
    """Batches without end; from the same seed and step on always the same ones.

    Examples of one pool are sorted by length, so that little is padding, cut into batches with about the same
    number of tokens, and these are shuffled.

    Parameters
    ----------
    encoder : Encoder
        Makes tokens of the examples.
    seed : int
        Of the whole training.
    first_step : int
        Number of batches already used, for resuming.
    tokens_per_batch : int
        Rows times length of a batch, about.
    split : str
        Language to draw from.
    """
    step = first_step
    while True:
        pool, offset = divmod(step, _BATCHES_PER_POOL)
        rng = seeded(seed, pool)
        encoded: list[Encoded] = []
        tokens = 0
        while tokens < _BATCHES_PER_POOL * tokens_per_batch:
            encoded.append(encoder.encode(draw_example(split, rng)))
            tokens += len(encoded[-1].ids)
        encoded.sort(key=lambda one: len(one.ids))
        rows: list[list[Encoded]] = [[] for _ in range(_BATCHES_PER_POOL)]
        before = 0
        for one in encoded:
            rows[min(before * _BATCHES_PER_POOL // tokens, _BATCHES_PER_POOL - 1)].append(one)
            before += len(one.ids)
        rng.shuffle(rows)
        for row in rows[offset:]:
            yield encoder.batch(row)
        step += _BATCHES_PER_POOL - offset


_BATCHES_PER_POOL = 32
