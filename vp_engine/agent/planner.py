"""Who writes the programs: the protocol every planner follows, and the built-in language model."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from tokenizers import Tokenizer

from vp_engine.agent.coverage import all_known
from vp_engine.agent.decoding import Walker
from vp_engine.agent.dialogue import Dialogues, Part, Shown, Spoken, Written, collate, context_terminals, length_of
from vp_engine.agent.model import CONFIG_FILE, MAX_WORDS, TOKENIZER_FILE, WEIGHTS_FILE, LanguageModel, load_model
from vp_engine.agent.program import linearise, relates_to_itself, render
from vp_engine.agent.terminals import MOD
from vp_engine.agent.tokenizer import MAX_PROMPT_TOKENS, load_tokenizer
from vp_engine.environment.instruction import Instruction, Observation
from vp_engine.environment.values import Features
from vp_engine.errors import WeightsError

MAX_CODE = 4096
"""Longest piece of code the environment reads, in characters."""
MAX_CHARACTERS = 1000
"""Longest prompt."""
SURE = 0.9
"""Confidence from which the model is believed that it does not understand a prompt of which it knows every word."""
REMEMBERED = 4096
"""Most instructions a planner remembers."""

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

        Raises
        ------
        WeightsError
            If what was read does not fit the planner.
        """
        ...


class Agent:
    """The built-in planner: greedy decoding of the language model under the grammar of the op registry.

    The same context and history give the same instruction, which is remembered.
    """

    def __init__(self, model: LanguageModel, tokenizer: Tokenizer) -> None:
        self._model = model
        self._tokenizer = tokenizer
        self._ids = {terminal: number for number, terminal in enumerate(model.config.terminals)}
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
        if tokenizer.get_vocab_size() != model.config.words:
            raise WeightsError(
                f"expected a tokenizer of {model.config.words} word pieces, got {tokenizer.get_vocab_size()}; "
                "the files are of two trainings",
                code="tokenizer",
            )
        return cls(model, tokenizer)

    def next_instruction(self, context: Context, history: History) -> Instruction:
        """Write the next piece of code; the same again when the last one was an error of the program."""
        steps = [(done.code, seen) for done, seen in history if seen.status == "ok"]
        key = (context, *((code, _heard(seen), *_shown(seen)) for code, seen in steps))
        if key not in self._written:
            if len(self._written) >= REMEMBERED:
                self._written.clear()
            self._written[key] = self._write(context, steps)
        return self._written[key]

    @torch.inference_mode()
    def embed(self, context: Context, history: History, code: str) -> dict[int, np.ndarray]:
        """φ of each segment call of a program that somebody else wrote, read after the prompt.

        Parameters
        ----------
        context, history
            As in `next_instruction`; pieces that ended in an error are passed over.
        code : str
            Made of assignments, calls and loops, as this planner writes them.

        Returns
        -------
        dict of int to (32,) float32 array
            By the order of the calls in the text; empty for a prompt too long to be read.
        """
        read = self._read(context, [(done.code, seen) for done, seen in history if seen.status == "ok"])
        terminals = linearise(code)
        if read is None or length_of(read[0]) + len(terminals) > self._model.config.max_tokens:
            return {}
        before = length_of(read[0])
        states_TH = self._model.hidden_states(self._collated([*read[0], self._terminals(terminals)]))[0]
        places = [before + place for place, terminal in enumerate(terminals) if terminal == MOD]
        return dict(enumerate(self._model.phi(states_TH[places]).numpy()))

    def _write(self, context: Context, steps: Sequence[tuple[str, Observation]]) -> Instruction:
        if not context.prompt.strip():
            return _refusal("out_of_domain")
        read = self._read(context, steps)
        if read is None:
            return _refusal("ambiguous")
        parts, variables = read
        written = self._decode(parts, Walker(variables, answering=bool(steps)))
        if written.code in _DOUBTFUL and written.confidence < SURE and all_known(context.prompt):
            written = self._decode(parts, Walker(variables, answering=bool(steps), refusing=False))
        trusted = written.confidence >= self._model.config.min_confidence
        return written if trusted else _refusal("ambiguous", written.confidence)

    def _read(
        self, context: Context, steps: Sequence[tuple[str, Observation]]
    ) -> tuple[list[Part], dict[str, str]] | None:
        """Dialogue up to where the next program begins, and its variables; None for a prompt too long to be read."""
        words = self._spoken(context.prompt[:MAX_CHARACTERS])
        if len(words.words) > MAX_PROMPT_TOKENS or len(context.prompt) > MAX_CHARACTERS:
            return None
        parts: list[Part] = [
            self._terminals(context_terminals(context.images, context.sessions, context.scope)),
            words,
        ]
        for code, seen in steps:
            parts.append(self._terminals(["program", *linearise(code), "observation"]))
            shown = [Shown(np.frombuffer(values, np.float32)) for values in _shown(seen)]
            self._require_length(shown)
            parts += shown or [Spoken(self._spoken(_heard(seen)).words[:MAX_WORDS])]
        return [*parts, self._terminals(["program"])], variables_after(code for code, _ in steps)

    def _require_length(self, shown: Sequence[Shown]) -> None:
        wanted = self._model.config.features
        if odd := [len(one.features) for one in shown if len(one.features) != wanted]:
            raise WeightsError(
                f"The agent reads {wanted} image features and the vision network gives {odd[0]}; "
                "take weights that were trained together.",
                code="features",
            )

    def _spoken(self, text: str) -> Spoken:
        return Spoken(tuple(self._tokenizer.encode(text).ids))

    def _terminals(self, terminals: Sequence[str]) -> Written:
        return Written(tuple(self._ids[terminal] for terminal in terminals))

    def _collated(self, parts: Sequence[Part]) -> Dialogues:
        config = self._model.config
        return collate([parts], terminals=len(config.terminals), features=config.features)

    @torch.inference_mode()
    def _decode(self, parts: Sequence[Part], walker: Walker) -> Instruction:
        """Write code greedily; its confidence is the probability of the least certain choice."""
        written: list[str] = []
        embeddings: dict[int, np.ndarray] = {}
        cache: Any | None = None
        left, confidence = self._model.config.max_tokens - length_of(parts), 1.0
        unread_1TH = self._model.inputs(self._collated(parts))
        while not walker.finished:
            if len(written) >= left:
                return _refusal("ambiguous", confidence)
            logits_V, hidden_H, cache = self._model.step(unread_1TH, cache)
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
            unread_1TH = self._model.embedded([self._ids[terminal] for terminal in fresh])
        code = render(written)
        if len(code) > MAX_CODE or relates_to_itself(code):
            return _refusal("ambiguous", confidence)
        return Instruction(code, embeddings, confidence)


def variables_after(programs: Iterable[str]) -> dict[str, str]:
    """Variables that pieces of code leave one after the other, with their types."""
    variables: dict[str, str] = {}
    for code in programs:
        walker = Walker(variables, answering=True)
        for terminal in linearise(code):
            walker.push(terminal)
        variables = walker.variables
    return variables


def _heard(seen: Observation) -> str:
    return seen.text().removeprefix("ok; ")


def _shown(seen: Observation) -> list[bytes]:
    return [value.values.astype(np.float32).tobytes() for value in seen.values if isinstance(value, Features)]


def _refusing(reason: str) -> str:
    return f'refuse("{reason}")\n'


def _refusal(reason: str, confidence: float = 1.0) -> Instruction:
    return Instruction(_refusing(reason), {}, confidence)


_DOUBTFUL = frozenset(map(_refusing, ("unknown_structure", "ambiguous", "out_of_domain")))
"""Refusals of what names no structure, or nothing that can be understood."""
