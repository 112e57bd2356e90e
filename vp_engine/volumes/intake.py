"""The door: which paths may be opened at all, what the gate accepts, and how a failing file system is told."""

from __future__ import annotations

import errno
import hashlib
import os
import shlex
import stat
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from vp_engine.errors import InfrastructureError, InputRefused

_POINTER_PREFIXES = (b"/annex/objects/", b"../.git/annex/objects/", b".git/annex/objects/")
_MAX_POINTER_BYTES = 32768  # as git-annex itself


@dataclass(frozen=True, slots=True)
class GateLimits:
    """What the intake gate still accepts.

    Attributes
    ----------
    max_voxels : int
        Checked before any data is read; each voxel takes 4 bytes in memory.
    max_bytes : int
        Of the stored numbers, checked before any data is read. No file may be larger on disk than this asks for.
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

    max_voxels: int = 2**27
    max_bytes: int = 2**29
    max_extra_bytes: int = 2**20
    max_nonfinite: float = 1e-3
    max_abs_value: float = 1e9
    max_shear: float = 1e-2
    spacing_mm: tuple[float, float] = (0.01, 50.0)
    accept_form_mismatch: bool = False

    @property
    def max_file_bytes(self) -> int:
        """Most that a file can take on disk, compressed badly and with everything that may stand around the data."""
        return self.max_bytes + self.max_bytes // 64 + 2 * self.max_extra_bytes


def name_in_dataset(path: Path, root: Path | None) -> str:
    """What messages call a file: its path inside the dataset, else the path as given."""
    if root is not None and path.is_relative_to(root):
        return path.relative_to(root).as_posix()
    return path.as_posix()


def check_path(path: Path, *, root: Path | None = None, limits: GateLimits | None = None) -> None:
    """Make sure that a path is a readable regular file of a bearable size, inside the dataset.

    Parameters
    ----------
    path : Path
        May be a link, as in datasets of git-annex.
    root : Path, optional
        Dataset folder that the file and whatever it links to must lie in.
    limits : GateLimits, optional

    Raises
    ------
    InputRefused
        ``outside_dataset``, ``not_a_file``, ``unreadable``, ``annex_pointer``, ``empty_file`` or ``too_large``.
    InfrastructureError
        If the file system fails.
    """
    name = name_in_dataset(path, root)
    with file_errors(name):
        target = Path(os.path.realpath(path))
        if path.is_symlink() and not target.exists() and "annex" in target.parts:
            raise _not_fetched(name)
        if root is not None and not target.is_relative_to(os.path.realpath(root)):
            message = f"{name}: expected a file inside the dataset, it is or links to one outside"
            raise InputRefused(f"{message}; copy it into the dataset", code="outside_dataset")
        status = target.stat()
        if not stat.S_ISREG(status.st_mode):
            message = f"{name}: expected a regular file, got {_kind(status.st_mode)}; remove or replace it"
            raise InputRefused(message, code="not_a_file")
        if status.st_size == 0:
            raise InputRefused(f"{name}: expected an image, the file is empty; copy it again", code="empty_file")
        most = (limits or GateLimits()).max_file_bytes
        if status.st_size > most:
            message = f"{name}: expected a file of at most {most} bytes, got {status.st_size}"
            raise InputRefused(f"{message}; crop or resample the image", code="too_large")
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
        message = f"{name}: expected a whole gzip stream, it ends too early; fetch or copy the file again"
        raise InputRefused(message, code="truncated") from error
    except zlib.error as error:
        message = f"{name}: expected a sound gzip stream, got a damaged one ({error}); fetch or copy the file again"
        raise InputRefused(message, code="bad_crc") from error
    except PermissionError as error:
        message = f"{name}: expected a readable file, it may not be read; correct its permissions"
        raise InputRefused(message, code="unreadable") from error
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG, errno.EISDIR):
            message = f"{name}: expected a file, it is missing or links to nowhere; restore it"
            raise InputRefused(message, code="not_a_file") from error
        raise InfrastructureError(f"{name}: reading failed ({error.strerror}); try again") from error


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


def _kind(mode: int) -> str:
    """Word for what is no regular file."""
    if stat.S_ISDIR(mode):
        return "a folder"
    return "a pipe" if stat.S_ISFIFO(mode) else "a device or a socket"


def _not_fetched(name: str) -> InputRefused:
    message = f"{name}: expected an image, its content was not fetched; run: datalad get {shlex.quote(name)}"
    return InputRefused(message, code="annex_pointer")
