"""Rigid registration of two volumes of one head: where the same anatomy lies in the other image's world.

Only this module uses SimpleITK, which is loaded at the first registration. All matrices map world to world, RAS+ mm;
ITK's own coordinates are LPS+, and an ITK transform maps points of the fixed image to points of the moving one.

Legend: ``_N3`` points, ``_44`` homogeneous matrices, ``_XYZ`` a grid.
"""

# SimpleITK is published without annotations of its functions
# mypy: untyped-calls-exclude=SimpleITK

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from vp_engine.errors import InputRefused
from vp_engine.volumes.geometry import spacing_of
from vp_engine.volumes.intensity import rescale
from vp_engine.volumes.resampling import resample
from vp_engine.volumes.volume import Volume

if TYPE_CHECKING:
    import SimpleITK as sitk  # noqa: N813 - as its documentation does

METHOD = "rigid; Mattes mutual information, Powell's optimiser, at 4 mm and 2 mm"
METRIC = (
    "normalised mutual information, (H(fixed) + H(moving)) / H(fixed, moving), inside the fixed head, of both images "
    "smoothed with a standard deviation of 2 mm"
)

LEAST_GAIN = 0.02
"""Share by which the optimum must beat the headers, in metric above 1, to be believed; about half a millimetre."""

LEAST_METRIC = 1.03
LEAST_PEAK = 0.022
LEAST_OVERLAP = 0.8
MOST_TRANSLATION_MM = 60.0
MOST_BETWEEN_SESSIONS_MM = 300.0
"""The same between two sessions: the origin is where the table stood, and no other than the scanner's own."""
MOST_ROTATION_DEG = 45.0

_GRID_MM = 2.0
_HEAD_LEVEL = 0.1  # of the rescaled intensity, from that of the air; ghosts lie below
_SKIN_VOXELS = 3  # fat lies elsewhere in each sequence, as its frequency differs from that of water
_BINS = 32
_SEED = 7
_POINTS = 40_000
_SHIFT_MM = 4.0
_FAR_MM = 5.0
_RADIUS_MM = 80.0  # a radian of rotation weighs as much as this shift
_TO_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])

Matrix = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Registration:
    """How a moving image lies relative to a fixed one, and whether to believe it.

    Attributes
    ----------
    fixed_to_moving : np.ndarray, shape (4, 4)
        World of the fixed image → the same anatomy in the world of the moving one, RAS+ mm; exactly the identity when
        nothing is better than what the headers say.
    metric_before, metric_after : float
        :data:`METRIC` with the headers alone, and with the matrix; 1 is no relation. Never lower after than before.
    peak : float
        By how much the metric of the images as they are, not smoothed, falls when the moving one is shifted by 4 mm,
        mean of six directions. High only where the same structures lie on each other.
    overlap : float
        Part of the smaller head that lies in the other.
    translation_mm, rotation_deg : float
        What the centre of the fixed head moves by, and the angle.
    reasons : tuple of str
        Why not to use it, of :data:`REASONS`; empty when it is good.
    software : str
        Name and version of the library that looked for it.
    """

    fixed_to_moving: Matrix
    metric_before: float
    metric_after: float
    peak: float
    overlap: float
    translation_mm: float
    rotation_deg: float
    reasons: tuple[str, ...]
    software: str

    @property
    def accepted(self) -> bool:
        """Whether the images may be read together."""
        return not self.reasons

    @property
    def moving_to_fixed(self) -> Matrix:
        """The inverse matrix: world of the moving image → world of the fixed one."""
        return inverse(self.fixed_to_moving)


REASONS: Mapping[str, str] = MappingProxyType(
    {
        "no_optimum": "the optimiser found no position in which the images overlap",
        "sides_unknown": "one of the files does not say which side is left, and heads are nearly symmetric",
        "low_metric": f"metric_after is below {LEAST_METRIC}",
        "flat_peak": f"peak is below {LEAST_PEAK}: no structure lies on its counterpart",
        "low_overlap": f"overlap is below {LEAST_OVERLAP}",
        "large_motion": (
            f"translation_mm is above {MOST_TRANSLATION_MM:g}, or {MOST_BETWEEN_SESSIONS_MM:g} between sessions, or "
            f"rotation_deg above {MOST_ROTATION_DEG:g}"
        ),
    }
)
"""Code of a bad registration to meaning.

Among 13 pairs of contrasts of one session the lowest peak is 0.026, the lowest metric 1.065, the lowest overlap 0.95.
The highest peak of a wrong pair is 0.016 for two people in two contrasts, 0.018 for a mirrored image, 0.021 for two
people in one contrast, and 0.012 for a head filled with noise.
"""


def register(fixed: Volume, moving: Volume, *, most_translation_mm: float = MOST_TRANSLATION_MM) -> Registration:
    """Find the rigid motion between two images of one head, of any contrast and grid.

    Both are brought to 2 mm. From the position of the headers, and from that in which the centres of the heads meet if
    that is elsewhere, Powell's method climbs Mattes mutual information of the heads at 4 mm; the better of the two goes
    on at 2 mm with the skin left out. The result does not depend on the number of threads.

    Parameters
    ----------
    fixed, moving : Volume
        Intensities; only the world positions of their voxels count, not the order of their axes.
    most_translation_mm : float
        What moves by more is not believed; `MOST_BETWEEN_SESSIONS_MM` for images of two sessions.

    Returns
    -------
    Registration
        Its `reasons` say when it is not to be used.

    References
    ----------
    Mattes et al., PET-CT image registration in the chest using free-form deformations, IEEE TMI 2003.
    Studholme et al., An overlap invariant entropy measure of 3D medical image alignment, Pattern Recognition 1999.
    """
    a, b = _head(fixed), _head(moving)
    best = np.eye(4)
    before = after = _metric(a, b, best)
    reasons = [] if fixed.lateralised and moving.lateralised else ["sides_unknown"]
    try:
        found = _optimum(a, b)
    except RuntimeError:
        reasons.append("no_optimum")
    else:
        gained = _metric(a, b, found)
        if gained - before > LEAST_GAIN * (before - 1):
            best, after = found, gained
    around = [_shift(axis, mm) for axis in range(3) for mm in (-_SHIFT_MM, _SHIFT_MM)]
    fallen = [_metric(a, b, best @ shift, smooth=False) for shift in around]
    centre = _centre(a)
    result = Registration(
        fixed_to_moving=best,
        metric_before=before,
        metric_after=after,
        peak=_metric(a, b, best, smooth=False) - float(np.mean(fallen)),
        overlap=_overlap(a, b, best),
        translation_mm=float(np.linalg.norm(_apply(best, centre) - centre)),
        rotation_deg=float(np.degrees(np.arccos(np.clip((np.trace(best[:3, :3]) - 1) / 2, -1, 1)))),
        reasons=(),
        software=f"SimpleITK {version('simpleitk')}",
    )
    return replace(result, reasons=(*reasons, *_faults(result, most_translation_mm)))


def inverse(rigid_44: Matrix) -> Matrix:
    """Inverse of a rotation and shift, rigid to the last bit."""
    result = np.eye(4)
    result[:3, :3] = rigid_44[:3, :3].T
    result[:3, 3] = -rigid_44[:3, :3].T @ rigid_44[:3, 3]
    return result


def write_transform(path: Path, fixed_to_moving: Matrix) -> None:
    """Write an ITK text transform, with which ITK and ANTs resample the moving image onto the fixed one.

    Parameters
    ----------
    path : Path
        Ends in ``.txt``.
    fixed_to_moving : np.ndarray, shape (4, 4)
        RAS+ mm, as in `Registration`. In the file it is in LPS+ mm, about the origin, with all digits.
    """
    import SimpleITK as sitk  # noqa: N813

    lps_44 = _TO_LPS @ fixed_to_moving @ _TO_LPS
    transform = sitk.AffineTransform(3)  # which every reader knows, unlike Euler angles
    transform.SetMatrix(lps_44[:3, :3].ravel().tolist())
    transform.SetTranslation(lps_44[:3, 3].tolist())
    sitk.WriteTransform(transform, str(path))


def read_transform(path: Path) -> Matrix:
    """Read an affine ITK transform, as `write_transform` and other software write it; RAS+ mm, (4, 4).

    Raises
    ------
    InputRefused
        ``not_a_transform`` when the file holds no affine or rigid transform in three dimensions.
    """
    import SimpleITK as sitk  # noqa: N813

    try:
        transform = sitk.ReadTransform(str(path))
    except RuntimeError as error:
        raise InputRefused(
            f"Expected an ITK transform in {path.name}, got a file ITK cannot read.", code="not_a_transform"
        ) from error
    if transform.GetDimension() != 3 or not transform.IsLinear():
        raise InputRefused(
            f"Expected an affine transform in three dimensions in {path.name}, got {transform.GetName()}.",
            code="not_a_transform",
        )
    # ITK has a class for every kind of affine; where four points go says the same of all
    shift, *ends = (np.array(transform.TransformPoint(point)) for point in ((0, 0, 0), *np.eye(3).tolist()))
    lps_44 = np.eye(4)
    lps_44[:3] = np.column_stack([*(end - shift for end in ends), shift])
    matrix: Matrix = _TO_LPS @ lps_44 @ _TO_LPS
    return matrix


@dataclass(frozen=True, slots=True, eq=False)
class _Head:
    """An image at 2 mm, intensities 0 to 1, the same smoothed, the filled head in it, and the head without its skin."""

    values_XYZ: NDArray[np.float32]
    smooth_XYZ: NDArray[np.float32]
    affine: Matrix
    inside_XYZ: NDArray[np.bool_]
    deep_XYZ: NDArray[np.bool_]


def _head(volume: Volume) -> _Head:
    values, affine = _at_grid(rescale(volume.data), volume.affine)
    border = np.concatenate([values[side].ravel() for axis in range(3) for side in _faces(axis)])
    air = np.quantile(border, 0.25)  # not the minimum: brains cut out and filtered have values below their surroundings
    # what is interpolated is smoothed by it: unless both are smooth, the metric depends on how the grids meet
    smooth = ndimage.gaussian_filter(values, 1)
    tissue = np.pad(np.abs(smooth - air) > _HEAD_LEVEL, 2)
    closed = ndimage.binary_closing(tissue, iterations=2)[2:-2, 2:-2, 2:-2]
    inside = ndimage.binary_fill_holes(closed)
    if not inside.any():
        inside[:] = True
    deep = ndimage.binary_erosion(inside, iterations=_SKIN_VOXELS)
    return _Head(values, smooth, affine, inside, deep if np.count_nonzero(deep) > _BINS**2 else inside)


def _faces(axis: int) -> list[tuple[slice | int, ...]]:
    """The first and the last slice along an axis."""
    return [tuple(end if other == axis else slice(None) for other in range(3)) for end in (0, -1)]


def _at_grid(data_XYZ: NDArray[np.float32], affine: Matrix) -> tuple[NDArray[np.float32], Matrix]:
    """Blocks averaged along fine axes, then about 2 mm along each, over the same field of view."""
    spacing = spacing_of(affine)
    blocks = [max(1, min(n, round(_GRID_MM / mm))) for n, mm in zip(data_XYZ.shape, spacing, strict=True)]
    x, y, z = (n // block for n, block in zip(data_XYZ.shape, blocks, strict=True))
    i, j, k = blocks
    means = data_XYZ[: x * i, : y * j, : z * k].reshape(x, i, y, j, z, k).mean((1, 3, 5), dtype=np.float32)
    affine = affine @ _scaling(np.array(blocks, np.float64))
    extent = np.array(means.shape)
    shape = np.maximum(1, np.rint(extent * spacing_of(affine) / _GRID_MM)).astype(int)
    target = affine @ _scaling(extent / shape)
    nx, ny, nz = (int(n) for n in shape)
    return resample(means, affine, shape=(nx, ny, nz), target_affine=target, order=1), target


def _scaling(factors: NDArray[np.float64]) -> Matrix:
    """Voxel of a grid with `factors` times the spacing → voxel of the grid, both from the same corner."""
    matrix = np.diag([*factors, 1.0])
    matrix[:3, 3] = (factors - 1) / 2
    return matrix


def _metric(fixed: _Head, moving: _Head, fixed_to_moving: Matrix, *, smooth: bool = True) -> float:
    """Normalised mutual information of points deep in the fixed head; 1 when the moving image has too few of them."""
    a_XYZ, b_XYZ = ((head.smooth_XYZ if smooth else head.values_XYZ) for head in (fixed, moving))
    points_N3 = np.argwhere(fixed.deep_XYZ)
    points_N3 = points_N3[:: max(1, len(points_N3) // _POINTS)]
    index_N3 = _apply(np.linalg.inv(moving.affine) @ fixed_to_moving @ fixed.affine, points_N3.astype(np.float64))
    seen = ((index_N3 >= -0.5) & (index_N3 <= np.array(b_XYZ.shape) - 0.5)).all(axis=1)
    if np.count_nonzero(seen) < _BINS**2:
        return 1.0
    found = ndimage.map_coordinates(b_XYZ, index_N3[seen].T, order=1, mode="nearest")
    cells = _bin(a_XYZ[tuple(points_N3[seen].T)]) * _BINS + _bin(found)
    joint = np.bincount(cells, minlength=_BINS**2).reshape(_BINS, _BINS) / cells.size
    both = _entropy(joint)
    return (_entropy(joint.sum(0)) + _entropy(joint.sum(1))) / both if both > 0 else 1.0


def _bin(values: NDArray[np.float32]) -> NDArray[np.intp]:
    return np.clip(values * _BINS, 0, _BINS - 1).astype(np.intp)


def _entropy(p: NDArray[np.float64]) -> float:
    p = p[p > 0]
    return float(-(p * np.log(p)).sum())


def _optimum(fixed: _Head, moving: _Head) -> Matrix:
    """Best rigid motion found, fixed → moving; RuntimeError when ITK finds no overlap."""
    import SimpleITK as sitk  # noqa: N813

    images = _to_itk(fixed), _to_itk(moving)
    centre = _centre(fixed)
    between = _centre(moving) - centre
    ends, failures = [], []
    for start in [np.zeros(3), between] if np.linalg.norm(between) > _FAR_MM else [np.zeros(3)]:
        transform = sitk.Euler3DTransform()
        transform.SetCenter((centre * [-1, -1, 1]).tolist())
        transform.SetTranslation((start * [-1, -1, 1]).tolist())
        try:
            _climb(images, fixed.inside_XYZ, transform, shrink=2, step_mm=8.0, tolerance_mm=0.5)
        except RuntimeError as error:  # too few points of the fixed head lie in the moving image
            failures.append(error)
        else:
            ends.append((_metric(fixed, moving, _matrix(transform)), transform))
    if not ends:
        raise failures[0]
    _, transform = max(ends, key=lambda end: end[0])
    _climb(images, fixed.deep_XYZ, transform, shrink=1, step_mm=1.0, tolerance_mm=0.05)
    return _matrix(transform)


def _climb(
    images: tuple[sitk.Image, sitk.Image],
    where_XYZ: NDArray[np.bool_],
    transform: sitk.Euler3DTransform,
    *,
    shrink: int,
    step_mm: float,
    tolerance_mm: float,
) -> None:
    """Move a transform to the nearest maximum of Mattes mutual information over a mask of the fixed image."""
    import SimpleITK as sitk  # noqa: N813

    fixed, moving = images
    mask = sitk.GetImageFromArray(where_XYZ.T.astype(np.uint8))
    mask.CopyInformation(fixed)
    samples = 6_000 if shrink > 1 else 12_000
    method = sitk.ImageRegistrationMethod()
    # sums over threads would depend on their number
    method.SetNumberOfThreads(1)
    method.SetNumberOfWorkUnits(1)
    method.SetInterpolator(sitk.sitkLinear)
    method.SetMetricAsMattesMutualInformation(_BINS)
    method.SetMetricFixedMask(mask)
    method.SetMetricSamplingStrategy(method.RANDOM)
    method.SetMetricSamplingPercentage(min(1.0, samples * shrink**3 / np.count_nonzero(where_XYZ)), _SEED)
    method.SetShrinkFactorsPerLevel([shrink])
    method.SetSmoothingSigmasPerLevel([_GRID_MM * shrink if shrink > 1 else 0.0])
    method.SmoothingSigmasAreSpecifiedInPhysicalUnitsOn()
    # not by gradients: those of ITK are central differences, which between thick slices do not fit the interpolation
    method.SetOptimizerAsPowell(20, 20, step_mm, tolerance_mm, 1e-4)
    method.SetOptimizerScales([_RADIUS_MM] * 3 + [1.0] * 3)
    method.SetInitialTransform(transform, inPlace=True)
    method.Execute(fixed, moving)


def _to_itk(head: _Head) -> sitk.Image:
    import SimpleITK as sitk  # noqa: N813

    image = sitk.GetImageFromArray(np.ascontiguousarray(head.values_XYZ.T))
    lps_44 = _TO_LPS @ head.affine
    spacing = spacing_of(lps_44)
    image.SetSpacing(spacing.tolist())
    image.SetDirection((lps_44[:3, :3] / spacing).ravel().tolist())
    image.SetOrigin(lps_44[:3, 3].tolist())
    return image


def _matrix(transform: sitk.Euler3DTransform) -> Matrix:
    """World to world, RAS+ mm."""
    rotation, centre = np.reshape(transform.GetMatrix(), (3, 3)), np.array(transform.GetCenter())
    lps_44 = np.eye(4)
    lps_44[:3, :3] = rotation
    lps_44[:3, 3] = np.array(transform.GetTranslation()) + centre - rotation @ centre
    matrix: Matrix = _TO_LPS @ lps_44 @ _TO_LPS
    return matrix


def _apply(matrix_44: Matrix, points: Matrix) -> Matrix:
    result: Matrix = points @ matrix_44[:3, :3].T + matrix_44[:3, 3]
    return result


def _shift(axis: int, mm: float) -> Matrix:
    matrix = np.eye(4)
    matrix[axis, 3] = mm
    return matrix


def _centre(head: _Head) -> Matrix:
    """World position of the middle of the head, (3,)."""
    return _apply(head.affine, np.array(ndimage.center_of_mass(head.inside_XYZ)))


def _overlap(a: _Head, b: _Head, a_to_b: Matrix) -> float:
    index_3N = _apply(np.linalg.inv(b.affine) @ a_to_b @ a.affine, np.argwhere(a.inside_XYZ).astype(np.float64)).T
    common = ndimage.map_coordinates(b.inside_XYZ.astype(np.uint8), index_3N, order=0, mode="constant", cval=0)
    size_a, size_b = (
        np.count_nonzero(head.inside_XYZ) * abs(float(np.linalg.det(head.affine[:3, :3]))) for head in (a, b)
    )
    return float(common.mean() * size_a / min(size_a, size_b))


def _faults(result: Registration, most_translation_mm: float) -> tuple[str, ...]:
    tests = {
        "low_metric": result.metric_after < LEAST_METRIC,
        "flat_peak": result.peak < LEAST_PEAK,
        "low_overlap": result.overlap < LEAST_OVERLAP,
        "large_motion": result.translation_mm > most_translation_mm or result.rotation_deg > MOST_ROTATION_DEG,
    }
    return tuple(name for name, failed in tests.items() if failed)
