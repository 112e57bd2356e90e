"""Omega: the persistent environment of one prompt, where the agent's programs run."""

from __future__ import annotations

import ast
import time
from collections.abc import Callable, Mapping

import numpy as np

from vp_engine.environment.budgets import Budget, Limits
from vp_engine.environment.instruction import Instruction, Observation
from vp_engine.environment.misuse import Misuse
from vp_engine.environment.registry import Context, type_of
from vp_engine.environment.syntax import parse
from vp_engine.environment.validator import check
from vp_engine.environment.values import Cutout, Mask, Number, Result, Text, Value
from vp_engine.environment.vocabulary import PROGRAM_VARIABLES
from vp_engine.environment.walker import Run, run_block, segment_nodes
from vp_engine.environment.world import World
from vp_engine.errors import ProgramError, RequestRefused


class Environment:
    """Runs programs against a world; variables and results survive from step to step.

    A program that is refused leaves variables and results as they were; only the budget it spent stays spent.

    Parameters
    ----------
    world : World
        Sessions, images, network. `current` is its last session: in session scope the only one.
    limits : Limits, optional
        Budgets of the prompt.
    clock : callable, optional
        Seconds, for the time budget.

    Raises
    ------
    ValueError
        If the world has no session.
    """

    def __init__(
        self, world: World, *, limits: Limits | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        if not world.sessions:
            raise ValueError("expected a world with at least one session, got none")
        self.world = world
        self.budget = Budget(limits or Limits(), clock=clock)
        self._names: dict[str, Value] = {}
        self._results: list[Result] = []

    @property
    def results(self) -> tuple[Result, ...]:
        """Everything reported, answered and saved, in order."""
        return tuple(self._results)

    @property
    def reported(self) -> tuple[Number | Text, ...]:
        """Numbers and answers, in order: rows of `measurements`."""
        return tuple(row for row in self._results if isinstance(row, (Number, Text)))

    @property
    def saved(self) -> tuple[Mask, ...]:
        """Masks, in order: rows of `segmentations`."""
        return tuple(row for row in self._results if isinstance(row, Mask))

    @property
    def cutouts(self) -> tuple[Cutout, ...]:
        """Images, in order: files without a row."""
        return tuple(row for row in self._results if isinstance(row, Cutout))

    @property
    def variables(self) -> dict[str, str]:
        """Variables that programs have left, with their types."""
        return {name: type_of(value) for name, value in self._names.items()}

    def run(self, instruction: Instruction) -> Observation:
        """Check one piece of code and run it.

        Parameters
        ----------
        instruction : Instruction
            Untrusted code and its embeddings.

        Returns
        -------
        Observation
            Never an exception for anything the code can do. What files, disks and devices do wrong is raised.
        """
        try:
            return self._run(instruction)
        except RequestRefused as refusal:
            return Observation("refused", code=refusal.code, message=refusal.message)
        except Misuse as error:
            return Observation(
                "error",
                code=error.code,
                message=error.message,
                line=error.line,
                expected=error.expected,
                got=error.got,
                close=error.close,
            )
        except ProgramError as error:
            return Observation("error", code=error.code, message=error.message, line=error.line)

    def _run(self, instruction: Instruction) -> Observation:
        self.budget.start_step()
        tree = parse(instruction.code)
        check(tree, self.variables)
        sessions = self.world.sessions
        program_variables: dict[str, Value] = {
            "current": sessions[-1],
            "first": sessions[0],
            "last": sessions[-1],
            "sessions": list(sessions),
        }
        context = Context(self.world, results=list(self._results), read=[])
        run = Run(
            names={**self._names, **program_variables},
            context=context,
            budget=self.budget,
            embeddings=_embeddings_of(tree, instruction.embeddings),
        )
        run_block(tree.body, run)
        self._names = {name: value for name, value in run.names.items() if name not in PROGRAM_VARIABLES}
        self._results = context.results
        return Observation("ok" if context.read else "done", values=tuple(context.read))


def _embeddings_of(tree: ast.Module, embeddings: Mapping[int, np.ndarray]) -> dict[ast.Call, np.ndarray]:
    nodes = segment_nodes(tree)
    for order, phi in embeddings.items():
        if not 0 <= order < len(nodes) or phi.ndim != 1 or not np.all(np.isfinite(phi)):
            raise Misuse(
                "an embedding does not fit the program",
                code="embedding",
                expected=f"finite vectors for segment calls 0 to {len(nodes) - 1}",
                got=f"call {order}, shape {phi.shape}",
            )
    return {nodes[order]: phi for order, phi in embeddings.items()}
