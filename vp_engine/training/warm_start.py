"""Begin the training of the language model from weights that were released for an earlier program language."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import cast

import torch
from tokenizers import Tokenizer
from torch import Tensor

from vp_engine.agent.model import TOKENIZER_FILE, LanguageModel, load_model
from vp_engine.agent.terminals import TERMINALS, split_terminal
from vp_engine.agent.tokenizer import load_tokenizer

_EMBEDDING = "llama.model.embed_tokens.weight"
_TIED = "llama.lm_head.weight"
_PHI = "phi."
_OWN_SHARE = 0.3
"""How far a new terminal lies from the mean of its kind, in units of a terminal's length."""
_NAMED = 0.85
"""Share of its name in what sets a new terminal apart; the rest is noise."""


def warm_start(folder: Path) -> tuple[LanguageModel, Tokenizer]:
    """Read released weights and give them the terminals of the language as it is now.

    All other tensors and the tokenizer stay. Terminals are told by their names, wherever they stood; those that left
    the language are dropped. A new one begins at the mean of its kind, which is never more probable than the best of
    it, and a little towards what the reader makes of its name; the first ones of a kind that is new begin at their
    names. So weights that were not trained any further behave as before as long as no new terminal is wanted.

    Parameters
    ----------
    folder : Path
        With `config.json`, `tokenizer.json` and `model.safetensors`.

    Raises
    ------
    WeightsError
        If the files are missing or malformed.
    """
    tokenizer = load_tokenizer(folder / TOKENIZER_FILE)
    old = load_model(folder, terminals=())
    model = LanguageModel(replace(old.config, terminals=TERMINALS))
    weights = old.state_dict()
    table_VH = _table(old, tokenizer)
    model.load_state_dict({**weights, _EMBEDDING: table_VH, _TIED: table_VH})
    return model, tokenizer


@torch.no_grad()
def keep_of_start(trained: LanguageModel, folder: Path, share: float) -> LanguageModel:
    """Average what was trained on with what it began from, so that less of that is forgotten.

    Parameters
    ----------
    trained : LanguageModel
        After training; it is changed.
    folder : Path
        Released weights that it began from.
    share : float
        Of the released weights in the average, 0 to 1. Terminals that were new, and the head of φ, whose codes change
        with the structures there are, stay as they were trained.

    References
    ----------
    Wortsman et al. 2022, *Robust fine-tuning of zero-shot models* (WiSE-FT).
    """
    begun, _ = warm_start(folder)
    known = set(load_model(folder, terminals=()).config.terminals)
    new_V = torch.tensor([terminal not in known for terminal in TERMINALS])
    before, after = begun.state_dict(), trained.state_dict()
    for name, weight in after.items():
        if name.startswith(_PHI):
            continue
        mixed = torch.lerp(weight, before[name], share)
        if name in (_EMBEDDING, _TIED):
            mixed[new_V] = weight[new_V]
        after[name] = mixed
    trained.load_state_dict(after)
    return trained


@torch.no_grad()
def _table(old: LanguageModel, tokenizer: Tokenizer) -> Tensor:
    """Vectors of all terminals, (V, H)."""
    before_VH = cast("Tensor", old.llama.get_input_embeddings().weight)
    known = {terminal: row for row, terminal in enumerate(old.config.terminals)}
    kinds: dict[str, list[int]] = {}
    for terminal in filter(known.__contains__, TERMINALS):
        kinds.setdefault(split_terminal(terminal)[0], []).append(known[terminal])
    length = float(before_VH.norm(dim=1).mean())
    rng = torch.Generator().manual_seed(0)
    rows: list[Tensor] = []
    for terminal in TERMINALS:
        if terminal in known:
            rows.append(before_VH[known[terminal]])
            continue
        kind, name = split_terminal(terminal)
        noise_H = torch.randn(before_VH.shape[1], generator=rng)
        own_H = (1.0 - _NAMED**2) ** 0.5 * noise_H / noise_H.norm()
        if name:
            named_H = name_vector(old, tokenizer, name)
            own_H = own_H + _NAMED * named_H / named_H.norm()
        if kind in kinds:
            rows.append(before_VH[kinds[kind]].mean(0) + _OWN_SHARE * length * own_H)
        else:
            rows.append(length * own_H)
    return torch.stack(rows)


@torch.no_grad()
def name_vector(model: LanguageModel, tokenizer: Tokenizer, name: str) -> Tensor:
    """What the reader makes of the name of a terminal, (H,)."""
    ids = torch.tensor([tokenizer.encode(name.replace("_", " ")).ids])
    named_H: Tensor = model.bridge(model.reader(input_ids=ids).last_hidden_state[0, 1:-1]).mean(0)
    return named_H
