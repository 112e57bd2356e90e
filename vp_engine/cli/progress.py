"""Progress of a job: a bar on a terminal, else a line in the log now and then."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vp_engine.cohort.watching import Pace

EVERY_S = 60.0
"""Shortest time between two lines about the pace; each participant has a line of its own."""

_log = logging.getLogger("vp")


@contextmanager
def showing(total: int) -> Iterator[Callable[[Pace], None]]:
    """Give a function that shows the pace of a job.

    Parameters
    ----------
    total : int
        Participants of the job.
    """
    if sys.stderr.isatty() and _log.isEnabledFor(logging.INFO):
        with _bar(total) as show:
            yield show
    else:
        yield _lines(total)


def _lines(total: int) -> Callable[[Pace], None]:
    told = time.monotonic()

    def show(pace: Pace) -> None:
        nonlocal told
        if total > 1 and (pace.done == total or time.monotonic() - told >= EVERY_S):
            told = time.monotonic()
            _log.info("%s", str(pace))

    return show


@contextmanager
def _bar(total: int) -> Iterator[Callable[[Pace], None]]:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn

    console = Console(stderr=True)
    pace = TextColumn("{task.fields[pace]}", markup=False)
    with Progress(BarColumn(bar_width=24), pace, console=console) as progress:
        task = progress.add_task("", total=total, pace=f"0 of {total} participants")
        # log lines go above the bar, by way of what rich has put in place of sys.stderr
        handlers = [one for one in logging.getLogger().handlers if type(one) is logging.StreamHandler]
        streams = [one.setStream(sys.stderr) for one in handlers]
        try:
            yield lambda pace: progress.update(task, completed=pace.done, pace=str(pace))
        finally:
            for handler, stream in zip(handlers, streams, strict=True):
                if stream is not None:
                    handler.setStream(stream)
