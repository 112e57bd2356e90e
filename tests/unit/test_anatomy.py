"""What the composites consist of: nothing twice, nothing left over, as the module says."""

from __future__ import annotations

from collections import Counter

import pytest

from vp_engine.anatomy import ANATOMICAL_PARTS, BILATERAL_NAMES, PARTS, STRUCTURES, sides_of
from vp_engine.environment.reference import reference

FOCAL = ("tumor", "stroke_lesion", "hemorrhage", "resection_cavity")
COMPOSITES = sorted(name for name, s in STRUCTURES.items() if s.kind == "composite")

# FreeSurferColorLUT: left and right, or the only one
NUMBERS = {
    "cerebral_white_matter": (2, 41), "cerebral_cortex": (3, 42), "lateral_ventricle": (4, 43),
    "inferior_lateral_ventricle": (5, 44), "cerebellum_white_matter": (7, 46), "cerebellum_cortex": (8, 47),
    "thalamus": (10, 49), "caudate": (11, 50), "putamen": (12, 51), "pallidum": (13, 52), "hippocampus": (17, 53),
    "amygdala": (18, 54), "accumbens": (26, 58), "ventral_dc": (28, 60), "third_ventricle": (14,),
    "fourth_ventricle": (15,), "brainstem": (16,), "csf": (24,),
}  # fmt: skip


def test_parts_have_the_numbers_of_freesurfer_and_no_number_is_used_twice() -> None:
    for name, numbers in NUMBERS.items():
        names = sides_of(name) if len(numbers) == 2 else (name,)
        assert tuple(STRUCTURES[part].label for part in names) == numbers
    assert sum(len(numbers) for numbers in NUMBERS.values()) == len(ANATOMICAL_PARTS)
    assert max(Counter(s.label for s in STRUCTURES.values()).values()) == 1


@pytest.mark.parametrize("name", sorted(STRUCTURES))
def test_a_structure_is_made_of_parts_each_once(name: str) -> None:
    parts = STRUCTURES[name].parts
    assert len(set(parts)) == len(parts)
    assert set(parts) <= set(PARTS)


@pytest.mark.parametrize(
    ("whole", "pieces"),
    [
        ("intracranial_volume", ("brain", "csf")),
        ("brain", ("cerebrum", "cerebellum", "brainstem", "ventricles")),
        ("brain", ("gray_matter", "white_matter", "brainstem", "ventricles", *FOCAL)),
        ("cerebrum", ("left_hemisphere", "right_hemisphere", "lesion")),
        ("lesion", ("white_matter_lesion", *FOCAL)),
        ("tumor", ("tumor_core", "edema")),
        ("tumor_core", ("enhancing_tumor", "non_enhancing_tumor")),
        ("gray_matter", ("cerebral_cortex", "cerebellum_cortex", "deep_gray_matter")),
        ("deep_gray_matter", ("basal_ganglia", "thalamus", "hippocampus", "amygdala", "ventral_dc")),
        ("basal_ganglia", ("caudate", "putamen", "pallidum", "accumbens")),
        ("white_matter", ("cerebral_white_matter", "cerebellum_white_matter", "white_matter_lesion")),
        ("cerebellum", ("cerebellum_white_matter", "cerebellum_cortex")),
        ("ventricles", ("lateral_ventricle", "inferior_lateral_ventricle", "third_ventricle", "fourth_ventricle")),
        *((name, sides_of(name)) for name in BILATERAL_NAMES),
    ],
)
def test_composites_nest_without_overlap(whole: str, pieces: tuple[str, ...]) -> None:
    together = [part for piece in pieces for part in STRUCTURES[piece].parts]
    assert sorted(together) == sorted(STRUCTURES[whole].parts)


def test_parts_known_before_keep_their_places() -> None:
    """Weights that are extended rely on it."""
    assert PARTS[: len(ANATOMICAL_PARTS)] == ANATOMICAL_PARTS
    assert PARTS[len(ANATOMICAL_PARTS)] == "white_matter_lesion"
    assert len(PARTS) == 39


def test_the_skull_holds_every_part() -> None:
    assert set(STRUCTURES["intracranial_volume"].parts) == set(PARTS)


def test_hemispheres_mirror_each_other() -> None:
    left, right = (STRUCTURES[f"{side}_hemisphere"].parts for side in ("left", "right"))
    assert {part.replace("left_", "right_") for part in left} == set(right)
    assert all(part.startswith("left_") for part in left)


@pytest.mark.parametrize("name", COMPOSITES)
def test_the_reference_lists_the_parts_of_a_composite(name: str) -> None:
    (row,) = [line for line in reference().splitlines() if line.startswith(f"| `{name}` |")]
    shown = [word.strip(" `") for word in row.split("|")[4].split(",")]
    assert sorted(part for member in shown for part in STRUCTURES[member].parts) == sorted(STRUCTURES[name].parts)
