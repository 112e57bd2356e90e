"""The scans of one participant: each read once, hashed once, delineated once for all prompts."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import numpy as np

from vp_engine.anatomy import STRUCTURES
from vp_engine.cohort.choice import PlannedScan
from vp_engine.cohort.flags import mask_flags, reaches_skull
from vp_engine.cohort.streams import Companion, Pair, Streams
from vp_engine.errors import InputRefused, RequestRefused
from vp_engine.measure.surroundings import is_skull_stripped
from vp_engine.volumes.intake import GateLimits
from vp_engine.volumes.nifti import read_image
from vp_engine.volumes.volume import Volume

KEPT_BYTES = 512 * 2**20
"""Images kept in memory at once; the next one needed is read again."""

KEPT_FEATURES = 2
"""Scans whose features are kept in memory at once: as many as a change over time compares."""


class Region(Protocol):
    """One structure in the box that holds it."""

    @property
    def start(self) -> tuple[int, int, int]:
        """First voxel of the box, in the axis order of the scan."""
        ...

    @property
    def inside(self) -> np.ndarray:
        """Bool array of the shape of the box: the mask."""
        ...

    @property
    def qc_score(self) -> float | None:
        """Expected Dice of the mask with the truth, 0 to 1; None when it is empty."""
        ...


class Seen(Protocol):
    """What a network sees of one scan."""

    def inside(self, mask_XYZ: np.ndarray) -> np.ndarray:
        """Pool inside a mask, bool in the axis order of the scan; (C,) float32, 0 where nothing is seen."""
        ...


class Segmenter(Protocol):
    """A vision network with its weights, ready to delineate structures on scans."""

    @property
    def known(self) -> tuple[str, ...]:
        """Names of the parts the weights delineate."""
        ...

    @property
    def device(self) -> str:
        """Where it runs, such as ``cpu``."""
        ...

    def regions(
        self, volume: Volume, unions: Mapping[str, Sequence[str]], *, others: Sequence[Volume] = ()
    ) -> Iterable[tuple[str, Region]]:
        """Delineate unions of parts on one scan with one pass of the network.

        Parameters
        ----------
        volume : Volume
            Any axis order.
        unions : mapping of str to sequence of str
            Name of each union and its parts, some of `known`.
        others : sequence of Volume, optional
            More images of the same head in the same world, read together with it.

        Yields
        ------
        name, Region
            One at a time.
        """
        ...

    def features(self, volume: Volume, *, others: Sequence[Volume] = ()) -> Seen:
        """Look at one scan, read together with others as in `regions`, with one pass of the network."""
        ...

    def answer(self, question: str, numbers: np.ndarray) -> tuple[str, float]:
        """Answer a question about a lesion from numbers: a word, and the probability that it is right."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class Delineation:
    """One structure on one scan, without the empty space around it.

    Attributes
    ----------
    shape : tuple of int
        Of the whole grid.
    start : tuple of int
        First voxel of the box.
    box : bool array
        The mask inside its bounding box.
    qc_score : float or None
        Expected Dice with the truth, 0 to 1; None when nothing was found.
    flags : tuple of str
        What its surroundings say about it; see `vp_engine.cohort.flags`.
    """

    shape: tuple[int, ...]
    start: tuple[int, ...]
    box: np.ndarray
    qc_score: float | None
    flags: tuple[str, ...] = ()

    @property
    def where(self) -> tuple[slice, ...]:
        """The box within the whole grid."""
        return tuple(slice(first, first + size) for first, size in zip(self.start, self.box.shape, strict=True))

    @property
    def voxels(self) -> int:
        """Voxels inside."""
        return int(np.count_nonzero(self.box))

    @property
    def at_edge(self) -> bool:
        """Whether it has a voxel in an outermost slice of the grid: the structure may go on outside."""
        ends = zip(self.where, self.shape, strict=True)
        return self.voxels > 0 and any(span.start == 0 or span.stop == size for span, size in ends)

    def full(self) -> np.ndarray:
        """The mask on the whole grid, bool."""
        mask = np.zeros(self.shape, dtype=bool)
        mask[self.where] = self.box
        return mask


class Scans:
    """Scans by path: below the root of a dataset, or anywhere when there is none.

    Parameters
    ----------
    root : Path or None
        Root of the dataset; no path may leave it.
    segmenter : Segmenter
    limits : GateLimits, optional
        What the gate accepts, if not the usual.
    streams : Streams, optional
        What is read together with which scan; without, each is read alone.
    images : mapping, optional
        Path → scans that were read ahead, or why the gate refuses them.
    """

    def __init__(
        self,
        root: Path | None,
        segmenter: Segmenter,
        *,
        limits: GateLimits | None = None,
        streams: Streams | None = None,
        images: Mapping[str, Volume | InputRefused] | None = None,
    ) -> None:
        self.root = root
        self.segmenter = segmenter
        self.limits = limits
        self._streams = streams or Streams()
        ahead = images or {}
        self._volumes = OrderedDict((path, one) for path, one in ahead.items() if isinstance(one, Volume))
        self._refused = {path: one for path, one in ahead.items() if isinstance(one, InputRefused)}
        self._wanted: dict[str, set[str]] = {}
        self._found: dict[tuple[str, str], Delineation] = {}
        self._seen: OrderedDict[str, Seen] = OrderedDict()

    def volume(self, path: str) -> Volume:
        """The image, through the gate.

        Raises
        ------
        InputRefused
            The same each time, without reading again.
        """
        if path in self._refused:
            raise self._refused[path]
        if path not in self._volumes:
            try:
                self._volumes[path] = read_image(self._file(path), root=self.root, limits=self.limits)
            except InputRefused as error:
                self._refused[path] = error
                raise
        self._volumes.move_to_end(path)
        while len(self._volumes) > 1 and sum(v.data.nbytes for v in self._volumes.values()) > KEPT_BYTES:
            self._volumes.popitem(last=False)
        return self._volumes[path]

    def _file(self, path: str) -> Path:
        return Path(path) if self.root is None else self.root / path

    def companions(self, path: str) -> tuple[Companion, ...]:
        """The other images of the session of a scan, registered to it; those that cannot be used say so.

        Raises
        ------
        InputRefused
            If the scan itself is refused.
        """
        return self._streams.companions(path, self.volume)

    def left_out(self, path: str) -> tuple[str, ...]:
        """Flags of images that should have been read together with a scan and were not."""
        return tuple(companion.flag for companion in self.companions(path) if companion.flag is not None)

    def between(self, earlier: PlannedScan, later: PlannedScan) -> Pair:
        """Scans of two sessions, registered; the pair says whether that is to be believed.

        Raises
        ------
        InputRefused
            If one of them is refused.
        """
        return self._streams.between(earlier, later, self.volume)

    def want(self, path: str, structures: Iterable[str]) -> None:
        """Announce structures that will be asked for, so that one call of the network gives them all."""
        self._wanted.setdefault(path, set()).update(structures)

    def delineation(self, path: str, structure: str) -> Delineation:
        """A structure on a scan; the first call delineates all that was announced for the scan.

        Raises
        ------
        InputRefused
            If the scan is refused.
        RequestRefused
            If the weights do not know the structure.
        """
        if (path, structure) not in self._found:
            if not self.can(structure):
                raise RequestRefused(
                    f"Expected a structure these weights delineate, got {structure}.", code="unsupported_structure"
                )
            asked = {structure, *self._wanted.get(path, ())}
            missing = sorted(name for name in asked if self.can(name) and (path, name) not in self._found)
            found = delineate(self.volume(path), missing, self.segmenter, others=self._others(path))
            self._found.update({(path, name): mask for name, mask in found.items()})
        return self._found[path, structure]

    def features(self, path: str, mask: np.ndarray) -> np.ndarray:
        """What the network sees of a scan inside a mask on its grid, pooled; (C,) float32.

        Raises
        ------
        InputRefused
            If the scan is refused.
        """
        if path not in self._seen:
            self._seen[path] = self.segmenter.features(self.volume(path), others=self._others(path))
        self._seen.move_to_end(path)
        while len(self._seen) > KEPT_FEATURES:
            self._seen.popitem(last=False)
        return self._seen[path].inside(mask)

    def _others(self, path: str) -> list[Volume]:
        """Images to be read together with a scan, placed in its world."""
        usable = [companion for companion in self.companions(path) if companion.flag is None]
        return [companion.placed(self.volume(companion.scan.path)) for companion in usable]

    def can(self, structure: str) -> bool:
        """Whether the weights delineate every part of a structure."""
        parts = STRUCTURES[structure].parts
        return bool(parts) and set(parts) <= set(self.segmenter.known)


def delineate(
    volume: Volume, structures: Sequence[str], segmenter: Segmenter, *, others: Sequence[Volume] = ()
) -> dict[str, Delineation]:
    """Delineate parts and unions of parts on one image with one pass of the network.

    Parameters
    ----------
    volume : Volume
    structures : sequence of str
        Canonical names.
    segmenter : Segmenter
    others : sequence of Volume, optional
        More images of the same head in the same world, read together with it.
    """
    unions = {name: STRUCTURES[name].parts for name in structures}
    if not unions:
        return {}
    at_skull = any(reaches_skull(name) for name in structures)
    if at_skull:
        unions.setdefault("brain", STRUCTURES["brain"].parts)
    found = {
        name: _delineation(region, volume.shape) for name, region in segmenter.regions(volume, unions, others=others)
    }
    stripped = (
        at_skull and found["brain"].voxels > 0 and is_skull_stripped(volume.data, found["brain"].full(), volume.affine)
    )
    return {
        name: replace(mask, flags=mask_flags(name, at_edge=mask.at_edge, skull_stripped=stripped))
        for name, mask in found.items()
        if name in structures
    }


def boxed(mask: np.ndarray, qc_score: float | None, flags: tuple[str, ...]) -> Delineation:
    """A mask on a whole grid, without the empty space around it."""
    low, high = _bounding_box(mask)
    where = tuple(slice(first, last) for first, last in zip(low, high, strict=True))
    return Delineation(mask.shape, low, mask[where].copy(), qc_score, flags)


def _delineation(region: Region, shape: tuple[int, ...]) -> Delineation:
    found = boxed(region.inside, region.qc_score, ())
    start = tuple(first + offset for first, offset in zip(region.start, found.start, strict=True))
    return replace(found, shape=shape, start=start)


def _bounding_box(m_XYZ: np.ndarray) -> tuple[tuple[int, ...], tuple[int, ...]]:
    start, stop = [], []
    for axis in range(m_XYZ.ndim):
        others = tuple(other for other in range(m_XYZ.ndim) if other != axis)
        used = np.flatnonzero(m_XYZ.any(axis=others))
        start.append(int(used[0]) if used.size else 0)
        stop.append(int(used[-1]) + 1 if used.size else 0)
    return tuple(start), tuple(stop)
