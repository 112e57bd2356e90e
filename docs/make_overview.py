"""Draw docs/images/overview.png from a run of the pipeline: one prompt, its program, the mask, its rows.

python docs/make_overview.py RESULTS DATASET_ROOT DATASET PARTICIPANT PROMPT_ID [SESSION]
"""

from __future__ import annotations

import sys
import textwrap
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

from vp_engine.tables.parquet import read_table
from vp_engine.volumes.geometry import to_canonical
from vp_engine.volumes.nifti import read_image, read_labels


def main(results: Path, root: Path, key: dict[str, str | None]) -> None:
    """Read the rows of one prompt and draw them beside its mask."""
    rows = {
        name: [
            row
            for row in read_table(results / "tables" / name, name).to_pylist()
            if all(row[column] == value for column, value in key.items())
        ]
        for name in ("runs", "measurements", "segmentations")
    }
    run, mask_path = rows["runs"][0], rows["segmentations"][0]["path"]
    labels, _ = to_canonical(read_labels(results / "derivatives" / str(key["dataset"]) / mask_path))
    session = f"ses-{key['session']}/" if key["session"] else ""
    scan = next((root / f"sub-{key['participant']}/{session}anat").glob("*_T1w.nii.gz"))
    image, _ = to_canonical(read_image(scan))

    figure = plt.figure(figsize=(12, 4.3))
    grid = figure.add_gridspec(2, 4, width_ratios=[1.5, 1, 1, 1], height_ratios=[3, 1.1])
    words = figure.add_subplot(grid[0, 0])
    words.axis("off")
    words.text(0, 0.97, "\n".join(textwrap.wrap(run["prompt"], 44)), va="top", fontsize=12, weight="bold")
    words.text(0, 0.72, run["program"].strip(), va="top", fontsize=8, family="monospace")
    centre = [round(float(np.median(found))) for found in np.nonzero(labels.data)]
    brain = [slice(a.min(), a.max() + 1) for a in np.nonzero(image.data > 0.1 * image.data.max())]
    bright = np.percentile(image.data, 99.5)
    for plane in range(3):
        axis = figure.add_subplot(grid[0, plane + 1])
        axis.axis("off")
        box = tuple(brain[a] for a in range(3) if a != plane)
        spacing = [image.spacing_mm[a] for a in range(3) if a != plane]
        shown, found = (np.take(v.data, centre[plane], axis=plane)[box].T for v in (image, labels))
        axis.imshow(shown, origin="lower", cmap="gray", vmax=bright, aspect=spacing[1] / spacing[0])
        overlay = np.ma.masked_equal(found, 0)
        axis.imshow(overlay % 20, origin="lower", cmap="tab20", alpha=0.75, aspect=spacing[1] / spacing[0])
    table = figure.add_subplot(grid[1, :])
    table.axis("off")
    columns = ("participant", "prompt_id", "target", "measure", "value", "unit", "image", "qc_score")
    cells = [
        [f"{row[c]:.4g}" if isinstance(row[c], float) else str(row[c]) for c in columns] for row in rows["measurements"]
    ]
    drawn = table.table(cells, colLabels=columns, loc="center", cellLoc="left")
    drawn.auto_set_font_size(False)
    drawn.set_fontsize(9)
    drawn.scale(1, 1.3)
    figure.tight_layout()
    target = Path(__file__).parent / "images" / "overview.png"
    target.parent.mkdir(exist_ok=True)
    figure.savefig(target, dpi=90)


if __name__ == "__main__":
    folder, data, *names = sys.argv[1:]
    columns = ("dataset", "participant", "prompt_id", "session")
    main(Path(folder), Path(data), dict(zip(columns, [*names, None][:4], strict=True)))
