"""Entry of the command `vp` and the one place where errors become exit codes."""

from __future__ import annotations

import errno
import logging
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Annotated, NoReturn

import typer

from vp_engine import __version__
from vp_engine.cli import cohort, learning, questions, results
from vp_engine.cli.attempts import AlreadyFailed, attempting
from vp_engine.cli.logs import start_logging
from vp_engine.errors import InfrastructureError, OutputInUse, ProgramError, VoxelPromptError

EXIT_USAGE = 2
EXIT_BUG = 70
EXIT_RETRY = 75

_RETRY_ERRNOS = frozenset(
    {errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.ESTALE, errno.ENOMEM, errno.EMFILE, errno.ENFILE, errno.EROFS}
    | {errno.EAGAIN}  # no more processes can be started
)
_FINAL = frozenset({EXIT_USAGE, EXIT_BUG})
_STOPPING = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)

app = typer.Typer(
    name="vp",
    help="Questions in plain words about brain scans. Research software. Not a medical device.",
    no_args_is_help=True,
    add_completion=False,
    # plain help text: the decorated one doubles the start-up time
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
for module in (questions, cohort, results, learning):
    module.register(app)


def _show_version(value: bool) -> None:
    if value:
        print(__version__)
        raise typer.Exit


@app.callback()
def options(
    context: typer.Context,
    log_json: Annotated[bool, typer.Option("--log-json", help="Log lines as JSON objects, for machines.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Log warnings and errors only.")] = False,
    attempt: Annotated[int, typer.Option(min=1, help="How often this was tried, this time included.")] = 1,
    outcome: Annotated[
        Path | None,
        typer.Option(help="File that keeps a failure. Another --attempt at what no retry can cure ends at once."),
    ] = None,
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Options before the command."""
    del version
    start_logging(as_json=log_json, quiet=quiet)
    if outcome is not None:
        context.with_resource(attempting(outcome, attempt, exit_for=exit_for, final=_FINAL))


def main() -> None:
    """Run `vp`; exit 0 done, 1 `vp verify` found differences, 2 usage or input, 70 our bug, 75 worth a retry."""
    try:
        with _stopping():
            app(prog_name="vp")
    except Exception as error:  # the outermost frame
        code, message = exit_for(error)
        if code == EXIT_BUG and not isinstance(error, AlreadyFailed):
            # in a log file the traceback is what we need; on a terminal it would bury the message
            logging.getLogger("vp").error("%s", message, exc_info=None if sys.stderr.isatty() else error)
        else:
            logging.getLogger("vp").error("%s", message)
        sys.exit(code)


@contextmanager
def _stopping() -> Iterator[None]:
    """End by a signal as by an error: locks are given back, temporaries removed, and the exit code is 75."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    ignored = [number for number in _STOPPING if signal.getsignal(number) is signal.SIG_IGN]  # as under nohup
    before = {number: signal.signal(number, _stop) for number in _STOPPING if number not in ignored}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _stop(number: int, _frame: FrameType | None) -> NoReturn:
    for other in _STOPPING:
        signal.signal(other, signal.SIG_IGN)  # asked once is enough; what is left takes no time
    logging.getLogger("vp").error("stopped by %s; run it again to go on", signal.Signals(number).name)
    sys.exit(EXIT_RETRY)


def exit_for(error: Exception) -> tuple[int, str]:
    """Exit code and message for a person.

    >>> exit_for(OutputInUse("results is in use by job 7"))
    (75, 'results is in use by job 7')
    """
    if isinstance(error, AlreadyFailed):
        return error.exit_code, str(error)
    if isinstance(error, InfrastructureError | OutputInUse):
        return EXIT_RETRY, error.message
    if isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno in _RETRY_ERRNOS):
        return EXIT_RETRY, f"{str(error) or 'out of memory'}; this machine could not do it, a retry may"
    if isinstance(error, VoxelPromptError) and not isinstance(error, ProgramError):
        return EXIT_USAGE, error.message
    hint = "this is a bug of ours; please report it with the log"
    if sys.stderr.isatty():
        hint += " (2> vp.log keeps the traceback)"
    return EXIT_BUG, f"{type(error).__name__}: {error}; {hint}"


if __name__ == "__main__":
    main()
