"""The turn loop: code, observation, code, until the prompt is done."""

from __future__ import annotations

import time
from collections.abc import Callable

from vp_engine.agent.coverage import left_out
from vp_engine.agent.planner import Context, Planner
from vp_engine.agent.suggestions import with_suggestion
from vp_engine.agent.transcript import Status, Transcript, Turn
from vp_engine.environment.instruction import Instruction, Observation
from vp_engine.environment.omega import Environment
from vp_engine.environment.world import World

MAX_TURNS = 6


def run_prompt(
    planner: Planner,
    prompt: str,
    environment: Environment,
    *,
    scope: str = "session",
    max_turns: int = MAX_TURNS,
    clock: Callable[[], float] = time.monotonic,
) -> Transcript:
    """Answer one prompt in an environment.

    Rows and masks are in the environment afterwards. Only exceptions of files, disks and devices come through.

    Parameters
    ----------
    planner : Planner
        Writes the code.
    prompt : str
        The user's words.
    environment : Environment
        Fresh; its world has the sessions the prompt may see.
    scope : str
        ``session`` or ``participant``.
    max_turns : int
        Pieces of code at most.
    clock : callable
        Seconds.

    Returns
    -------
    Transcript
        ``failed`` when the same error came twice or the turns were used up.
    """
    context = context_of(prompt, scope, environment.world)
    turns: list[Turn] = []
    for _ in range(max_turns):
        started = clock()
        instruction = planner.next_instruction(context, [(t.instruction, t.observation) for t in turns])
        planned = clock()
        observation = _misread(prompt, [*(t.instruction for t in turns), instruction]) or environment.run(instruction)
        observation = with_suggestion(observation, prompt)
        turns.append(Turn(instruction, observation, planned - started, clock() - planned))
        ended = _ended(turns)
        if ended is not None:
            return Transcript(context, tuple(turns), ended, observation.code, observation.message)
    reason = f"The request was not finished in {max_turns} pieces of code; ask for one thing at a time."
    return Transcript(context, tuple(turns), "failed", "budget_turns", reason)


def context_of(prompt: str, scope: str, world: World) -> Context:
    """What the planner is told: the contrasts of all sessions, those of the last first, as some may lack one."""
    images = tuple(dict.fromkeys(suffix for session in reversed(world.sessions) for suffix in session.images))
    return Context(prompt, images, len(world.sessions), scope)


def _misread(prompt: str, instructions: list[Instruction]) -> Observation | None:
    """Refusal of a program that leaves out a structure the prompt names; None while it may still come."""
    code = "".join(instruction.code for instruction in instructions)
    if "refuse(" in code or "read(" in instructions[-1].code:
        return None
    forgotten = left_out(prompt, code)
    if not forgotten:
        return None
    reason = (
        f"The program written for this leaves out {', '.join(forgotten)}; ask in other words, or one thing at a time."
    )
    return Observation("refused", code="misread", message=reason[:300])


def _ended(turns: list[Turn]) -> Status | None:
    last = turns[-1].observation
    if last.status == "done":
        return "ok"
    if last.status == "refused":
        return "refused"
    if last.status == "error" and any(_same(last, turn.observation) for turn in turns[:-1]):
        return "failed"
    return None


def _same(a: Observation, b: Observation) -> bool:
    return a.status == b.status and a.text() == b.text()
