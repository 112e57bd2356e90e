"""What was planted into the demo cohort, found again by its statistics: the whole way from scans to intervals.

The factors of `sourcedata/demo_truth.tsv` hold along the midline of a structure only. What they do to the volume of a
whole one is computed here: the network outlines it on the template that nobody deformed, and the known field carries
the outline to each person.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from scipy.ndimage import map_coordinates

from vp_engine.cohort import demo
from vp_engine.tables.parquet import read_table
from vp_engine.volumes.nifti import read_labels, write_image
from vp_engine.volumes.volume import Volume

ROOT = Path(__file__).resolve().parents[2]

pytestmark = [pytest.mark.stress, pytest.mark.timeout(3600)]

PROMPTS = {
    "hippvol": "Measure the volume of the left and right hippocampus.",
    "ventvol": "How large are the ventricles?",
}
CONFIG = {
    "datasets": {"demo": {"path": "demo"}},
    "output": "results",
    "prompts": [{"id": name, "text": text, "images": ["T1w"]} for name, text in PROMPTS.items()],
    "statistics": [
        {"id": "all", "rows": {"prompt": list(PROMPTS), "measure": "volume"}, "model": "value ~ group"},
        {
            "id": "visits",
            "rows": {"prompt": list(PROMPTS), "measure": "volume"},
            "model": "value ~ group",
            "sessions": "mixed",
        },
    ],
}
STEP_MM = 0.75


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if not (ROOT / "vp_engine" / "models" / "default" / "weights.lock.json").is_file():
        pytest.skip("no default weights in this checkout")
    folder = tmp_path_factory.mktemp("demo_effects")
    (folder / "config.yaml").write_text(yaml.safe_dump(CONFIG))
    write_image(folder / "template.nii.gz", undeformed())
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    snakemake = [
        str(Path(sys.executable).with_name("snakemake")),
        *("--snakefile", str(ROOT / "Snakefile"), "--directory", str(folder), "--cores", "2"),
        *("--configfile", str(folder / "config.yaml")),
    ]
    names = ("left hippocampus", "right hippocampus", "ventricles")
    segment = [sys.executable, "-m", "vp_engine.cli.app", "segment", "template.nii.gz", *names, "-o", "template"]
    for command in (snakemake, segment):
        done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
    return folder


def undeformed() -> Volume:
    """The template on the grid of the demo cohort: what the network outlines depends on the size of voxels."""
    template = demo._read_template()
    voxels = np.indices(template.grid_shape, dtype=np.float64).reshape(3, -1)
    to_template = template.world_to_voxel_44 @ template.grid_affine_44
    source = to_template[:3, :3] @ voxels + to_template[:3, 3:]
    scan = map_coordinates(template.image_XYZ, source, order=1).reshape(template.grid_shape)
    return Volume(np.rint(1000 * np.maximum(scan, 0)).astype(np.float32), template.grid_affine_44)


def planted(study: Path, target: str) -> float:
    """Difference of the mean volumes of patients and controls at their first visit, mm³."""
    label = {"left_hippocampus": 17, "right_hippocampus": 53}.get(target)
    name = "template_dseg.nii.gz" if label else "template_label-Ventricles_mask.nii.gz"
    labels = read_labels(study / "template" / name)
    mask = (labels.data == label if label else labels.data > 0).astype(np.float32)
    world = np.argwhere(mask) @ labels.affine[:3, :3].T + labels.affine[:3, 3]
    low, high = world.min(axis=0) - demo.REACH_MM, world.max(axis=0) + demo.REACH_MM
    axes = [np.arange(a, b, STEP_MM) for a, b in zip(low, high, strict=True)]
    points = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)
    truth = pd.read_csv(study / "demo" / demo.MARKER, sep="\t")
    truth = truth[truth["session_id"] == "ses-01"]

    def volume(row: pd.Series) -> float:
        source = demo.deform(points, demo.Effect(row["ventricle_factor"], row["hippocampus_factor"]))
        voxels = (source - labels.affine[:3, 3]) @ np.linalg.inv(labels.affine[:3, :3]).T
        return float(map_coordinates(mask, voxels.T, order=1).sum() * STEP_MM**3)

    means = truth.apply(volume, axis=1).groupby(truth["group"]).mean()
    return float(means["patient"] - means["control"])


def of_group(study: Path, statistic: str, target: str) -> pd.Series:
    table = read_table(study / "results/tables/statistics", "statistics").to_pandas()
    own = table[(table["statistic_id"] == statistic) & (table["term"] == "group[T.patient]")]
    return own.set_index("target").loc[target]


@pytest.mark.parametrize("statistic", ["all", "visits"])
@pytest.mark.parametrize("target", ["ventricles", "left_hippocampus", "right_hippocampus"])
def test_every_planted_difference_is_found(study: Path, statistic: str, target: str) -> None:
    row, truth = of_group(study, statistic, target), planted(study, target)
    interval = f"{row['ci_low']:.0f} to {row['ci_high']:.0f}"
    print(f"{statistic}, {target}: {row['estimate']:.0f} ({interval}), planted {truth:.0f}")  # noqa: T201 - `make stress`
    assert np.sign(row["estimate"]) == np.sign(truth)
    assert row["p"] < 0.05


SEEN_IN_PART = pytest.mark.xfail(reason="the network sees a part of the loss of the hippocampi", strict=True)


@pytest.mark.parametrize("statistic", ["all", "visits"])
@pytest.mark.parametrize(
    "target",
    [
        "ventricles",
        pytest.param("left_hippocampus", marks=SEEN_IN_PART),
        pytest.param("right_hippocampus", marks=SEEN_IN_PART),
    ],
)
def test_the_planted_difference_is_inside_the_interval(study: Path, statistic: str, target: str) -> None:
    row = of_group(study, statistic, target)
    assert row["ci_low"] < planted(study, target) < row["ci_high"]
