"""Entry of the command `vp` and the one place where errors become exit codes."""

from __future__ import annotations

import errno
import logging
import sys
from typing import Annotated

import typer

from vp_engine import __version__
from vp_engine.cli import cohort, learning, questions
from vp_engine.cli.logs import start_logging
from vp_engine.errors import InfrastructureError, OutputInUse, ProgramError, VoxelPromptError

EXIT_USAGE = 2
EXIT_BUG = 70
EXIT_RETRY = 75

_RETRY_ERRNOS = frozenset(
    {errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.ESTALE, errno.ENOMEM, errno.EMFILE, errno.ENFILE, errno.EROFS}
)

app = typer.Typer(
    name="vp",
    help="Questions in plain words about brain scans. Research software. Not a medical device.",
    no_args_is_help=True,
    add_completion=False,
    # plain help text: the decorated one doubles the start-up time
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
for module in (questions, cohort, learning):
    module.register(app)


def _show_version(value: bool) -> None:
    if value:
        print(__version__)
        raise typer.Exit


@app.callback()
def options(
    log_json: Annotated[bool, typer.Option("--log-json", help="Log lines as JSON objects, for machines.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Log warnings and errors only.")] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Options before the command."""
    del version
    start_logging(as_json=log_json, quiet=quiet)


def main() -> None:
    """Run `vp`; exit 0 done, 1 `vp verify` found differences, 2 usage or input, 70 our bug, 75 worth a retry."""
    try:
        app(prog_name="vp")
    except Exception as error:  # the outermost frame
        code, message = exit_for(error)
        if code == EXIT_BUG:
            # in a log file the traceback is what we need; on a terminal it would bury the message
            logging.getLogger("vp").error("%s", message, exc_info=None if sys.stderr.isatty() else error)
        else:
            logging.getLogger("vp").error("%s", message)
        sys.exit(code)


def exit_for(error: Exception) -> tuple[int, str]:
    """Exit code and message for a person.

    >>> exit_for(OutputInUse("results is in use by job 7"))
    (75, 'results is in use by job 7')
    """
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
