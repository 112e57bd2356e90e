"""The intracranial volume: against the truth on synthetic heads, on real heads, and where the skull was stripped.

    python benchmarks/intracranial_volume.py [--data FOLDER] [--model FOLDER] [--only synthetic heads scans]
        [--json FILE]

`synthetic`: heads of the validation maps, whole and stripped, with the truth. `heads`: one whole and one stripped
real head. `scans`: every real scan at hand, for the table of what is taken for stripped (minutes; not run by default).
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch

from vp_engine.anatomy import PARTS
from vp_engine.cohort.flags import NOT_SKULL_BOUNDED
from vp_engine.cohort.scans import delineate
from vp_engine.evaluation.volumes import volume_agreement
from vp_engine.measure.surroundings import head_share
from vp_engine.synthesis.label_maps import LabelMap, load_label_maps, target_lookup
from vp_engine.synthesis.ranges import DeformationRanges, SynthesisRanges
from vp_engine.synthesis.scan import draw_head, draw_scan, synthesise
from vp_engine.synthesis.skull_strip import SkullStrip
from vp_engine.training.sources import HELD_OUT_MAPS
from vp_engine.vision.segmenter import NetworkSegmenter
from vp_engine.volumes.geometry import voxel_volume_mm3
from vp_engine.volumes.intake import GateLimits
from vp_engine.volumes.nifti import read_image
from vp_engine.volumes.volume import Volume

ROOT = Path(__file__).resolve().parents[1]
MAPS = "training/synthseg20_labels_1mm_apache2.npz"
WHOLE = (176.0, 224.0, 176.0)
RANGES = SynthesisRanges(
    deformation=DeformationRanges(shift_mm=4.0),
    field_of_view_mm=(WHOLE, WHOLE),
    cropped_field_of_view=0.0,
    spacing_mm=(1.0, 1.0),
    thick_slices=0.0,
    low_resolution=0.0,
    ct=0.0,
    skull_strip=0.0,
    deface=0.0,
)
STRIPS = {"whole": None, "stripped, fluid kept": SkullStrip(True, 0), "stripped to the brain": SkullStrip(False, 0)}
NOT_DELINEATED = (85, 514)  # optic chiasm, dural sinuses: inside the skull and no part of any structure
STRIPPED = ("anatomy/stripped_T1w", "cohort_ds002748", "lesions_openms26")


@dataclass(frozen=True, slots=True)
class Row:
    """One image and what was measured on it; volumes in ml.

    Attributes
    ----------
    truth_ml, skull_ml, spinal_ml : float or None
        Of synthetic heads: all that the network is to delineate in the whole head; the same with sinuses and
        chiasm; how much of the first lies below the cerebellum.
    """

    image: str
    kind: str
    icv_ml: float
    brain_ml: float
    head_share: float
    taken_for_stripped: bool
    truth_ml: float | None = None
    skull_ml: float | None = None
    spinal_ml: float | None = None


def measured(segmenter: NetworkSegmenter, volume: Volume, image: str, kind: str) -> Row:
    """The row of one image, without a truth."""
    found = delineate(volume, ["brain", "intracranial_volume"], segmenter)
    voxel_ml = voxel_volume_mm3(volume.affine) / 1000
    brain, icv = found["brain"], found["intracranial_volume"]
    share = head_share(volume.data, brain.full(), volume.affine)
    flagged = any(flag.startswith(NOT_SKULL_BOUNDED) for flag in icv.flags)
    return Row(image, kind, icv.voxels * voxel_ml, brain.voxels * voxel_ml, share, flagged)


def synthetic(segmenter: NetworkSegmenter, data: Path, per_map: int) -> Iterator[Row]:
    """Heads of the validation maps, with the contrast of known sequences and with random contrast in turn."""
    for number, label_map in enumerate(load_label_maps(data / MAPS, HELD_OUT_MAPS) * per_map):
        prior = float(number // len(HELD_OUT_MAPS) % 2 == 0)
        rng = np.random.default_rng([3, number])
        head = draw_head(rng, RANGES)
        scan = draw_scan(rng, replace(RANGES, prior_contrast=prior))
        name = f"map {label_map.name}, {'known' if prior else 'random'} contrast"
        truth: dict[str, float] = {}
        for kind, strip in STRIPS.items():
            made = synthesise(label_map, replace(head, strip=strip), [scan])
            volume = Volume(made.images[0].numpy(), made.affines[0].numpy())
            truth = truth or _truth_ml(made.targets[0].numpy(), volume.affine, label_map)
            yield replace(measured(segmenter, volume, name, kind), **truth)


def _truth_ml(target: np.ndarray, affine: np.ndarray, label_map: LabelMap) -> dict[str, float]:
    """True volumes of a whole synthetic head."""
    inside = np.argwhere(target > 0)
    cerebellum = [1 + number for number, name in enumerate(PARTS) if "cerebellum" in name]
    up = affine[2, :3]
    lowest = (np.argwhere(np.isin(target, cerebellum)) @ up).min()
    voxel_ml = voxel_volume_mm3(affine) / 1000
    labels = label_map.labels.long().numpy()
    delineated = np.count_nonzero(target_lookup()[labels])
    with_rest = 1 + np.count_nonzero(np.isin(labels, NOT_DELINEATED)) / delineated
    return {
        "truth_ml": len(inside) * voxel_ml,
        "skull_ml": len(inside) * voxel_ml * with_rest,
        "spinal_ml": np.count_nonzero(inside @ up < lowest) * voxel_ml,
    }


def real(segmenter: NetworkSegmenter, data: Path, names: Sequence[str]) -> Iterator[Row]:
    """Real scans; there is no truth."""
    for name in names:
        volume = read_image(data / name, limits=GateLimits(accept_form_mismatch=True))
        kind = "stripped" if name.startswith(STRIPPED) else "whole"
        yield measured(segmenter, volume, name.removesuffix(".nii.gz"), kind)


def all_scans(data: Path) -> list[str]:
    """Every real scan of known kind."""
    patterns = ("cohort_ds002748/sub-*/anat/*.nii.gz", "longitudinal_openms/sub-*/ses-*/anat/*.nii.gz")
    lesions = [path for path in data.glob("lesions_openms26/*.nii.gz") if "mask" not in path.name]
    found = [path for pattern in patterns for path in data.glob(pattern)] + lesions
    return sorted(path.relative_to(data).as_posix() for path in found)


def report(rows: Sequence[Row]) -> Iterator[str]:
    """Lines of Markdown: every image, agreement with the truth, and what was taken for stripped."""
    yield "| image | kind | ICV, ml | truth | error, % | brain / ICV | directions with a head | taken for stripped |"
    yield "|---|---|---|---|---|---|---|---|"
    for row in rows:
        truth = ("-", "-") if row.truth_ml is None else (f"{row.truth_ml:.0f}", f"{_percent(row):+.1f}")
        cells = [row.image, row.kind, f"{row.icv_ml:.0f}", *truth, f"{row.brain_ml / max(row.icv_ml, 1e-9):.2f}"]
        yield f"| {' | '.join([*cells, f'{row.head_share:.2f}', 'yes' if row.taken_for_stripped else 'no'])} |"
    known = [row for row in rows if row.truth_ml is not None]
    if known:
        yield "\n| synthetic heads | reference | bias, % | mean error, % | worst, % | Pearson | ICC(2,1) |"
        yield "|---|---|---|---|---|---|---|"
    for kind in STRIPS if known else ():
        for name, key in (("delineated parts", "truth_ml"), ("all inside the skull", "skull_ml")):
            of_kind = [row for row in known if row.kind == kind]
            found = volume_agreement([row.icv_ml for row in of_kind], [getattr(row, key) for row in of_kind])
            errors = f"{found.bias_percent:+.1f} | {found.error_percent:.1f} | {found.worst_percent:.1f}"
            yield f"| {kind} | {name} | {errors} | {found.pearson:.3f} | {found.icc:.3f} |"
    if known:
        spinal = [100 * (row.spinal_ml or 0) / (row.truth_ml or 1) for row in known]
        yield f"\nOf the truth {min(spinal):.1f} to {max(spinal):.1f} % lies below the cerebellum, in the spinal canal."
    yield "\n| is | taken for whole | taken for stripped |\n|---|---|---|"
    for kind in ("whole", "stripped"):
        taken = [row.taken_for_stripped for row in rows if row.kind.startswith(kind)]
        yield f"| {kind} | {taken.count(False)} | {taken.count(True)} |"


def _percent(row: Row) -> float:
    return 100 * (row.icv_ml / row.truth_ml - 1) if row.truth_ml else float("nan")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data", help="folder of the real data")
    parser.add_argument("--model", type=Path, default=ROOT / "vp_engine/models/default/vision")
    parser.add_argument("--only", nargs="+", choices=("synthetic", "heads", "scans"), default=["synthetic", "heads"])
    parser.add_argument("--per-map", type=int, default=2, help="synthetic heads of each map")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--json", type=Path, help="file for every number")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    segmenter = NetworkSegmenter.from_pretrained(args.model)
    rows: list[Row] = []
    if "synthetic" in args.only:
        rows += synthetic(segmenter, args.data, args.per_map)
    if "heads" in args.only:
        rows += real(segmenter, args.data, ["anatomy/head_T1w.nii.gz", "anatomy/stripped_T1w.nii.gz"])
    if "scans" in args.only:
        rows += real(segmenter, args.data, all_scans(args.data))
    print("\n".join(report(rows)))
    if args.json:
        args.json.write_text(json.dumps([asdict(row) for row in rows], indent=1) + "\n")


if __name__ == "__main__":
    main()
