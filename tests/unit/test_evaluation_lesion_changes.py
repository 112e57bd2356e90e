"""Scores of changes: what is gained and lost on the grid of a reference, and what a reference says of its sign."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from vp_engine.evaluation.lesion_changes import (
    Visit,
    boundary_shifts,
    change_scores,
    matched,
    reference_net_ml,
)
from vp_engine.volumes.nifti import read_image, read_labels
from vp_engine.volumes.registration import MOST_BETWEEN_SESSIONS_MM, read_transform, register
from vp_engine.volumes.volume import Volume

SHAPE = (40, 40, 40)
SHIFT = np.eye(4)
SHIFT[:3, 3] = (5.0, -3.0, 2.0)
"""World of the earlier session → world of the later one."""


def boxes(*spans: tuple[int, int, int, int]) -> np.ndarray:
    """Boxes from a corner on, cubes of the last number."""
    mask = np.zeros(SHAPE, bool)
    for x, y, z, size in spans:
        mask[x : x + size, y : y + size, z : z + size] = True
    return mask


def visits() -> tuple[Visit, Visit]:
    """A box grows, one vanishes, one is new and one stays; the patient has moved by whole voxels."""
    earlier = boxes((4, 4, 4, 6), (20, 4, 4, 5), (4, 20, 20, 6))
    later = boxes((4, 4, 4, 8), (20, 20, 20, 4), (4, 20, 20, 6))
    return Visit(earlier, np.eye(4)), Visit(later, SHIFT)


def test_what_changed_is_what_lesions_gained_and_lost() -> None:
    earlier, later = visits()
    found = matched(earlier, later, SHIFT)
    assert found.counts == {"new": 1, "gone": 1, "grown": 1, "shrunk": 0, "stable": 1}
    assert found.net_ml == pytest.approx((8**3 + 4**3 - 6**3 - 5**3) / 1000)
    truth = Volume((earlier.mask ^ later.mask).astype(np.int16), np.eye(4))
    scores = change_scores(found, truth, np.eye(4), np.eye(4))
    assert scores.change.dice == scores.difference.dice == scores.seen == 1.0
    assert scores.gained_ml == pytest.approx((8**3 - 6**3 + 4**3) / 1000)
    assert scores.lost_ml == pytest.approx(5**3 / 1000)
    assert (scores.detection.sensitivity.hits, scores.detection.precision.hits) == (3, 3)


def test_the_edge_of_a_stable_lesion_is_a_difference_and_no_change() -> None:
    earlier, later = Visit(boxes((4, 4, 4, 12)), np.eye(4)), boxes((4, 4, 4, 12))
    later[16, 4:16, 4:16] = True
    found = matched(earlier, Visit(later, np.eye(4)), np.eye(4))
    assert found.counts["stable"] == 1
    truth = Volume(boxes((30, 30, 30, 3)).astype(np.int16), np.eye(4))
    scores = change_scores(found, truth, np.eye(4), np.eye(4))
    assert (scores.change.found, scores.difference.found) == (0, 144)
    (shift,) = boundary_shifts(found, np.eye(4))
    assert shift == pytest.approx(144 / (6 * 12**2), rel=0.15)


def test_the_images_say_what_of_a_reference_appeared() -> None:
    rng = np.random.default_rng(0)
    brain = boxes((2, 2, 2, 36))
    first = rng.normal(100, 10, SHAPE).astype(np.float32)
    second = 3 * rng.normal(100, 10, SHAPE).astype(np.float32)  # another scale, as scanners have
    appeared, vanished = boxes((5, 5, 5, 5)), boxes((20, 20, 20, 4))
    first[vanished] += 40
    second[appeared] += 120
    reference = Volume((appeared | vanished).astype(np.int16), np.diag([1.0, 1.0, 2.0, 1.0]))
    assert reference_net_ml(reference, first, second, brain) == pytest.approx((0.25, 0.128))


@pytest.mark.parametrize(("patient", "error_mm"), [("openms01", 0.5), ("openms03", 1.2)])
def test_two_sessions_of_a_patient_are_aligned(
    patient: str, error_mm: float, shared_data: Callable[[str], Path]
) -> None:
    """The table stood 66 mm elsewhere for the second patient; the reference is affine, and scales by 0.5 %."""
    root = shared_data("longitudinal_openms")
    reference = root / f"derivatives/reference/sub-{patient}/anat"
    scans, to_common = [], []
    for session in ("01", "02"):
        name = f"sub-{patient}_ses-{session}"
        scans.append(read_image(root / f"sub-{patient}/ses-{session}/anat/{name}_FLAIR.nii.gz"))
        to_common.append(np.linalg.inv(read_transform(reference / f"{name}_from-FLAIR_to-common_mode-image_xfm.txt")))
    found = register(*scans, most_translation_mm=MOST_BETWEEN_SESSIONS_MM)
    assert found.accepted, found
    brain = read_labels(reference / f"sub-{patient}_space-common_desc-brain_mask.nii.gz")
    voxels = np.argwhere(brain.data > 0)[::200]
    first = np.column_stack([voxels, np.ones(len(voxels))]) @ (np.linalg.inv(to_common[0]) @ brain.affine).T
    true = np.linalg.inv(to_common[1]) @ to_common[0]
    assert np.linalg.norm(first @ (found.fixed_to_moving - true).T, axis=1).mean() < error_mm


def test_two_patients_are_not_taken_for_one(shared_data: Callable[[str], Path]) -> None:
    root = shared_data("longitudinal_openms")
    scans = [
        read_image(root / f"sub-{patient}/ses-0{session}/anat/sub-{patient}_ses-0{session}_FLAIR.nii.gz")
        for patient, session in (("openms01", 1), ("openms03", 2))
    ]
    found = register(scans[0], scans[1], most_translation_mm=MOST_BETWEEN_SESSIONS_MM)
    assert not found.accepted, found
