"""How far the random steps go: the knobs of a training recipe."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class DeformationRanges:
    """Half-widths of uniform distributions around the undeformed head."""

    rotation_deg: float = 10.0
    scaling: float = 0.12
    shear: float = 0.05
    shift_mm: float = 10.0
    elastic_mm: float = 4.0


@dataclass(frozen=True, slots=True)
class SynthesisRanges:
    """Everything a synthetic head is drawn from: probabilities unless a unit says otherwise; pairs are ranges.

    Attributes
    ----------
    centre_jitter_mm : tuple of 3 float
        How far the middle of the field of view may lie from the brain's, per axis: large for crops that move
        over the brain.
    thick_slices, low_resolution : float
        Slices of `thickness_mm`; or all axes blurred to `low_resolution_mm`, as of a coarse scan on a fine grid.
    deface, motion, ghosting, kspace : float
        Of heads that are not stripped; of images other than CT.
    lesion_free, pasted_lesions, grown_lesions : float
        Of heads whose map loses its own white-matter lesions; that get those of a patient; that get some from noise.
    stroke, tumor, hemorrhage, resection : float
        Of each of the `focal_draws` of a head, which gives one of them or none.
    lookalikes : float
        Of heads with perivascular spaces, and of those with bright rims around the ventricles.
    streams : tuple of float
        Probability of one, two, ... images of a head.
    same_grid, corrupt_stream : float
        Of heads with more than one image: all on one grid; one of them noise or blank.
    misalignment : tuple of (float, float)
        Largest rotation in degrees about, and shift in mm along, each axis of images on different grids.
    """

    deformation: DeformationRanges = field(default_factory=DeformationRanges)
    field_of_view_mm: tuple[tuple[float, float, float], tuple[float, float, float]] = (
        (120.0, 150.0, 120.0),
        (160.0, 190.0, 160.0),
    )
    centre_jitter_mm: tuple[float, float, float] = (0.0, 0.0, 0.0)
    cropped_field_of_view: float = 0.1
    spacing_mm: tuple[float, float] = (1.5, 2.6)
    thick_slices: float = 0.35
    thickness_mm: tuple[float, float] = (1.0, 6.0)
    low_resolution: float = 0.1
    low_resolution_mm: tuple[float, float] = (2.0, 5.0)
    prior_contrast: float = 0.6
    ct: float = 0.03
    skull_strip: float = 0.5
    deface: float = 0.1
    lesion_free: float = 0.35
    pasted_lesions: float = 0.2
    grown_lesions: float = 0.15
    stroke: float = 0.08
    tumor: float = 0.1
    hemorrhage: float = 0.05
    resection: float = 0.04
    focal_draws: int = 1
    lookalikes: float = 0.25
    bias_log_std: float = 0.3
    noise_std: float = 0.05
    motion: float = 0.1
    ghosting: float = 0.05
    kspace: float = 0.1
    streams: tuple[float, ...] = (0.85, 0.1, 0.05)
    same_grid: float = 0.5
    misalignment: tuple[float, float] = (1.0, 1.0)
    corrupt_stream: float = 0.2
