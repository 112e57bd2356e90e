"""Every exception of the package: what was expected, what was got, and what to do about it."""

from __future__ import annotations


class VoxelPromptError(Exception):
    """Base of every error this package raises on purpose.

    Parameters
    ----------
    message : str
        What was expected, what was got, where, and what to do; one or two sentences for a person.
    code : str
        Stable machine-readable name of the kind of error (snake_case); tables and tests rely on it.
    """

    default_code = "error"

    def __init__(self, message: str, *, code: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.code = code or self.default_code


class ConfigError(VoxelPromptError):
    """The configuration or the command line is wrong; nothing has been started (exit 2)."""

    default_code = "config"


class InputRefused(VoxelPromptError):
    """An image or dataset file cannot be used; becomes a row `refused_input`, never a crash."""

    default_code = "refused_input"


class ProgramError(VoxelPromptError):
    """A program was refused before or while running; the message is written for the agent.

    Parameters
    ----------
    message : str
        At most 300 characters, without paths or tracebacks.
    code : str
        Which rule refused it, e.g. ``unknown_op`` or ``budget_steps``.
    line : int, optional
        Line of the program, counted from 1.
    """

    default_code = "program"

    def __init__(self, message: str, *, code: str | None = None, line: int | None = None) -> None:
        super().__init__(message[:300], code=code)
        self.line = line


class RequestRefused(VoxelPromptError):
    """What was asked cannot be done with this model or these images; becomes a row `refused`."""

    default_code = "refused"


class WeightsError(VoxelPromptError):
    """Weights are missing, altered or of another architecture."""

    default_code = "weights"


class TableError(VoxelPromptError):
    """A table does not follow its schema, or was damaged on disk."""

    default_code = "table"


class OutputInUse(VoxelPromptError):
    """Another run is writing to the same output directory (exit 75)."""

    default_code = "output_in_use"


class InfrastructureError(VoxelPromptError):
    """Disk, memory or device failed in a way that a retry may cure (exit 75)."""

    default_code = "infrastructure"
