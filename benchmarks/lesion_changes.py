"""Lesions followed over two sessions of two MS patients, against masks of what changed.

    python benchmarks/lesion_changes.py [--data FOLDER] [--model FOLDER] [--structure NAME] [--json FILE]

`--model` is the folder of vision weights. Lesions are delineated on the FLAIR of each session, alone and read together
with the session's other images; the sessions are aligned by this package, and by the transforms of the data set, to
tell what registration costs. The last table is of one scan delineated on its own grid and on that of the other session,
where nothing has changed.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch
from vision_targets import Result, Target, machine, markdown, plain

from vp_engine.evaluation.lesion_changes import (
    ChangeScores,
    Matching,
    Matrix,
    Visit,
    boundary_shifts,
    change_scores,
    matched,
    reference_net_ml,
)
from vp_engine.evaluation.lesions import known_pathologies, pathology_masks
from vp_engine.measure.following import BOUNDARY_VOXELS, FATES
from vp_engine.vision.segmenter import NetworkSegmenter
from vp_engine.volumes.nifti import read_image, read_labels
from vp_engine.volumes.registration import (
    MOST_BETWEEN_SESSIONS_MM,
    Registration,
    inverse,
    read_transform,
    register,
)
from vp_engine.volumes.resampling import resample
from vp_engine.volumes.volume import Volume

ROOT = Path(__file__).resolve().parents[1]
PATIENTS = ("openms01", "openms03")
SESSIONS = ("01", "02")
_SCORES = (
    "Dice",
    "Dice, all differences",
    "marked pieces found",
    "found pieces marked",
    "gained, mL",
    "lost, mL",
    "net, mL",
    "marked in either mask",
)
READ = {"alone": "FLAIR alone", "together": "FLAIR with the session's others"}


@dataclass(frozen=True, slots=True, eq=False)
class Patient:
    """Two sessions and what is known of them.

    Attributes
    ----------
    flair : mapping of str to Volume
    others : mapping of str to list of Volume
        Other images of each session, in the world of its FLAIR.
    to_common : mapping of str to (4, 4) array
        World of each FLAIR → world of the reference, by the transforms of the data set.
    found : Registration
        Of the two FLAIR, as this package aligns them.
    changes : Volume
    brain : (X, Y, Z) bool array
    """

    flair: Mapping[str, Volume]
    others: Mapping[str, Sequence[Volume]]
    to_common: Mapping[str, Matrix]
    found: Registration
    changes: Volume
    brain: np.ndarray

    @property
    def alignments(self) -> dict[str, Matrix]:
        """World of the earlier session → world of the later one."""
        theirs = _inverse(self.to_common["02"]) @ self.to_common["01"]
        return {"this package": self.found.fixed_to_moving, "the data set": theirs}


def load(data: Path, name: str) -> Patient:
    """Read and align one patient."""
    folder, reference = data / f"sub-{name}", data / f"derivatives/reference/sub-{name}/anat/sub-{name}"
    flair: dict[str, Volume] = {}
    others: dict[str, list[Volume]] = {}
    to_common: dict[str, Matrix] = {}
    for session in SESSIONS:
        anat = folder / f"ses-{session}/anat"
        flair[session] = read_image(anat / f"sub-{name}_ses-{session}_FLAIR.nii.gz")
        rest = [read_image(path) for path in sorted(anat.glob("*.nii.gz")) if "FLAIR" not in path.name]
        pairs = [(volume, register(volume, flair[session])) for volume in rest]
        others[session] = [
            replace(volume, affine=pair.fixed_to_moving @ volume.affine, forms=None)
            for volume, pair in pairs
            if pair.accepted
        ]
        common_to_flair = read_transform(Path(f"{reference}_ses-{session}_from-FLAIR_to-common_mode-image_xfm.txt"))
        to_common[session] = _inverse(common_to_flair)
    found = register(flair["01"], flair["02"], most_translation_mm=MOST_BETWEEN_SESSIONS_MM)
    changes = read_labels(Path(f"{reference}_space-common_desc-lesionchange_mask.nii.gz"))
    brain = read_labels(Path(f"{reference}_space-common_desc-brain_mask.nii.gz")).data > 0
    return Patient(flair, others, to_common, found, changes, brain)


def alignment(patients: Mapping[str, Patient]) -> Result:
    """How far the rigid motion found is from that of the data set, over the brain."""
    rows = [["patient", "moved, mm", "turned, °", "accepted", "from the data set's, mm", "headers alone, mm"]]
    result = Result()
    for name, patient in patients.items():
        voxels = np.argwhere(patient.brain)[::50]
        common = voxels @ patient.changes.affine[:3, :3].T + patient.changes.affine[:3, 3]
        points = _applied(_inverse(patient.to_common["01"]), common)
        true = _applied(patient.alignments["the data set"], points)
        error, before = (
            float(np.linalg.norm(_applied(matrix, points) - true, axis=1).mean())
            for matrix in (patient.found.fixed_to_moving, np.eye(4))
        )
        found = patient.found
        accepted = "yes" if found.accepted else ", ".join(found.reasons)
        rows.append(
            [
                name,
                f"{found.translation_mm:.1f}",
                f"{found.rotation_deg:.1f}",
                accepted,
                f"{error:.2f}",
                f"{before:.1f}",
            ]
        )
        result.numbers[name] = {"error_mm": error, "headers_mm": before, "accepted": found.accepted}
    result.tables["Sessions aligned rigidly, against the affine transforms of the data set"] = rows
    return result


def changes(patients: Mapping[str, Patient], masks: Mapping[tuple[str, str, str], np.ndarray]) -> Result:
    """Changes found against those marked."""
    rows = [["patient", "read", "aligned by", *FATES, *_SCORES]]
    result = Result()
    for name, patient in patients.items():
        images = [
            resample(
                volume.data,
                patient.to_common[session] @ volume.affine,
                shape=patient.changes.shape,
                target_affine=patient.changes.affine,
                order=1,
            )
            for session, volume in patient.flair.items()
        ]
        appeared, vanished = reference_net_ml(patient.changes, images[0], images[1], patient.brain)
        rows.append(
            [
                name,
                "reference",
                "",
                *["", ""] * 4,
                "",
                "",
                "",
                f"{appeared:.2f}",
                f"{vanished:.2f}",
                f"{appeared - vanished:+.2f}",
                "",
            ]
        )
        result.numbers[name] = {"appeared_ml": appeared, "vanished_ml": vanished}
        for read, read_as in READ.items():
            visits = [Visit(masks[name, session, read], patient.flair[session].affine) for session in SESSIONS]
            for by, matrix in patient.alignments.items():
                found = matched(visits[0], visits[1], matrix)
                later_affine = patient.to_common["02"] @ visits[1].affine
                earlier_affine = patient.to_common["02"] @ matrix @ visits[0].affine
                scores = change_scores(found, patient.changes, earlier_affine, later_affine)
                rows.append([name, read_as, by, *_cells(found, scores)])
                result.numbers[f"{name}, {read}, {by}"] = {**asdict(scores), "net_ml": found.net_ml, **found.counts}
                if by == "this package":
                    right = (found.net_ml > 0) == (appeared > vanished)
                    result.targets += [
                        Target(
                            f"sign of the net change, {name}, {read_as}",
                            f"{appeared - vanished:+.2f} mL",
                            f"{found.net_ml:+.2f} mL",
                            right,
                        ),
                        Target(f"Dice with the change mask, {name}, {read_as}", "-", f"{scores.change.dice:.3f}", None),
                    ]
    result.tables["Change of lesions against the masks of the data set"] = rows
    return result


def unchanged(
    segmenter: NetworkSegmenter,
    structure: str,
    patients: Mapping[str, Patient],
    masks: Mapping[tuple[str, str, str], np.ndarray],
) -> Result:
    """One scan delineated on two grids: nothing has changed."""
    rows = [
        [
            "patient",
            "session",
            "lesions in both",
            "called stable",
            "only in one",
            "median shift, voxels",
            "95th percentile",
        ]
    ]
    shifts: list[float] = []
    for name, patient in patients.items():
        there = patient.found.fixed_to_moving
        for session, other, matrix in (("01", "02", there), ("02", "01", inverse(there))):
            scan, grid = patient.flair[session], patient.flair[other]
            data = resample(scan.data, matrix @ scan.affine, shape=grid.shape, target_affine=grid.affine, order=1)
            again = pathology_masks(segmenter, Volume(data, grid.affine))[structure]
            found = matched(Visit(masks[name, session, "alone"], scan.affine), Visit(again, grid.affine), matrix)
            own = boundary_shifts(found, grid.affine)
            shifts += own
            counts = found.counts
            both = len(own)
            rows.append(
                [name, session, str(both), str(counts["stable"]), str(len(found.lesions) - both), *_quantiles(own)]
            )
    rows.append(["both", "both", str(len(shifts)), "", "", *_quantiles(shifts)])
    result = Result(
        tables={f"One scan on two grids, where nothing changed (a lesion may shift by {BOUNDARY_VOXELS} voxels)": rows}
    )
    result.numbers["shifts"] = shifts
    return result


def _cells(found: Matching, scores: ChangeScores) -> list[str]:
    return [
        *map(str, found.counts.values()),
        f"{scores.change.dice:.3f}",
        f"{scores.difference.dice:.3f}",
        str(scores.detection.sensitivity),
        str(scores.detection.precision),
        f"{scores.gained_ml:.2f}",
        f"{scores.lost_ml:.2f}",
        f"{found.net_ml:+.2f}",
        f"{scores.seen:.0%}",
    ]


def _quantiles(shifts: Sequence[float]) -> list[str]:
    return [f"{np.percentile(shifts, q):.2f}" if shifts else "-" for q in (50, 95)]


def _inverse(affine: Matrix) -> Matrix:
    return np.linalg.inv(affine).astype(np.float64)


def _applied(matrix: Matrix, points: np.ndarray) -> np.ndarray:
    moved: np.ndarray = points @ matrix[:3, :3].T + matrix[:3, 3]
    return moved


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data", help="folder of the real data")
    parser.add_argument("--model", type=Path, default=ROOT / "vp_engine/models/default/vision")
    parser.add_argument("--structure", default="white_matter_lesion", help="pathology that is followed")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--json", type=Path, help="file for every number")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    segmenter = NetworkSegmenter.from_pretrained(args.model, device=args.device)
    if args.structure not in known_pathologies(segmenter):
        parser.error(f"--structure: expected one of {', '.join(known_pathologies(segmenter))}, got {args.structure}")
    began = time.perf_counter()
    patients = {name: load(args.data / "longitudinal_openms", name) for name in PATIENTS}
    masks = {
        (name, session, read): pathology_masks(
            segmenter, patient.flair[session], others=patient.others[session] if read == "together" else ()
        )[args.structure]
        for name, patient in patients.items()
        for session in SESSIONS
        for read in READ
    }
    results = [alignment(patients), changes(patients, masks), unchanged(segmenter, args.structure, patients, masks)]
    print(f"{time.perf_counter() - began:.0f} s", file=sys.stderr)
    described = machine()
    if args.json:
        parts = [plain(asdict(result)) for result in results]
        args.json.write_text(
            json.dumps({"machine": described, "structure": args.structure, "parts": parts}, indent=1) + "\n"
        )
    print(f"{described}\n\nTwo patients, {args.structure}; weights of {args.model}.\n")
    print("\n".join(markdown(results)))


if __name__ == "__main__":
    main()
