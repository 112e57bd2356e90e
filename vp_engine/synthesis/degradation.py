"""Scans from good to ruined: what a confidence is fitted to and tested on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from vp_engine.anatomy import PARTS, STRUCTURES
from vp_engine.synthesis.label_maps import LabelMap
from vp_engine.synthesis.pathology import LesionSources
from vp_engine.synthesis.ranges import SynthesisRanges
from vp_engine.synthesis.rigid import draw_rigid
from vp_engine.synthesis.scan import HeadParameters, ScanParameters, draw_head, draw_scan, synthesise
from vp_engine.volumes.volume import Volume

KINDS = (
    "noise", "shading", "thick slices", "coarse voxels", "blur", "odd contrast", "cropped", "motion", "ghosting",
    "kspace",
)  # fmt: skip
"""What can be wrong with a scan."""

_NO_PATIENTS = LesionSources()


@dataclass(frozen=True, slots=True, eq=False)
class KnownScan:
    """A scan whose truth is known, and what is to be delineated on it.

    Attributes
    ----------
    scan : Volume
    truth : numpy.ndarray of int64, shape (X, Y, Z)
        0 for background, 1 + position in `anatomy.PARTS` otherwise.
    unions : mapping of str to tuple of str
        Structures and their parts.
    """

    scan: Volume
    truth: NDArray[np.int64]
    unions: Mapping[str, tuple[str, ...]]

    def dice(self, structure: str, start: Sequence[int], inside: NDArray[np.bool_]) -> float:
        """Dice of a mask in a box, which starts at some voxel, with the truth; 0 for a structure that is not there."""
        where = tuple(slice(first, first + size) for first, size in zip(start, inside.shape, strict=True))
        true = np.isin(self.truth, [1 + PARTS.index(part) for part in self.unions[structure]])
        both, total = int((true[where] & inside).sum()), int(true.sum()) + int(inside.sum())
        return 2 * both / max(1, total)


def degraded_scans(
    label_maps: Sequence[LabelMap],
    *,
    images: int,
    structures_per_image: int,
    seed: int,
    lesions: LesionSources = _NO_PATIENTS,
) -> Iterator[KnownScan]:
    """Synthetic scans of all grades of quality.

    Parameters
    ----------
    label_maps : sequence of LabelMap
        Taken in turn.
    images : int
    structures_per_image : int
        Parts and unions, drawn anew for each image: masks of one image resemble each other.
    seed : int
        The same scans and structures for the same seed.
    lesions : LesionSources
        Lesions of real patients, pasted into some.
    """
    unions = {name: structure.parts for name, structure in STRUCTURES.items() if structure.parts}
    for number in range(images):
        rng = np.random.default_rng([seed, number])
        head, image = draw_degraded(rng, lesions=lesions)
        made = synthesise(label_maps[number % len(label_maps)], head, [image])
        scan = Volume(made.images[0].numpy(), made.affines[0].numpy())
        names = rng.choice(sorted(unions), size=structures_per_image, replace=False).tolist()
        yield KnownScan(scan, made.targets[0].numpy(), {name: unions[name] for name in names})


def draw_degraded(
    rng: np.random.Generator, *, lesions: LesionSources = _NO_PATIENTS
) -> tuple[HeadParameters, ScanParameters]:
    """Draw a head and one image of it with none, one or two things wrong, from hardly noticed to ruinous."""
    severity = float(rng.random())
    kinds = rng.choice(KINDS, size=rng.choice(3, p=(0.15, 0.45, 0.4)), replace=False)
    ranges = _ranges({kind: severity if kind in kinds else 0.0 for kind in KINDS})
    head = draw_head(rng, ranges, lesions=lesions)
    scan = draw_scan(rng, ranges, centre_mm=head.centre_mm)
    if scan.motion is not None:
        worse = [draw_rigid(rng, rotation_deg=20 * severity, shift_mm=16 * severity) for _ in scan.motion.segments]
        segments = tuple((low, high, pose) for (low, high, _), pose in zip(scan.motion.segments, worse, strict=True))
        scan = replace(scan, motion=replace(scan.motion, segments=segments))
    if scan.ghosting is not None:
        scan = replace(scan, ghosting=replace(scan.ghosting, strength=0.8 * severity))
    if scan.kspace is not None:
        spikes = tuple((at, 0.6 * severity, phase) for at, _, phase in scan.kspace.spikes)
        scan = replace(scan, kspace=replace(scan.kspace, spikes=spikes))
    return head, scan


def _ranges(amount: Mapping[str, float]) -> SynthesisRanges:
    """Ranges of scans with some amount, 0 to 1, of what can be wrong."""
    thick, coarse, blur = amount["thick slices"], amount["coarse voxels"], amount["blur"]
    shift_mm = 60 * amount["cropped"]
    return SynthesisRanges(
        noise_std=0.05 + 0.8 * amount["noise"],
        bias_log_std=0.3 + 1.7 * amount["shading"],
        thick_slices=1.0 if thick else 0.25,
        thickness_mm=(4 + 4 * thick, 6 + 8 * thick) if thick else (1.0, 6.0),
        spacing_mm=(2.6, 2.6 + 2 * coarse) if coarse else (1.0, 2.6),
        low_resolution=float(blur > 0),
        low_resolution_mm=(2.0 + 2 * blur, 3.0 + 7 * blur),
        prior_contrast=0.0 if amount["odd contrast"] else 0.85,
        cropped_field_of_view=float(amount["cropped"] > 0),
        centre_jitter_mm=(shift_mm, shift_mm, shift_mm),
        motion=float(amount["motion"] > 0),
        ghosting=float(amount["ghosting"] > 0),
        kspace=float(amount["kspace"] > 0),
    )
