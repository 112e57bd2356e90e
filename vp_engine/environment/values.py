"""What a variable of a program can hold: sessions, images, masks, numbers, words and what is cut out, all frozen."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date

import numpy as np

FEATURES = 72
"""Length of `Features.values`; that of the released vision network."""


@dataclass(frozen=True, slots=True)
class SessionInfo:
    """One visit of the participant.

    Attributes
    ----------
    label : str or None
        BIDS session label without ``ses-``; None when the dataset has no session folders.
    acquired : date or None
        Day of the scan, where the dataset says so.
    images : tuple of str
        Suffixes of the images the prompt may use, the best one first.
    """

    label: str | None
    acquired: date | None
    images: tuple[str, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Image:
    """One scan on its own grid.

    Attributes
    ----------
    session : SessionInfo
        When it was taken.
    suffix : str
        BIDS suffix: its contrast.
    data : (X, Y, Z) float32 array
        Intensities.
    affine : (4, 4) float64 array
        Voxel to world, RAS+ mm.
    lateralised : bool
        False when the file does not say which side is left.
    unit : str
        Unit of the intensities: ``a.u.``, ``HU`` for CT.
    flags : tuple of str
        What the gate repaired or noticed.
    """

    session: SessionInfo
    suffix: str
    data: np.ndarray = field(repr=False)
    affine: np.ndarray = field(repr=False)
    lateralised: bool = True
    unit: str = "a.u."
    flags: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Mask:
    """One structure delineated on one image, or a region made of such, on the grid of that image.

    Attributes
    ----------
    image : Image
        The scan it was delineated on; gives grid, affine and session.
    structure : str
        Canonical name; of a region the name that its op gives it, such as ``left_hippocampus_anterior_part``.
    data : (X, Y, Z) bool array
        True inside.
    qc_score : float or None
        Confidence, 0 to 1; None when the network gives none.
    flags : tuple of str
        Flags of the delineation, beyond those of the image.
    sources : tuple of str
        Canonical names of the structures a region is made of; empty for a structure.
    missing : tuple of str
        Those of `sources` that everyone has and that were not found.
    """

    image: Image
    structure: str
    data: np.ndarray = field(repr=False)
    qc_score: float | None = None
    flags: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()

    @property
    def is_region(self) -> bool:
        """Whether it was made of delineated structures and is not one itself."""
        return bool(self.sources)


@dataclass(frozen=True, slots=True, eq=False)
class Cutout:
    """What is left of an image around or inside a mask.

    Attributes
    ----------
    image : Image
        The scan it was cut out of; gives session, suffix and unit.
    structure : str
        Name of the mask: canonical, or that of a region.
    data : (X, Y, Z) float32 array
        Intensities.
    affine : (4, 4) float64 array
        Voxel to world, RAS+ mm.
    isolated : bool
        Whether it is 0 outside the mask.
    flags : tuple of str
        Flags of the mask, beyond those of the image.
    """

    image: Image
    structure: str
    data: np.ndarray = field(repr=False)
    affine: np.ndarray = field(repr=False)
    isolated: bool = False
    flags: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Features:
    """What the vision network sees of an image inside a mask; for the agent alone.

    Attributes
    ----------
    values : (C,) float32 array
        All 0 when there is nothing to see.
    image : str
        Suffix of the image.
    structure : str
        Name of the mask: canonical, or that of a region.
    """

    values: np.ndarray = field(repr=False)
    image: str
    structure: str


@dataclass(frozen=True, slots=True)
class Number:
    """A measured or derived number; one row of the table ``measurements`` when reported.

    Attributes
    ----------
    value : float or None
        In `unit`; None when it is undefined, and then a flag says why (``empty_mask``, ``zero_denominator``).
    unit : str
        ``mm3``, ``mm2``, ``mm``, ``1``, ``a.u.``, ``HU``, ``%`` or one of these per year.
    target : str
        Canonical name of the structure the row belongs to.
    measure : str
        What was measured: ``volume``, ``asymmetry``, ...
    image : str
        Suffix of the image measured.
    session : SessionInfo
        Session measured; the later one of a change.
    reference_session : SessionInfo or None
        Session a change is relative to.
    qc_score : float or None
        Lowest of all masks used; None when none had one.
    flags : tuple of str
        Union over all operands, sorted.
    """

    value: float | None
    unit: str
    target: str
    measure: str
    image: str
    session: SessionInfo
    reference_session: SessionInfo | None = None
    qc_score: float | None = None
    flags: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Text:
    """A word from a closed list: what `compare` found, an answer, or what `describe` says.

    Attributes
    ----------
    word : str
        The word.
    target : str or None
        What an answer is about: a structure, a region; None for comparisons.
    session : SessionInfo or None
        Session an answer concerns; None when it concerns several.
    measure : str
        ``answer``, or the aspect that `describe` was asked.
    image : str or None
        Suffix of the image described; None for answers.
    confidence : float or None
        Probability that the word is right, 0 to 1; None for answers.
    flags : tuple of str
        Of the mask described, sorted.
    """

    word: str
    target: str | None = None
    session: SessionInfo | None = None
    measure: str = "answer"
    image: str | None = None
    confidence: float | None = None
    flags: tuple[str, ...] = ()


Result = Number | Text | Mask | Cutout
"""What a program can leave behind: rows, masks and images."""
Scalar = SessionInfo | Image | Mask | Number | Text | Cutout | Features
Value = Scalar | list[SessionInfo] | list[Image] | list[Mask] | list[Number]
