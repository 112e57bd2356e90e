"""Structures of the brain: canonical names, label numbers, synonyms, and what composites consist of.

Numbers are FreeSurfer's where FreeSurfer has one. A *part* is a structure the vision network knows
by itself; every other structure is a union of parts. The composites nest without overlap:

- `intracranial_volume` = `brain` + `csf`
- `brain` = `cerebrum` + `cerebellum` + `brainstem` + `ventricles`
  = `gray_matter` + `white_matter` + `brainstem` + `ventricles` + all of `lesion` but `white_matter_lesion`
- `cerebrum` = `left_hemisphere` + `right_hemisphere` + `lesion`, which has no side
- `gray_matter` = `cerebral_cortex` + `cerebellum_cortex` + `deep_gray_matter`, which holds the `basal_ganglia`
- `lesion` = `white_matter_lesion` + `tumor` + `stroke_lesion` + `hemorrhage` + `resection_cavity`
- `tumor` = `tumor_core` + `edema`, the whole tumour of BraTS
- `tumor_core` = `enhancing_tumor` + `non_enhancing_tumor`

`deep_gray_matter` and `gray_matter` are FreeSurfer's SubCortGray and TotalGray, `cerebrum` its SupraTentorialNotVent.
`brain` has the brainstem, which FreeSurfer's BrainSeg leaves out, and not the fluid around it, which BrainSeg counts.
`intracranial_volume` is the sum of what lies inside the skull, not FreeSurfer's eTIV, which is estimated from the
registration of the head to an atlas.

References
----------
Fischl et al. 2002, *Whole brain segmentation*; FreeSurferColorLUT for the numbers; FreeSurfer's MorphometryStats
for the global measures; Menze et al. 2015, *The multimodal brain tumor image segmentation benchmark (BraTS)*.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType


@dataclass(frozen=True, slots=True)
class Structure:
    """One anatomical or pathological structure.

    Attributes
    ----------
    name : str
        Canonical name, snake_case, side first (`left_hippocampus`).
    label : int
        Number in a dseg; FreeSurfer's for parts, 1000 + left number for the union of both sides,
        2000 and up for composites, 3000 and up for pathology without a FreeSurfer number, parts of it included.
    parts : tuple of str
        Names of the parts it is the union of; the structure itself when it is a part.
    synonyms : tuple of str
        Other words for it in lower case, without a side.
    side : str
        ``left``, ``right``, ``both`` (union of a bilateral structure) or ``none``.
    kind : str
        ``part``, ``bilateral``, ``composite`` or ``pathology``.
    """

    name: str
    label: int
    parts: tuple[str, ...]
    synonyms: tuple[str, ...]
    side: str
    kind: str


# name: (left number, right number, synonyms)
_BILATERAL: dict[str, tuple[int, int, tuple[str, ...]]] = {
    "cerebral_white_matter": (2, 41, ("cerebral wm", "white matter of the cerebrum", "hemispheric white matter")),
    "cerebral_cortex": (
        3,
        42,
        ("cortex", "cortical gray matter", "cortical grey matter", "cortical gm", "cortical ribbon"),
    ),
    "lateral_ventricle": (4, 43, ("lat ventricle", "lateral ventricular space")),
    "inferior_lateral_ventricle": (
        5,
        44,
        ("temporal horn", "inferior horn", "inf lat ventricle", "inferior horn of the lateral ventricle"),
    ),
    "cerebellum_white_matter": (7, 46, ("cerebellar white matter", "cerebellar wm", "white matter of the cerebellum")),
    "cerebellum_cortex": (
        8,
        47,
        ("cerebellar cortex", "cerebellar gray matter", "cerebellar grey matter", "cortex of the cerebellum"),
    ),
    "thalamus": (10, 49, ("thalamic nuclei", "thalamus proper")),
    "caudate": (11, 50, ("caudate nucleus", "nucleus caudatus")),
    "putamen": (12, 51, ("putaminal nucleus",)),
    "pallidum": (13, 52, ("globus pallidus", "pallidal nucleus")),
    "hippocampus": (17, 53, ("hippocampal formation", "hippo")),
    "amygdala": (18, 54, ("amygdaloid complex", "amygdaloid body")),
    "accumbens": (26, 58, ("nucleus accumbens", "accumbens area", "nacc")),
    "ventral_dc": (28, 60, ("ventral diencephalon",)),
}

_UNSIDED: dict[str, tuple[int, tuple[str, ...]]] = {
    "third_ventricle": (14, ("3rd ventricle", "ventriculus tertius")),
    "fourth_ventricle": (15, ("4th ventricle", "ventriculus quartus")),
    "brainstem": (16, ("brain stem", "truncus encephali")),
    "csf": (24, ("cerebrospinal fluid", "extra-axial csf", "subarachnoid csf", "liquor")),
}

_LESION_PART = "white_matter_lesion"
_TUMOR_CORE = ("non_enhancing_tumor", "enhancing_tumor")
_TUMOR = (*_TUMOR_CORE, "edema")
_LESIONS = (_LESION_PART, *_TUMOR, "stroke_lesion", "hemorrhage", "resection_cavity")

_VENTRICLES = ("lateral_ventricle", "inferior_lateral_ventricle", "third_ventricle", "fourth_ventricle")
_BASAL_GANGLIA = ("caudate", "putamen", "pallidum", "accumbens")
_DEEP_GRAY = ("thalamus", *_BASAL_GANGLIA, "hippocampus", "amygdala", "ventral_dc")
_HEMISPHERE = ("cerebral_white_matter", "cerebral_cortex", *_DEEP_GRAY)
_CEREBRUM = (*_HEMISPHERE, *_LESIONS)
_CEREBELLUM = ("cerebellum_white_matter", "cerebellum_cortex")
_BRAIN = (*_CEREBRUM, *_CEREBELLUM, "brainstem", *_VENTRICLES)

# name: (label, members by unsided name, synonyms)
_COMPOSITES: dict[str, tuple[int, tuple[str, ...], tuple[str, ...]]] = {
    "brain": (
        2001,
        _BRAIN,
        ("whole brain", "entire brain", "total brain", "brain parenchyma with ventricles"),
    ),
    "intracranial_volume": (
        2002,
        (*_BRAIN, "csf"),
        ("icv", "tiv", "intracranial space", "intracranial cavity", "total intracranial volume", "etiv"),
    ),
    "cerebrum": (2003, _CEREBRUM, ("cerebral hemispheres", "both hemispheres")),
    "cerebellum": (2004, _CEREBELLUM, ("whole cerebellum", "little brain")),
    "ventricles": (2005, _VENTRICLES, ("ventricular system", "all ventricles", "cerebral ventricles")),
    "basal_ganglia": (2006, _BASAL_GANGLIA, ("basal nuclei",)),
    "deep_gray_matter": (
        2007,
        _DEEP_GRAY,
        ("deep grey matter", "subcortical gray matter", "subcortical grey matter", "deep gm", "dgm"),
    ),
    "gray_matter": (
        2008,
        ("cerebral_cortex", "cerebellum_cortex", *_DEEP_GRAY),
        ("grey matter", "gm", "total gray matter", "total grey matter"),
    ),
    "white_matter": (
        2009,
        ("cerebral_white_matter", "cerebellum_white_matter", _LESION_PART),
        ("wm", "total white matter"),
    ),
}

# by name: label, parts, synonyms
_PATHOLOGY: dict[str, tuple[int, tuple[str, ...], tuple[str, ...]]] = {
    "lesion": (3001, _LESIONS, ("lesions", "brain lesion", "focal lesion", "plaque")),
    "white_matter_lesion": (
        77,
        (_LESION_PART,),
        ("wmh", "white matter hyperintensity", "ms lesion", "leukoaraiosis", "white matter hypointensity", "wml"),
    ),
    "tumor": (3003, _TUMOR, ("tumour", "neoplasm", "brain mass", "glioma", "meningioma", "whole tumor")),
    "tumor_core": (3004, _TUMOR_CORE, ("tumour core", "core of the tumor")),
    "enhancing_tumor": (
        3005,
        ("enhancing_tumor",),
        ("enhancing tumour", "contrast-enhancing tumor", "enhancing rim"),
    ),
    "edema": (3006, ("edema",), ("oedema", "peritumoral edema", "swelling")),
    "stroke_lesion": (3007, ("stroke_lesion",), ("infarct", "stroke", "infarction", "ischemic lesion")),
    "hemorrhage": (3008, ("hemorrhage",), ("haemorrhage", "bleed", "hematoma", "intracerebral bleeding")),
    "resection_cavity": (3009, ("resection_cavity",), ("surgical cavity", "cavity", "resection site")),
    "non_enhancing_tumor": (
        3010,
        ("non_enhancing_tumor",),
        ("non-enhancing tumor", "necrotic core", "necrosis", "non-enhancing tumor core"),
    ),
}

SIDES = ("left", "right")


def _build() -> dict[str, Structure]:
    table: dict[str, Structure] = {}

    def add(name: str, label: int, parts: tuple[str, ...], synonyms: tuple[str, ...], side: str, kind: str) -> None:
        table[name] = Structure(name, label, parts, synonyms, side, kind)

    for name, (left, right, synonyms) in _BILATERAL.items():
        sided = tuple(f"{side}_{name}" for side in SIDES)
        for side, label, part in zip(SIDES, (left, right), sided, strict=True):
            add(part, label, (part,), synonyms, side, "part")
        add(name, 1000 + left, sided, synonyms, "both", "bilateral")
    for name, (label, synonyms) in _UNSIDED.items():
        add(name, label, (name,), synonyms, "none", "part")
    for name, (label, parts, synonyms) in _PATHOLOGY.items():
        add(name, label, parts, synonyms, "none", "pathology")
    for name, (label, members, synonyms) in _COMPOSITES.items():
        parts = tuple(part for member in members for part in table[member].parts)
        add(name, label, parts, synonyms, "none", "composite")
    for offset, side in enumerate(SIDES):
        parts = tuple(f"{side}_{name}" for name in _HEMISPHERE)
        synonyms = (f"{side} cerebral hemisphere", f"{side} half of the brain", f"{side[0]}h hemisphere")
        add(f"{side}_hemisphere", 2010 + offset, parts, synonyms, side, "composite")
    return table


STRUCTURES: Mapping[str, Structure] = MappingProxyType(_build())
"""Every structure of the vocabulary by canonical name."""

ANATOMICAL_PARTS: tuple[str, ...] = tuple(name for name, s in STRUCTURES.items() if s.kind == "part")
"""The 32 anatomical structures delineated one by one."""

PATHOLOGICAL_PARTS: tuple[str, ...] = _LESIONS
"""The kinds of lesion delineated one by one; none of them overlaps another or an anatomical part."""

PARTS: tuple[str, ...] = (*ANATOMICAL_PARTS, *PATHOLOGICAL_PARTS)
"""All that the vision weights delineate, in the order of their codes."""

BILATERAL_NAMES: tuple[str, ...] = tuple(_BILATERAL)
"""Names without a side of the structures that exist on both sides."""


def structure(name: str) -> Structure:
    """Look up a structure by canonical name.

    Raises
    ------
    KeyError
        If the name is not in the vocabulary.
    """
    return STRUCTURES[name]


def sides_of(name: str) -> tuple[str, str]:
    """Names of the left and the right half of a bilateral structure.

    >>> sides_of("hippocampus")
    ('left_hippocampus', 'right_hippocampus')
    """
    if STRUCTURES[name].kind != "bilateral":
        raise ValueError(f"{name} has no left and right half in the vocabulary")
    return f"left_{name}", f"right_{name}"


def without_side(name: str) -> str:
    """Name of the bilateral structure a sided name belongs to; other names as they are.

    >>> without_side("left_hippocampus"), without_side("brainstem")
    ('hippocampus', 'brainstem')
    """
    for side in SIDES:
        bare = name.removeprefix(f"{side}_")
        if bare in _BILATERAL:
            return bare
    return name


def abbreviation(name: str) -> str:
    """Short form for a BIDS dseg.tsv: side letter and camel case; of the name of a region too.

    >>> abbreviation("left_lateral_ventricle"), abbreviation("csf"), abbreviation("right_putamen_largest")
    ('LLateralVentricle', 'Csf', 'RPutamenLargest')
    """
    words = name.split("_")
    sided = words[0] in SIDES
    return (words[0][0].upper() if sided else "") + "".join(word.capitalize() for word in words[sided:])
