"""Tiny files that many tests need: an image, and a BIDS dataset."""

# nibabel is published with annotations for some of its functions only
# mypy: disable-error-code="no-untyped-call,attr-defined"

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from hypothesis import HealthCheck, settings

# a loaded machine is slow, not wrong
settings.register_profile("any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any machine")

TINY_SHAPE = (8, 9, 10)
SHARED_DATA = Path(__file__).resolve().parents[1].parent / "shared" / "data"


def _write_nifti(
    path: Path,
    data: np.ndarray[Any, Any] | None = None,
    *,
    affine: np.ndarray[Any, Any] | None = None,
    seed: int = 0,
) -> Path:
    if data is None:
        data = np.random.default_rng(seed).integers(0, 1000, TINY_SHAPE).astype(np.int16)
    image = nib.Nifti1Image(data, np.eye(4) if affine is None else affine)
    image.header.set_xyzt_units("mm")
    image.set_sform(image.affine, code=1)
    image.set_qform(image.affine, code=1)
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(image, path)
    return path


@pytest.fixture
def write_nifti() -> Callable[..., Path]:
    """`write_nifti(path, data=None, *, affine=None, seed=0)`: a small valid image, folders made on the way."""
    return _write_nifti


@pytest.fixture
def tiny_dataset(tmp_path: Path) -> Path:
    """A raw BIDS dataset: sub-01 without sessions (T1w), sub-02 with two (T1w, FLAIR; T1w)."""
    root = tmp_path / "tiny dataset ü"
    for number, name in enumerate(
        (
            "sub-01/anat/sub-01_T1w.nii.gz",
            "sub-02/ses-01/anat/sub-02_ses-01_T1w.nii.gz",
            "sub-02/ses-01/anat/sub-02_ses-01_FLAIR.nii.gz",
            "sub-02/ses-02/anat/sub-02_ses-02_T1w.nii.gz",
        )
    ):
        _write_nifti(root / name, seed=number)
    (root / "dataset_description.json").write_text(
        json.dumps({"Name": "Tiny", "BIDSVersion": "1.10.0", "DatasetType": "raw", "License": "CC0", "Authors": ["A"]})
    )
    (root / "README").write_text("Made by a test to have something to read, with enough words for a description.\n")
    (root / "participants.tsv").write_text("participant_id\tage\tsex\nsub-01\t31\tF\nsub-02\tn/a\tM\n")
    (root / "sub-02/sub-02_sessions.tsv").write_text(
        "session_id\tacq_time\nses-01\t2020-01-31T10:00:00\nses-02\t2021-01-31T10:00:00\n"
    )
    return root


@pytest.fixture
def shared_data() -> Callable[[str], Path]:
    """`shared_data(name)`: a folder of the shared real data, read-only; skips where it is absent."""

    def find(name: str) -> Path:
        folder = SHARED_DATA / name
        if not folder.exists():
            pytest.skip(f"real data {name} is not on this machine; see its source in the documentation")
        return folder

    return find
