"""Agreement of our vision network, and of any other segmenter's output, with a reference such as FreeSurfer's aseg.

    python benchmarks/compare_segmenters.py SCAN REFERENCE [--model FOLDER] [--labels NAME=FILE ...]
        [--label-map NAME=FILE ...] [--json FILE] [--picture PNG]

Prints Dice and difference of volumes of 16 structure types, sides pooled, for ours and every `--labels` side by side.
A label image may have any grid in the world of the reference. It is read with FreeSurfer's numbers (parcels of the
cortex count as cortex) unless a label map of the same NAME says what its numbers mean; NAME `reference` is the
reference's own. A label map is a .tsv or .csv with a header and the columns `index` (or `label`) and `name`, or a .json
object {"10": "left thalamus"}; numbers that are left out, or have an empty name, are background.
"""

from __future__ import annotations

import argparse
import csv
import json
import math
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vp_engine.cohort.naming import structure_named
from vp_engine.errors import RequestRefused
from vp_engine.evaluation.anatomy import SIXTEEN, TEN, Agreement, agreement, label_scan, renumbered, without_parcels
from vp_engine.vision.segmenter import NetworkSegmenter
from vp_engine.volumes.nifti import read_image, read_labels
from vp_engine.volumes.resampling import resample
from vp_engine.volumes.volume import Volume

ROOT = Path(__file__).resolve().parents[1]
OURS, REFERENCE = "ours", "reference"


def read_label_map(path: Path) -> dict[int, str]:
    """Canonical name of each number of a label map file.

    Raises
    ------
    ValueError
        If columns are missing or a number is none.
    RequestRefused
        If a name is not one of ours.
    """
    text = path.read_text(encoding="utf-8-sig")
    pairs: list[tuple[str, str]]
    if path.suffix == ".json":
        pairs = [(number, name) for number, name in json.loads(text).items()]
    else:
        rows = csv.DictReader(text.splitlines(), delimiter="\t" if path.suffix == ".tsv" else ",")
        columns = rows.fieldnames or []
        number_column = next((c for c in ("index", "label") if c in columns), None)
        if number_column is None or "name" not in columns:
            raise ValueError(f"{path.name}: expected the columns index (or label) and name, got {', '.join(columns)}")
        pairs = [(row[number_column], row["name"]) for row in rows]
    return {int(number): structure_named(name) for number, name in pairs if name and name.strip()}


def on_grid_of(reference: Volume, labels: Volume) -> NDArray[np.int32]:
    """Labels at the voxels of the reference: as they are on the same grid, of the nearest voxel on another."""
    if labels.shape == reference.shape and np.allclose(labels.affine, reference.affine, atol=1e-3):
        return labels.data
    return resample(labels.data, labels.affine, shape=reference.shape, target_affine=reference.affine, order=0)


def table(found: Mapping[str, Agreement]) -> list[str]:
    """Markdown lines: a row per structure type, two columns per segmenter, and the means."""
    lines = ["| structure | " + " | ".join(f"{name}: Dice | volume, %" for name in found) + " |"]
    lines.append("|---" * (1 + 2 * len(found)) + "|")
    for structure in SIXTEEN:
        cells = []
        for result in found.values():
            overlap = result.overlaps[structure]
            cells += (
                [_number(overlap.dice, ".3f"), _number(overlap.volume_difference_percent, "+.1f")]
                if overlap.found
                else ["not found", ""]
            )
        lines.append(f"| {structure.replace('_', ' ')} | {' | '.join(cells)} |")
    common = [s for s in SIXTEEN if all(r.overlaps[s].found and r.overlaps[s].truth for r in found.values())]
    rows = {"mean of 16": SIXTEEN, "mean of 10": TEN, f"mean of the {len(common)} that all found": common}
    for title, names in rows.items():
        cells = [cell for result in found.values() for cell in (_number(_mean(result, names), ".3f"), "")]
        lines.append(f"| {title} | {' | '.join(cells)} |")
    swapped = [cell for result in found.values() for cell in (f"{100 * result.sides_swapped:.3f} %", "")]
    lines.append(f"| on the wrong side | {' | '.join(swapped)} |")
    return lines


def _mean(result: Agreement, names: Sequence[str]) -> float:
    return result.mean(names) if names else math.nan


def _number(value: float, form: str) -> str:
    return "not in the reference" if math.isnan(value) else format(value, form)


def draw(path: Path, image: NDArray[np.float32], rows: Mapping[str, NDArray[np.int32]]) -> None:
    """Three planes of the scan and of every label image."""
    import matplotlib.pyplot as plt

    middle = [round(float(np.mean(found))) for found in np.nonzero(rows[REFERENCE])]
    figure, axes = plt.subplots(1 + len(rows), 3, figsize=(11, 3.7 * (1 + len(rows))))
    for line, (name, array) in zip(axes, {"scan": image, **rows}.items(), strict=True):
        line[0].set_title(name, loc="left")
        for plane, axis in enumerate(line):
            shown = np.take(array, middle[plane], axis=plane).T
            if name == "scan":
                axis.imshow(shown, origin="lower", cmap="gray")
            else:
                shown = np.where(shown, 1 + shown * 23 % 61, 0)  # neighbouring numbers apart
                axis.imshow(shown, origin="lower", cmap="nipy_spectral", vmin=0, vmax=63, interpolation="nearest")
            axis.axis("off")
    figure.tight_layout()
    figure.savefig(path, dpi=70)


def _named_file(text: str) -> tuple[str, Path]:
    name, equals, path = text.partition("=")
    if not (name and equals and path):
        raise argparse.ArgumentTypeError(f"expected NAME=FILE, got {text!r}")
    return name, Path(path)


def main() -> None:
    """Compare and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scan", type=Path)
    parser.add_argument("reference", type=Path)
    parser.add_argument("--model", type=Path, default=ROOT / "vp_engine/models/default/vision")
    for option, what in (("--labels", "label image of another segmenter"), ("--label-map", "what its numbers mean")):
        parser.add_argument(option, type=_named_file, action="append", default=[], metavar="NAME=FILE", help=what)
    parser.add_argument("--json", type=Path, help="file for every number")
    parser.add_argument("--picture", type=Path)
    args = parser.parse_args()
    try:
        label_maps = {name: read_label_map(path) for name, path in args.label_map}
    except (OSError, ValueError, RequestRefused) as error:
        parser.error(f"--label-map: {error}")
    files = {REFERENCE: args.reference, **dict(args.labels)}
    unknown = sorted(set(label_maps) - set(files))
    if unknown or OURS in files or len(files) != 1 + len(args.labels):
        parser.error(
            f"every --labels has a name of its own, which a --label-map repeats; got {', '.join(unknown) or OURS}"
        )

    def numbered(name: str) -> Volume:
        volume = read_labels(files[name])
        data = renumbered(volume.data, label_maps[name]) if name in label_maps else without_parcels(volume.data)
        return Volume(data, volume.affine)

    reference, scan = numbered(REFERENCE), read_image(args.scan)
    segmenter = NetworkSegmenter.from_pretrained(args.model)
    began = time.perf_counter()
    ours = Volume(label_scan(segmenter, scan), scan.affine)
    seconds = time.perf_counter() - began
    images = {OURS: on_grid_of(reference, ours)}
    images |= {name: on_grid_of(reference, numbered(name)) for name in files if name != REFERENCE}
    found = {name: agreement(labels, reference.data) for name, labels in images.items()}
    print("\n".join(table(found)))
    print(f"\nours: {seconds:.1f} s for everything it knows")
    if args.json:
        content = {
            name: {
                s: {"dice": o.dice, "volume_difference_percent": o.volume_difference_percent}
                for s, o in r.overlaps.items()
            }
            for name, r in found.items()
        }
        args.json.write_text(json.dumps(content, indent=1) + "\n")
    if args.picture:
        shown = resample(scan.data, scan.affine, shape=reference.shape, target_affine=reference.affine, order=1)
        draw(args.picture, shown, {REFERENCE: reference.data, **images})


if __name__ == "__main__":
    main()
