"""The recipe of the language model: from generated prompts, and a pre-trained reader, to a folder of weights."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import cast

import numpy as np
import torch
from tokenizers import Tokenizer
from torch import Tensor
from torch.nn import functional as F
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from vp_engine.agent.language.generator import draw_example, seeded
from vp_engine.agent.language.lexicon import Split
from vp_engine.agent.model import TOKENIZER_FILE, AgentConfig, LanguageModel, save_model
from vp_engine.agent.phi import structure_phi
from vp_engine.agent.terminals import TERMINALS, split_terminal
from vp_engine.agent.tokenizer import build_tokenizer, frequent_pieces, load_tokenizer
from vp_engine.errors import ConfigError
from vp_engine.training.agent_batches import IGNORED, Appearances, Batch, Encoder, training_batches
from vp_engine.training.checkpoint import load_checkpoint, save_checkpoint
from vp_engine.training.optimizers import MuonAdamW
from vp_engine.training.reader import pretrained_reader
from vp_engine.training.warm_start import keep_of_start, name_vector, warm_start

CHECKPOINT_FILE = "checkpoint.safetensors"
RUN_FILE = "run.json"


@dataclass(frozen=True, slots=True)
class AgentRecipe:
    """Everything that decides a training run, beside the data files.

    Attributes
    ----------
    steps : int
        Optimiser steps.
    tokens_per_batch : int
        Size of a batch, padding included.
    learning_rate, matrix_factor, warmup, weight_decay : float, float, int, float
        Of `MuonAdamW`, with linear warm-up and cosine decay to a tenth.
    reader_factor : float
        Learning rate of a pre-trained reader in units of the others'; its word vectors stay as they are.
    frozen_layers : int
        First layers of a pre-trained reader that stay as they are too.
    mixed : bool
        Whether products of matrices are rounded to bfloat16, which processors with such instructions are faster at.
    looks_only : bool
        Whether only the layer that reads image features is trained, on questions about images: what other vision
        weights ask for.
    kept : float
        Share of the weights that a run began from in those it leaves behind in the end (`keep_of_start`).
    phi_weight : float
        Of the φ loss beside the cross-entropy of program tokens.
    average_decay : float
        Of the running average of the weights, which is what is released.
    hidden, layers, feedforward, heads : int
        Sizes of the writer.
    reader_hidden, reader_layers, reader_heads, reader_feedforward : int
        Sizes of the reader; those of a pre-trained one but for the layers, of which the first are taken.
    pieces : int
        Most frequent word pieces kept of a pre-trained reader.
    tokenizer_prompts : int
        Prompts whose word pieces are kept, or learnt where no reader is given.
    report_every : int
        Steps between lines of the log, validation and checkpoints.
    threads : int
        Of torch.
    seed : int
        Of initial weights and of all examples; the same seed and thread count give the same weights.
    """

    steps: int = 1750
    tokens_per_batch: int = 3072
    learning_rate: float = 1.5e-3
    matrix_factor: float = 3.0
    warmup: int = 100
    weight_decay: float = 0.05
    reader_factor: float = 0.1
    frozen_layers: int = 0
    mixed: bool = False
    looks_only: bool = False
    kept: float = 0.0
    phi_weight: float = 0.3
    average_decay: float = 0.995
    hidden: int = 192
    layers: int = 4
    feedforward: int = 512
    heads: int = 6
    reader_hidden: int = 384
    reader_layers: int = 3
    reader_heads: int = 12
    reader_feedforward: int = 1536
    pieces: int = 18_000
    tokenizer_prompts: int = 20_000
    report_every: int = 100
    threads: int = 1
    seed: int = 1


RECIPES: Mapping[str, AgentRecipe] = MappingProxyType(
    {
        "default": AgentRecipe(),
        # from released weights (--start), when words and programs are added to the language
        "further": AgentRecipe(
            steps=2000, learning_rate=1.0e-3, warmup=60, average_decay=0.99, frozen_layers=2, mixed=True, kept=0.25
        ),
        # from released weights (--start), when the vision network is another
        "looks": AgentRecipe(
            steps=160, tokens_per_batch=1024, learning_rate=2.0e-3, warmup=10, average_decay=0.95, looks_only=True
        ),
        "smoke": AgentRecipe(
            steps=4,
            tokens_per_batch=512,
            hidden=48,
            layers=1,
            feedforward=64,
            reader_hidden=48,
            reader_layers=1,
            reader_heads=4,
            reader_feedforward=64,
            tokenizer_prompts=500,
        ),
    }
)
"""Named recipes of `vp train agent`."""


@dataclass(frozen=True, slots=True)
class Beginning:
    """What a run begins from: random weights but for one of these.

    Attributes
    ----------
    reader : Path or None
        Folder of a pre-trained BERT encoder for the reader.
    weights : Path or None
        Folder of released weights, whatever terminals they know (`warm_start`); sizes, word pieces and word vectors
        are theirs.

    Raises
    ------
    ConfigError
        If both are given.
    """

    reader: Path | None = None
    weights: Path | None = None

    def __post_init__(self) -> None:
        if self.reader is not None and self.weights is not None:
            raise ConfigError(
                "expected --reader or --start, got both; released weights have their own reader", code="start"
            )


FROM_SCRATCH = Beginning()


@dataclass(frozen=True, slots=True)
class Losses:
    """What a batch cost.

    Attributes
    ----------
    cross_entropy : Tensor
        Per terminal of a program.
    phi : Tensor
        Distance of φ from the codes of the structures.
    exact : float
        Share of dialogues without a wrong terminal.
    phi_MP : Tensor
        φ of every segment call.
    """

    cross_entropy: Tensor
    phi: Tensor
    exact: float
    phi_MP: Tensor


def train_agent(
    out: Path,
    *,
    recipe: str = "default",
    steps: int | None = None,
    begin: Beginning = FROM_SCRATCH,
    appearances: Appearances = MappingProxyType({}),
    report: Callable[[str], None] = print,
) -> Path:
    """Train the language model, or go on where a run in the same folder stopped.

    Parameters
    ----------
    out : Path
        Folder for the weights (`config.json`, `tokenizer.json`, `model.safetensors`) and the checkpoint.
    recipe : str
        One of `RECIPES`.
    steps : int, optional
        Shorter or longer than the recipe says.
    begin : Beginning
        What to begin from.
    appearances : mapping of str to array
        Image features by contrast, for the questions about what a scan looks like.
    report : callable
        Takes the lines of the log.

    Returns
    -------
    Path
        The folder.

    Raises
    ------
    ConfigError
        If the recipe does not exist, the reader is none, the weights to begin from have other sizes, or the folder
        holds a run that was started otherwise.
    WeightsError
        If the weights to begin from cannot be read.
    """
    if recipe not in RECIPES:
        raise ConfigError(f"expected a recipe of {', '.join(RECIPES)}, got {recipe!r}", code="recipe")
    chosen = replace(RECIPES[recipe], steps=steps) if steps is not None else RECIPES[recipe]
    out.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(chosen.threads)
    torch.manual_seed(chosen.seed)
    given = {"reader": begin.reader is not None, "weights": begin.weights is not None}
    _same_run(out / RUN_FILE, chosen, **given, contrasts=sorted(appearances))
    pretrained = any(given.values())
    model, tokenizer = _from_weights(out, chosen, begin.weights) if begin.weights else _start(out, chosen, begin.reader)
    for layer in model.reader.encoder.layer[: chosen.frozen_layers if pretrained else 0]:
        layer.requires_grad_(requires_grad=False)
    if chosen.looks_only:
        model.requires_grad_(requires_grad=False).look.requires_grad_(requires_grad=True)
    optimizer = _optimizer(model, chosen, pretrained=pretrained)
    average = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(chosen.average_decay))
    averaged = cast("LanguageModel", average.module)
    done = 0
    if (out / CHECKPOINT_FILE).exists():
        load_checkpoint(out / CHECKPOINT_FILE, model, average, optimizer.optimizers)
        done = int(average.n_averaged)
    encoder = Encoder(tokenizer, appearances)
    held_out = [batch for split in ("val", "test") for batch in _held_out(encoder, split, chosen.seed)]
    batches = training_batches(
        encoder,
        seed=chosen.seed,
        first_step=done,
        tokens_per_batch=chosen.tokens_per_batch,
        looking=chosen.looks_only,
    )
    started, seen = time.monotonic(), 0
    recent: list[tuple[float, float, float]] = []
    model.train()
    for step in range(done, chosen.steps):
        optimizer.schedule(learning_rate(step, chosen))
        batch = next(batches)
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=chosen.mixed):
            losses = batch_losses(model, batch)
        (losses.cross_entropy + chosen.phi_weight * losses.phi).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        average.update_parameters(model)
        seen += batch.targets_BT.numel()
        recent.append((losses.cross_entropy.item(), losses.phi.item(), losses.exact))
        if (step + 1) % chosen.report_every == 0 or step + 1 == chosen.steps:
            rate = seen / (time.monotonic() - started)
            report(_line(step + 1, np.mean(recent, axis=0), validate(averaged, held_out), rate))
            recent.clear()
            save_checkpoint(out / CHECKPOINT_FILE, model, average, optimizer.optimizers)
            save_model(averaged, out)
    if begin.weights and chosen.kept:
        save_model(keep_of_start(averaged, begin.weights, chosen.kept), out)
    return out


def _same_run(path: Path, recipe: AgentRecipe, **given: object) -> None:
    """Keep what a run was started with, and refuse to go on with anything else but its length."""
    asked = json.loads(json.dumps({**asdict(replace(recipe, steps=0, threads=0, report_every=0)), **given}))
    if not path.exists():
        path.write_text(json.dumps(asked, indent=1) + "\n", encoding="utf-8")
    before = json.loads(path.read_text(encoding="utf-8"))
    if other := sorted(name for name in before.keys() | asked.keys() if before.get(name) != asked.get(name)):
        raise ConfigError(
            f"{path.parent} holds a run that was started otherwise ({', '.join(other)}); go on as it was started, or "
            "give another folder",
            code="other_run",
        )


def _start(out: Path, recipe: AgentRecipe, reader: Path | None) -> tuple[LanguageModel, Tokenizer]:
    """Model and tokenizer before the first step; of a run that is resumed, with weights still to be read."""
    pretrained = None
    if not (out / CHECKPOINT_FILE).exists():
        rng = seeded(recipe.seed, "tokenizer")
        prompts = [draw_example("train", rng).prompt for _ in range(recipe.tokenizer_prompts)]
        pretrained = None if reader is None else pretrained_reader(reader, prompts=prompts, pieces=recipe.pieces)
        tokenizer = build_tokenizer(frequent_pieces(prompts) if pretrained is None else pretrained.pieces)
        (out / TOKENIZER_FILE).write_text(tokenizer.to_str(pretty=False), encoding="utf-8")
    tokenizer = load_tokenizer(out / TOKENIZER_FILE)
    sizes = {name: getattr(recipe, name) for name in AgentConfig.__dataclass_fields__ if hasattr(recipe, name)}
    model = LanguageModel(AgentConfig(tokenizer.get_vocab_size(), **sizes))
    if pretrained is not None:
        pretrained.load_into(model)
    if reader is not None:
        model.reader.embeddings.requires_grad_(requires_grad=False)
    name_terminals(model, tokenizer)
    return model, tokenizer


def _from_weights(out: Path, recipe: AgentRecipe, folder: Path) -> tuple[LanguageModel, Tokenizer]:
    """Model and tokenizer of released weights; of a run that is resumed, with weights still to be read."""
    model, tokenizer = warm_start(folder)
    sizes = {name: value for name, value in asdict(model.config).items() if hasattr(recipe, name)}
    if other := sorted(name for name, value in sizes.items() if getattr(recipe, name) != value):
        raise ConfigError(
            f"--start: {folder} has other sizes than the recipe ({', '.join(other)}); take another recipe", code="start"
        )
    (out / TOKENIZER_FILE).write_text(tokenizer.to_str(pretty=False), encoding="utf-8")
    model.reader.embeddings.requires_grad_(requires_grad=False)
    return model, tokenizer


def _optimizer(model: LanguageModel, recipe: AgentRecipe, *, pretrained: bool) -> MuonAdamW:
    hidden = [weight for weight in model.llama.model.layers.parameters() if weight.ndim == 2]
    if not pretrained:
        hidden += [weight for weight in model.reader.encoder.parameters() if weight.ndim == 2]
    return MuonAdamW(
        model,
        hidden,
        factors=dict.fromkeys(model.reader.parameters(), recipe.reader_factor) if pretrained else {},
        learning_rate=recipe.learning_rate,
        matrix_factor=recipe.matrix_factor,
        weight_decay=recipe.weight_decay,
    )


@torch.no_grad()
def name_terminals(model: LanguageModel, tokenizer: Tokenizer) -> None:
    """Start the vector of each terminal near what the reader makes of its name.

    Vectors are shared by input and output, so that saying ``structure:left_caudate`` after reading "left caudate"
    starts as copying and need not be learnt pair by pair.
    """
    table_VH = cast("Tensor", model.llama.get_input_embeddings().weight)
    size = float(table_VH.norm(dim=1).mean())
    for row, terminal in enumerate(TERMINALS):
        if name := split_terminal(terminal)[1]:
            named_H = name_vector(model, tokenizer, name)
            named_H = named_H / named_H.norm() * size
            table_VH[row] = _NAMED * named_H + math.sqrt(1.0 - _NAMED**2) * table_VH[row]


_NAMED = 0.85
"""Share of the name in a terminal's first embedding; the rest is its own."""


def learning_rate(step: int, recipe: AgentRecipe) -> float:
    """Share of the highest learning rate: linear warm-up, then a cosine down to a tenth."""
    if step < recipe.warmup:
        return (step + 1) / recipe.warmup
    progress = (step - recipe.warmup) / max(1, recipe.steps - recipe.warmup)
    return 0.55 + 0.45 * math.cos(math.pi * min(1.0, progress))


def batch_losses(model: LanguageModel, batch: Batch) -> Losses:
    """Cross-entropy on program tokens, and distance of φ from the codes of the structures named."""
    states_BTH = model.hidden_states(batch.dialogues)
    # the token at t + 1 is predicted at t
    targets_BT = batch.targets_BT[:, 1:]
    wanted_BT = targets_BT != IGNORED
    logits_NV = model.llama.lm_head(states_BTH[:, :-1][wanted_BT]).float()
    phi_MP = model.phi(states_BTH[batch.mod_rows_M, batch.mod_columns_M]).float()
    targets_N = targets_BT[wanted_BT]
    cross_entropy = F.cross_entropy(logits_NV, targets_N)
    wrong_BT = torch.zeros_like(wanted_BT)
    wrong_BT[wanted_BT] = logits_NV.argmax(-1) != targets_N
    exact = 1.0 - wrong_BT.any(1).float().mean().item()
    return Losses(cross_entropy, _phi_loss(phi_MP, batch.structures), exact, phi_MP)


def _phi_loss(phi_MP: Tensor, structures: list[str]) -> Tensor:
    rows = [(row, code) for row, name in enumerate(structures) if (code := structure_phi(name)) is not None]
    if not rows:
        return phi_MP.sum() * 0.0
    got_MP = phi_MP[[row for row, _ in rows]]
    want_MP = torch.from_numpy(np.stack([code for _, code in rows])).to(got_MP)
    return F.mse_loss(got_MP, want_MP) + (1.0 - F.cosine_similarity(got_MP, want_MP)).mean()


def validate(model: LanguageModel, batches: list[tuple[Split, Batch]]) -> dict[str, float]:
    """Share of held-out dialogues whose programs come out without a wrong token, by split."""
    right: dict[str, list[float]] = {}
    with torch.no_grad():
        for split, batch in batches:
            right.setdefault(split, []).append(batch_losses(model, batch).exact)
    return {split: sum(values) / len(values) for split, values in right.items()}


def _held_out(encoder: Encoder, split: Split, seed: int) -> list[tuple[Split, Batch]]:
    rng = seeded(seed, split)
    encoded = [encoder.encode(draw_example(split, rng), rng) for _ in range(256)]
    encoded.sort(key=lambda one: len(one.targets))
    return [(split, encoder.batch(encoded[start : start + 32])) for start in range(0, len(encoded), 32)]


def _line(step: int, recent: np.ndarray, right: Mapping[str, float], rate: float) -> str:
    cross_entropy, phi, exact = recent
    shares = "  ".join(f"{split} {share:.3f}" for split, share in right.items())
    return (
        f"step {step}  cross-entropy {cross_entropy:.4f}  phi {phi:.4f}  right: train {exact:.3f}  {shares}  "
        f"{rate:.0f} tokens/s"
    )
