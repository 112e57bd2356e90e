"""Who writes the programs: the protocol every planner follows, and the built-in language model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from tokenizers import Tokenizer

from vp_engine.agent.decoding import Walker
from vp_engine.agent.model import CONFIG_FILE, TOKENIZER_FILE, WEIGHTS_FILE, LanguageModel, load_model
from vp_engine.agent.program import linearise, relates_to_itself, render
from vp_engine.agent.terminals import MOD
from vp_engine.agent.tokenizer import MAX_PROMPT_TOKENS, context_terminals, load_tokenizer, terminal_ids
from vp_engine.environment.instruction import Instruction, Observation
from vp_engine.errors import WeightsError

MAX_CODE = 4096
"""Longest piece of code the environment reads, in characters."""

History = Sequence[tuple[Instruction, Observation]]


@dataclass(frozen=True, slots=True)
class Context:
    """What a planner is told about a prompt.

    Attributes
    ----------
    prompt : str
        The user's words.
    images : tuple of str
        Suffixes at hand, the preferred first.
    sessions : int
        Number of sessions at hand.
    scope : str
        ``session``: one session by itself; ``participant``: all together.
    """

    prompt: str
    images: tuple[str, ...] = ("T1w",)
    sessions: int = 1
    scope: str = "session"


class Planner(Protocol):
    """Anything that can write the next piece of code."""

    def next_instruction(self, context: Context, history: History) -> Instruction:
        """Write the next piece of code.

        Parameters
        ----------
        context : Context
            Prompt, images and sessions.
        history : sequence of (Instruction, Observation)
            What has been run for this prompt, and what came of it.
        """
        ...


class Agent:
    """The built-in planner: greedy decoding of the language model under the grammar of the op registry.

    The same context and history give the same instruction, which is remembered.
    """

    def __init__(self, model: LanguageModel, tokenizer: Tokenizer) -> None:
        self._model = model
        self._tokenizer = tokenizer
        self._ids = terminal_ids(tokenizer)
        self._written: dict[tuple[object, ...], Instruction] = {}

    @classmethod
    def from_pretrained(cls, folder: Path) -> Agent:
        """Load configuration, tokenizer and weights of a folder.

        Raises
        ------
        WeightsError
            If a file is missing, malformed, or does not fit the others or this version of the program language.
        """
        for name in (TOKENIZER_FILE, CONFIG_FILE, WEIGHTS_FILE):
            if not (folder / name).is_file():
                raise WeightsError(f"expected {name} among the agent's weights; it is missing", code="missing_file")
        tokenizer = load_tokenizer(folder / TOKENIZER_FILE)
        model = load_model(folder)
        if tokenizer.get_vocab_size() != model.config.vocabulary:
            raise WeightsError(
                f"expected a tokenizer of {model.config.vocabulary} tokens, got {tokenizer.get_vocab_size()}; "
                "the files are of two trainings",
                code="tokenizer",
            )
        return cls(model, tokenizer)

    def next_instruction(self, context: Context, history: History) -> Instruction:
        """Write the next piece of code; the same again when the last one was an error of the program."""
        steps = [(done.code, seen.text()) for done, seen in history if seen.status == "ok"]
        key = (context, tuple(steps))
        if key not in self._written:
            if len(self._written) >= _REMEMBERED:
                self._written.clear()
            self._written[key] = self._write(context, steps)
        return self._written[key]

    def _write(self, context: Context, steps: Sequence[tuple[str, str]]) -> Instruction:
        words = self._tokenizer.encode(context.prompt[:_MAX_CHARACTERS]).ids
        if not words:
            return _refusal("out_of_domain")
        if len(words) > MAX_PROMPT_TOKENS or len(context.prompt) > _MAX_CHARACTERS:
            return _refusal("ambiguous")
        ids = [self._ids[t] for t in context_terminals(context.images, context.sessions, context.scope)] + words
        variables: dict[str, str] = {}
        for code, seen in steps:
            terminals = linearise(code)
            walker = Walker(variables, answering=True)
            for terminal in terminals:
                walker.push(terminal)
            variables = walker.variables
            ids += [self._ids[t] for t in ("program", *terminals, "observation")]
            ids += self._tokenizer.encode(seen.removeprefix("ok; ")).ids
        ids.append(self._ids["program"])
        instruction, confidence = self._decode(ids, Walker(variables, answering=bool(steps)))
        return instruction if confidence >= self._model.config.min_confidence else _refusal("ambiguous")

    @torch.inference_mode()
    def _decode(self, ids: list[int], walker: Walker) -> tuple[Instruction, float]:
        """Write code greedily; its confidence is the probability of the least certain choice."""
        config = self._model.config
        written: list[str] = []
        embeddings: dict[int, np.ndarray] = {}
        cache: Any | None = None
        length, confidence = len(ids), 1.0
        unread = ids
        while not walker.finished:
            if length + len(written) >= config.max_tokens:
                return _refusal("ambiguous"), 1.0
            logits_V, hidden_H, cache = self._model.step(torch.tensor([unread]), cache)
            if written and written[-1] == MOD:
                embeddings[len(embeddings)] = self._model.phi(hidden_H).numpy()
            choices = walker.allowed()
            allowed_C = torch.tensor([self._ids[choice] for choice in choices])
            probabilities_C = logits_V[allowed_C].softmax(0)
            best = int(probabilities_C.argmax())
            confidence = min(confidence, float(probabilities_C[best]))
            fresh = [choices[best]]
            walker.push(choices[best])
            # what the grammar leaves no choice about is read together with the choice before it
            while fresh[-1] != MOD and (forced := walker.forced()) is not None:
                walker.push(forced)
                fresh.append(forced)
            written += fresh
            unread = [self._ids[terminal] for terminal in fresh]
        code = render(written)
        if len(code) > MAX_CODE or relates_to_itself(code):
            return _refusal("ambiguous"), 1.0
        return Instruction(code, embeddings), confidence


_MAX_CHARACTERS = 1000
_REMEMBERED = 4096


def _refusal(reason: str) -> Instruction:
    return Instruction(f'refuse("{reason}")\n', {})
