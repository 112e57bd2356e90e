"""The demo cohort: the MNI152 template, deformed with known effects, as a BIDS dataset.

Four patients have larger lateral ventricles and smaller hippocampi than four controls; one of each
comes twice. What was applied to whom is written to `sourcedata/demo_truth.tsv`.

References
----------
Fonov et al. 2011, *Unbiased average age-appropriate atlases for pediatric studies*: the template,
read from the nilearn package.
"""

from __future__ import annotations

import itertools
import json
import math
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from vp_engine.errors import ConfigError

MARKER = "sourcedata/demo_truth.tsv"
"""Table of the planted factors; by its presence a folder is known to be a demo cohort of ours."""

PARTICIPANT_COLUMNS = ("participant_id", "group", "age", "sex")
SESSION_COLUMNS = ("session_id", "acq_time")

CORE_MM = 8.0
REACH_MM = 16.0

# midlines of the left structures in MNI space (RAS mm); the right ones mirror them
VENTRICLE_AXIS = np.array(
    [[-14, 26, 4], [-10, 10, 14], [-11, -5, 22], [-17, -28, 21], [-24, -42, 14]], dtype=np.float64
)
HIPPOCAMPUS_AXIS = np.array([[-22, -8, -22], [-27, -20, -16], [-30, -30, -10], [-26, -38, -2]], dtype=np.float64)

_SPACING_MM = 1.5
_MARGIN_MM = 6.0
_MIRROR = np.array([-1.0, 1.0, 1.0])
_WAVES = 5
_WARP_SD_MM = 1.2
_PEOPLE = (
    ("01", "patient", 71, "F"),
    ("02", "patient", 66, "M"),
    ("03", "patient", 75, "F"),
    ("04", "patient", 69, "M"),
    ("05", "control", 70, "F"),
    ("06", "control", 67, "M"),
    ("07", "control", 74, "F"),
    ("08", "control", 68, "M"),
)
_ACQUIRED = {"01": ("2023-03-14", "2024-04-02"), "05": ("2023-03-21", "2024-04-09")}
_README = """\
# Demo cohort

Eight made-up people: the MNI152 T1w template, skull-stripped, deformed smoothly. Patients have larger lateral
ventricles and smaller hippocampi than controls; sub-01 and sub-05 were "scanned" twice. Nobody is behind these images.
`sourcedata/demo_truth.tsv` holds the volume factors that were applied to each scan.

The template is an average of 152 heads, blurred where they differ, and without lesions. Whatever lesion is found in
these images is false; its `qc_score` is low.

The template is ICBM 152 nonlinear symmetric 2009a, (C) 1993-2009 Louis Collins, McConnell Brain Imaging Centre,
Montreal Neurological Institute, McGill University; permission to use, copy, modify and distribute it is granted
provided that this notice appears in all copies. It is read from the nilearn package.
"""


@dataclass(frozen=True, slots=True)
class Effect:
    """What is done to one scan.

    Attributes
    ----------
    ventricles, hippocampi : float
        Factor on the volume along the structure's midline, up to `CORE_MM` away from it; 1 changes nothing.
    """

    ventricles: float
    hippocampi: float


@dataclass(frozen=True, slots=True)
class _Template:
    image_XYZ: npt.NDArray[np.float32]
    world_to_voxel_44: npt.NDArray[np.float64]
    grid_affine_44: npt.NDArray[np.float64]
    grid_shape: tuple[int, int, int]


def make_demo(out: Path, *, seed: int = 20) -> None:
    """Write the demo cohort.

    Parameters
    ----------
    out : Path
        Folder of the new BIDS dataset. A complete demo cohort in it is left as it is.
    seed : int
        The same seed gives the same bytes.

    Raises
    ------
    ConfigError
        If the folder holds something else.
    """
    if (out / MARKER).is_file():
        return
    if any(not path.is_dir() for path in out.rglob("*")):
        raise ConfigError(f"{out}: expected no folder or an empty one, got other files; choose another folder")
    # built aside and renamed, so that an interrupted run leaves nothing that looks like a dataset
    building = out.with_name(f"{out.name}.partial")
    for stale in (building, out):
        shutil.rmtree(stale, ignore_errors=True)
    _write_dataset(building, seed=seed)
    building.rename(out)


def deform(points: npt.NDArray[np.float64], effect: Effect) -> npt.NDArray[np.float64]:
    """Where each point of the deformed brain comes from in the template.

    Around a midline, distances from it are scaled by the root of the factor up to `CORE_MM`, so that volumes
    along it change by exactly the factor; the change fades to nothing at `REACH_MM`.

    Parameters
    ----------
    points : float64 (N, 3)
        World coordinates in MNI space, RAS mm.
    effect : Effect
        Factors between 0.5 and 3.

    Returns
    -------
    float64 (N, 3)
        World coordinates in the undeformed template, RAS mm.

    Raises
    ------
    ValueError
        If a factor is out of range: the field would fold.
    """
    moved = points.copy()
    for axis, factor in ((VENTRICLE_AXIS, effect.ventricles), (HIPPOCAMPUS_AXIS, effect.hippocampi)):
        if not 0.5 <= factor <= 3.0:
            raise ValueError(f"expected a volume factor between 0.5 and 3, got {factor}")
        for side in (np.ones(3), _MIRROR):
            line = axis * side
            near = np.all((points > line.min(axis=0) - REACH_MM) & (points < line.max(axis=0) + REACH_MM), axis=1)
            offset = points[near] - nearest_on_line(points[near], line)
            distance = np.linalg.norm(offset, axis=1)
            moved[near] += offset * (_source_distance(distance, factor) / np.maximum(distance, 1e-9) - 1.0)[:, None]
    return moved


def nearest_on_line(points: npt.NDArray[np.float64], line: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Nearest point on a chain of straight segments.

    Parameters
    ----------
    points : float64 (N, 3)
        Any frame, mm.
    line : float64 (M, 3)
        Corners of the chain in order, same frame.

    Returns
    -------
    float64 (N, 3)
    """
    best = np.broadcast_to(line[0], points.shape).copy()
    best_squared = np.full(len(points), np.inf)
    for start, end in itertools.pairwise(line):
        along = end - start
        share = np.clip((points - start) @ along / (along @ along), 0.0, 1.0)
        candidate = start + share[:, None] * along
        squared = ((points - candidate) ** 2).sum(axis=1)
        closer = squared < best_squared
        best[closer], best_squared[closer] = candidate[closer], squared[closer]
    return best


def _write_dataset(out: Path, *, seed: int) -> None:
    template = _read_template()
    truth = ["participant_id\tsession_id\tgroup\tventricle_factor\thippocampus_factor"]
    _write_tables(out)
    for index, (participant, group, _, _) in enumerate(_PEOPLE):
        baseline = _baseline_effect(group, np.random.default_rng([seed, index]))
        for visit, _ in enumerate(_dates(participant)):
            effect = _later_effect(baseline, group) if visit else baseline
            image = _scan(template, effect, person=[seed, index, 1], visit=[seed, index, 2, visit])
            session = f"{visit + 1:02d}"
            name = f"sub-{participant}_ses-{session}_T1w.nii.gz"
            _write_scan(out / f"sub-{participant}" / f"ses-{session}" / "anat" / name, image, template.grid_affine_44)
            factors = (f"{effect.ventricles:.4f}", f"{effect.hippocampi:.4f}")
            truth.append("\t".join((f"sub-{participant}", f"ses-{session}", group, *factors)))
    _write_text(out / MARKER, "\n".join(truth) + "\n")


def _source_distance(distance: npt.NDArray[np.float64], factor: float) -> npt.NDArray[np.float64]:
    """Distance in the template: linear in the core, cubic Hermite to the identity at the reach; increasing."""
    slope = 1.0 / math.sqrt(factor)
    width = REACH_MM - CORE_MM
    t = np.clip((distance - CORE_MM) / width, 0.0, 1.0)
    shell = (
        (2 * t**3 - 3 * t**2 + 1) * CORE_MM * slope
        + (t**3 - 2 * t**2 + t) * width * slope
        + (-2 * t**3 + 3 * t**2) * REACH_MM
        + (t**3 - t**2) * width
    )
    return np.where(distance <= CORE_MM, distance * slope, np.where(distance >= REACH_MM, distance, shell))


def _baseline_effect(group: str, rng: np.random.Generator) -> Effect:
    ventricles, hippocampi = np.exp(rng.normal(0.0, [0.08, 0.03]))
    if group == "patient":
        return Effect(1.8 * ventricles, 0.70 * hippocampi)
    return Effect(ventricles, hippocampi)


def _later_effect(baseline: Effect, group: str) -> Effect:
    growth, loss = (1.15, 0.94) if group == "patient" else (1.01, 0.995)
    return Effect(baseline.ventricles * growth, baseline.hippocampi * loss)


def _dates(participant: str) -> tuple[str, ...]:
    return _ACQUIRED.get(participant, (f"2023-04-{int(participant):02d}",))


def _read_template() -> _Template:
    from nilearn.datasets import load_mni152_template

    template = load_mni152_template(resolution=1)
    data = np.asarray(template.dataobj, dtype=np.float32)
    affine = np.asarray(template.affine, dtype=np.float64)
    corners = [np.nonzero(data.any(axis=tuple({0, 1, 2} - {axis})))[0][[0, -1]] for axis in range(3)]
    low, high = (affine[:3, :3] @ [pair[end] for pair in corners] + affine[:3, 3] for end in (0, 1))
    grid_affine = np.diag([_SPACING_MM] * 3 + [1.0])
    grid_affine[:3, 3] = low - _MARGIN_MM
    x, y, z = np.ceil((high - low + 2 * _MARGIN_MM) / _SPACING_MM).astype(int).tolist()
    return _Template(data, np.linalg.inv(affine).astype(np.float64), grid_affine, (x, y, z))


def _scan(
    template: _Template, effect: Effect, *, person: Sequence[int], visit: Sequence[int]
) -> npt.NDArray[np.float32]:
    """One T1w image (X, Y, Z), 0 outside the brain, about 700 in white matter.

    `person` seeds what stays between visits (head size and shape), `visit` what does not (bias field and noise).
    """
    from scipy.ndimage import map_coordinates

    shape = template.grid_shape
    person_rng, visit_rng = np.random.default_rng(person), np.random.default_rng(visit)
    voxels = np.indices(shape, dtype=np.float64).reshape(3, -1).T
    points = voxels @ template.grid_affine_44[:3, :3].T + template.grid_affine_44[:3, 3]
    points = points * (1.0 + 0.015 * person_rng.standard_normal(3))
    points += np.stack([_smooth_field(shape, person_rng).ravel() * _WARP_SD_MM for _ in range(3)], axis=1)
    sources = deform(points, effect) @ template.world_to_voxel_44[:3, :3].T + template.world_to_voxel_44[:3, 3]
    image = map_coordinates(template.image_XYZ, sources.T, order=1, mode="constant").reshape(shape)
    inside = image > 0.05
    image = image * np.exp(0.06 * _smooth_field(shape, visit_rng)) + visit_rng.normal(0.0, 0.015, shape)
    # whole numbers compress three times better than noise in the last bits
    return np.where(inside, np.maximum(np.rint(1000.0 * image), 1.0), 0.0).astype(np.float32)


def _smooth_field(shape: tuple[int, int, int], rng: np.random.Generator) -> npt.NDArray[np.float64]:
    """Sum of a few long cosine waves with random weights, standard deviation about 1."""
    weights = rng.standard_normal((_WAVES,) * 3)
    weights[0, 0, 0] = 0.0
    orders = np.arange(_WAVES)
    waves = [np.cos(np.pi * orders * (np.arange(n)[:, None] + 0.5) / n) for n in shape]
    field = np.einsum("abc,xa,yb,zc->xyz", weights, *waves, optimize=True)
    return np.asarray(field / field.std())


def _write_scan(path: Path, image: npt.NDArray[np.float32], affine_44: npt.NDArray[np.float64]) -> None:
    from vp_engine.volumes.nifti import write_image
    from vp_engine.volumes.volume import Volume

    path.parent.mkdir(parents=True, exist_ok=True)
    write_image(path, Volume(image, affine_44))


def _write_tables(out: Path) -> None:
    description = {
        "Name": "Demo cohort: MNI152 template with planted effects",
        "BIDSVersion": "1.10.0",
        "DatasetType": "raw",
        "Authors": ["vp demo"],
        "Acknowledgements": "ICBM 152 2009a template, McConnell Brain Imaging Centre; see README.md",
        "ReferencesAndLinks": ["https://doi.org/10.1016/j.neuroimage.2010.07.033"],
    }
    meaning = {
        "group": {"Description": "Which effect was planted", "Levels": {"patient": "yes", "control": "none"}},
        "age": {"Description": "Made-up age", "Units": "year"},
        "sex": {"Description": "Made-up sex", "Levels": {"F": "female", "M": "male"}},
    }
    _write_json(out / "dataset_description.json", description)
    _write_json(out / "participants.json", meaning)
    _write_text(out / "README.md", _README)
    rows = ["\t".join(PARTICIPANT_COLUMNS)]
    rows += [f"sub-{participant}\t{group}\t{age}\t{sex}" for participant, group, age, sex in _PEOPLE]
    _write_text(out / "participants.tsv", "\n".join(rows) + "\n")
    for participant, *_ in _PEOPLE:
        lines = ["\t".join(SESSION_COLUMNS)]
        lines += [f"ses-{visit:02d}\t{day}T09:00:00" for visit, day in enumerate(_dates(participant), start=1)]
        _write_text(out / f"sub-{participant}" / f"sub-{participant}_sessions.tsv", "\n".join(lines) + "\n")


def _write_json(path: Path, content: dict[str, Any]) -> None:
    _write_text(path, json.dumps(content, indent=2, ensure_ascii=False) + "\n")


def _write_text(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
