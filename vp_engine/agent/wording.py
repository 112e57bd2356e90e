"""Names of structures and measures as a person would say them."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from types import MappingProxyType

from vp_engine.environment.vocabulary import DIRECTIONS, FATES, HEMISPHERES, PLACES

MEASURES: Mapping[str, str] = MappingProxyType(
    {
        "volume": "volume",
        "surface_area": "surface area",
        "sphericity": "sphericity",
        "max_diameter": "largest diameter",
        "perpendicular_diameter": "perpendicular diameter",
        "mean_thickness": "mean thickness",
        "count": "number of separate pieces",
        "centroid_x": "x coordinate (right is positive) of the centre",
        "centroid_y": "y coordinate (front is positive) of the centre",
        "centroid_z": "z coordinate (up is positive) of the centre",
        "mean_intensity": "mean intensity",
        "std_intensity": "standard deviation of the intensity",
        "median_intensity": "median intensity",
        "relative_intensity": "intensity relative to white matter",
    }
)
"""Measure of one mask → what it is called before "of the hippocampus"."""

SIZES = ("volume", "surface_area", "max_diameter", "perpendicular_diameter", "mean_thickness")
"""Measures of which more means larger."""

INTENSITIES = ("mean_intensity", "std_intensity", "median_intensity", "relative_intensity")
"""Measures that say something only with the contrast they were read in."""

_ICV = "intracranial_volume"
_WHOLE_PIECES = rf"in_(?:{'|'.join(PLACES)})|at_least_\d+mm|touching_[a-z_]+|(?:bright|dark|similar)_on_[A-Za-z0-9]+"
_LESION = re.compile(rf"(?:[a-z]+_)*lesion(?:_(?:{_WHOLE_PIECES}))*")
_WORDS: tuple[tuple[str, str | Callable[[re.Match[str]], str]], ...] = (
    # of regions, as `environment.ops_regions` names them; the longest first
    (r"_within_(\d+)mm_of_", r" within \1 mm of the "),
    (r"_dilated_(\d+)mm", r" grown by \1 mm"),
    (r"_eroded_(\d+)mm", r" shrunk by \1 mm"),
    (r"_nearer_", " nearer to the "),
    (r"_without_", " without the "),
    (r"_and_", " inside the "),
    (r"_or_", " together with the "),
    (rf"_({'|'.join((*DIRECTIONS, 'lateral', 'medial'))})_part(?![a-z])", r" (\1 part)"),
    (r"_part(?![a-z])", " (left and right part)"),
    (r"_largest(?![a-z])", " (largest piece)"),
    (r"_smallest(?![a-z])", " (smallest piece)"),
    (r"_at_least_(\d+)mm", r" of \1 mm and more"),
    (r"_touching_", " touching the "),
    (rf"_in_({'|'.join(PLACES)})(?![a-z])", lambda found: f" {place_in_words(found[1])}"),
    (r"_similar_on_([A-Za-z0-9]+)", r" as bright as white matter on \1"),
    (r"_(brightest|darkest)_on_([A-Za-z0-9]+)", r" (\1 on \2)"),
    (r"_(bright|dark)_on_([A-Za-z0-9]+)", r" \1 on \2"),
    (rf"_({'|'.join(FATES)})(?![a-z])", r" (\1)"),
    (r"(?<=lesion)_0*(\d+)$", r" \1"),
    (r"_0*(\d{1,3})$", r" (number \1)"),
    # of structures
    (r"(?<![a-z])lesion(?![a-z]| \d+$)", "lesions"),
    (r"(?<![a-z])csf(?![a-z])", "CSF"),
    (r"(?<![a-z])dc(?![a-z])", "DC"),
    (r"_", " "),
    (r"(?<=\d)mm(?![a-z])", " mm"),
)


def in_words(name: str) -> str:
    """Name of a structure or region in words.

    Examples
    --------
    >>> in_words("left_hippocampus_anterior_part"), in_words("lesion_within_5mm_of_ventricles"), in_words("ventral_dc")
    ('left hippocampus (anterior part)', 'lesions within 5 mm of the ventricles', 'ventral DC')
    """
    for pattern, words in _WORDS:
        name = re.sub(pattern, words, name)
    return name


def place_in_words(place: str) -> str:
    """Place of the vocabulary as an adverb.

    Examples
    --------
    >>> place_in_words("left_frontal_lobe"), place_in_words("infratentorial")
    ('in the left frontal lobe', '(infratentorial)')
    """
    words = place.replace("_", " ")
    return f"in the {words}" if place in HEMISPHERES or words.endswith(("lobe", "matter")) else f"({words})"


def quantity(measure: str, structure: str) -> str:
    """What was measured, without article.

    Examples
    --------
    >>> quantity("volume", "left_hippocampus"), quantity("volume", "intracranial_volume"), quantity("count", "lesion")
    ('volume of the left hippocampus', 'intracranial volume', 'number of separate lesions')
    >>> quantity("count", "lesion_in_left_frontal_lobe_touching_ventricles")
    'number of separate lesions in the left frontal lobe touching the ventricles'
    """
    if is_said_whole(measure, structure):
        return in_words(structure) if measure == "volume" else f"number of separate {in_words(structure)}"
    return f"{MEASURES[measure]} of the {in_words(structure)}"


def is_said_whole(measure: str, structure: str) -> bool:
    """Whether measure and structure make one expression, so that no other structure can follow in the sentence."""
    return (measure, structure) == ("volume", _ICV) or (measure == "count" and bool(_LESION.fullmatch(structure)))
