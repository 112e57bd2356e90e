"""How well pathology is found, and what finding it costs: markdown tables, and JSON for scripts.

    python benchmarks/pathology.py [--data FOLDER] [--model FOLDER] [--only NAME ...] [--before FILE] [--json FILE]

Parts: sclerosis (MS lesions from every subset of four contrasts), healthy (pathology in brains without any), anatomy
(agreement with FreeSurfer), tumor (one real case), synthetic (every kind of lesion, and the anatomy around it, on heads
of held-out maps), questions (answers about synthetic lesions). Pathologies that the weights do not know are named and
skipped.
`--before` takes the JSON of earlier weights and tells what became of the anatomy.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from vision_targets import Result, Target, machine, markdown, plain

from vp_engine.evaluation.anatomy import TEN, agreement, label_scan
from vp_engine.evaluation.description import evaluate_description
from vp_engine.evaluation.intervals import bootstrap
from vp_engine.evaluation.lesions import (
    ANY,
    PATHOLOGIES,
    LesionScores,
    known_pathologies,
    lesion_scores,
    pathology_masks,
    subsets,
    volumes_ml,
)
from vp_engine.evaluation.synthetic_lesions import IMAGES, KINDS, NONE, CaseScores, anatomy_dice, cases, scored
from vp_engine.synthesis.lesion_cases import lesion_cases
from vp_engine.training.sources import HELD_OUT_MAPS, Archives
from vp_engine.vision.checkpoint import from_pretrained
from vp_engine.vision.description import load_description
from vp_engine.vision.segmenter import NetworkSegmenter
from vp_engine.volumes.intake import GateLimits
from vp_engine.volumes.nifti import read_image, read_labels
from vp_engine.volumes.volume import Volume

ROOT = Path(__file__).resolve().parents[1]
CONTRASTS = ("FLAIR", "T2w", "T1w", "T1w_ce-gadolinium")
"""In the order in which they are asked: the first of a subset is delineated, the others are read together with it."""
MAPS = "synthseg20_labels_1mm_apache2.npz"
LESIONS = "lesions_ms27_mni1mm_ccby.npz"
STROKES = "lesions_stroke131_mni1mm_apache2.npz"
_QUESTIONS_SEED = 2000
"""Not that of the fit."""
MS_TARGETS: Mapping[tuple[str, ...], float] = {("FLAIR",): 0.45, CONTRASTS: 0.55}
SINGLE_HEADS = ("anatomy/head_T1w.nii.gz", "anatomy/stripped_T1w.nii.gz")
NO_REAL_DATA = (
    "Measured on real images: multiple sclerosis (one patient), one tumour, brains without known lesions. "
    "Stroke, haemorrhage, oedema and resection cavities: no real images with a reference at hand, measured on "
    "synthetic ones alone. The patient with sclerosis is none of those whose masks are pasted into training images."
)


@dataclass(frozen=True, slots=True)
class Bench:
    """What every part needs."""

    data: Path
    segmenter: NetworkSegmenter
    before: Mapping[str, Mapping[str, Mapping[str, float]]]
    heads: int
    cases: int

    def archives(self) -> Archives:
        """What synthetic heads are made from."""
        return Archives(*(self.data / "training" / name for name in (MAPS, LESIONS, STROKES)))


def sclerosis(bench: Bench) -> Result:
    """MS lesions of one patient, from every subset of the contrasts; and with each contrast delineated in turn."""
    folder = bench.data / "lesions_openms26"
    images = {name: read_image(folder / f"{name}.nii.gz") for name in CONTRASTS}
    truth = read_labels(folder / "lesion_mask.nii.gz").data > 0
    known = known_pathologies(bench.segmenter)
    by_parts = {known[name]: name for name in (ANY, "white_matter_lesion") if name in known}
    names = sorted(by_parts.values(), reverse=True)  # one of the two where the weights know no other lesion
    result = Result()
    rows = [["read", "found as", *_SCORES]]

    def scores(chosen: Sequence[str]) -> dict[str, LesionScores]:
        asked, *others = (images[name] for name in chosen)
        masks = pathology_masks(bench.segmenter, asked, others=others)
        return {name: lesion_scores(masks[name], truth, asked.affine) for name in names}

    for chosen in subsets(CONTRASTS):
        found = scores(chosen)
        rows += [[" + ".join(chosen), name, *_cells(one)] for name, one in found.items()]
        result.numbers[" + ".join(chosen)] = {name: _numbers(one) for name, one in found.items()}
        if chosen in MS_TARGETS:
            bound = MS_TARGETS[chosen]
            result.targets += [
                Target(
                    f"MS Dice, {name.replace('_', ' ')}, {' + '.join(chosen)} (one patient)",
                    f"≥ {bound}",
                    f"{one.overlap.dice:.3f}",
                    one.overlap.dice >= bound,
                )
                for name, one in found.items()
            ]
    result.tables["MS lesions of one patient; the first contrast is delineated; lesions of 3 voxels and more"] = rows
    turns = [["delineated", "found as", *_SCORES]]
    for first in CONTRASTS[1:]:
        found = scores((first, *(name for name in CONTRASTS if name != first)))
        turns += [[first, name, *_cells(one)] for name, one in found.items()]
        result.numbers[f"all, {first} delineated"] = {name: _numbers(one) for name, one in found.items()}
    result.tables["The same with all four read and another one delineated"] = turns
    return result


_SCORES = (
    "Dice", "lesions found [95 %]", "pieces that are lesions [95 %]", "false pieces", "lesion F1", "volume error, mL",
    "%", "Hausdorff 95 %, mm",
)  # fmt: skip


def _cells(one: LesionScores) -> list[str]:
    counted, percent = one.detection, one.overlap.volume_difference_percent
    return [
        f"{one.overlap.dice:.3f}",
        str(counted.sensitivity),
        str(counted.precision),
        str(counted.false_positives),
        f"{counted.f1:.3f}",
        f"{one.volume_error_ml:+.2f}",
        f"{percent:+.0f}",
        "-" if math.isnan(one.hausdorff95_mm) else f"{one.hausdorff95_mm:.1f}",
    ]


def _numbers(one: LesionScores) -> dict[str, object]:
    return {
        **asdict(one),
        "dice": one.overlap.dice,
        "f1": one.detection.f1,
        "false_positives": one.detection.false_positives,
        "volume_error_ml": one.volume_error_ml,
        "volume_error_percent": one.overlap.volume_difference_percent,
    }


def healthy(bench: Bench) -> Result:
    """Pathology found in T1w of people who are not known to have any."""
    paths = sorted((bench.data / "cohort_ds002748").glob("sub-*/anat/*_T1w.nii.gz"))
    cohort = {path.name.split("_")[0]: _found_ml(bench, path) for path in paths}
    single = {Path(name).name.removesuffix(".nii.gz"): _found_ml(bench, bench.data / name) for name in SINGLE_HEADS}
    names = list(known_pathologies(bench.segmenter))
    rng = np.random.default_rng(0)
    rows = [["pathology", f"median of {len(paths)}, mL [95 %]", "range, mL", *(f"{key}, mL" for key in single)]]
    for name in names:
        values = [found[name] for found in cohort.values()]
        middle = bootstrap(values, np.median, rng=rng)
        rows.append(
            [
                "all together" if name == ANY else name,
                str(middle),
                f"{min(values):.3f} to {max(values):.3f}",
                *(f"{found[name]:.3f}" for found in single.values()),
            ]
        )
    every = [["brain", *names]]
    every += [[key, *(f"{found[name]:.3f}" for name in names)] for key, found in {**cohort, **single}.items()]
    middle = bootstrap([found[ANY] for found in cohort.values()], np.median, rng=rng)
    return Result(
        [Target(f"pathology in {len(paths)} T1w without any, median", "≤ 0.3 mL", str(middle), middle.value <= 0.3)],
        {
            "Volume found in vain (true hypointensities of the white matter cannot be told from it)": rows,
            "The same, brain by brain, mL": every,
        },
        {"cohort": cohort, "single": single, "median": asdict(middle)},
    )


def _found_ml(bench: Bench, path: Path) -> dict[str, float]:
    scan = read_image(path, limits=GateLimits(accept_form_mismatch=True))  # sub-56; its place is not used
    return volumes_ml(pathology_masks(bench.segmenter, scan), scan.affine)


def anatomy(bench: Bench) -> Result:
    """Agreement with FreeSurfer's aseg on a skull-stripped T1w: what the anatomy pays for the pathology."""
    scan = read_image(bench.data / "anatomy/stripped_T1w.nii.gz")
    reference = read_labels(bench.data / "anatomy/stripped_T1w_aseg.nii.gz").data
    found = agreement(label_scan(bench.segmenter, scan), reference)
    numbers = {"mean_16": found.mean(), "mean_10": found.mean(TEN), **found.dice}
    earlier = bench.before.get("anatomy", {}).get("numbers", {})
    rows = [["structure", "Dice", "before", "change"]]
    for name, dice in numbers.items():
        past = [f"{earlier[name]:.3f}", f"{dice - earlier[name]:+.3f}"] if name in earlier else ["-", "-"]
        rows.append([name.replace("_", " "), f"{dice:.3f}", *past])
    targets = [Target("Dice with FreeSurfer, mean of 16 types (one brain)", "-", f"{found.mean():.3f}", None)]
    if earlier:
        change = numbers["mean_16"] - earlier["mean_16"]
        targets.append(Target("the same, change", "≥ -0.01", f"{change:+.3f}", change >= -0.01))
    return Result(targets, {"Agreement with FreeSurfer (sides pooled)": rows}, dict(numbers))


def tumor(bench: Bench) -> Result:
    """One tumour on thick slices of a T1w with contrast medium: each pathology against the region drawn there."""
    scan = _read_nrrd(bench.data / "tumor/brain1_image.nrrd")
    region = _read_nrrd(bench.data / "tumor/brain1_label.nrrd").data > 0
    rows, numbers = [["found as", *_SCORES]], {}
    for name, mask in pathology_masks(bench.segmenter, scan).items():
        one = lesion_scores(mask, region, scan.affine)
        rows.append([name, *_cells(one)])
        numbers[name] = _numbers(one)
    asked = [name for name in ("tumor_core", "tumor", ANY) if name in numbers]
    best = ", ".join(f"{name} {numbers[name]['dice']:.3f}" for name in asked)
    return Result(
        [Target("tumour Dice with the region (one case, thick slices)", "-", best or "not known", None)],
        {"One real tumour, T1w with gadolinium, 0.8x0.8x6.5 mm": rows},
        dict(numbers),
    )


READ: Mapping[str, tuple[str, ...]] = {
    **{name: (name,) for name in IMAGES},
    "all MRI": ("FLAIR", "T2w", "T1w", "T1w_ce-gadolinium"),
}
"""What is read of each synthetic head; the first is delineated."""


def synthetic(bench: Bench) -> Result:
    """Lesions of every kind on synthetic heads of the held-out maps, by contrast, and the anatomy around them."""
    archives = bench.archives()
    _, maps = archives.label_maps()
    scores: dict[str, dict[str, list[CaseScores]]] = {kind: {read: [] for read in READ} for kind in KINDS}
    for case in cases(maps, archives.lesion_sources(), per_map=bench.heads):
        print(f"synthetic head {case.head + 1}, {case.kind}", file=sys.stderr, flush=True)
        for read, images in READ.items():
            scores[case.kind][read].append(scored(bench.segmenter, case.seen, images))
    heads = f"{bench.heads * len(HELD_OUT_MAPS)} synthetic heads of maps {', '.join(HELD_OUT_MAPS)}, 1 mm"
    result = Result()
    _anatomy_around(result, scores, heads)
    _found_by_contrast(result, scores, heads)
    return result


def questions(bench: Bench) -> Result:
    """Answers about lesions on synthetic scans of the held-out maps, by the program that the agent runs."""
    archives = bench.archives()
    _, held_out = archives.label_maps()
    made = lesion_cases(held_out, archives.lesion_sources(), count=bench.cases, seed=_QUESTIONS_SEED)
    result = Result()
    rows = [["question", "right, of the answers [95 %]", "answered [95 %]", "mean confidence"]]
    for one in evaluate_description(bench.segmenter, made):
        sure = "-" if one.confidence is None else f"{one.confidence:.1%}"
        rows.append([one.aspect.replace("_", " "), str(one.right), str(one.answered), sure])
        result.numbers[one.aspect] = plain(asdict(one))
        met = one.right.value is not None and one.right.value >= 0.9
        what = f"question answering, {one.aspect.replace('_', ' ')}"
        result.targets.append(Target(what, "≥ 90 %", f"{one.right}; answered {one.answered}", met))
    heads = ", ".join(HELD_OUT_MAPS)
    result.tables[f"Questions about the largest lesion, {bench.cases} synthetic scans of maps {heads}"] = rows
    return result


def _anatomy_around(result: Result, scores: Mapping[str, Mapping[str, Sequence[CaseScores]]], heads: str) -> None:
    """Mean Dice of the 32 structures without and with each kind, the rest of the head being the same."""
    rng = np.random.default_rng(0)
    rows = [["with", *READ, "change, every contrast [95 %]"]]
    for kind in (kind for kind in KINDS if kind != NONE):
        pairs = {
            read: [anatomy_dice(*both) for both in zip(scores[NONE][read], scores[kind][read], strict=True)]
            for read in READ
        }
        cells = [f"{w:.3f} → {i:.3f}" for w, i in (np.mean(pairs[read], axis=0) for read in READ)]
        by_head = np.mean([np.diff(pairs[read])[:, 0] for read in READ], axis=0)  # contrasts of a head are no cases
        change = bootstrap(by_head.tolist(), rng=rng)
        rows.append([kind.replace("_", " "), *cells, str(change)])
        result.numbers[f"anatomy around {kind}"] = {"without, with": pairs, "change": asdict(change)}
        result.targets.append(
            Target(f"mean Dice of 32 structures, change by {kind.replace('_', ' ')}", "-", str(change), None)
        )
    result.tables[f"Anatomy without → with a lesion, mean Dice of 32 structures; {heads}"] = rows


def _found_by_contrast(result: Result, scores: Mapping[str, Mapping[str, Sequence[CaseScores]]], heads: str) -> None:
    """Dice of each pathology in the heads that have it; volumes found in those that have none."""
    rng = np.random.default_rng(0)
    rows, vain = [["head with", "found as", *READ]], [["head with", "found as", *READ]]
    for kind, by_read in scores.items():
        for name in next(iter(by_read.values()))[0].pathology:
            overlaps = {read: [one.pathology[name] for one in by_read[read]] for read in READ}
            dice = {read: [overlap.dice for overlap in many] for read, many in overlaps.items()}
            result.numbers[f"{kind} as {name}"] = {
                read: {"dice": dice[read], "found_ml": [o.found / 1000 for o in overlaps[read]],
                       "reference_ml": [o.truth / 1000 for o in overlaps[read]]} for read in READ
            }  # fmt: skip
            if not np.isnan(dice[IMAGES[0]]).all():
                rows.append([kind, name, *(str(bootstrap(dice[read], rng=rng)) for read in READ)])
            elif kind in {NONE, "lookalikes"}:
                found = ([overlap.found / 1000 for overlap in overlaps[read]] for read in READ)  # of 1 mm3 each
                vain.append([kind, name, *(f"{np.median(ml):.2f} ({max(ml):.2f})" for ml in found)])
    result.tables[f"Dice of lesions, mean [95 %] (heads that have it); {heads}"] = rows
    result.tables[f"Volume found in vain, median (most), mL; {heads}"] = vain


def _read_nrrd(path: Path) -> Volume:
    """An image of any format that ITK reads, in RAS+."""
    import SimpleITK

    image = SimpleITK.ReadImage(str(path))
    affine = np.eye(4)
    affine[:3, :3] = np.reshape(image.GetDirection(), (3, 3)) * image.GetSpacing()
    affine[:3, 3] = image.GetOrigin()
    data = SimpleITK.GetArrayFromImage(image).T.astype(np.float32)
    return Volume(np.ascontiguousarray(data), np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine)  # ITK counts to the left


PARTS: Mapping[str, Callable[[Bench], Result]] = {
    part.__name__: part for part in (sclerosis, healthy, anatomy, tumor, synthetic, questions)
}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data", help="folder of the real data")
    parser.add_argument("--model", type=Path, default=ROOT / "vp_engine/models/default/vision")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS), metavar="NAME")
    parser.add_argument("--before", type=Path, help="JSON of a run with earlier weights")
    parser.add_argument("--heads", type=int, default=1, help="synthetic heads of each held-out map and kind of lesion")
    parser.add_argument("--cases", type=int, default=150, help="synthetic scans that questions are asked about")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--json", type=Path, help="file for every number")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    # without quality model, which masks do not depend on and weights in training lack
    description = load_description(args.model)
    segmenter = NetworkSegmenter(
        from_pretrained(args.model, device=args.device), description=description, device=args.device
    )
    known = known_pathologies(segmenter)
    if not known:
        parser.error(f"--model: expected weights that know a pathology, got {', '.join(segmenter.known)}")
    before = json.loads(args.before.read_text())["parts"] if args.before else {}
    bench = Bench(args.data, segmenter, before, args.heads, args.cases)
    described, results = machine(), {}
    for name in args.only:
        began = time.perf_counter()
        results[name] = PARTS[name](bench)
        print(f"{name}: {time.perf_counter() - began:.0f} s", file=sys.stderr, flush=True)
        if args.json:  # after each part, or an error in the next would cost it
            parts = {part: plain(asdict(result)) for part, result in results.items()}
            args.json.write_text(json.dumps({"machine": described, "known": known, "parts": parts}, indent=1) + "\n")
    skipped = ", ".join(name for name in PATHOLOGIES if name not in known)
    print(f"{described}\n\nPathology these weights know: {', '.join(known)}. Skipped: {skipped or 'none'}.")
    print(f"{NO_REAL_DATA}\n")
    print("\n".join(markdown(list(results.values()))))


if __name__ == "__main__":
    main()
