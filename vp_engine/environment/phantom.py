"""A built-in head of ellipsoids: enough of a world to say what a program would do, without any scan."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import date, timedelta
from functools import lru_cache

import numpy as np

from vp_engine.anatomy import PARTS, PATHOLOGICAL_PARTS, SIDES, STRUCTURES
from vp_engine.environment.values import FEATURES, Image, Mask, SessionInfo

_SPACING_MM = 3.0
_SHAPE = (56, 68, 58)
_LAST = 99
_WHITE = 60.0

# part without side: centre (x of the right side, y, z) and half axes, mm, RAS+; later ones lie on top of earlier ones
_SIDED: dict[str, tuple[tuple[float, float, float], tuple[float, float, float]]] = {
    "cerebral_cortex": ((33.0, -5.0, 14.0), (34.0, 80.0, 52.0)),
    "cerebral_white_matter": ((32.0, -5.0, 14.0), (28.0, 71.0, 43.0)),
    "cerebellum_cortex": ((25.0, -58.0, -36.0), (26.0, 28.0, 20.0)),
    "cerebellum_white_matter": ((20.0, -55.0, -34.0), (14.0, 17.0, 11.0)),
    "lateral_ventricle": ((12.0, -12.0, 18.0), (5.5, 30.0, 11.0)),
    "inferior_lateral_ventricle": ((36.0, -20.0, -10.0), (3.5, 11.0, 3.5)),
    "thalamus": ((12.0, -18.0, 4.0), (9.0, 14.0, 11.0)),
    "caudate": ((17.0, 12.0, 12.0), (5.5, 14.0, 11.0)),
    "putamen": ((28.0, 4.0, 0.0), (6.5, 16.0, 11.0)),
    "pallidum": ((19.5, -1.0, -4.0), (5.0, 9.0, 8.0)),
    "hippocampus": ((27.0, -22.0, -18.0), (7.0, 18.0, 7.0)),
    "amygdala": ((24.0, 3.0, -22.0), (7.0, 7.0, 7.0)),
    "accumbens": ((9.0, 14.0, -6.0), (4.5, 6.0, 4.5)),
    "ventral_dc": ((10.0, -14.0, -10.0), (7.0, 12.0, 9.0)),
}
_UNSIDED: dict[str, tuple[tuple[float, float, float], tuple[float, float, float]]] = {
    "csf": ((0.0, -8.0, 4.0), (69.0, 86.0, 66.0)),
    "brainstem": ((0.0, -30.0, -36.0), (12.0, 14.0, 26.0)),
    "third_ventricle": ((0.0, -10.0, 0.0), (3.0, 12.0, 9.0)),
    "fourth_ventricle": ((0.0, -46.0, -36.0), (6.0, 5.0, 9.0)),
}
_YEARLY_SCALE = {"lateral_ventricle": 1.04, "hippocampus": 0.98, "third_ventricle": 1.03}
_OTHER_YEARLY_SCALE = 0.997

# part, centre and half axes in mm, growth per year, first and last year
_LESIONS: tuple[tuple[str, tuple[float, float, float], tuple[float, float, float], float, int, int], ...] = (
    ("white_matter_lesion", (30.0, -30.0, 34.0), (6.0, 9.0, 5.0), 1.06, 0, _LAST),
    ("white_matter_lesion", (-28.0, 30.0, 24.0), (5.0, 7.0, 5.0), 1.0, 0, _LAST),
    ("white_matter_lesion", (-21.0, -14.0, 22.0), (4.0, 7.0, 4.0), 0.9, 0, _LAST),  # beside the ventricle
    ("white_matter_lesion", (57.0, 0.0, 18.0), (5.0, 4.0, 4.0), 1.0, 1, _LAST),  # at the cortex, new after a year
    ("white_matter_lesion", (-20.0, -55.0, -33.0), (4.0, 4.0, 4.0), 1.0, 0, 0),  # in the cerebellum, gone after a year
    ("edema", (36.0, 42.0, 20.0), (14.0, 14.0, 12.0), 1.05, 0, _LAST),
    ("enhancing_tumor", (36.0, 42.0, 20.0), (9.0, 9.0, 8.0), 1.05, 0, _LAST),
    ("non_enhancing_tumor", (36.0, 42.0, 20.0), (5.0, 5.0, 4.0), 1.05, 0, _LAST),
    ("stroke_lesion", (-45.0, -40.0, 12.0), (9.0, 12.0, 10.0), 1.0, 0, _LAST),
    ("hemorrhage", (36.0, -62.0, 8.0), (5.0, 5.0, 5.0), 1.0, 0, _LAST),
    ("resection_cavity", (-28.0, 52.0, 6.0), (8.0, 7.0, 7.0), 1.0, 0, _LAST),
)
# brightness relative to white matter on T1w, FLAIR, CT, and all other contrasts
_LOOKS = {
    "edema": (0.8, 1.5, 0.8, 1.6),
    "enhancing_tumor": (1.4, 1.3, 1.2, 1.3),
    "non_enhancing_tumor": (0.6, 1.2, 0.7, 1.5),
    "hemorrhage": (1.2, 0.7, 1.8, 0.6),
    "resection_cavity": (0.4, 0.4, 0.3, 2.0),
}
_OTHER_LOOK = (0.7, 1.5, 0.8, 1.6)
_LOOK_COLUMN = {"T1w": 0, "FLAIR": 1, "ct": 2}
_LEFT_SCALE = 0.98


class PhantomWorld:
    """Ellipsoids of plausible size where the structures of the brain are; the same on every call.

    Visits are one year apart; from one to the next ventricles grow and hippocampi shrink. There are lesions of every
    kind; some grow, one shrinks, one comes and one goes after the first year.

    Parameters
    ----------
    images : tuple of str
        Suffixes every session has, the preferred one first.
    sessions : int
        Number of visits.
    structures : frozenset of str, optional
        What can be delineated; default: every part of `anatomy.PARTS`.

    Raises
    ------
    ValueError
        If there is no session.
    """

    def __init__(
        self,
        images: tuple[str, ...] = ("T1w",),
        *,
        sessions: int = 1,
        structures: frozenset[str] = frozenset(PARTS),
    ) -> None:
        if sessions < 1:
            raise ValueError(f"expected at least one session, got {sessions}")
        self.structures = structures
        self.sessions = tuple(
            SessionInfo(
                label=f"{number + 1:02d}" if sessions > 1 else None,
                acquired=date(2020, 1, 1) + timedelta(days=365 * number),
                images=images,
            )
            for number in range(sessions)
        )

    def image(self, session: SessionInfo, suffix: str) -> Image:
        """Draw one image: a grey value per part, shifted by contrast."""
        labels = _labels(self.sessions.index(session))
        contrast = sum(map(ord, suffix)) % 7
        greys = 20.0 + 3.0 * ((np.arange(len(PARTS) + 1) * (5 + contrast)) % 31)
        greys[0] = 0.0
        white = [PARTS.index(f"{side}_cerebral_white_matter") + 1 for side in SIDES]
        greys[white] = _WHITE
        for part in PATHOLOGICAL_PARTS:
            greys[PARTS.index(part) + 1] = _WHITE * _LOOKS.get(part, _OTHER_LOOK)[_LOOK_COLUMN.get(suffix, 3)]
        unit = "HU" if suffix == "ct" else "a.u."
        return Image(session, suffix, greys.astype(np.float32)[labels], _affine(), unit=unit)

    def segment(self, image: Image, structure: str, *, phi: np.ndarray | None = None) -> Mask:
        """Return the union of the ellipsoids of the parts of a structure; no network, so `phi` changes nothing."""
        del phi
        wanted = np.zeros(len(PARTS) + 1, dtype=bool)
        wanted[[PARTS.index(part) + 1 for part in STRUCTURES[structure].parts]] = True
        return Mask(image, structure, wanted[_labels(self.sessions.index(image.session))], qc_score=1.0)

    def features(self, image: Image, mask: Mask) -> np.ndarray:
        """Nothing to see: zeros, (C,) float32."""
        del image, mask
        return np.zeros(FEATURES, dtype=np.float32)

    def landmarks(self, image: Image, structures: Sequence[str]) -> dict[str, Mask]:
        """Return the ellipsoids of several structures."""
        known = [name for name in structures if set(STRUCTURES[name].parts) <= self.structures]
        return {name: self.segment(image, name) for name in known}

    def judged(self, image: Image, mask: Mask, aspect: str) -> tuple[str, float]:
        """Nothing to see, so ``unclear``."""
        del image, mask, aspect
        return "unclear", 0.0

    def aligned(self, image: Image, to: Image) -> np.ndarray:
        """Every session lies in the same place: the identity, (4, 4)."""
        del image, to
        return np.eye(4)


def _affine() -> np.ndarray:
    affine = np.diag([_SPACING_MM, _SPACING_MM, _SPACING_MM, 1.0])
    affine[:3, 3] = -_SPACING_MM * (np.array(_SHAPE) - 1) / 2 + (0.0, -8.0, 4.0)
    return affine


@lru_cache(maxsize=16)
def _labels(year: int) -> np.ndarray:
    """Index into `PARTS` plus one at every voxel, (X, Y, Z) uint8, read-only."""
    labels = np.zeros(_SHAPE, dtype=np.uint8)
    origin = _affine()[:3, 3]
    for part, centre_mm, half_axes_mm in _ellipsoids(year):
        low = np.maximum(np.floor((centre_mm - half_axes_mm - origin) / _SPACING_MM), 0).astype(int)
        high = np.ceil((centre_mm + half_axes_mm - origin) / _SPACING_MM).astype(int) + 1
        box = tuple(slice(start, stop) for start, stop in zip(low, high, strict=True))
        shape = labels[box].shape
        axes = [origin[a] + _SPACING_MM * (low[a] + np.arange(shape[a])) for a in range(3)]
        away = [((axis - c) / h) ** 2 for axis, c, h in zip(axes, centre_mm, half_axes_mm, strict=True)]
        inside = away[0][:, None, None] + away[1][None, :, None] + away[2][None, None, :] <= 1.0
        labels[box][inside] = PARTS.index(part) + 1
    labels.flags.writeable = False
    return labels


def _ellipsoids(year: int) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    """Part, centre and half axes in mm, in the order of painting."""
    unsided = dict(_UNSIDED)
    centre_mm, half_axes_mm = unsided.pop("csf")
    yield "csf", np.array(centre_mm), np.array(half_axes_mm)
    for name, (centre_mm, half_axes_mm) in _SIDED.items():
        scale = _YEARLY_SCALE.get(name, _OTHER_YEARLY_SCALE) ** year
        for side, mirror, size in (("left", -1.0, _LEFT_SCALE), ("right", 1.0, 1.0)):
            yield f"{side}_{name}", np.array(centre_mm) * (mirror, 1.0, 1.0), np.array(half_axes_mm) * scale * size
    for name, (centre_mm, half_axes_mm) in unsided.items():
        scale = _YEARLY_SCALE.get(name, _OTHER_YEARLY_SCALE) ** year
        yield name, np.array(centre_mm), np.array(half_axes_mm) * scale
    for name, centre_mm, half_axes_mm, growth, first, last in _LESIONS:
        if first <= year <= last:
            yield name, np.array(centre_mm), np.array(half_axes_mm) * growth**year
