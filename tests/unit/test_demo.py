"""The demo cohort: the planted effect is really there, the dataset is valid, the bytes do not change."""

from __future__ import annotations

import csv
import hashlib
import json
import math
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from vp_engine.cohort import demo
from vp_engine.cohort.demo import HIPPOCAMPUS_AXIS, VENTRICLE_AXIS, Effect, deform, make_demo, nearest_on_line
from vp_engine.errors import ConfigError


def grid_around(point: npt.NDArray[np.float64], half_mm: float, step_mm: float = 0.5) -> npt.NDArray[np.float64]:
    ticks = np.arange(-half_mm, half_mm + step_mm / 2, step_mm)
    return np.asarray(point + np.stack(np.meshgrid(ticks, ticks, ticks, indexing="ij"), axis=-1).reshape(-1, 3))


def rod(points: npt.NDArray[np.float64], line: npt.NDArray[np.float64], segment: int) -> npt.NDArray[np.bool_]:
    """Points within 4 mm of the middle half of one segment."""
    start, along = line[segment], line[segment + 1] - line[segment]
    share = (points - start) @ along / (along @ along)
    near = np.linalg.norm(points - nearest_on_line(points, line[segment : segment + 2]), axis=1) < 4.0
    return np.asarray(near & (share > 0.25) & (share < 0.75))


@pytest.mark.parametrize("side", [1.0, -1.0])
@pytest.mark.parametrize(
    ("axis", "segment", "effect", "factor"),
    [
        (VENTRICLE_AXIS, 1, Effect(1.8, 0.7), 1.8),
        (VENTRICLE_AXIS, 2, Effect(1.2, 0.7), 1.2),
        (HIPPOCAMPUS_AXIS, 1, Effect(1.8, 0.7), 0.7),
        (HIPPOCAMPUS_AXIS, 0, Effect(1.0, 0.9), 0.9),
        (VENTRICLE_AXIS, 1, Effect(1.0, 1.0), 1.0),
    ],
)
def test_a_known_mask_changes_by_the_stated_factor(
    axis: npt.NDArray[np.float64], segment: int, effect: Effect, factor: float, side: float
) -> None:
    line = axis * [side, 1.0, 1.0]
    points = grid_around((line[segment] + line[segment + 1]) / 2, half_mm=16.0)
    before = rod(points, line, segment).sum()
    after = rod(deform(points, effect), line, segment).sum()
    assert after / before == pytest.approx(factor, rel=0.03)


def test_the_field_does_not_fold_and_ends() -> None:
    distance = np.linspace(0.0, 30.0, 3001)
    for factor in (0.5, 0.7, 1.0, 1.8, 3.0):
        source = demo._source_distance(distance, factor)
        assert np.all(np.diff(source) > 0)
        assert np.allclose(source[distance >= demo.REACH_MM], distance[distance >= demo.REACH_MM])
    far = np.array([[0.0, -80.0, 0.0], [60.0, 0.0, 40.0]])
    assert np.array_equal(deform(far, Effect(2.0, 0.5)), far)


def test_a_factor_that_would_fold_is_refused() -> None:
    with pytest.raises(ValueError, match="volume factor"):
        deform(np.zeros((1, 3)), Effect(9.0, 1.0))


def test_other_files_are_never_touched(tmp_path: Path) -> None:
    (tmp_path / "participants.tsv").write_text("mine")
    with pytest.raises(ConfigError, match="expected no folder or an empty one"):
        make_demo(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["participants.tsv"]


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("cohort") / "demo"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(demo, "_SPACING_MM", 4.0)
        make_demo(out)
    return out


def test_readme_says_that_lesions_found_in_it_are_false(cohort: Path) -> None:
    text = " ".join((cohort / "README.md").read_text().split())
    assert "an average of 152 heads" in text
    assert "Whatever lesion is found in these images is false" in text


def test_groups_differ_as_planted(cohort: Path) -> None:
    with (cohort / demo.MARKER).open() as lines:
        rows = list(csv.DictReader(lines, delimiter="\t"))
    assert len(rows) == 10
    first = [row for row in rows if row["session_id"] == "ses-01"]
    by_group = {
        group: [(float(r["ventricle_factor"]), float(r["hippocampus_factor"])) for r in first if r["group"] == group]
        for group in ("patient", "control")
    }
    assert [len(values) for values in by_group.values()] == [4, 4]
    assert min(v for v, _ in by_group["patient"]) > 1.3 * max(v for v, _ in by_group["control"])
    assert max(h for _, h in by_group["patient"]) < 0.85 * min(h for _, h in by_group["control"])


def test_dark_voxels_follow_the_ventricle_factor(cohort: Path) -> None:
    from vp_engine.volumes.nifti import read_image

    def ventricles(participant: str) -> float:
        volume = read_image(cohort / f"sub-{participant}/ses-01/anat/sub-{participant}_ses-01_T1w.nii.gz")
        index = np.argwhere((volume.data > 0) & (volume.data < 450))
        world = index @ volume.affine[:3, :3].T + volume.affine[:3, 3]
        distances = [
            np.linalg.norm(world - nearest_on_line(world, VENTRICLE_AXIS * [s, 1, 1]), axis=1) for s in (1, -1)
        ]
        return float((np.minimum(*distances) < 14.0).sum())

    patients = [ventricles(p) for p in ("01", "02", "03", "04")]
    controls = [ventricles(p) for p in ("05", "06", "07", "08")]
    assert min(patients) > max(controls)
    assert math.fsum(patients) > 1.2 * math.fsum(controls)


def test_dataset_is_valid_bids(cohort: Path) -> None:
    validator = Path(sys.executable).with_name("bids-validator-deno")
    if not validator.exists():
        pytest.skip("bids-validator-deno is not installed beside this Python")
    command = [str(validator), str(cohort), "--max-rows", "-1", "--ignoreWarnings", "--format", "json"]
    found = json.loads(subprocess.run(command, capture_output=True, check=False, text=True).stdout)
    assert found["issues"]["issues"] == []


def test_same_seed_same_bytes(cohort: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo, "_SPACING_MM", 4.0)
    out = tmp_path / "again"
    (out / "sourcedata").mkdir(parents=True)  # as Snakemake leaves it before a job
    make_demo(out)

    def hashes(root: Path) -> dict[str, str]:
        return {
            str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in sorted(root.rglob("*"))
            if path.is_file()
        }

    assert hashes(out) == hashes(cohort)
    assert not out.with_name("again.partial").exists()
    shutil.rmtree(out / "sub-01")
    make_demo(out)
    assert not (out / "sub-01").exists(), "a folder with the marker is left as it is"
