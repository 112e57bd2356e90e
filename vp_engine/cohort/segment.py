"""The shortest way from a scan to masks: a file, names of structures, and a folder for what comes out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np

from vp_engine.anatomy import STRUCTURES, abbreviation
from vp_engine.cohort.engine import device_failures
from vp_engine.cohort.naming import structure_named
from vp_engine.cohort.packing import pack
from vp_engine.cohort.publish import publish_bytes, publishing
from vp_engine.cohort.scans import Delineation, Segmenter, delineate
from vp_engine.errors import ConfigError, RequestRefused
from vp_engine.volumes.geometry import voxel_volume_mm3
from vp_engine.volumes.nifti import read_image, write_labels
from vp_engine.volumes.volume import Volume


@dataclass(frozen=True, slots=True)
class Segmented:
    """One structure found.

    Attributes
    ----------
    structure : str
        Canonical name, or the name of a region.
    label : int
        Its number in `path`.
    path : Path
        Label image in the geometry of the scan.
    voxels : int
    volume_mm3 : float
    qc_score : float or None
        Expected Dice with the truth, 0 to 1; None when nothing was found.
    flags : tuple of str
        What its surroundings say about it; see `vp_engine.cohort.flags`.
    """

    structure: str
    label: int
    path: Path
    voxels: int
    volume_mm3: float
    qc_score: float | None
    flags: tuple[str, ...]


def segment_file(
    path: Path, structures: Sequence[str], output: Path, *, segmenter: Segmenter, others: Sequence[Path] = ()
) -> list[Segmented]:
    """Delineate structures on one image file and write masks, a label table and volumes.

    Parameters
    ----------
    path : Path
        NIfTI image.
    structures : sequence of str
        As typed: `left hippocampus`, `ventricles`; every part the weights know when empty.
    output : Path
        Folder, made when absent. Gets `<name>_dseg.nii.gz`, `<name>_dseg.tsv`, `<name>_volumes.tsv`, and
        `<name>_label-<structure>_mask.nii.gz` for structures that overlap those of the dseg.
    segmenter : Segmenter
    others : sequence of Path, optional
        More images of the same head, in register with the first in world space, on any grid. They are read together
        with it; masks are made of the first only.

    Returns
    -------
    list of Segmented
        In the order asked.

    Raises
    ------
    RequestRefused
        If a structure is unknown, or these weights do not delineate it.
    InputRefused
        If an image cannot be used.
    ConfigError
        If one of `others` shows another place than the image.
    InfrastructureError
        If the disk or the device fails.
    """
    names = list(dict.fromkeys(structure_named(text) for text in structures)) or list(segmenter.known)
    for name in names:
        refuse_unknown(name, segmenter)
    volume, companions = read_image(path), [read_image(other) for other in others]
    for other, companion in zip(others, companions, strict=True):
        if not _meet(volume, companion):
            raise ConfigError(
                f"expected images that are in register, but the fields of view of {path.name} and {other.name} have no "
                f"place in common; register {other.name} to {path.name} first"
            )
    with device_failures():
        found = delineate(volume, names, segmenter, others=companions)
    written = write_masks(output, stem(path), found, like=volume)
    table = {item.structure: item for item in written}
    return [table[name] for name in names]


def refuse_unknown(structure: str, segmenter: Segmenter) -> None:
    """Refuse a structure that the weights do not delineate.

    Raises
    ------
    RequestRefused
    """
    parts = STRUCTURES[structure].parts
    if not parts or not set(parts) <= set(segmenter.known):
        raise RequestRefused(
            f"Expected a structure these weights delineate, got {structure}; `vp ops` lists them.",
            code="unsupported_structure",
        )


def write_masks(output: Path, name: str, found: Mapping[str, Delineation], *, like: Volume) -> list[Segmented]:
    """Write the structures of one scan and regions made of them, without BIDS, as label images and two tables.

    Raises
    ------
    InfrastructureError
        When the file system refuses.
    """
    packed = pack(found)
    rows: list[Segmented] = []
    voxel_mm3 = voxel_volume_mm3(like.affine)

    def add(structure: str, label: int, path: Path) -> None:
        mask = found[structure]
        volume_mm3 = mask.voxels * voxel_mm3
        rows.append(Segmented(structure, label, path, mask.voxels, volume_mm3, mask.qc_score, mask.flags))

    if packed.labels is not None:
        path = output / f"{name}_dseg.nii.gz"
        _write(path, packed.labels, like=like)
        for structure in packed.shared:
            add(structure, STRUCTURES[structure].label, path)
    for structure in packed.alone:
        path = output / f"{name}_label-{abbreviation(structure)}_mask.nii.gz"
        _write(path, found[structure].full().astype(np.uint8), like=like)
        add(structure, 1, path)
    labels = [f"{STRUCTURES[s].label}\t{s}\t{abbreviation(s)}\n" for s in packed.shared]
    publish_bytes(output / f"{name}_dseg.tsv", "".join(["index\tname\tabbreviation\n", *labels]).encode())
    header = "name\tvoxels\tvolume_mm3\tqc_score\tfile\tlabel\tflags\n"
    lines = [
        f"{r.structure}\t{r.voxels}\t{r.volume_mm3:.6g}\t{_text(r.qc_score)}\t{r.path.name}\t{r.label}\t"
        f"{','.join(r.flags) or 'n/a'}\n"
        for r in rows
    ]
    publish_bytes(output / f"{name}_volumes.tsv", "".join([header, *lines]).encode())
    return rows


def stem(path: Path) -> str:
    """Name of an image file without its endings."""
    return path.name.removesuffix(".gz").removesuffix(".nii")


def _meet(first: Volume, second: Volume) -> bool:
    """Whether the boxes around two fields of view, along the axes of the world, have a place in common."""
    (low, high), (other_low, other_high) = _box_mm(first), _box_mm(second)
    return bool((low < other_high).all() and (other_low < high).all())


def _box_mm(volume: Volume) -> tuple[np.ndarray, np.ndarray]:
    corners = np.array([*product(*((-0.5, n - 0.5) for n in volume.shape))]) @ volume.affine[:3, :3].T
    return corners.min(0) + volume.affine[:3, 3], corners.max(0) + volume.affine[:3, 3]


def _write(path: Path, labels: np.ndarray, *, like: Volume) -> None:
    with publishing(path) as temporary:
        write_labels(temporary, labels, like=like)


def _text(number: float | None) -> str:
    return "n/a" if number is None else f"{number:.3f}"
