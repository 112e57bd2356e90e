"""Scans with their delineations, for the pictures that people check."""

from __future__ import annotations

import hashlib
import json
import logging
import multiprocessing
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np

from vp_engine.cohort.config import Config
from vp_engine.cohort.publish import publish_bytes
from vp_engine.cohort.records import derivative_folder
from vp_engine.errors import ConfigError, InputRefused
from vp_engine.tables.parquet import read_table
from vp_engine.volumes.geometry import to_canonical
from vp_engine.volumes.nifti import read_image, read_labels

_log = logging.getLogger(__name__)

MAX_FILES = 16
"""Label images drawn on one scan at most: label maps first, then masks from the largest to the smallest."""

FOLDER = Path("figures") / "qc"
"""Where thumbnails are kept, below the output directory."""

_WORKERS = 2  # as many cores as the rule asks for
_FEW = 8
_COLUMNS = (
    "dataset", "participant", "session", "prompt_id", "target", "label", "path", "volume_mm3", "sha256", "qc_score",
)  # fmt: skip

Draw = Callable[..., bytes]
"""`thumbnail_webp(image, layers, *, spacing_mm)`: the room `report` draws, this one reads."""


@dataclass(frozen=True, slots=True)
class Outline:
    """One structure delineated on a scan.

    Attributes
    ----------
    target : str
        Canonical name.
    path : str
        Label image, relative to the derivative dataset.
    label : int
        Its number there.
    sha256 : str
        Of the label image.
    volume_mm3 : float
    qc_score : float or None
    """

    target: str
    path: str
    label: int
    sha256: str
    volume_mm3: float
    qc_score: float | None


@dataclass(frozen=True, slots=True)
class DelineatedScan:
    """A scan and all that was delineated on it.

    Attributes
    ----------
    dataset, participant : str
    session : str or None
    scan : str
        Path of the image, relative to its dataset; empty when the sidecar of the label image cannot be read.
    inputs : str
        SHA-256 over the images that were offered to the prompts, as recorded.
    outlines : tuple of Outline
        Sorted by target; a target that several prompts delineated is there once.
    """

    dataset: str
    participant: str
    session: str | None
    scan: str
    inputs: str
    outlines: tuple[Outline, ...] = field(repr=False)

    @property
    def name(self) -> str:
        """For a file name: dataset, participant, session and kind of image."""
        session = [f"ses-{self.session}"] if self.session is not None else []
        suffix = Path(self.scan).name.partition(".")[0].rpartition("_")[2] or "unknown"
        return re.sub("[^0-9A-Za-z_-]", "-", "_".join([self.dataset, f"sub-{self.participant}", *session, suffix]))


@dataclass(frozen=True, slots=True, eq=False)
class OpenedScan:
    """A scan and its label images, as arrays in RAS+ axis order on one grid.

    Attributes
    ----------
    image : ndarray of float32, (X, Y, Z)
    layers : list of (ndarray of int, mapping of int to int)
        Label maps, and which of their labels are drawn in which colour.
    affine : ndarray, (4, 4)
        Voxel to world, RAS+ mm.
    spacing_mm : tuple of 3 float
    """

    image: np.ndarray
    layers: list[tuple[np.ndarray, dict[int, int]]]
    affine: np.ndarray
    spacing_mm: tuple[float, float, float]


def list_scans(output: Path) -> list[DelineatedScan]:
    """Every scan on which something was delineated, sorted by dataset, participant, session and path.

    Raises
    ------
    TableError
        If the table `segmentations` or `runs` is missing or damaged.
    """
    inputs = _inputs(output)
    rows = read_table(output / "tables" / "segmentations", "segmentations", columns=_COLUMNS).to_pylist()
    scans: dict[tuple[str, ...], dict[str, Outline]] = {}
    offered: dict[tuple[str, ...], set[str]] = {}
    of_path: dict[tuple[str, str], str] = {}
    for row in rows:
        place = (row["dataset"], row["path"])
        if place not in of_path:
            of_path[place] = _scan_of(derivative_folder(output, row["dataset"]) / row["path"])
        key = (row["dataset"], row["participant"], row["session"] or "", of_path[place])
        outline = Outline(*(row[name] for name in ("target", "path", "label", "sha256", "volume_mm3", "qc_score")))
        scans.setdefault(key, {}).setdefault(outline.target, outline)
        session = inputs.get((*key[:3], row["prompt_id"])) or inputs.get((*key[:2], "", row["prompt_id"])) or ""
        offered.setdefault(key, set()).add(session)
    return [
        DelineatedScan(
            key[0],
            key[1],
            key[2] or None,
            key[3],
            hashlib.sha256(" ".join(sorted(offered[key])).encode()).hexdigest(),
            tuple(scans[key][target] for target in sorted(scans[key])),
        )
        for key in sorted(scans)
    ]


def colours_of(scans: Sequence[DelineatedScan]) -> dict[str, int]:
    """A number for each structure, the same on all scans: its place in the alphabet of all that were delineated."""
    return {target: n for n, target in enumerate(sorted({o.target for scan in scans for o in scan.outlines}))}


def open_scan(config: Config, output: Path, scan: DelineatedScan, colours: Mapping[str, int]) -> OpenedScan:
    """Read a scan and its label images.

    Raises
    ------
    InputRefused
        When a file is gone or not what it should be.
    ConfigError
        When the dataset is no longer in the configuration.
    OSError
        When the machine fails.
    """
    root, limits = config.dataset(scan.dataset).path, config.dataset(scan.dataset).limits
    if not scan.scan:
        raise InputRefused("its label image has no readable sidecar, which names the scan", code="no_sidecar")
    image, _ = to_canonical(read_image(root / scan.scan, root=root, limits=limits))
    derivatives = derivative_folder(output, scan.dataset)
    files: dict[str, dict[int, int]] = {}
    ordered = sorted(scan.outlines, key=lambda o: ("_dseg." not in o.path, -o.volume_mm3, o.target))
    for outline in ordered:
        files.setdefault(outline.path, {})[outline.label] = colours[outline.target]
    largest = {path: max(o.volume_mm3 for o in scan.outlines if o.path == path) for path in list(files)[:MAX_FILES]}
    layers = []
    for path in sorted(largest, key=lambda path: (-largest[path], path)):  # small structures over large ones
        labels, _ = to_canonical(read_labels(derivatives / path, root=derivatives))
        if labels.shape != image.shape:
            raise InputRefused(f"{path}: {labels.shape} voxels, the scan has {image.shape}", code="grid_differs")
        layers.append((labels.data, files[path]))
    return OpenedScan(image.data, layers, image.affine, image.spacing_mm)


def try_open(
    config: Config, output: Path, scan: DelineatedScan, colours: Mapping[str, int]
) -> tuple[OpenedScan | None, str]:
    """As `open_scan`; None and the reason when the scan or a label image is gone or not what it should be.

    Raises
    ------
    OSError
        Of the machine: worth a retry.
    """
    try:
        return open_scan(config, output, scan, colours), ""
    except (InputRefused, ConfigError) as refusal:
        return None, refusal.message


def make_thumbnails(
    config: Config, output: Path, scans: Sequence[DelineatedScan], draw: Draw, *, version: int
) -> Iterator[tuple[DelineatedScan, Path | None, str]]:
    """Thumbnails of all scans, in several processes; those of an earlier run whose files are the same are kept.

    A thumbnail's name holds a hash of the recorded hashes of the scan and the label images. What is in the folder and
    not among them is removed.

    Parameters
    ----------
    config : Config
    output : Path
        Output directory.
    scans : sequence of DelineatedScan
    draw : callable
        Makes the picture; importable, as other processes call it.
    version : int
        Of the drawing.

    Yields
    ------
    scan, path, why
        In the order of `scans`; no path when there can be no picture, and then why.

    Raises
    ------
    OSError
        Of the machine: worth a retry, while a report without its pictures would stay.
    """
    colours = colours_of(scans)
    paths = [output / FOLDER / f"{scan.name}_{_key(scan, colours, version)}.webp" for scan in scans]
    for stale in sorted(set((output / FOLDER).glob("*.webp")) - set(paths)):
        stale.unlink()
    todo = [scan for scan, path in zip(scans, paths, strict=True) if not path.is_file()]
    drawn = _drawn(partial(_draw, config, output, colours, draw), todo)
    for scan, path in zip(scans, paths, strict=True):
        why = ""
        if not path.is_file():
            content, why = next(drawn)
            if content is not None:
                publish_bytes(path, content)
        if why:
            _log.warning("no picture of %s: %s", scan.name, why)
        yield scan, None if why else path, why


def _drawn(
    task: Callable[[DelineatedScan], tuple[bytes | None, str]], todo: Sequence[DelineatedScan]
) -> Iterator[tuple[bytes | None, str]]:
    """Results in order; a few are not worth starting processes for."""
    workers = min(_WORKERS, len(os.sched_getaffinity(0)))
    if workers == 1 or len(todo) <= _FEW:
        yield from map(task, todo)
        return
    with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn")) as pool:
        yield from pool.map(task, todo, chunksize=4)


def _draw(
    config: Config, output: Path, colours: Mapping[str, int], draw: Draw, scan: DelineatedScan
) -> tuple[bytes | None, str]:
    opened, why = try_open(config, output, scan, colours)
    return (None, why) if opened is None else (draw(opened.image, opened.layers, spacing_mm=opened.spacing_mm), "")


def _key(scan: DelineatedScan, colours: Mapping[str, int], version: int) -> str:
    """Twelve characters that change when the picture would."""
    seen = [[o.target, o.path, o.label, o.sha256, colours[o.target]] for o in scan.outlines]
    text = json.dumps([version, scan.scan, scan.inputs, seen])
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _inputs(output: Path) -> dict[tuple[str, ...], str]:
    """Hash of the images that each prompt was offered: dataset, participant, session or nothing, prompt."""
    columns = ("dataset", "participant", "session", "prompt_id", "input_sha256")
    rows = read_table(output / "tables" / "runs", "runs", columns=columns).to_pylist()
    return {
        (row["dataset"], row["participant"], row["session"] or "", row["prompt_id"]): row["input_sha256"] or ""
        for row in rows
    }


def _scan_of(path: Path) -> str:
    """Scan a label image was made on, relative to its dataset, as the sidecar has it; empty when it does not say."""
    sidecar = path.with_name(path.name.removesuffix(".gz").removesuffix(".nii") + ".json")
    try:
        reference = str(json.loads(sidecar.read_text(encoding="utf-8"))["SpatialReference"])
    except (FileNotFoundError, KeyError, TypeError, ValueError) as error:
        _log.warning("%s: expected a sidecar that names the scan: %s", sidecar.name, error)
        return ""
    scheme, _, scan = reference.split(":", 2) if reference.count(":") >= 2 else ("", "", "")
    return scan if scheme == "bids" else ""
