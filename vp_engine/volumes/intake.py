"""The door: which paths may be opened at all, and reading a stream to its end without trusting it."""

from __future__ import annotations

import errno
import gzip
import hashlib
import os
import stat
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast

from vp_engine.errors import InfrastructureError, InputRefused

GZIP_MAGIC = b"\x1f\x8b"
_MAX_DEFLATE_RATIO = 1032  # of zlib's format; a gzip member cannot hold more
_POINTER_PREFIXES = (b"/annex/objects/", b"../.git/annex/objects/", b".git/annex/objects/")
_MAX_POINTER_BYTES = 32768  # as git-annex itself
_CHUNK_BYTES = 2**22


@dataclass(frozen=True, slots=True)
class GateLimits:
    """What the intake gate still accepts.

    Attributes
    ----------
    max_voxels : int
        Checked before any data is read; each voxel takes up to 8 bytes in the file and 4 in memory.
    max_extra_bytes : int
        Header extensions before the data, and padding after it.
    max_nonfinite : float
        Fraction of NaN and infinite voxels that are still set to 0 (exclusive).
    max_abs_value : float
        After scaling.
    max_shear : float
        Cosine between array axes.
    spacing_mm : tuple of float
        Smallest and largest voxel size.
    accept_form_mismatch : bool
        Use the sform when it differs from the qform by more than 5 degrees or 5 mm, instead of refusing.
    """

    max_voxels: int = 2**28
    max_extra_bytes: int = 2**20
    max_nonfinite: float = 1e-3
    max_abs_value: float = 1e9
    max_shear: float = 1e-2
    spacing_mm: tuple[float, float] = (0.01, 50.0)
    accept_form_mismatch: bool = False


def name_in_dataset(path: Path, root: Path | None) -> str:
    """What messages call a file: its path inside the dataset, else the path as given."""
    if root is not None and path.is_relative_to(root):
        return path.relative_to(root).as_posix()
    return path.as_posix()


def check_path(path: Path, *, root: Path | None = None) -> None:
    """Make sure that a path is a readable regular file with content, inside the dataset.

    Parameters
    ----------
    path : Path
        May be a link, as in datasets of git-annex.
    root : Path, optional
        Dataset folder that the file and whatever it links to must lie in.

    Raises
    ------
    InputRefused
        ``outside_dataset``, ``not_a_file``, ``unreadable``, ``annex_pointer`` or ``empty_file``.
    InfrastructureError
        If the file system fails.
    """
    name = name_in_dataset(path, root)
    target = Path(os.path.realpath(path))
    if path.is_symlink() and not target.exists() and "annex" in target.parts:
        raise _not_fetched(name)
    if root is not None and not target.is_relative_to(os.path.realpath(root)):
        message = f"{name}: expected a file inside the dataset, it is or links to one outside; copy it into the dataset"
        raise InputRefused(message, code="outside_dataset")
    with file_errors(name):
        status = target.stat()
        if not stat.S_ISREG(status.st_mode):
            raise InputRefused(f"{name}: expected a regular file; remove or replace it", code="not_a_file")
        if status.st_size == 0:
            raise InputRefused(f"{name}: expected an image, the file is empty; copy it again", code="empty_file")
        if status.st_size <= _MAX_POINTER_BYTES:
            with target.open("rb") as stream:
                if stream.read(64).startswith(_POINTER_PREFIXES):
                    raise _not_fetched(name)


@contextmanager
def file_errors(name: str) -> Iterator[None]:
    """Turn errors of reading a file into refusals of that file, or into a failure of the machine.

    Raises
    ------
    InputRefused
        ``not_a_file``, ``unreadable``, ``truncated`` or ``bad_crc``.
    InfrastructureError
        For every other error of the file system, which a retry may cure.
    """
    try:
        yield
    except EOFError as error:
        message = f"{name}: the compressed stream ends too early; fetch or copy the file again"
        raise InputRefused(message, code="truncated") from error
    except (gzip.BadGzipFile, zlib.error) as error:
        message = f"{name}: the compressed stream is damaged ({error}); fetch or copy the file again"
        raise InputRefused(message, code="bad_crc") from error
    except PermissionError as error:
        raise InputRefused(f"{name}: may not be read; correct its permissions", code="unreadable") from error
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG, errno.EISDIR):
            message = f"{name}: expected a file, it is missing or links to nowhere; restore it"
            raise InputRefused(message, code="not_a_file") from error
        raise InfrastructureError(f"{name}: reading failed ({error.strerror}); try again") from error


@contextmanager
def open_content(path: Path, name: str) -> Iterator[tuple[BinaryIO, tuple[str, ...]]]:
    """Open a NIfTI file for reading its uncompressed content, judging by content rather than by name.

    Parameters
    ----------
    path : Path
        Accepted by :func:`check_path`.
    name : str
        What messages call the file.

    Yields
    ------
    BinaryIO
    tuple of str
        ``fix_gzip_name`` when compressed content hides under a plain name.

    Raises
    ------
    InputRefused
        ``not_gzip``, or any of :func:`file_errors`.
    """
    named_gzip = path.name.lower().endswith(".gz")
    with file_errors(name), path.open("rb") as raw:
        is_gzip = raw.read(2) == GZIP_MAGIC
        raw.seek(0)
        if named_gzip and not is_gzip:
            message = f"{name}: expected gzip, got other content such as a saved web page; fetch the file again"
            raise InputRefused(message, code="not_gzip")
        if not is_gzip:
            yield raw, ()
            return
        with gzip.GzipFile(fileobj=raw, mode="rb") as stream:
            yield cast(BinaryIO, stream), () if named_gzip else ("fix_gzip_name",)


def read_payload(stream: BinaryIO, n_bytes: int, *, file_bytes: int, max_extra_bytes: int, name: str) -> bytearray:
    """Read the data and everything after it, so that a checksum at the very end is compared too.

    Parameters
    ----------
    stream : BinaryIO
        Standing at the first byte of the data.
    n_bytes : int
        Data to return.
    file_bytes : int
        Size of the file on disk; what cannot come out of it is refused before memory is taken.
    max_extra_bytes : int
        Padding that may follow the data.
    name : str
        What messages call the file.

    Returns
    -------
    bytearray
        Of `n_bytes`.

    Raises
    ------
    InputRefused
        ``truncated`` or ``trailing_data``.
    """
    if n_bytes > file_bytes * _MAX_DEFLATE_RATIO:
        raise _too_short(name, n_bytes, f"a file of {file_bytes} bytes")
    payload = bytearray(n_bytes)
    view = memoryview(payload)
    filled = 0
    while filled < n_bytes:
        got = stream.readinto(view[filled : filled + _CHUNK_BYTES])  # type: ignore[attr-defined]  # BinaryIO lacks it, files and GzipFile have it
        if not got:
            raise _too_short(name, n_bytes, f"{filled}")
        filled += got
    extra = 0
    while chunk := stream.read(_CHUNK_BYTES):
        extra += len(chunk)
        if extra > max_extra_bytes:
            message = f"{name}: expected {n_bytes} bytes of data, got over {max_extra_bytes} more; convert it again"
            raise InputRefused(message, code="trailing_data")
    return payload


def file_sha256(path: Path, *, root: Path | None = None) -> str:
    """SHA-256 of an image file as it is on disk, read in pieces.

    Parameters
    ----------
    path : Path
    root : Path, optional
        Dataset folder that the file must lie in.

    Returns
    -------
    str
        64 hexadecimal digits.

    Raises
    ------
    InputRefused
        As :func:`check_path`, so that no FIFO is waited for and nothing outside the dataset is read.
    InfrastructureError
        If the file system fails.
    """
    check_path(path, root=root)
    with file_errors(name_in_dataset(path, root)), path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _not_fetched(name: str) -> InputRefused:
    message = f"{name}: expected an image, its content was not fetched; run: datalad get {name}"
    return InputRefused(message, code="annex_pointer")


def _too_short(name: str, n_bytes: int, got: str) -> InputRefused:
    message = f"{name}: expected {n_bytes} bytes of data, got {got}; fetch or copy the file again"
    return InputRefused(message, code="truncated")
