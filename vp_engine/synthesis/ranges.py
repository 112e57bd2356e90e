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
    """Everything a synthetic scan is drawn from: probabilities unless a unit says otherwise; pairs are ranges."""

    deformation: DeformationRanges = field(default_factory=DeformationRanges)
    field_of_view_mm: tuple[tuple[float, float, float], tuple[float, float, float]] = (
        (120.0, 150.0, 120.0),
        (160.0, 190.0, 160.0),
    )
    spacing_mm: tuple[float, float] = (1.5, 2.6)
    thick_slices: float = 0.35
    thickness_mm: tuple[float, float] = (3.0, 6.0)
    prior_contrast: float = 0.85
    skull_strip: float = 0.6
    bias_log_std: float = 0.3
    noise_std: float = 0.05
    second_stream: float = 0.05
