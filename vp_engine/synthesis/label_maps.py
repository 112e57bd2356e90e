"""The label maps that training images are made from, and what each label means to the network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from vp_engine.anatomy import ANATOMICAL_PARTS, PARTS, SIDES, STRUCTURES

HEAD_TISSUES: Mapping[int, str] = {
    30: "vessel", 62: "vessel", 72: "fluid", 85: "optic", 136: "choroid", 163: "choroid", 137: "choroid",
    164: "choroid", 502: "artery", 506: "eye", 507: "soft_tissue", 508: "muscle", 509: "mucosa", 511: "skin",
    512: "cord", 514: "sinus", 515: "bone", 516: "marrow", 530: "optic",
}  # fmt: skip
"""Tissue of labels that are not structures of the vocabulary."""

WHITE_MATTER = (2, 41)
LESION = (25, 57)
"""Labels, left and right, of cerebral white matter and of its lesions."""

NECROSIS, ENHANCING, EDEMA, GLIOMA = 701, 702, 703, 704
STROKE_CAVITY, GLIOSIS = 705, 706
BLOOD, BLOOD_RIM = 707, 708
SURGICAL_CAVITY = 709
PERIVASCULAR_SPACE, BRIGHT_RIM = (711, 712), (713, 714)
"""Labels of what the synthesis puts into a map; the last two, left and right, are white matter that looks odd."""

LESION_TISSUES: Mapping[int, str] = {
    25: "lesion", 57: "lesion", NECROSIS: "necrosis", ENHANCING: "enhancing", EDEMA: "edema", GLIOMA: "glioma",
    STROKE_CAVITY: "stroke_cavity", GLIOSIS: "gliosis", BLOOD: "blood", BLOOD_RIM: "blood_rim",
    SURGICAL_CAVITY: "surgical_cavity", PERIVASCULAR_SPACE[0]: "perivascular_space",
    PERIVASCULAR_SPACE[1]: "perivascular_space", BRIGHT_RIM[0]: "bright_rim", BRIGHT_RIM[1]: "bright_rim",
}  # fmt: skip
"""Tissue of labels of pathology, and of what is mistaken for it."""

# Where a label of the maps counts as a structure although it has another number.
_COUNTS_AS: Mapping[int, str] = {
    25: "white_matter_lesion",
    57: "white_matter_lesion",
    NECROSIS: "non_enhancing_tumor",
    GLIOMA: "non_enhancing_tumor",
    ENHANCING: "enhancing_tumor",
    EDEMA: "edema",
    STROKE_CAVITY: "stroke_lesion",
    GLIOSIS: "stroke_lesion",
    BLOOD: "hemorrhage",
    BLOOD_RIM: "hemorrhage",
    SURGICAL_CAVITY: "resection_cavity",
    PERIVASCULAR_SPACE[0]: "left_cerebral_white_matter",
    PERIVASCULAR_SPACE[1]: "right_cerebral_white_matter",
    BRIGHT_RIM[0]: "left_cerebral_white_matter",
    BRIGHT_RIM[1]: "right_cerebral_white_matter",
    30: "left_cerebral_white_matter",
    62: "right_cerebral_white_matter",
    72: "third_ventricle",
    136: "left_lateral_ventricle",
    163: "right_lateral_ventricle",
    137: "left_inferior_lateral_ventricle",
    164: "right_inferior_lateral_ventricle",
    502: "csf",
}

_LEFT_RIGHT = ((25, 57), (30, 62), (136, 163), (137, 164), PERIVASCULAR_SPACE, BRIGHT_RIM)


@dataclass(frozen=True, slots=True)
class LabelMap:
    """One head as labels.

    Attributes
    ----------
    labels : torch.Tensor of int16, shape (X, Y, Z)
        RAS+ axis order, 1 mm isotropic; FreeSurfer numbers, `HEAD_TISSUES` and `LESION_TISSUES`.
    name : str
    """

    labels: Tensor
    name: str


def load_label_maps(path: Path, names: Sequence[str] | None = None, *, device: str = "cpu") -> list[LabelMap]:
    """Read maps onto a device from an archive of `map_XX` (stored k, j, i), `affine_XX` and `label_values`.

    Only axis flips and swaps are needed to bring them to RAS+; nothing is interpolated.
    """
    with np.load(path) as archive:
        values = archive["label_values"].astype(np.int16)
        chosen = sorted(key[4:] for key in archive.files if key.startswith("map_"))
        chosen = [name for name in chosen if names is None or name in names]
        return [
            LabelMap(
                torch.from_numpy(_to_ras(values[archive[f"map_{name}"].T], archive[f"affine_{name}"])).to(device), name
            )
            for name in chosen
        ]


def brain_points(labels_XYZ: Tensor) -> Tensor:
    """Voxels of the brain on every fourth plane; (N, 3), float32. Fluid and brainstem reach into the neck: left out."""
    counts = np.ones(1 + len(PARTS), dtype=bool)
    counts[[0, 1 + PARTS.index("csf"), 1 + PARTS.index("brainstem")]] = False
    lookup = torch.from_numpy(counts[target_lookup()]).to(labels_XYZ.device)
    return 4 * lookup[labels_XYZ[::4, ::4, ::4].long()].nonzero().float()


def brain_box(points_N3: Tensor) -> np.ndarray:
    """Corners of the box around the points of a brain, in voxels of the map; (2, 3), float64."""
    box: np.ndarray = torch.stack([points_N3.amin(0), points_N3.amax(0)]).double().cpu().numpy()
    return box


def voxels_of(labels_XYZ: Tensor, chosen: Sequence[int]) -> Tensor:
    """Voxels with one of some labels, bool."""
    return torch.isin(labels_XYZ, torch.tensor(chosen, dtype=labels_XYZ.dtype, device=labels_XYZ.device))


def of_brain(labels_XYZ: Tensor) -> Tensor:
    """Voxels of the brain without the fluid around it, bool."""
    classes = target_lookup()
    brain = torch.from_numpy((classes > 0) & (classes != 1 + PARTS.index("csf")))
    return brain.to(labels_XYZ.device)[labels_XYZ.long()]


def inside_skull(labels_XYZ: Tensor) -> Tensor:
    """Voxels of the brain and the fluid around it, bool."""
    return torch.from_numpy(target_lookup() > 0).to(labels_XYZ.device)[labels_XYZ.long()]


def replace_white_matter(labels_XYZ: Tensor, mask_XYZ: Tensor, by_side: tuple[int, int]) -> None:
    """Give the cerebral white matter inside a mask another label, left and right; in place."""
    for new, white in zip(by_side, WHITE_MATTER, strict=True):
        labels_XYZ.masked_fill_(mask_XYZ & (labels_XYZ == white), new)


def target_lookup(parts: Sequence[str] = PARTS) -> np.ndarray:
    """Class of each label number: 0 for background, 1 + position in `parts` otherwise; shape (1024,), int64."""
    lookup = np.zeros(1024, dtype=np.int64)
    for index, name in enumerate(parts, start=1):
        if STRUCTURES[name].label < len(lookup):  # the numbers of other pathology are ours, and in no map
            lookup[STRUCTURES[name].label] = index
    for label, name in _COUNTS_AS.items():
        lookup[label] = parts.index(name) + 1
    return lookup


def mirror_lookup() -> np.ndarray:
    """Label number of the same tissue on the other side; shape (1024,), int64."""
    lookup = np.arange(1024)
    pairs = [
        (STRUCTURES[name].label, STRUCTURES[f"{SIDES[1]}{name.removeprefix(SIDES[0])}"].label)
        for name in PARTS
        if STRUCTURES[name].side == SIDES[0]
    ]
    for left, right in (*pairs, *_LEFT_RIGHT):
        lookup[left], lookup[right] = right, left
    return lookup


def tissue_of_label() -> dict[int, str]:
    """Name of the tissue of each label, without a side: labels of one tissue look alike in an image."""
    tissues = {0: "background", **LESION_TISSUES, **HEAD_TISSUES}
    for name in ANATOMICAL_PARTS:
        tissues.setdefault(STRUCTURES[name].label, name.removeprefix("left_").removeprefix("right_"))
    return tissues


def _to_ras(labels: np.ndarray, affine: np.ndarray) -> np.ndarray:
    rotation = affine[:3, :3]
    axes = np.abs(rotation).argmax(axis=1)  # axes[w]: array axis that runs along world axis w
    labels = labels.transpose(axes)
    flips = tuple(slice(None, None, -1 if rotation[w, axes[w]] < 0 else 1) for w in range(3))
    return np.ascontiguousarray(labels[flips])
