"""The interactive viewer of chosen cases: NiiVue's script, and scans small enough to travel inside the report."""

from __future__ import annotations

import gzip
import re
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import distribution
from pathlib import Path

import numpy as np

from vp_engine.report.quality import ScanQuality
from vp_engine.report.slices import Layer, best_slices, check_scan, grey_window, head_box, to_grey
from vp_engine.volumes.geometry import spacing_of, voxel_volume_mm3
from vp_engine.volumes.nifti import write_labels
from vp_engine.volumes.volume import Volume

MAX_VOXELS = 1_500_000
"""A scan is halved, thirded, … along its finest axes until it has no more voxels."""

MAX_FILLED_MM3 = 400_000.0
"""Larger structures, such as the brain, are left out of the viewer when there are smaller ones on the scan."""

_PACKAGE = "ipyniivue"
_SCRIPT = "ipyniivue/static/widget.js"
# the module of the package exports its widget only; this is the line that makes the viewer the widget is around
_CLASS = re.compile(r'"Creating new Niivue instance"\);.{0,80}?=new ([\w$]+)\(')
_EXPORT = re.compile(r"export\s*\{[^}]*\};?\s*$")


@dataclass(frozen=True, slots=True)
class EmbeddedScan:
    """A scan and its delineations as files of their own.

    Attributes
    ----------
    image, labels : bytes
        Gzipped NIfTI of uint8 on one grid. `labels` holds the number of the colour of each structure plus 1.
    centre_mm : tuple of 3 float
        World point (RAS) in a structure, near where most of the structures are seen.
    """

    image: bytes
    labels: bytes
    centre_mm: tuple[float, float, float]


@dataclass(frozen=True, slots=True)
class Case:
    """A scan that the viewer shows.

    Attributes
    ----------
    scan : ScanQuality
        Whose, and how good.
    reason : str
        Why it was chosen.
    mosaic : bytes
        PNG of the same delineations, for those without the viewer.
    volumes : EmbeddedScan
    """

    scan: ScanQuality
    reason: str
    mosaic: bytes
    volumes: EmbeddedScan


def niivue_script() -> str:
    """JavaScript that puts the class `Niivue` into the page; evaluates nothing and loads nothing by itself.

    Returns
    -------
    str
        The module of the package ipyniivue with its export replaced.

    Raises
    ------
    RuntimeError
        If the installed version is built otherwise than the one this was made for.
    """
    package = distribution(_PACKAGE)
    source = Path(str(package.locate_file(_SCRIPT))).read_text(encoding="utf-8")
    made = _CLASS.search(source)
    script, exports = _EXPORT.subn("", source)
    if made is None or exports != 1:
        raise RuntimeError(
            f"expected the script of {_PACKAGE} as in 2.4.4, got another build in {package.version}; "
            "install the version in constraints.txt"
        )
    return f"{script}globalThis.Niivue = {made[1]};\n"


def niivue_licence() -> str:
    """Terms of the viewer, which go wherever its script goes.

    Raises
    ------
    RuntimeError
        If the installed package has no licence file.
    """
    text = distribution(_PACKAGE).read_text("licenses/LICENSE")
    if text is None:
        raise RuntimeError(f"expected the licence of {_PACKAGE} in its package; install the version in constraints.txt")
    return text


def packed_script() -> tuple[str, bytes]:
    """The script and its gzipped bytes, which take a third of the room; equal for equal versions."""
    script = niivue_script()
    return script, gzip.compress(script.encode(), compresslevel=9, mtime=0)


def embed_scan(image: np.ndarray, layers: Sequence[Layer], affine: np.ndarray) -> EmbeddedScan:
    """Crop to the head, coarsen to at most 1.5 million voxels, and write both files.

    Parameters
    ----------
    image : ndarray of float, (X, Y, Z)
        The scan in any axis order.
    layers : sequence of Layer
        On the same grid. Where structures overlap the later layer is kept; of several, those above 400 mL are left out.
    affine : ndarray, (4, 4)
        Voxel to world, RAS+ mm.

    Returns
    -------
    EmbeddedScan
        At the place where the scan lies in the world: the centre of each coarse voxel is the centre of those it is
        made of.

    Raises
    ------
    ValueError
        As `check_scan`.
    """
    sizes = spacing_of(affine)
    check_scan(image, layers, (float(sizes[0]), float(sizes[1]), float(sizes[2])))
    window = grey_window(image)
    frame = head_box(image, layers, window)
    start = np.array([part.start for part in frame], dtype=float)
    grey = to_grey(image[frame], window)
    steps = _steps(grey.shape, sizes)
    coarse = np.round(_block_means(grey, steps)).astype(np.uint8)
    labels = np.zeros(coarse.shape, dtype=np.uint8)
    for numbers, wanted in _filled(layers, voxel_volume_mm3(affine)):
        framed = numbers[frame]
        for label, colour in wanted.items():
            labels[_block_means(framed == label, steps) >= 0.5] = colour + 1
    place = np.array(affine, dtype=np.float64)
    place[:3, 3] += place[:3, :3] @ (start + (np.array(steps) - 1) / 2)
    place[:3, :3] *= np.array(steps)
    x, y, z = (affine @ np.append(_middle(_filled(layers, voxel_volume_mm3(affine)), image.shape), 1.0))[:3]
    return EmbeddedScan(_nifti(coarse, place), _nifti(labels, place), (float(x), float(y), float(z)))


def _middle(layers: Sequence[Layer], shape: tuple[int, ...]) -> np.ndarray:
    """The voxel of a structure that is nearest to the point where the slices meet that show most of all structures."""
    point = np.array(best_slices(layers, shape))
    voxels = np.concatenate([np.argwhere(np.isin(numbers, list(colours))) for numbers, colours in layers])
    if not len(voxels):
        return point
    nearest: np.ndarray = voxels[((voxels - point) ** 2).sum(axis=1).argmin()]
    return nearest


def _filled(layers: Sequence[Layer], voxel_mm3: float) -> list[Layer]:
    """Structures that are filled: those as large as a brain would hide the others, where there are others."""
    small: list[Layer] = [
        (
            numbers,
            {label: colour for label, colour in colours.items() if _mm3(numbers, label, voxel_mm3) <= MAX_FILLED_MM3},
        )
        for numbers, colours in layers
    ]
    return small if any(colours for _, colours in small) else list(layers)


def _mm3(numbers: np.ndarray, label: int, voxel_mm3: float) -> float:
    return float(np.count_nonzero(numbers == label)) * voxel_mm3


def _steps(shape: Sequence[int], sizes_mm: np.ndarray) -> tuple[int, int, int]:
    """Voxels that become one along each axis: the finest axes first, so that voxels become more alike."""
    steps = [1, 1, 1]
    while np.prod([-(-count // step) for count, step in zip(shape, steps, strict=True)]) > MAX_VOXELS:
        steps[int(np.argmin(sizes_mm * np.array(steps)))] += 1
    return steps[0], steps[1], steps[2]


def _block_means(values: np.ndarray, steps: Sequence[int]) -> np.ndarray:
    """Mean of each block; blocks at the far ends are filled up with 0."""
    values = np.pad(values, [(0, -count % step) for count, step in zip(values.shape, steps, strict=True)])
    x, y, z = (count // step for count, step in zip(values.shape, steps, strict=True))
    means: np.ndarray = values.reshape(x, steps[0], y, steps[1], z, steps[2]).mean(axis=(1, 3, 5), dtype=np.float32)
    return means


def _nifti(data: np.ndarray, affine: np.ndarray) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "volume.nii.gz"
        write_labels(path, data, like=Volume(data, affine))
        return path.read_bytes()
