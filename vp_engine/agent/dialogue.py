"""A dialogue as the language model reads it: terminals, texts and image features, one behind the other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from vp_engine.agent.terminals import MAX_SESSIONS, TERMINALS

Ids = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Spoken:
    """A text: the prompt, or what was read back in words or numbers."""

    words: Ids


@dataclass(frozen=True, slots=True)
class Shown:
    """Pooled image features that were read back, (C,) float32."""

    features: np.ndarray


@dataclass(frozen=True, slots=True)
class Written:
    """Terminals by number: context, programs, marks between the parts."""

    terminals: Ids


Part = Spoken | Shown | Written


@dataclass(frozen=True, slots=True)
class Dialogues:
    """Several dialogues as tensors, padded on the right.

    Every position points into one list of vectors: first the embeddings of all V terminals, then the L word
    vectors of each of the N texts, then the F image features.

    Attributes
    ----------
    sources_BT : (B, T) int64 Tensor
        Where the vector of each position stands in that list.
    words_NL : (N, L) int64 Tensor
        Word pieces of all texts, padded with 0.
    features_FC : (F, C) float32 Tensor
        All image features.
    """

    sources_BT: Tensor
    words_NL: Tensor
    features_FC: Tensor

    def to(self, device: str) -> Dialogues:
        """Return the same on another device."""
        return replace(
            self,
            sources_BT=self.sources_BT.to(device),
            words_NL=self.words_NL.to(device),
            features_FC=self.features_FC.to(device),
        )


def collate(dialogues: Sequence[Sequence[Part]], *, terminals: int, features: int) -> Dialogues:
    """Lay dialogues out as tensors.

    Parameters
    ----------
    dialogues : sequence of sequence of Part
        At least one text in all.
    terminals : int
        How many the model knows (V).
    features : int
        Length of image features (C).
    """
    texts = [part.words for parts in dialogues for part in parts if isinstance(part, Spoken)]
    shown = [part.features for parts in dialogues for part in parts if isinstance(part, Shown)]
    longest = max(map(len, texts))
    rows: list[list[int]] = []
    text = image = 0
    for parts in dialogues:
        row: list[int] = []
        for part in parts:
            match part:
                case Written(ids):
                    row += ids
                case Spoken(words):
                    start = terminals + text * longest
                    row += range(start, start + len(words))
                    text += 1
                case Shown():
                    row.append(terminals + len(texts) * longest + image)
                    image += 1
        rows.append(row)
    length = max(map(len, rows))
    return Dialogues(
        sources_BT=torch.tensor([row + [0] * (length - len(row)) for row in rows]),
        words_NL=torch.tensor([[*words, *[0] * (longest - len(words))] for words in texts]),
        features_FC=torch.from_numpy(np.stack(shown)) if shown else torch.zeros(0, features),
    )


def length_of(parts: Sequence[Part]) -> int:
    """Positions a dialogue takes."""
    length = 0
    for part in parts:
        match part:
            case Written(ids) | Spoken(ids):
                length += len(ids)
            case Shown():
                length += 1
    return length


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
