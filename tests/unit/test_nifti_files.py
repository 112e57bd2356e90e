"""Label maps and images written: geometry of the input, nothing else of it, the same bytes each time."""

# nibabel is published with annotations for some of its functions only
# mypy: disable-error-code="no-untyped-call,attr-defined"

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from vp_engine.volumes.header import _FIELDS, Version
from vp_engine.volumes.nifti import read_image, read_labels, write_image, write_labels
from vp_engine.volumes.volume import Volume

CANARY = b"PATIENT_JANE_DOE"
OBLIQUE = nib.affines.from_matvec(
    nib.eulerangles.euler2mat(0.1, 0.2, 0.3) @ np.diag([-0.7, 0.8, 4]), [11.123, -20.9, 3.7]
)


def _tilted(affine: np.ndarray[Any, Any], degrees: float) -> np.ndarray[Any, Any]:
    turn = np.eye(4)
    turn[:3, :3] = nib.eulerangles.euler2mat(np.radians(degrees), 0, 0)
    tilted: np.ndarray[Any, Any] = turn @ affine
    return tilted


def _source(path: Path, kind: type[Any], forms: str) -> Path:
    data = np.random.default_rng(0).integers(0, 500, (6, 7, 8)).astype(np.int16)
    image = kind(data, OBLIQUE)
    image.set_sform(_tilted(OBLIQUE, 0.4) if "s" in forms else None, code=4 if "s" in forms else 0)
    image.set_qform(OBLIQUE if "q" in forms else None, code=1 if "q" in forms else 0)
    for key in ("descrip", "aux_file", "intent_name"):
        image.header[key] = CANARY
    if kind is nib.Nifti1Image:
        image.header["db_name"] = CANARY
    image.header.extensions.append(nib.nifti1.Nifti1Extension("comment", CANARY))
    nib.save(image, path)
    return path


@pytest.mark.parametrize("forms", ["sq", "s", "q", ""])
@pytest.mark.parametrize("kind", [nib.Nifti1Image, nib.Nifti2Image])
def test_labels_keep_both_forms_and_leak_nothing(kind: type[Any], forms: str, tmp_path: Path) -> None:
    source = _source(tmp_path / "image.nii.gz", kind, forms)
    assert CANARY in gzip.decompress(source.read_bytes())
    volume = read_image(source)
    target = tmp_path / "labels.nii.gz"
    write_labels(target, (volume.data > 250).astype(np.int64) * 300, like=volume, descrip="VoxelPrompt")
    assert CANARY not in gzip.decompress(target.read_bytes())
    image, labels = nib.load(source), nib.load(target)
    assert labels.shape == image.shape
    assert labels.get_data_dtype() == np.uint16
    assert labels.header.get_xyzt_units()[0] == "mm"
    np.testing.assert_array_equal(labels.affine, image.affine)
    np.testing.assert_array_equal(labels.header.get_zooms(), image.header.get_zooms())
    for form in ("get_sform", "get_qform"):
        expected, expected_code = getattr(image, form)(coded=True)
        got, code = getattr(labels, form)(coded=True)
        assert code == expected_code
        assert (got is None) == (expected is None)
        if expected is not None:
            np.testing.assert_array_equal(got, expected)
    again = read_labels(target)
    np.testing.assert_array_equal(again.data, (volume.data > 250) * 300)
    np.testing.assert_array_equal(again.affine, volume.affine)
    assert again.forms == volume.forms


@pytest.mark.parametrize(("broken", "form"), [("srow_x", "get_sform"), ("quatern_b", "get_qform")])
def test_a_broken_form_is_not_handed_on(broken: str, form: str, tmp_path: Path) -> None:
    source = _source(tmp_path / "image.nii", nib.Nifti1Image, "sq")
    content = bytearray(source.read_bytes())
    np.frombuffer(content, nib.Nifti1Header.template_dtype, count=1)[broken] = np.nan
    source.write_bytes(content)
    volume = read_image(source)
    target = tmp_path / "labels.nii.gz"
    write_labels(target, (volume.data > 250).astype(np.uint8), like=volume)
    labels = nib.load(target)
    assert getattr(labels, form)(coded=True)[1] == 0
    np.testing.assert_array_equal(labels.affine, volume.affine)
    assert read_labels(target).flags == ("flag_thick_slices",)


def test_same_labels_same_bytes_whatever_the_name(tmp_path: Path) -> None:
    like = Volume(np.zeros((3, 4, 5), np.float32), OBLIQUE)
    labels = np.arange(60).reshape(3, 4, 5)
    write_labels(tmp_path / "a.nii.gz", labels, like=like)
    write_labels(tmp_path / "b.nii.gz", np.asfortranarray(labels), like=like)
    first = (tmp_path / "a.nii.gz").read_bytes()
    assert first == (tmp_path / "b.nii.gz").read_bytes()
    assert first[3] == 0  # no file name in the gzip header
    assert first[4:8] == bytes(4)  # no time
    assert nib.load(tmp_path / "a.nii.gz").get_data_dtype() == np.uint8


def test_image_is_written_and_read_back(tmp_path: Path) -> None:
    volume = Volume(np.random.default_rng(0).normal(size=(4, 5, 6)).astype(np.float32), OBLIQUE)
    for name in ("x.nii", "x.nii.gz"):
        write_image(tmp_path / name, volume)
        got = read_image(tmp_path / name)
        np.testing.assert_array_equal(got.data, volume.data)
        np.testing.assert_allclose(got.affine, volume.affine, atol=1e-6)
        assert got.flags == ("flag_thick_slices",)


def test_a_sheared_grid_gets_no_qform(tmp_path: Path) -> None:
    affine = np.eye(4)
    affine[0, 1] = 0.005
    write_image(tmp_path / "x.nii.gz", Volume(np.arange(60, dtype=np.float32).reshape(3, 4, 5), affine))
    assert nib.load(tmp_path / "x.nii.gz").get_qform(coded=True)[1] == 0
    np.testing.assert_allclose(read_image(tmp_path / "x.nii.gz").affine, affine, atol=1e-7)


def test_labels_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    like = Volume(np.zeros((3, 4, 5), np.float32), np.eye(4))
    path = tmp_path / "x.nii.gz"
    with pytest.raises(ValueError, match="shape"):
        write_labels(path, np.zeros((3, 4, 6), np.uint8), like=like)
    with pytest.raises(ValueError, match="must lie in 0"):
        write_labels(path, np.full((3, 4, 5), 70000), like=like)
    with pytest.raises(ValueError, match="must lie in 0"):
        write_labels(path, np.full((3, 4, 5), -1), like=like)
    with pytest.raises(ValueError, match="ASCII"):
        write_labels(path, np.zeros((3, 4, 5), np.uint8), like=like, descrip="ü")
    assert not path.exists()


@pytest.mark.parametrize(("version", "header"), [(1, nib.Nifti1Header), (2, nib.Nifti2Header)])
def test_own_header_layout_is_that_of_nibabel(version: Version, header: type[Any]) -> None:
    for field, (form, offset) in _FIELDS[version].items():
        theirs = {"quatern": "quatern_b", "srow": "srow_x"}.get(field, field)
        dtype, their_offset = header.template_dtype.fields[theirs][:2]
        assert their_offset == offset, field
        if field not in ("quatern", "srow", "magic"):
            assert np.dtype(form) == dtype.newbyteorder("="), field


@pytest.mark.parametrize(
    ("folder", "pattern"),
    [("cohort_ds002748", "sub-01/**/*.nii.gz"), ("longitudinal_openms", "sub-*03/ses-02/**/*.nii.gz")],
)
def test_masks_on_real_scans_keep_their_geometry(
    folder: str, pattern: str, shared_data: Callable[[str], Path], tmp_path: Path
) -> None:
    root = shared_data(folder)
    for path in sorted(root.glob(pattern)):
        volume = read_image(path, root=root)
        image = nib.load(path)
        np.testing.assert_array_equal(volume.data, image.get_fdata(dtype=np.float32))
        target = tmp_path / "labels.nii.gz"
        write_labels(target, (volume.data > 0).astype(np.uint8), like=volume)
        labels = nib.load(target)
        assert labels.shape == image.shape
        np.testing.assert_array_equal(labels.affine, image.affine)
        np.testing.assert_array_equal(labels.get_qform(), image.get_qform())
