"""Where images of one person lie relative to each other: those read together, and sessions; each pair once."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from vp_engine.cohort.choice import Choice, PlannedScan, suffix_rank
from vp_engine.cohort.flags import REGISTRATION_FAILED, STREAM_REFUSED
from vp_engine.errors import InputRefused
from vp_engine.volumes.volume import Volume

if TYPE_CHECKING:
    from vp_engine.volumes.registration import Matrix, Registration

_log = logging.getLogger(__name__)

Sha256Pair = tuple[str, str]


@dataclass(frozen=True, slots=True, eq=False)
class Pair:
    """Two images of one person, registered.

    Attributes
    ----------
    fixed, moving : PlannedScan
        Fixed is the one of the earlier session; in one session, the one that comes first in `SUFFIX_ORDER`.
    sha256 : tuple of str
        Of the files, fixed and moving.
    registration : Registration
    """

    fixed: PlannedScan
    moving: PlannedScan
    sha256: Sha256Pair
    registration: Registration

    def leading_from(self, scan: PlannedScan) -> Matrix:
        """World of one of the two → world of the other, RAS+ mm, (4, 4)."""
        return self.registration.fixed_to_moving if scan == self.fixed else self.registration.moving_to_fixed


@dataclass(frozen=True, slots=True, eq=False)
class Companion:
    """Another image of the session, as seen from the one that is delineated.

    Attributes
    ----------
    scan : PlannedScan
        The other image.
    pair : Pair or None
        The two of them; None when the gate refuses the other.
    """

    scan: PlannedScan
    pair: Pair | None

    @property
    def to_image(self) -> Matrix | None:
        """World of the other image → world of the one delineated, RAS+ mm, (4, 4); None when it is left out."""
        if self.pair is None or not self.pair.registration.accepted:
            return None
        return self.pair.leading_from(self.scan)

    def placed(self, volume: Volume) -> Volume:
        """The other image in the world of the one delineated: the same voxels under another affine.

        Raises
        ------
        ValueError
            If the other image is left out.
        """
        if self.to_image is None:
            raise ValueError(f"expected an image that is read, got {self.flag}")
        return replace(volume, affine=self.to_image @ volume.affine, forms=None)

    @property
    def flag(self) -> str | None:
        """Why it is left out, for the rows; None when it is read."""
        if self.pair is None:
            return f"{STREAM_REFUSED}:{self.scan.suffix}"
        return None if self.pair.registration.accepted else f"{REGISTRATION_FAILED}:{self.scan.suffix}"


class Streams:
    """The companions of the scans of one participant, and how its sessions lie to each other.

    Parameters
    ----------
    choices : iterable of Choice
        Scans that may be delineated, with their `others`.
    sha256 : mapping of str
        Path → sha256 of the file.
    known : mapping, optional
        Hashes of fixed and moving file → their registration, where it is on record.
    """

    def __init__(
        self,
        choices: Iterable[Choice] = (),
        sha256: Mapping[str, str | None] | None = None,
        known: Mapping[Sha256Pair, Registration] | None = None,
    ) -> None:
        self._choices = {choice.scan.path: choice for choice in choices}
        self._sha256 = sha256 or {}
        self._registrations = dict(known or {})
        self._companions: dict[str, tuple[Companion, ...]] = {}

    def companions(self, path: str, read: Callable[[str], Volume]) -> tuple[Companion, ...]:
        """The other images of a scan, registered to it, whether they can be used or not.

        Parameters
        ----------
        path : str
            Of the scan.
        read : callable
            Path → its image.

        Raises
        ------
        InputRefused
            If the gate refuses the scan itself.
        """
        if path not in self._choices:
            return ()
        if path not in self._companions:
            choice = self._choices[path]
            self._companions[path] = tuple(self._companion(choice.scan, other, read) for other in choice.others)
        return self._companions[path]

    def between(self, earlier: PlannedScan, later: PlannedScan, read: Callable[[str], Volume]) -> Pair:
        """Images of two sessions, registered, whether that is to be believed or not.

        Parameters
        ----------
        earlier, later : PlannedScan
        read : callable
            Path → its image.

        Raises
        ------
        InputRefused
            If the gate refuses one of them.
        """
        return self._registered(earlier, later, read)

    def _registered(self, fixed: PlannedScan, moving: PlannedScan, read: Callable[[str], Volume]) -> Pair:
        # with it come scipy and, when it runs, SimpleITK
        from vp_engine.volumes.registration import MOST_BETWEEN_SESSIONS_MM, register

        hashes = str(self._sha256[fixed.path]), str(self._sha256[moving.path])
        if hashes not in self._registrations:
            limit = {} if fixed.session == moving.session else {"most_translation_mm": MOST_BETWEEN_SESSIONS_MM}
            self._registrations[hashes] = register(read(fixed.path), read(moving.path), **limit)
        return Pair(fixed, moving, hashes, self._registrations[hashes])

    def _companion(self, scan: PlannedScan, other: PlannedScan, read: Callable[[str], Volume]) -> Companion:
        read(scan.path)
        try:
            read(other.path)
        except InputRefused as refusal:
            _log.warning("%s is read without %s: %s", scan.path, other.path, refusal.message)
            return Companion(other, None)
        fixed, moving = sorted((scan, other), key=lambda one: suffix_rank(one.suffix))
        pair = self._registered(fixed, moving, read)
        if not pair.registration.accepted:
            reasons = ", ".join(pair.registration.reasons)
            _log.warning("%s is read without %s, which could not be aligned: %s", scan.path, other.path, reasons)
        return Companion(other, pair)
