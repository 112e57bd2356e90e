"""Dice of a model (or of any other segmenter's label image) with FreeSurfer's aseg on a skull-stripped T1w.

    python benchmarks/freesurfer_agreement.py SCAN ASEG [--model FOLDER | --labels LABELS] [--picture PNG]

Prints a table by structure and the means over ten and sixteen types. The scan used for the README is the one named
in docs/model-card.md.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np

from vp_engine.evaluation.anatomy import TEN, agreement, label_scan
from vp_engine.vision.segmenter import NetworkSegmenter
from vp_engine.volumes.nifti import read_image, read_labels


def main() -> None:
    """Compare and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scan", type=Path)
    parser.add_argument("aseg", type=Path)
    parser.add_argument("--model", type=Path, default=Path("vp_engine/models/default/vision"))
    parser.add_argument("--labels", type=Path, help="a label image of another segmenter, on the grid of the scan")
    parser.add_argument("--picture", type=Path)
    args = parser.parse_args()
    volume, reference = read_image(args.scan), read_labels(args.aseg).data
    began = time.perf_counter()
    if args.labels:
        labels = read_labels(args.labels).data
    else:
        labels = label_scan(NetworkSegmenter.from_pretrained(args.model), volume)
    seconds = time.perf_counter() - began
    result = agreement(labels, reference)
    for name, dice in result.dice.items():
        print(f"| {name.replace('_', ' ')} | {dice:.3f} |")
    print(f"\nmean of 10: {result.mean(TEN):.3f}, of 16: {result.mean():.3f}; on the wrong side: "
          f"{100 * result.sides_swapped:.3f} %; {seconds:.1f} s with loading")  # fmt: skip
    if args.picture:
        draw(args.picture, volume.data, labels, reference)


def draw(path: Path, image: np.ndarray, labels: np.ndarray, reference: np.ndarray) -> None:
    """Three planes: scan, ours, reference."""
    import matplotlib.pyplot as plt

    middle = [round(float(np.mean(found))) for found in np.nonzero(reference)]
    figure, axes = plt.subplots(3, 3, figsize=(11, 11))
    for row, array in zip(axes, (image, labels % 64, reference % 64), strict=True):
        for plane, axis in enumerate(row):
            shown = np.take(array, middle[plane], axis=plane).T
            axis.imshow(shown, origin="lower", cmap="gray" if array is image else "nipy_spectral")
            axis.axis("off")
    figure.tight_layout()
    figure.savefig(path, dpi=70)


if __name__ == "__main__":
    main()
