"""Where log lines go: standard error, as text or as one JSON object per line."""

from __future__ import annotations

import json
import logging
import sys


class JsonLines(logging.Formatter):
    """One JSON object per record: time, level, logger, message, and the traceback when there is one."""

    def format(self, record: logging.LogRecord) -> str:
        """Render a record; line breaks inside are escaped, so that a hostile text cannot forge a second record."""
        line = {
            "time": self.formatTime(record, "%Y-%m-%dT%H:%M:%S%z"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=True)


def start_logging(*, as_json: bool, quiet: bool) -> None:
    """Send the log of this package to standard error.

    Parameters
    ----------
    as_json : bool
        JSON lines instead of text.
    quiet : bool
        Warnings and errors only.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines() if as_json else logging.Formatter("%(levelname)s %(message)s"))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    # other libraries speak up only when something is wrong
    root.setLevel(logging.WARNING)
    for name in ("vp", "vp_engine"):
        logging.getLogger(name).setLevel(logging.WARNING if quiet else logging.INFO)
