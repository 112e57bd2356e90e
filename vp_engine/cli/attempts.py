"""No second attempt at what no retry can cure: the failure of the first is kept in a file and told again.

Batch systems and Snakemake retry whatever failed, as they cannot tell a full disk from a wrong configuration.
"""

from __future__ import annotations

import json
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any


class AlreadyFailed(Exception):
    """An earlier attempt ended in a way that another one would, too.

    Parameters
    ----------
    exit_code : int
        Of the earlier attempt.
    message : str
        What it said, with its traceback when that was kept.
    """

    def __init__(self, exit_code: int, message: str) -> None:
        super().__init__(message)
        self.exit_code = exit_code


@contextmanager
def attempting(
    outcome: Path, attempt: int, *, exit_for: Callable[[Exception], tuple[int, str]], final: frozenset[int]
) -> Iterator[None]:
    """Keep the failure of what is done inside; do not begin when the failure kept is final.

    Parameters
    ----------
    outcome : Path
        The file; removed by a first attempt and by one that succeeds.
    attempt : int
        Counted from 1.
    exit_for : callable
        Exit code and message of an error.
    final : frozenset of int
        Exit codes that would come again.

    Raises
    ------
    AlreadyFailed
        In place of an attempt in vain.
    """
    kept = _read(outcome) if attempt > 1 else None
    if kept is not None and kept["exit"] in final:
        raise AlreadyFailed(kept["exit"], f"not tried again: attempt {kept['attempt']} said: {kept['message']}")
    outcome.unlink(missing_ok=True)
    try:
        yield
    except Exception as error:
        # errors of the command line itself know their code
        code, message = (error.exit_code, str(error)) if hasattr(error, "exit_code") else exit_for(error)
        told = f"{message}\n{''.join(traceback.format_exception(error))}" if code in final else message
        with suppress(OSError):  # what went wrong first is what must be told
            outcome.parent.mkdir(parents=True, exist_ok=True)
            outcome.write_text(json.dumps({"exit": code, "attempt": attempt, "message": told}), encoding="utf-8")
        raise


def _read(path: Path) -> dict[str, Any] | None:
    """What is kept; None when there is nothing that can be read, which is no reason to do nothing."""
    try:
        kept = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return kept if isinstance(kept, dict) and {"exit", "attempt", "message"} <= kept.keys() else None
