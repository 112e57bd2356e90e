"""Is a mask as good as its `qc_score` says? Degraded synthetic scans of maps that were never trained on.

    python benchmarks/reliability.py [--data FOLDER] [--model FOLDER] [--images N] [--picture PNG] [--json FILE]

Prints the reliability of the score and of the one without calibration (the Dice to be expected if the probabilities
were right), what thresholds find, and a table by structure; draws the reliability plot.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np

from vp_engine.anatomy import STRUCTURES
from vp_engine.evaluation.reliability import BAD, Reliability, ScoredMask, reliability, rule, scored_masks
from vp_engine.synthesis.degradation import degraded_scans
from vp_engine.training.sources import Archives
from vp_engine.vision.segmenter import NetworkSegmenter

ROOT = Path(__file__).resolve().parents[1]
MAPS = "training/synthseg20_labels_1mm_apache2.npz"
LESIONS = "training/lesions_ms27_mni1mm_ccby.npz"
STROKES = "training/lesions_stroke131_mni1mm_apache2.npz"
SEED = 1000
"""Not that of the fit."""


def measure(segmenter: NetworkSegmenter, data: Path, *, images: int) -> list[ScoredMask]:
    """Scored masks of the held-out maps."""
    archives = Archives(data / MAPS, data / LESIONS, data / STROKES)
    _, held_out = archives.label_maps()
    scans = degraded_scans(
        held_out, images=images, structures_per_image=16, seed=SEED, lesions=archives.lesion_sources()
    )
    return list(scored_masks(segmenter, scans))


def of(masks: Sequence[ScoredMask], score: str = "qc_score") -> Reliability:
    """Reliability of one of the scores."""
    return reliability([getattr(mask, score) for mask in masks], [mask.dice for mask in masks])


def kind(mask: ScoredMask) -> str:
    """Structure without its side."""
    return mask.structure.removeprefix("left_").removeprefix("right_").replace("_", " ")


def markdown(masks: Sequence[ScoredMask]) -> Iterator[str]:
    """Lines of all tables."""
    score, dice = [mask.qc_score for mask in masks], [mask.dice for mask in masks]
    parts, unions = ([m for m in masks if (STRUCTURES[m.structure].parts == (m.structure,)) is is_part]
                     for is_part in (True, False))  # fmt: skip
    yield f"| | masks | calibration error (ECE) | Spearman | AUROC, Dice < {BAD} |\n|---|---|---|---|---|"
    for name, rows, which in (
        ("qc_score", masks, "qc_score"), ("qc_score, parts", parts, "qc_score"),
        ("qc_score, unions", unions, "qc_score"), ("without calibration", masks, "expected"),
    ):  # fmt: skip
        found = of(rows, which)
        yield f"| {name} | {len(rows)} | {found.calibration_error:.3f} | {found.spearman:.3f} | {found.auroc:.3f} |"
    yield f"\n| look at qc_score below | finds of masks with Dice < {BAD} | and of the others |\n|---|---|---|"
    for threshold in (0.4, 0.5, 0.6, 0.7, 0.8):
        found_by = rule(score, dice, threshold=threshold)
        yield f"| {threshold} | {found_by.bad_found:.0%} | {found_by.others_flagged:.0%} |"
    yield "\n| qc_score | masks | mean qc_score | mean Dice |\n|---|---|---|---|"
    for b in of(masks).bins:
        yield f"| {b.low:.1f} to {b.low + 0.1:.1f} | {b.masks} | {b.score:.3f} | {b.dice:.3f} |"
    yield "\n| structure | masks | mean qc_score | mean Dice | ECE, 5 bins | Spearman | AUROC |"
    yield f"|{'---|' * 7}"
    for name in sorted({kind(mask) for mask in masks}):
        some = [mask for mask in masks if kind(mask) == name]
        scores, dices = [mask.qc_score for mask in some], [mask.dice for mask in some]
        found = reliability(scores, dices, bins=5)
        yield (
            f"| {name} | {len(some)} | {np.mean(scores):.3f} | {np.mean(dices):.3f} | {found.calibration_error:.3f} | "
            f"{found.spearman:.2f} | {found.auroc:.2f} |"
        )


def draw(path: Path, masks: Sequence[ScoredMask]) -> None:
    """Mean Dice by score, with and without calibration, over the number of masks by score."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    mpl.rcParams.update({"font.size": 9, "axes.spines.top": False, "axes.spines.right": False})
    figure = Figure(figsize=(4.6, 5.2), layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(4, 1))
    above.plot([0, 1], [0, 1], color="0.7", linewidth=1)
    kinds = (("expected", "without calibration", "#E69F00", "s"), ("qc_score", "qc_score", "#0072B2", "o"))
    for which, label, colour, marker in kinds:
        found = of(masks, which)
        used = [b for b in found.bins if b.masks >= 5]
        legend = f"{label} (ECE {found.calibration_error:.3f})"
        above.plot([b.score for b in used], [b.dice for b in used], color=colour, marker=marker, label=legend)
        edges = [b.low for b in found.bins] + [1.0]
        below.stairs([b.masks for b in found.bins], edges, color=colour, fill=which == "qc_score", alpha=0.8)
    above.scatter([m.qc_score for m in masks], [m.dice for m in masks], s=3, color="#0072B2", alpha=0.25, linewidths=0)
    above.set(ylabel="Dice with the truth", xlim=(0, 1), ylim=(0, 1))
    above.legend(frameon=False, loc="upper left")
    below.set(xlabel="score", ylabel="masks")
    figure.savefig(path, dpi=110)


def main() -> None:
    """Measure, print and draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data", help="folder of the real data")
    parser.add_argument("--model", type=Path, default=ROOT / "vp_engine/models/default/vision")
    parser.add_argument("--images", type=int, default=75)
    parser.add_argument("--picture", type=Path)
    parser.add_argument("--json", type=Path, help="file for every mask")
    args = parser.parse_args()
    began = time.perf_counter()
    masks = measure(NetworkSegmenter.from_pretrained(args.model), args.data, images=args.images)
    print("\n".join(markdown(masks)))
    print(f"{args.images} scans: {time.perf_counter() - began:.0f} s", file=sys.stderr)
    if args.picture:
        draw(args.picture, masks)
    if args.json:
        args.json.write_text(json.dumps([asdict(mask) for mask in masks]) + "\n")


if __name__ == "__main__":
    main()
