"""What the programs of a task drew, as plain values: all that writing it takes, for whoever writes it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from vp_engine.cohort.choice import Choice, PlannedScan
from vp_engine.cohort.scans import Delineation, Scans
from vp_engine.cohort.streams import Companion, Pair
from vp_engine.environment.values import Cutout
from vp_engine.volumes.volume import Grid, Volume


@dataclass(frozen=True, slots=True, eq=False)
class DrawnScan:
    """What was drawn on one scan.

    Attributes
    ----------
    scan : PlannedScan
    grid : Grid
        Of the scan.
    found : mapping of str to Delineation
        Structures and regions by name.
    companions : tuple of Companion
        The other images of its session.
    """

    scan: PlannedScan
    grid: Grid
    found: Mapping[str, Delineation]
    companions: tuple[Companion, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class DrawnImage:
    """An image that was cut out of a scan.

    Attributes
    ----------
    scan : PlannedScan
    structure : str
        Name of the mask it was cut out with.
    isolated : bool
        Whether it is 0 outside the mask.
    image : Volume
    """

    scan: PlannedScan
    structure: str
    isolated: bool
    image: Volume


@dataclass(frozen=True, slots=True, eq=False)
class Drawn:
    """What the programs of a task drew.

    Attributes
    ----------
    scans : tuple of DrawnScan
        In order of path.
    images : tuple of DrawnImage
        In the order they were saved.
    between : tuple of Pair
        Images of two sessions that were registered, on which regions may rest.
    """

    scans: tuple[DrawnScan, ...] = ()
    images: tuple[DrawnImage, ...] = ()
    between: tuple[Pair, ...] = ()


def drawn_scans(
    delineated: Mapping[tuple[str, str], Choice], regions: Mapping[tuple[str, str], Delineation], scans: Scans
) -> tuple[DrawnScan, ...]:
    """Gather what was drawn, scan by scan.

    Parameters
    ----------
    delineated : mapping
        (path of the scan, structure) → its choice.
    regions : mapping
        (path of the scan, name) → where it is; of scans with delineations.
    scans : Scans
    """
    gathered = []
    for path in sorted({path for path, _ in delineated}):
        structures = sorted(name for scan, name in delineated if scan == path)
        found = {name: scans.delineation(path, name) for name in structures}
        found |= {name: region for (scan, name), region in regions.items() if scan == path}
        scan = delineated[path, structures[0]].scan
        gathered.append(DrawnScan(scan, scans.volume(path).grid, found, scans.companions(path)))
    return tuple(gathered)


def drawn_images(cutouts: Sequence[tuple[Choice, Cutout]], scans: Scans) -> tuple[DrawnImage, ...]:
    """What was cut out of scans, each with the choice of its scan, as images."""
    return tuple(
        DrawnImage(
            choice.scan, cutout.structure, cutout.isolated, cutout_volume(cutout, scans.volume(choice.scan.path))
        )
        for choice, cutout in cutouts
    )


def cutout_volume(cutout: Cutout, scan: Volume) -> Volume:
    """What was cut out of a scan, as an image; on the grid of the scan also with its header fields."""
    forms = scan.forms if cutout.isolated else None
    return Volume(cutout.data, cutout.affine, lateralised=scan.lateralised, forms=forms)
