"""Where training images come from: archives of label maps and of lesions of real patients."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from vp_engine.synthesis.label_maps import LabelMap, load_label_maps
from vp_engine.synthesis.lesion_masks import load_lesion_masks
from vp_engine.synthesis.pathology import LesionSources

HELD_OUT_MAPS = ("05", "09", "16")
"""Atrophy, no neck, large ventricles: never trained on."""


@dataclass(frozen=True, slots=True)
class Archives:
    """Files that images are synthesised from.

    Attributes
    ----------
    maps : Path
        Label maps (`load_label_maps`).
    lesions, strokes : Path or None
        Masks of white-matter lesions and of strokes (`load_lesion_masks`); none are pasted without.
    """

    maps: Path
    lesions: Path | None = None
    strokes: Path | None = None

    def label_maps(self) -> tuple[list[LabelMap], list[LabelMap]]:
        """Maps to train on, and those held out."""
        maps = load_label_maps(self.maps)
        return [m for m in maps if m.name not in HELD_OUT_MAPS], [m for m in maps if m.name in HELD_OUT_MAPS]

    def lesion_sources(self, *, device: str = "cpu") -> LesionSources:
        """Lesions of real patients on a device."""
        return LesionSources(
            *(load_lesion_masks(path, device=device) if path else () for path in (self.lesions, self.strokes))
        )
