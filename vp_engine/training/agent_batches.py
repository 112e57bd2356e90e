"""Examples of the language as padded batches."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from random import Random

import numpy as np
import torch
from tokenizers import Tokenizer
from torch import Tensor

from vp_engine.agent.dialogue import Dialogues, Part, Shown, Spoken, Written, collate, context_terminals, length_of
from vp_engine.agent.language.generator import Example, draw_example, seeded
from vp_engine.agent.language.lexicon import Split
from vp_engine.agent.terminals import MOD, TERMINALS, split_terminal
from vp_engine.environment.values import FEATURES

IGNORED = -100
"""Target of positions without a loss."""

Appearances = Mapping[str, np.ndarray]
"""Image features by contrast, each (N, C) float32: what `Example.shown` is drawn from."""


@dataclass(frozen=True, slots=True)
class Encoded:
    """One dialogue.

    Attributes
    ----------
    parts : list of Part
        As the model reads it.
    targets : list of int
        Terminals inside programs, `IGNORED` at all other positions.
    mods : list of (int, str)
        Positions of `<MOD>` and the structures they stand for.
    """

    parts: list[Part]
    targets: list[int]
    mods: list[tuple[int, str]]


@dataclass(frozen=True, slots=True)
class Batch:
    """Padded dialogues.

    Attributes
    ----------
    dialogues : Dialogues
        Inputs.
    targets_BT : (B, T) int64 Tensor
        What stands at each position of a program.
    mod_rows_M, mod_columns_M : (M,) int64 Tensor
        Where the `<MOD>` are.
    structures : list of str
        What they stand for.
    """

    dialogues: Dialogues
    targets_BT: Tensor
    mod_rows_M: Tensor
    mod_columns_M: Tensor
    structures: list[str]

    def to(self, device: str) -> Batch:
        """Return the same on another device."""
        return replace(
            self,
            dialogues=self.dialogues.to(device),
            targets_BT=self.targets_BT.to(device),
            mod_rows_M=self.mod_rows_M.to(device),
            mod_columns_M=self.mod_columns_M.to(device),
        )


class Encoder:
    """From examples to what the model reads.

    Parameters
    ----------
    tokenizer : Tokenizer
        Of texts.
    appearances : mapping of str to array
        Image features by contrast; without those of a contrast its examples show zeros.
    """

    def __init__(self, tokenizer: Tokenizer, appearances: Appearances) -> None:
        self.tokenizer = tokenizer
        self.ids: Mapping[str, int] = {terminal: number for number, terminal in enumerate(TERMINALS)}
        self._appearances = appearances

    def encode(self, example: Example, rng: Random) -> Encoded:
        """One dialogue with targets on its programs; `rng` draws the image that is shown in it, if one is."""
        parts: list[Part] = [
            self._written(context_terminals(example.images, example.sessions, example.scope)),
            self._spoken(example.prompt),
        ]
        targets = [IGNORED] * length_of(parts)
        mods: list[tuple[int, str]] = []
        for index, step in enumerate(example.steps):
            if index:
                heard = example.observations[index - 1]
                read = self._shown(example.shown, rng) if heard == "features" else self._spoken(heard)
                parts += [self._written(["observation"]), read]
                targets += [IGNORED] * (1 + length_of([read]))
            mods += [
                (len(targets) + 1 + place, split_terminal(step[place - 1])[1])
                for place, terminal in enumerate(step)
                if terminal == MOD
            ]
            written = self._written(["program", *step])
            parts.append(written)
            targets += [IGNORED, *written.terminals[1:]]
        return Encoded(parts, targets, mods)

    def batch(self, encoded: Sequence[Encoded]) -> Batch:
        """Pad dialogues on the right to the longest of them."""
        length = max(len(one.targets) for one in encoded)
        return Batch(
            dialogues=collate([one.parts for one in encoded], terminals=len(TERMINALS), features=FEATURES),
            targets_BT=torch.tensor([one.targets + [IGNORED] * (length - len(one.targets)) for one in encoded]),
            mod_rows_M=torch.tensor([row for row, one in enumerate(encoded) for _ in one.mods], dtype=torch.int64),
            mod_columns_M=torch.tensor([column for one in encoded for column, _ in one.mods], dtype=torch.int64),
            structures=[name for one in encoded for _, name in one.mods],
        )

    def _written(self, terminals: Sequence[str]) -> Written:
        return Written(tuple(self.ids[terminal] for terminal in terminals))

    def _spoken(self, text: str) -> Spoken:
        return Spoken(tuple(self.tokenizer.encode(text).ids))

    def _shown(self, contrast: str, rng: Random) -> Shown:
        rows = self._appearances.get(contrast)
        return Shown(np.zeros(FEATURES, np.float32) if rows is None else rows[rng.randrange(len(rows))])


def training_batches(
    encoder: Encoder,
    *,
    seed: int,
    first_step: int,
    tokens_per_batch: int,
    split: Split = "train",
    looking: bool = False,
) -> Iterator[Batch]:
    """Batches without end; from the same seed and step on always the same ones.

    Examples of one pool are sorted by length, so that little is padding, cut into batches with about the same
    number of tokens, and these are shuffled.

    Parameters
    ----------
    encoder : Encoder
        Makes dialogues of the examples.
    seed : int
        Of the whole training.
    first_step : int
        Number of batches already used, for resuming.
    tokens_per_batch : int
        Rows times length of a batch, about.
    split : str
        Language to draw from.
    looking : bool
        Only examples in which image features are read.
    """
    step = first_step
    while True:
        pool, offset = divmod(step, _BATCHES_PER_POOL)
        rng = seeded(seed, pool)
        encoded: list[Encoded] = []
        tokens = 0
        while tokens < _BATCHES_PER_POOL * tokens_per_batch:
            example = _draw(split, rng)
            if looking and not example.shown:
                continue
            encoded.append(encoder.encode(example, rng))
            tokens += len(encoded[-1].targets)
        encoded.sort(key=lambda one: len(one.targets))
        rows: list[list[Encoded]] = [[] for _ in range(_BATCHES_PER_POOL)]
        before = 0
        for one in encoded:
            rows[min(before * _BATCHES_PER_POOL // tokens, _BATCHES_PER_POOL - 1)].append(one)
            before += len(one.targets)
        rng.shuffle(rows)
        for row in rows[offset:]:
            yield encoder.batch(row)
        step += _BATCHES_PER_POOL - offset


def _draw(split: Split, rng: Random) -> Example:
    """One example; often the shorter of two, as people mostly ask short questions."""
    drawn = [draw_example(split, rng) for _ in range(2 if rng.random() < _SHORTER else 1)]
    return min(drawn, key=lambda example: len(example.prompt))


_BATCHES_PER_POOL = 32
_SHORTER = 0.7
