"""The anatomy that says where a lesion lies: which structures make up which part of the brain."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from vp_engine.anatomy import SIDES

VENTRICLES = ("lateral_ventricle", "inferior_lateral_ventricle")
"""Lesions near these are periventricular."""

CORTEX = ("cerebral_cortex",)
"""Lesions that touch this are juxtacortical."""

REGIONS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "cerebrum": ("cerebral_white_matter", *CORTEX, "hippocampus", "amygdala", *VENTRICLES),
        "deep_gray_matter": ("thalamus", "caudate", "putamen", "pallidum", "accumbens", "ventral_dc"),
        "infratentorial": ("cerebellum_white_matter", "cerebellum_cortex"),
    }
)
"""Parts of the brain → their structures of two sides. Hippocampus and amygdala belong to the temporal lobe here."""

MIDLINE: Mapping[str, str] = MappingProxyType(
    {"brainstem": "infratentorial", "fourth_ventricle": "infratentorial", "third_ventricle": "cerebrum"}
)
"""Structures without a side → their part of the brain."""

SURROUNDING_STRUCTURES: tuple[str, ...] = (
    *(f"{side}_{name}" for names in REGIONS.values() for name in names for side in SIDES),
    *MIDLINE,
)
"""What has to be delineated around a lesion to say where it lies."""
