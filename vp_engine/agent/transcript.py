"""What was said and done for one prompt: the audit trail behind its rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from vp_engine.agent.planner import Context
from vp_engine.environment.instruction import Instruction, Observation

Status = Literal["ok", "refused", "failed"]


@dataclass(frozen=True, slots=True)
class Turn:
    """One piece of code and what came of it.

    Attributes
    ----------
    instruction : Instruction
        Code with its φ vectors.
    observation : Observation
        Answer of the environment.
    planning_seconds, running_seconds : float
        Time of the planner and of the environment.
    """

    instruction: Instruction
    observation: Observation
    planning_seconds: float
    running_seconds: float


@dataclass(frozen=True, slots=True)
class Transcript:
    """All turns of one prompt.

    Attributes
    ----------
    context : Context
        Prompt, images, sessions and scope.
    turns : tuple of Turn
        In order.
    status : str
        ``ok``, ``refused`` or ``failed``.
    code : str
        Why it was refused or failed, as a word; empty when it went well.
    reason : str
        The same as a sentence for the user.
    """

    context: Context
    turns: tuple[Turn, ...]
    status: Status
    code: str = ""
    reason: str = ""

    @property
    def program(self) -> str:
        """All code in order, one blank line between pieces."""
        return "\n".join(turn.instruction.code for turn in self.turns)

    def as_json(self) -> dict[str, Any]:
        """Return what a transcript file holds: plain text and numbers, no φ."""
        return {
            "prompt": self.context.prompt,
            "images": list(self.context.images),
            "sessions": self.context.sessions,
            "scope": self.context.scope,
            "status": self.status,
            "code": self.code,
            "reason": self.reason,
            "turns": [
                {
                    "program": turn.instruction.code,
                    "observation": turn.observation.text(),
                    "planning_seconds": round(turn.planning_seconds, 3),
                    "running_seconds": round(turn.running_seconds, 3),
                }
                for turn in self.turns
            ],
        }
