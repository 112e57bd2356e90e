"""What the targets of the vision network are measured with: synthetic heads, other grids, volumes, repeatability."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from scipy.spatial.transform import Rotation

from vp_engine.anatomy import PARTS, STRUCTURES
from vp_engine.evaluation.anatomy import Labels, label_scan, part_dice
from vp_engine.synthesis.label_maps import LabelMap
from vp_engine.synthesis.ranges import DeformationRanges, SynthesisRanges
from vp_engine.synthesis.scan import SyntheticHead, draw_head, draw_scan, synthesise
from vp_engine.vision.pooling import block_mean
from vp_engine.vision.segmenter import NetworkSegmenter
from vp_engine.volumes.geometry import spacing_of, voxel_volume_mm3
from vp_engine.volumes.resampling import resample
from vp_engine.volumes.volume import Volume

LARGE = (
    "cerebral_white_matter", "cerebral_cortex", "lateral_ventricle", "thalamus", "cerebellum", "brainstem",
    "cerebrum", "brain", "intracranial_volume",
)  # fmt: skip
"""Structures whose volume is to be the same from scan to scan of one person."""

WHOLE = SynthesisRanges(
    deformation=DeformationRanges(shift_mm=4.0),
    cropped_field_of_view=0.0,
    spacing_mm=(1.0, 1.0),
    thick_slices=0.0,
    low_resolution=0.0,
    ct=0.0,
)
"""Images of 1 mm that nothing is missing from, else as varied as in training."""

_NUMBERS = np.array([0, *(STRUCTURES[name].label for name in PARTS)], np.int32)


@dataclass(frozen=True, slots=True, eq=False)
class WholeHead:
    """A synthetic head.

    Attributes
    ----------
    scans : list of Volume
        Images of different contrast on one grid.
    truth : numpy.ndarray of int32, shape (X, Y, Z)
        FreeSurfer's numbers on that grid.
    """

    scans: list[Volume]
    truth: NDArray[np.int32]


@dataclass(frozen=True, slots=True)
class StreamScores:
    """Mean Dice of one scan of a head, read by itself or together with two other contrasts of the head."""

    alone: float
    together: float
    with_noise: float


@dataclass(frozen=True, slots=True, eq=False)
class Geometry:
    """A grid that a scanner could have used.

    Attributes
    ----------
    axes : numpy.ndarray, shape (3, 3)
        World direction of each array axis, in columns.
    spacing_mm : tuple of 3 float
    plane : str
        ``sagittal``, ``coronal`` or ``axial``: what a slice shows, apart from its tilt.
    tilt_deg : float
    """

    axes: NDArray[np.float64]
    spacing_mm: tuple[float, float, float]
    plane: str
    tilt_deg: float


def whole_heads(
    maps: Sequence[LabelMap],
    *,
    per_map: int,
    prior_contrasts: Sequence[float],
    seed: int = 0,
    field_of_view_mm: tuple[float, float, float] = (176.0, 224.0, 176.0),
) -> Iterator[WholeHead]:
    """Heads of 1 mm isotropic voxels with the whole brain in the field of view, else as varied as in training.

    Parameters
    ----------
    maps : sequence of LabelMap
        Taken in turn.
    per_map : int
        Heads of each map.
    prior_contrasts : sequence of float
        For each image of a head the probability that it resembles a known sequence; 0 for fully random contrast.
    seed : int
    field_of_view_mm : tuple of 3 float
        Around the middle of the brain.
    """
    ranges = replace(WHOLE, field_of_view_mm=(field_of_view_mm, field_of_view_mm))
    for number in range(per_map * len(maps)):
        rng = np.random.default_rng([seed, number])
        head = draw_head(rng, ranges)
        drawn = [draw_scan(rng, replace(ranges, prior_contrast=prior)) for prior in prior_contrasts]
        scans = [replace(scan, resolution=drawn[0].resolution) for scan in drawn]  # one grid is deformed once
        yield whole_head(synthesise(maps[number % len(maps)], head, scans))


def whole_head(made: SyntheticHead) -> WholeHead:
    """Images that share one grid, as scans with the truth in FreeSurfer's numbers."""
    volumes = [Volume(x.numpy(), a.numpy()) for x, a in zip(made.images, made.affines, strict=True)]
    return WholeHead(volumes, _NUMBERS[made.targets[0].numpy()])


def thick_slices(head: WholeHead, *, axis: int, slices: int) -> WholeHead:
    """The head as a scan with thick slices shows it: `slices` averaged to one; the truth is what most of them are."""
    n = head.truth.shape[axis] // slices
    whole = tuple(slice(0, n * slices if a == axis else None) for a in range(3))
    step = np.eye(4)
    step[axis, axis], step[axis, 3] = slices, (slices - 1) / 2
    shape = [n if a == axis else size for a, size in enumerate(head.truth.shape)]
    scans = [
        Volume(block_mean(torch.from_numpy(v.data[whole])[None, None], shape)[0, 0].numpy(), v.affine @ step)
        for v in head.scans
    ]
    return WholeHead(scans, _majority(head.truth[whole], axis, slices))


def stream_scores(segmenter: NetworkSegmenter, head: WholeHead, *, rng: np.random.Generator) -> StreamScores:
    """Dice of the first of three scans of a head: alone, with the two others, and with noise instead of the last."""
    first, second, third = head.scans
    noise = replace(third, data=rng.random(third.shape, np.float32))

    def dice(*others: Volume) -> float:
        return mean_dice(label_scan(segmenter, first, others=others), head.truth)

    return StreamScores(dice(), dice(second, third), dice(second, noise))


def mean_dice(labels: Labels, truth: Labels) -> float:
    """Mean Dice over the 32 anatomical structures, those that the truth lacks left out."""
    return float(np.nanmean(list(part_dice(labels, truth).values())))


def volumes_mm3(
    segmenter: NetworkSegmenter,
    volume: Volume,
    structures: Sequence[str] = LARGE,
    *,
    counted: NDArray[np.bool_] | None = None,
) -> dict[str, float]:
    """Volumes of structures on one scan, as the product delineates them; with `counted`, of their part inside it."""
    found = {}
    for name, region in segmenter.regions(volume, {name: STRUCTURES[name].parts for name in structures}):
        inside = region.inside
        if counted is not None:
            where = tuple(slice(a, a + n) for a, n in zip(region.start, inside.shape, strict=True))
            inside = inside & counted[where]
        found[name] = float(np.count_nonzero(inside) * voxel_volume_mm3(volume.affine))
    return found


def seen_by(volume: Volume, other: Volume, to_other: ArrayLike) -> NDArray[np.bool_]:
    """Voxels of a scan that lie in the field of view of another, (X, Y, Z).

    Parameters
    ----------
    volume, other : Volume
    to_other : array_like, shape (4, 4)
        From the world of `volume` to the world of `other`, mm.
    """
    to_voxel = np.linalg.solve(other.affine, np.asarray(to_other, np.float64) @ volume.affine)
    ones = np.ones(other.shape, np.uint8)
    return resample(ones, np.eye(4), shape=volume.shape, target_affine=to_voxel, order=0).astype(bool)


def percent_differences(first: Mapping[str, float], second: Mapping[str, float]) -> dict[str, float]:
    """By how much two volumes of each structure differ, in % of their mean; 0 where both are empty."""
    return {name: 200 * abs(first[name] - second[name]) / max(first[name] + second[name], 1e-9) for name in first}


def regridded(
    volume: Volume,
    *,
    axes: ArrayLike | None = None,
    spacing_mm: tuple[float, float, float] | None = None,
    shift_mm: tuple[float, float, float] = (0, 0, 0),
) -> Volume:
    """The same head on another grid that holds the whole field of view; trilinear, nothing is smoothed.

    Parameters
    ----------
    volume : Volume
    axes : array_like, shape (3, 3), optional
        World directions of the new array axes, in columns; those of `volume` if not given.
    spacing_mm : tuple of 3 float, optional
        Those of `volume` if not given.
    shift_mm : tuple of 3 float
        How far the middle of the field of view moves, in world directions; the field of view grows by as much on
        both sides.
    """
    directions = volume.affine[:3, :3] / spacing_of(volume.affine)
    new_directions = directions if axes is None else np.asarray(axes, np.float64)
    spacing = np.array(spacing_mm or volume.spacing_mm)
    shift = np.array(shift_mm, np.float64)
    half_mm = np.array(volume.shape) * volume.spacing_mm / 2
    new_half_mm = np.abs(new_directions.T @ directions) @ half_mm + np.abs(new_directions.T @ shift)
    x, y, z = (int(n) for n in np.ceil(2 * new_half_mm / spacing - 1e-6))
    affine = np.eye(4)
    affine[:3, :3] = new_directions * spacing
    centre = volume.affine @ [*((np.array(volume.shape) - 1) / 2), 1]
    affine[:3, 3] = centre[:3] + shift - affine[:3, :3] @ ((np.array([x, y, z]) - 1) / 2)
    lowest = volume.data.min()  # outside the field of view there is as little signal as in air
    data = resample(volume.data - lowest, volume.affine, shape=(x, y, z), target_affine=affine, order=1)
    return replace(volume, data=data, affine=affine, forms=None)


def other_grids(volume: Volume) -> dict[str, Volume]:
    """A scan against itself: its head turned by 10°, its field of view moved by 7 mm, its voxels 1.3 mm."""
    turn = Rotation.from_rotvec(np.deg2rad(10) * np.array([1, 1, 1]) / np.sqrt(3)).as_matrix()
    return {
        "rotated by 10°": regridded(volume, axes=turn @ (volume.affine[:3, :3] / spacing_of(volume.affine))),
        "shifted by 7 mm": regridded(volume, shift_mm=(2, 3, 6)),
        "resampled to 1.3 mm": regridded(volume, spacing_mm=(1.3, 1.3, 1.3)),
    }


def draw_geometry(rng: np.random.Generator) -> Geometry:
    """Draw a grid: in-plane 0.4 to 2 mm, slices 1 to 6 mm, any of 48 axis orders, tilted by up to 20°."""
    in_plane = float(np.exp(rng.uniform(np.log(0.4), np.log(2))))
    slices = rng.uniform(max(1.0, in_plane), 6)
    order = rng.permutation(3)  # world axis of each array axis
    axes = np.eye(3)[:, order] * rng.choice([-1.0, 1.0], 3)
    direction = rng.standard_normal(3)
    tilt = rng.uniform(0, 20)
    axes = Rotation.from_rotvec(np.deg2rad(tilt) * direction / np.linalg.norm(direction)).as_matrix() @ axes
    across = int(rng.integers(3))  # array axis that counts the slices
    x, y, z = (slices if axis == across else in_plane for axis in range(3))
    return Geometry(axes, (x, y, z), ("sagittal", "coronal", "axial")[order[across]], tilt)


def _majority(labels: NDArray[np.int32], axis: int, slices: int) -> NDArray[np.int32]:
    """The most frequent label of every `slices` voxels along an axis; the smallest of those that tie."""
    blocks = np.stack([labels.take(range(k, labels.shape[axis], slices), axis) for k in range(slices)])
    most = (blocks == blocks[:1]).sum(0)
    winner: NDArray[np.int32] = blocks[0]
    for candidate in blocks[1:]:
        votes = (blocks == candidate).sum(0)
        better = (votes > most) | ((votes == most) & (candidate < winner))
        winner, most = np.where(better, candidate, winner), np.where(better, votes, most)
    return winner
