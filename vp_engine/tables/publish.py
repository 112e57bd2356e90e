"""Files that appear whole or not at all."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO


@contextmanager
def publishing(path: Path) -> Iterator[BinaryIO]:
    """Open a file that takes its name only when everything has been written.

    A temporary file in the same folder, fsync, rename, fsync of the folder: after a crash there is the old file or the
    new one. The folder is made when it does not exist; after an error nothing is left behind.

    Parameters
    ----------
    path : Path
        Name of the file in the end.

    Yields
    ------
    BinaryIO
        To be written to.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}.tmp")
    try:
        with temporary.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
