"""The exchangeable planner: any causal language model of transformers writes the programs, under the same grammar.

The built-in model then reads request and program and gives the φ of each structure, as the vision network was trained
with its codes and knows no other.
"""

from __future__ import annotations

import inspect
import sys
from copy import deepcopy
from dataclasses import replace
from itertools import takewhile
from pathlib import Path
from typing import Any

import torch
from jinja2 import TemplateError
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoTokenizer
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

from vp_engine.agent.briefing import conversation
from vp_engine.agent.decoding import Walker
from vp_engine.agent.planner import MAX_CHARACTERS, MAX_CODE, REMEMBERED, Agent, Context, History, variables_after
from vp_engine.agent.planner_files import architecture, planner_files
from vp_engine.agent.program import relates_to_itself
from vp_engine.agent.spelling import FENCE, Draft, Vocabulary
from vp_engine.environment.instruction import Instruction
from vp_engine.errors import WeightsError

MAX_FORWARDS = 1024
"""Most passes through the model for one piece of code; a program that is not finished by then is refused."""

_OPENING = f"{FENCE}\n"


class CausalPlanner:
    """Greedy decoding of a causal language model under the grammar of the op registry.

    The same context and history give the same instruction; what was written is remembered.

    Parameters
    ----------
    model : PreTrainedModel
        Causal, with a cache of keys and values, ready for inference.
    tokenizer : PreTrainedTokenizerBase
        Its chat template is used when it has one.
    reader : Agent
        Gives φ.
    max_forwards : int
        Most passes through the model for one piece of code.

    Raises
    ------
    WeightsError
        If the tokenizer cannot write every program, or the model cannot hold the introduction to the language.
    """

    def __init__(self, model: Any, tokenizer: Any, *, reader: Agent, max_forwards: int = MAX_FORWARDS) -> None:
        self._model = model
        self._tokenizer = tokenizer
        self._reader = reader
        self._max_forwards = max_forwards
        # without it the model computes a row of the size of its vocabulary for every token it reads
        self._options = {"logits_to_keep": 1} if "logits_to_keep" in inspect.signature(model.forward).parameters else {}
        settings = model.config.get_text_config()
        self._window = int(getattr(settings, "max_position_embeddings", None) or sys.maxsize)
        self._marks = sorted({str(token) for token in tokenizer.added_tokens_decoder.values() if token.special})
        self._vocabulary = Vocabulary(_texts(tokenizer, settings.vocab_size))
        self._introduction = self._common_beginning()
        self._introduced: Any | None = None
        self._written: dict[tuple[object, ...], str] = {}

    @classmethod
    def from_pretrained(cls, folder: Path, *, reader: Agent, device: str = "cpu") -> CausalPlanner:
        """Load a model from a folder; nothing is downloaded, and no code from the folder is run.

        Raises
        ------
        WeightsError
            If the folder has no causal language model that transformers knows, with safetensors and tokenizer.
        """
        planner_files(folder)
        if (kind := architecture(folder)) not in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES:
            raise WeightsError(
                f"Expected a causal language model that transformers has itself in {folder}, got {kind[:40]!r}; "
                "code that comes with a model is never run.",
                code="planner_architecture",
            )
        load: Any = AutoModelForCausalLM.from_pretrained
        local: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
        try:
            tokenizer = AutoTokenizer.from_pretrained(folder, **local)
            model, loaded = load(
                folder,
                **local,
                use_safetensors=True,
                dtype=torch.float32 if device == "cpu" else "auto",
                output_loading_info=True,
            )
        except Exception as error:
            # transformers raises nearly everything: OSError, ValueError, KeyError, ImportError, errors of safetensors
            raise WeightsError(
                f"Expected a causal language model in {folder} that transformers can load without code from the "
                f"folder, got: {' '.join(str(error).split())[:300]}",
                code="planner_unreadable",
            ) from error
        if odd := sorted(map(str, (*loaded["missing_keys"], *loaded["mismatched_keys"]))):
            raise WeightsError(
                f"{folder}: the weights do not fit the configuration ({', '.join(odd[:3])}); save the model anew.",
                code="planner_tensors",
            )
        return cls(model.eval().requires_grad_(requires_grad=False).to(device), tokenizer, reader=reader)

    def next_instruction(self, context: Context, history: History) -> Instruction:
        """Write the next piece of code; after an error another one, as the error is read too."""
        key = (context, tuple((done.code, seen.text()) for done, seen in history))
        if key not in self._written:
            if len(self._written) >= REMEMBERED:
                self._written.clear()
            self._written[key] = self._write(context, history)
        code = self._written[key]
        return Instruction(code, self._reader.embed(context, history, code) if "segment(" in code else {})

    def _write(self, context: Context, history: History) -> str:
        if not context.prompt.strip():
            return _refusal("out_of_domain")
        if len(context.prompt) > MAX_CHARACTERS:
            return _refusal("ambiguous")
        done = [instruction.code for instruction, seen in history if seen.status == "ok"]
        draft = Draft(Walker(variables_after(done), answering=bool(done)))
        self._decode(self._ids(context, history), draft)
        if not draft.finished or len(draft.code) > MAX_CODE or relates_to_itself(draft.code):
            return _refusal("ambiguous")
        return draft.code

    @torch.inference_mode()
    def _decode(self, ids: list[int], draft: Draft) -> None:
        """Write greedily until the draft is finished or a limit is reached."""
        cache, unread = self._after_introduction(ids)
        length = len(ids)
        for _ in range(self._max_forwards):
            forced = draft.forced()
            if (draft.text + forced).endswith(FENCE):
                draft.push(forced)
                return
            # what the grammar leaves no choice about is read together with the choice before it
            settled = self._settled(draft.text, forced)
            draft.push(self._text(settled))
            unread += settled
            length += len(settled) + 1
            if length > self._window or len(draft.text) > MAX_CODE:
                return
            logits_V, cache = self._forward(unread, cache)
            fitting = draft.fitting(self._vocabulary)
            unread = [fitting[int(logits_V[fitting].argmax())]]
            draft.push(self._text(unread))

    def _settled(self, text: str, forced: str) -> list[int]:
        """Tokens of text that must follow, cut as the tokenizer cuts it; all but the last, which may reach further."""
        found: list[int] = []
        left = len(forced)
        for number in reversed(self._encoded(_OPENING + text + forced)):
            if left <= 0:
                break
            found.insert(0, number)
            left -= len(self._vocabulary.texts[number])
        # a token that begins before the forced text was cut otherwise when that was written
        return found[:-1] if self._text(found) == forced else []

    def _text(self, ids: list[int]) -> str:
        return "".join(self._vocabulary.texts[number] for number in ids)

    def _forward(self, ids: list[int], cache: Any | None) -> tuple[Tensor, Any]:
        """Logits (V,) of the token after those read, and the cache with these in it."""
        ids_1T = torch.tensor([ids], device=self._model.device)
        output = self._model(input_ids=ids_1T, past_key_values=cache, use_cache=True, **self._options)
        logits_V = output.logits[0, -1].float().cpu()
        cache = getattr(output, "past_key_values", None)
        if cache is None or logits_V.isnan().any():
            raise WeightsError(
                "Expected a planner with a cache of keys and values whose outputs are numbers, got one without; "
                "take another model.",
                code="planner_outputs",
            )
        return logits_V, cache

    def _common_beginning(self) -> list[int]:
        """Tokens that every request begins with."""
        try:
            one, other = (self._ids(Context(prompt), []) for prompt in ("brain", "?"))
        except TemplateError as error:
            raise WeightsError(
                f"The chat template of the planner does not work: {error}", code="planner_template"
            ) from error
        if len(one) >= self._window:
            raise WeightsError(
                f"Expected a planner that can read more than {len(one)} tokens, got one for {self._window}; "
                "take a model with a longer context.",
                code="planner_context",
            )
        return [a for a, _ in takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False))]

    def _after_introduction(self, ids: list[int]) -> tuple[Any | None, list[int]]:
        """Cache of what every request begins with, which is read once, and the tokens that follow."""
        end = len(self._introduction)
        if not end or ids[:end] != self._introduction:
            return None, ids
        if self._introduced is None:
            _, self._introduced = self._forward(self._introduction, None)
        return deepcopy(self._introduced), ids[end:]

    def _ids(self, context: Context, history: History) -> list[int]:
        """Tokens of everything that is said, up to where the program begins."""
        prompt = context.prompt
        for mark in self._marks:  # typed by a user they would begin a turn of the conversation
            prompt = prompt.replace(mark, " ")
        turns = conversation(replace(context, prompt=prompt), history)
        if not self._tokenizer.chat_template:
            return self._encoded("\n\n".join([*(text for _, text in turns), _OPENING]), special=True)
        messages = [{"role": speaker, "content": text} for speaker, text in turns]
        # models that can think aloud are asked not to; other templates do not know the last option
        text = self._tokenizer.apply_chat_template(
            messages, tokenize=False, add_generation_prompt=True, enable_thinking=False
        )
        return self._encoded(text + _OPENING)

    def _encoded(self, text: str, *, special: bool = False) -> list[int]:
        return list(self._tokenizer(text, add_special_tokens=special)["input_ids"])


def _texts(tokenizer: Any, size: int) -> list[str]:
    """Text of every token inside a line, by id; empty for tokens that are not text or that the model has not."""
    # behind another token, as some tokenizers drop the space of the first
    anchor = tokenizer("(", add_special_tokens=False)["input_ids"][-1:]
    ids = sorted({*tokenizer.get_vocab().values()} - {*tokenizer.all_special_ids})
    start, *decoded = tokenizer.batch_decode(
        [anchor, *([*anchor, number] for number in ids)], clean_up_tokenization_spaces=False
    )
    texts = [""] * (max(ids) + 1)
    for number, text in zip(ids, decoded, strict=True):
        if number < size and text.startswith(start):
            texts[number] = text[len(start) :]
    return texts


def _refusal(reason: str) -> str:
    return f'refuse("{reason}")\n'
