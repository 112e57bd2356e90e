"""Lobes of the cerebrum, for which there is no delineation: by surfaces through landmarks of a template.

An affine map from the centres of delineated structures to their centres in the template (MNI152, RAS+ mm) carries a
brain there. Five planes, each through three points of a fissure, and a band around the insula divide a hemisphere. The
points were read off the template; both sides share them, mirrored.

Agreement with the Desikan-Killiany parcellation, which sets the borders of lobes by its gyri (limbic gyri by their
lobe), measured per voxel of the cortex as share of the atlas's lobe that gets the same name: frontal 0.97, parietal
0.88, temporal 0.93, occipital 0.84, insular 0.84 on the template itself (0.92 of all voxels); over six brains in their
own space (those of the Allen Human Brain Atlas), mapped by their structures: frontal 0.96, parietal 0.85, temporal
0.90, occipital 0.77, insular 0.62 (0.89 of all voxels; 0.87 to 0.90 per brain). Lobes of single brains end elsewhere
by several millimetres, which no affine map sees, and protocols differ: with the AAL atlas, on the template, 0.87 of the
voxels agree (0.96, 0.95, 0.85, 0.62, 0.65), most of the others being occipital there and parietal or temporal here.

References
----------
Fonov et al. 2011, *Unbiased average age-appropriate atlases for pediatric studies* (MNI152, 2009 version); Desikan et
al. 2006, *An automated labeling system for subdividing the human cerebral cortex*; Talairach & Tournoux 1988,
*Co-planar stereotaxic atlas of the human brain*, for the course of the fissures; Tzourio-Mazoyer et al. 2002, for AAL;
Yousry et al. 1997, *Localization of the motor hand area to a knob on the precentral gyrus*.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import numpy as np

from vp_engine.measure.arithmetic import UndefinedMeasure

LOBES: tuple[str, ...] = ("frontal_lobe", "parietal_lobe", "temporal_lobe", "occipital_lobe", "insular_lobe")
"""What `lobes_of` numbers, from 0."""

_SIDED_CENTRES_MM: Mapping[str, tuple[float, float, float]] = {
    "cerebral_white_matter": (28.5, -18.3, 19.2),
    "cerebral_cortex": (32.7, -17.2, 15.1),
    "thalamus": (12.2, -17.7, 6.5),
    "caudate": (13.7, 9.4, 9.9),
    "putamen": (26.5, 1.9, -1.0),
    "pallidum": (20.9, -2.1, -3.1),
    "accumbens": (9.1, 12.0, -9.7),
    "hippocampus": (26.3, -21.8, -15.0),
    "amygdala": (23.6, -3.6, -21.0),
}
CENTRES_MM: Mapping[str, tuple[float, float, float]] = MappingProxyType(
    {
        f"{side}_{name}": (sign * x, y, z)
        for name, (x, y, z) in _SIDED_CENTRES_MM.items()
        for side, sign in (("left", -1.0), ("right", 1.0))
    }
)
"""Centres of structures in the template, RAS+ mm: of the released weights' delineation of it, the two sides averaged.

Left out is what a field of view often cuts off (brainstem, cerebellum) and what changes most with age and pressure
(ventricles).
"""

_FAR_MM = 5.0
_ROUNDS = 10
_LEAST_CENTRES = 8
_LEAST_SPREAD_MM = 5.0
_PLAUSIBLE_SCALES = (0.6, 1.7)

_Points = tuple[tuple[float, float, float], tuple[float, float, float], tuple[float, float, float]]

# through three points each, right side, and a place behind or below it
_CENTRAL: _Points = (
    (8.0, -41.0, 70.0),
    (38.0, -22.0, 56.0),
    (60.0, -2.0, 16.0),
)  # at the midline, hand knob, lower end
_PARIETO_OCCIPITAL: _Points = ((5.0, -84.0, 26.0), (10.0, -58.0, 10.0), (45.0, -78.0, 12.0))  # its two ends, convexity
_TEMPORO_OCCIPITAL: _Points = ((50.0, -70.0, 3.0), (40.0, -75.0, -12.0), (22.0, -48.0, -3.0))  # notch, below, medial
_SYLVIAN_BEHIND: _Points = ((60.0, -40.0, 15.0), (45.0, -70.0, 11.0), (10.0, -40.0, -3.0))  # its end, and on from there
_SYLVIAN_BEFORE: _Points = ((22.0, 10.0, -27.0), (38.0, 8.0, -15.0), (58.0, -12.0, 16.0))  # stem, opening, convexity
_BEHIND, _BELOW = (0.0, -200.0, 0.0), (50.0, -30.0, -200.0)

# insula: between an inner and an outer limit, in a band around its middle, which falls towards the front and then rises
_INSULA_X_MM = (27.0, 44.0)
_INSULA_Y_MM = (-27.0, 26.0)
_INSULA_LOWEST_MM = (10.0, -6.5)
_INSULA_SLOPES = (-0.45, 0.2)
_INSULA_HALF_HEIGHT_MM = 14.0


def template_map(centres_mm: Mapping[str, np.ndarray]) -> np.ndarray:
    """Affine map from the world of an image to the template.

    Least squares over the centres of structures, those that end up more than 5 mm away from theirs weighing less: a
    structure may be displaced by a lesion or delineated wrongly.

    Parameters
    ----------
    centres_mm : mapping of str to (3,) array
        Centres of structures in the world of the image, RAS+ mm; those that are not in `CENTRES_MM` are ignored.

    Returns
    -------
    (4, 4) float64 array
        World to MNI152, mm.

    Raises
    ------
    UndefinedMeasure
        ``no_landmarks`` if fewer than 8 structures are given, if they lie in one plane, or if no map of a head fits.
    """
    names = sorted(name for name in centres_mm if name in CENTRES_MM)
    if len(names) < _LEAST_CENTRES:
        raise UndefinedMeasure("too few structures are delineated", code="no_landmarks")
    here = np.array([[*centres_mm[name], 1.0] for name in names], dtype=np.float64)
    there = np.array([CENTRES_MM[name] for name in names])
    spread_mm = np.linalg.svd(here[:, :3] - here[:, :3].mean(axis=0), compute_uv=False) / np.sqrt(len(names))
    weights = np.ones(len(names))
    solution = np.zeros((4, 3))
    for _ in range(_ROUNDS):
        root = np.sqrt(weights)[:, None]
        solution, *_ = np.linalg.lstsq(root * here, root * there, rcond=None)
        away_mm = np.linalg.norm(here @ solution - there, axis=1)
        weights = np.minimum(1.0, _FAR_MM / np.maximum(away_mm, 1e-6)) ** 2
    found = np.eye(4)
    found[:3] = solution.T
    scales = np.linalg.svd(found[:3, :3], compute_uv=False)
    low, high = _PLAUSIBLE_SCALES
    if spread_mm[-1] < _LEAST_SPREAD_MM or scales[-1] < low or scales[0] > high or np.linalg.det(found[:3, :3]) < 0:
        raise UndefinedMeasure("the structures that are delineated do not lie as in a head", code="no_landmarks")
    return found


def lobes_of(points_mm: np.ndarray) -> np.ndarray:
    """Number in `LOBES` of each place of the cerebrum; places elsewhere get that of the nearest part of it, roughly.

    Parameters
    ----------
    points_mm : (N, 3) array
        MNI152, RAS+ mm, of either side.

    Returns
    -------
    (N,) int array
    """
    points = np.array(points_mm, dtype=np.float64)
    points[:, 0] = np.abs(points[:, 0])
    lobes = np.where(_beyond(points, _CENTRAL, _BEHIND), LOBES.index("parietal_lobe"), LOBES.index("frontal_lobe"))
    behind_temporal = _beyond(points, _TEMPORO_OCCIPITAL, _BEHIND)
    lobes[_beyond(points, _PARIETO_OCCIPITAL, _BEHIND) & behind_temporal] = LOBES.index("occipital_lobe")
    below_sylvian = _beyond(points, _SYLVIAN_BEFORE, _BELOW) & _beyond(points, _SYLVIAN_BEHIND, _BELOW)
    lobes[below_sylvian & ~behind_temporal] = LOBES.index("temporal_lobe")
    lobes[_in_insula(points)] = LOBES.index("insular_lobe")
    return lobes


def _beyond(points_N3: np.ndarray, plane: _Points, reference: tuple[float, float, float]) -> np.ndarray:
    """Which points lie on the same side of a plane as a reference; (N,) bool."""
    first, second, third = np.array(plane)
    normal = np.cross(second - first, third - first)
    if (np.array(reference) - first) @ normal < 0:
        normal = -normal
    beyond: np.ndarray = (points_N3 - first) @ normal > 0
    return beyond


def _in_insula(points_N3: np.ndarray) -> np.ndarray:
    x, y, z = points_N3.T
    lowest_y, lowest_z = _INSULA_LOWEST_MM
    before, behind = np.minimum(y - lowest_y, 0.0), np.maximum(y - lowest_y, 0.0)
    middle = lowest_z + _INSULA_SLOPES[0] * before + _INSULA_SLOPES[1] * behind
    inside: np.ndarray = (
        (x > _INSULA_X_MM[0])
        & (x < _INSULA_X_MM[1])
        & (y > _INSULA_Y_MM[0])
        & (y < _INSULA_Y_MM[1])
        & (np.abs(z - middle) < _INSULA_HALF_HEIGHT_MM)
    )
    return inside
