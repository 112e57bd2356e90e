"""The uncompressed content of a file, piece by piece, so that a hostile file costs neither memory nor time.

Python's own gzip reader takes names and padding in the file byte by byte, which made a file of 50 MB cost seconds.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from vp_engine.errors import InputRefused
from vp_engine.volumes.intake import file_errors

PIECE_BYTES = 2**18
"""Most that is held of a file at a time."""

_GZIP_MAGIC = b"\x1f\x8b"
_GZIP = 31  # zlib's word for: with a gzip header, and its checksum compared
_MAX_MEMBERS = 2**14  # tools that cut files into blocks write at least 64 KiB a member


class Content:
    """Bytes of an open file in order, inflated when they are compressed; may be read again from the start.

    Parameters
    ----------
    raw : BinaryIO
        Open for reading in binary mode.
    is_gzip : bool
        Whether to inflate.
    """

    def __init__(self, raw: BinaryIO, *, is_gzip: bool) -> None:
        self._raw = raw
        self._is_gzip = is_gzip
        self.rewind()

    def rewind(self) -> None:
        """Go back to the first byte."""
        self._raw.seek(0)
        self._pieces = _inflated(self._raw) if self._is_gzip else _stored(self._raw)
        self._rest = b""

    def read(self, n_bytes: int) -> bytes:
        """The next `n_bytes`; fewer only at the end of the file.

        Raises
        ------
        EOFError, zlib.error
            If the compressed stream ends early or is damaged.
        """
        taken = [self._rest]
        missing = n_bytes - len(self._rest)
        while missing > 0 and (piece := next(self._pieces, b"")):
            taken.append(piece)
            missing -= len(piece)
        joined = b"".join(taken)
        self._rest = joined[n_bytes:]
        return joined[:n_bytes]


@contextmanager
def open_content(path: Path, name: str) -> Iterator[tuple[Content, tuple[str, ...]]]:
    """Open a NIfTI file for reading its uncompressed content, judging by content rather than by name.

    Parameters
    ----------
    path : Path
        Accepted by :func:`~vp_engine.volumes.intake.check_path`.
    name : str
        What messages call the file.

    Yields
    ------
    Content
    tuple of str
        ``fix_gzip_name`` when compressed content hides under a plain name.

    Raises
    ------
    InputRefused
        ``not_gzip``, or any of :func:`~vp_engine.volumes.intake.file_errors`.
    """
    named_gzip = path.name.lower().endswith(".gz")
    with file_errors(name), path.open("rb") as raw:
        is_gzip = raw.read(2) == _GZIP_MAGIC
        if named_gzip and not is_gzip:
            message = f"{name}: expected gzip, got other content such as a saved web page; fetch the file again"
            raise InputRefused(message, code="not_gzip")
        yield Content(raw, is_gzip=is_gzip), ("fix_gzip_name",) if is_gzip and not named_gzip else ()


def _stored(raw: BinaryIO) -> Iterator[bytes]:
    while piece := raw.read(PIECE_BYTES):
        yield piece


def _inflated(raw: BinaryIO) -> Iterator[bytes]:
    """Pieces of every gzip member, checksums compared; zeros after a member are padding, as for gzip itself."""
    packed = raw.read(PIECE_BYTES)
    for _ in range(_MAX_MEMBERS):
        member = zlib.decompressobj(_GZIP)
        while not member.eof:
            packed = packed or raw.read(PIECE_BYTES)
            if not packed:
                raise EOFError
            if piece := member.decompress(packed, PIECE_BYTES):
                yield piece
            packed = member.unconsumed_tail
        packed = member.unused_data.lstrip(b"\0")
        while not packed:
            padding = raw.read(PIECE_BYTES)
            if not padding:
                return
            packed = padding.lstrip(b"\0")
    raise zlib.error(f"more than {_MAX_MEMBERS} gzip members")
