"""Rigid registration: known motions come back, good headers are kept, and what cannot be trusted says so."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813 - as its documentation does

from tests.unit.head_phantom import Matrix, grid_of, head_on, motion_of
from vp_engine.errors import InputRefused
from vp_engine.volumes.nifti import read_image, read_labels
from vp_engine.volumes.registration import (
    MOST_BETWEEN_SESSIONS_MM,
    REASONS,
    read_transform,
    register,
    write_transform,
)
from vp_engine.volumes.volume import Volume


def _difference(found: Matrix, true: Matrix) -> tuple[float, float]:
    """Mean distance in mm over a ball of 70 mm, and angle in degrees."""
    points = np.random.default_rng(1).normal(size=(500, 3))
    points *= 70 / np.linalg.norm(points, axis=1, keepdims=True)
    delta = found - true
    distance = np.linalg.norm(points @ delta[:3, :3].T + delta[:3, 3], axis=1).mean()
    cosine = (np.trace(found[:3, :3].T @ true[:3, :3]) - 1) / 2
    return float(distance), float(np.degrees(np.arccos(np.clip(cosine, -1, 1))))


ISOTROPIC, THICK = (2.0, 2.0, 2.0), (1.0, 1.0, 5.0)


@pytest.mark.parametrize(
    ("fixed", "moving", "motion"),
    [
        (grid_of(ISOTROPIC), grid_of(THICK), motion_of(7, (4, -6, 5), (1, 2, -1))),
        (
            grid_of(THICK, turn=motion_of(20, (0, 0, 0), (1, 0, 0))),
            grid_of(ISOTROPIC),
            motion_of(3, (-2, 1, 1), (0, 0, 1)),
        ),
        (grid_of(ISOTROPIC), grid_of(ISOTROPIC, 280), motion_of(20, (-40, 40, 10), (2, -1, 1))),
    ],
    ids=["thick moving", "oblique thick fixed", "far"],
)
def test_known_motion_is_found(fixed: Volume, moving: Volume, motion: Matrix) -> None:
    found = register(head_on(fixed, "T1w"), head_on(moving, "T2w", motion, seed=1))
    distance_mm, angle_deg = _difference(found.fixed_to_moving, motion)
    assert distance_mm < 0.5
    assert angle_deg < 0.5
    assert found.accepted, found
    assert found.metric_after > found.metric_before
    np.testing.assert_allclose(found.moving_to_fixed @ found.fixed_to_moving, np.eye(4), atol=1e-10)


def test_headers_that_agree_are_kept() -> None:
    found = register(head_on(grid_of(ISOTROPIC), "T1w"), head_on(grid_of(THICK), "T2w", seed=1))
    np.testing.assert_array_equal(found.fixed_to_moving, np.eye(4))
    assert found.accepted
    assert (found.metric_after, found.translation_mm, found.rotation_deg) == (found.metric_before, 0.0, 0.0)


@pytest.fixture(scope="module")
def t1w() -> Volume:
    return head_on(grid_of((3.0, 3.0, 3.0)), "T1w")


def _noise(volume: Volume) -> Volume:
    return replace(volume, data=np.random.default_rng(0).random(volume.shape, np.float32))


def _shuffled(volume: Volume) -> Volume:
    data = volume.data.copy()
    inside = data > 15
    data[inside] = np.random.default_rng(0).permutation(data[inside])
    return replace(volume, data=data)


@pytest.mark.parametrize(
    ("spoil", "reasons"),
    [
        (_noise, {"flat_peak"}),
        (_shuffled, {"flat_peak"}),
        (
            lambda volume: replace(volume, affine=motion_of(0, (250, 250, 0), (1, 0, 0)) @ volume.affine),
            {"large_motion"},
        ),
        (lambda volume: replace(volume, lateralised=False), {"sides_unknown"}),
        (lambda volume: replace(volume, data=volume.data[:, :, 28:30]), {"flat_peak"}),
    ],
    ids=["noise", "head of noise", "fields apart", "sides unknown", "two slices"],
)
def test_what_cannot_be_trusted_says_why(t1w: Volume, spoil: Callable[[Volume], Volume], reasons: set[str]) -> None:
    found = register(t1w, spoil(head_on(grid_of((3.0, 3.0, 3.0)), "T2w", seed=1)))
    assert not found.accepted
    assert reasons <= set(found.reasons) <= set(REASONS)
    assert found.metric_after >= found.metric_before


@pytest.fixture
def threads() -> Iterator[Callable[[int], None]]:
    before = sitk.ProcessObject.GetGlobalDefaultNumberOfThreads()
    yield sitk.ProcessObject.SetGlobalDefaultNumberOfThreads
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(before)


def test_same_bits_with_any_number_of_threads(t1w: Volume, threads: Callable[[int], None]) -> None:
    moving = head_on(grid_of((3.0, 3.0, 3.0)), "T2w", motion_of(5, (3, 2, -4), (1, 1, 0)), seed=1)
    results = []
    for number in (1, 3):
        threads(number)
        results.append(register(t1w, moving))
    first, second = results
    np.testing.assert_array_equal(first.fixed_to_moving, second.fixed_to_moving)
    assert (first.metric_after, first.peak) == (second.metric_after, second.peak)


def test_itk_reads_the_transform_and_resamples_with_it(tmp_path: Path) -> None:
    motion = motion_of(12, (6, -3, 9), (1, -2, 2))
    write_transform(tmp_path / "x_xfm.txt", motion)
    read = sitk.ReadTransform(str(tmp_path / "x_xfm.txt"))
    points = np.random.default_rng(0).uniform(-90, 90, (20, 3))
    lps = np.array([-1, -1, 1])
    got = np.array([read.TransformPoint((point * lps).tolist()) for point in points]) * lps
    np.testing.assert_allclose(got, points @ motion[:3, :3].T + motion[:3, 3], atol=1e-10)
    write_transform(tmp_path / "again_xfm.txt", motion)
    assert (tmp_path / "again_xfm.txt").read_bytes() == (tmp_path / "x_xfm.txt").read_bytes()
    # and with its own reader and resampling the head comes to lie where it was before it moved
    still, moved = (head_on(grid_of((3.0, 3.0, 3.0)), "T1w", where) for where in (None, motion))
    fixed, moving = (_as_itk(volume) for volume in (still, moved))
    back = sitk.GetArrayFromImage(sitk.Resample(moving, fixed, read)).T
    assert np.corrcoef(back.ravel(), still.data.ravel())[0, 1] > 0.95
    assert np.corrcoef(moved.data.ravel(), still.data.ravel())[0, 1] < 0.9


def _as_itk(volume: Volume) -> sitk.Image:
    image = sitk.GetImageFromArray(volume.data.T)
    to_lps = np.diag([-1, -1, 1, 1]) @ volume.affine
    image.SetSpacing(volume.spacing_mm)
    image.SetDirection((to_lps[:3, :3] / volume.spacing_mm).ravel().tolist())
    image.SetOrigin(to_lps[:3, 3].tolist())
    return image


def _reference(folder: Path, name: str) -> Matrix:
    """World of the image after `_to-` → world of that after `_from-`, RAS+ mm."""
    read = sitk.ReadTransform(str(folder / f"{name}_mode-image_xfm.txt"))
    ends = np.array([read.TransformPoint(point) for point in [(0.0, 0.0, 0.0), *np.eye(3).tolist()]])
    matrix = np.eye(4)
    matrix[:3, :3], matrix[:3, 3] = (ends[1:] - ends[0]).T, ends[0]
    flip = np.diag([-1.0, -1.0, 1.0, 1.0])
    result: Matrix = flip @ matrix @ flip
    return result


def test_transforms_are_read_as_they_were_written(tmp_path: Path) -> None:
    motion = motion_of(12, (6, -3, 9), (1, -2, 2))
    write_transform(tmp_path / "x_xfm.txt", motion)
    np.testing.assert_allclose(read_transform(tmp_path / "x_xfm.txt"), motion, atol=1e-9)


@pytest.mark.parametrize(
    "content",
    [
        "nothing\n",
        (
            "#Insight Transform File V1.0\n#Transform 0\nTransform: Euler2DTransform_double_2_2\nParameters: 0.1 1 2\n"
            "FixedParameters: 0 0\n"
        ),
    ],
    ids=["no transform", "two dimensions"],
)
def test_what_is_no_affine_transform_is_refused(content: str, tmp_path: Path) -> None:
    (tmp_path / "x_xfm.txt").write_text(content)
    with pytest.raises(InputRefused, match=r"x_xfm\.txt") as refusal:
        read_transform(tmp_path / "x_xfm.txt")
    assert refusal.value.code == "not_a_transform"


def test_tables_of_two_scanners_stand_elsewhere(t1w: Volume) -> None:
    motion = motion_of(5, (90, -40, 20), (1, 0, 1))
    moved = head_on(grid_of((3.0, 3.0, 3.0)), "T1w", seed=1)
    moved = replace(moved, affine=motion @ moved.affine)
    assert register(t1w, moved).reasons == ("large_motion",)
    found = register(t1w, moved, most_translation_mm=MOST_BETWEEN_SESSIONS_MM)
    assert found.accepted, found
    assert _difference(found.fixed_to_moving, motion)[0] < 0.5


@pytest.fixture(scope="module")
def patient() -> Path:
    folder = Path(__file__).resolve().parents[3] / "shared" / "data" / "longitudinal_openms"
    if not folder.exists():
        pytest.skip("real data longitudinal_openms is not on this machine; see its source in the documentation")
    return folder


def _scan(root: Path, participant: str, suffix: str) -> Volume:
    name = f"sub-{participant}_ses-02_{suffix}.nii.gz"
    return read_image(root / f"sub-{participant}" / "ses-02" / "anat" / name, root=root)


def test_patient_who_moved_between_two_sequences(patient: Path) -> None:
    """The reference moves the brain by 5.5 mm; it is affine, so that no rigid motion meets it closer than 0.24 mm."""
    flair, t1w = (_scan(patient, "openms03", suffix) for suffix in ("FLAIR", "T1w"))
    found = register(flair, t1w)
    assert found.accepted, found
    folder = patient / "derivatives" / "reference" / "sub-openms03" / "anat"
    mask = read_labels(folder / "sub-openms03_space-common_desc-brain_mask.nii.gz")
    brain = np.argwhere(mask.data > 0)[::100]
    points = brain @ mask.affine[:3, :3].T + mask.affine[:3, 3]
    to_flair = _reference(folder, "sub-openms03_ses-02_from-FLAIR_to-common")
    points = points @ to_flair[:3, :3].T + to_flair[:3, 3]
    delta = found.fixed_to_moving - _reference(folder, "sub-openms03_ses-02_from-T1w_to-FLAIR")
    error_mm = np.linalg.norm(points @ delta[:3, :3].T + delta[:3, 3], axis=1)
    assert error_mm.mean() < 1.0
    assert error_mm.max() < 2.0


def test_scans_of_two_people_are_not_taken_for_one(patient: Path) -> None:
    found = register(_scan(patient, "openms01", "FLAIR"), _scan(patient, "openms03", "T1w"))
    assert "flat_peak" in found.reasons
