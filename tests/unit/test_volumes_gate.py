"""The intake gate: what it accepts reads as nibabel reads it, and no damage goes unnoticed.

What it refuses, row by row, is in tests/security/test_intake.py.
"""

# nibabel is published with annotations for some of its functions only
# mypy: disable-error-code="no-untyped-call,attr-defined"

from __future__ import annotations

import gzip
import os
import re
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from tests.security.intake_cases import CASES, Case, content, turned
from vp_engine.errors import InfrastructureError, InputRefused
from vp_engine.volumes import codes
from vp_engine.volumes.content import PIECE_BYTES
from vp_engine.volumes.intake import GateLimits, file_sha256
from vp_engine.volumes.nifti import read_image, read_labels

SHAPE = (8, 9, 10)
DOUBTED = ("zeroSform", "nanSform", "singularSform", "metresClaimed")  # nibabel believes a broken sform
SLOW = ("zerosAfter", "endlessName")  # for nibabel, which takes seconds


def _values(shape: tuple[int, ...] = SHAPE, dtype: str = "float32") -> np.ndarray[Any, Any]:
    return np.random.default_rng(1).uniform(0, 200, shape).astype(dtype)


def _compressed(data: np.ndarray[Any, Any]) -> bytes:
    return gzip.compress(content(data))


def _label(case: Case) -> str:
    return case.label


@pytest.mark.parametrize(
    "case", [c for c in CASES if c.gate and c.outcome != "REFUSE" and c.label not in (*DOUBTED, *SLOW)], ids=_label
)
def test_accepted_with_the_values_and_affine_of_nibabel(case: Case, tmp_path: Path) -> None:
    case.make(tmp_path, case.label)
    (path,) = (tmp_path / f"sub-{case.label}" / "anat").iterdir()
    volume = read_image(path, root=tmp_path)
    assert volume.lateralised == (case.code != "flag_no_orientation")
    assert volume.data.dtype == np.float32
    assert volume.data.flags.c_contiguous
    same = path.resolve()
    if case.code == "fix_gzip_name":  # which nibabel does not read
        same = path.with_suffix(".nii.gz")
        path.rename(same)
    image = nib.load(same)
    expected = np.nan_to_num(image.get_fdata(dtype=np.float32).reshape(volume.shape), posinf=0, neginf=0)
    np.testing.assert_array_equal(volume.data, expected)
    np.testing.assert_array_equal(volume.affine, image.affine)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("extension", [".nii", ".nii.gz"])
@pytest.mark.parametrize("dtype", ["u1", "i1", "i2", "u2", "i4", "u4", "i8", "u8", "f4", "f8"])
def test_every_number_type_reads_as_nibabel_reads_it(
    order: str, version: int, dtype: str, extension: str, tmp_path: Path
) -> None:
    stored = _values(dtype="f8").astype(dtype)
    kind = nib.Nifti1Image if version == 1 else nib.Nifti2Image
    image = kind(stored, np.diag([-1.0, 1, 1, 1]), header=kind.header_class(endianness=order), dtype=stored.dtype)
    image.header.set_slope_inter(0.3, -11)
    path = tmp_path / f"x{extension}"
    image.to_filename(path)
    volume = read_image(path)
    assert volume.flags == (("fix_big_endian",) if order == ">" else ())
    np.testing.assert_array_equal(volume.data, nib.load(path).get_fdata(dtype=np.float32))


def test_an_image_of_many_pieces_reads_as_nibabel_reads_it(tmp_path: Path) -> None:
    shape = (61, 67, 71)  # of no whole number of pieces
    assert np.prod(shape) * 4 > 4 * PIECE_BYTES
    path = tmp_path / "x.nii.gz"
    path.write_bytes(_compressed(_values(shape)))
    np.testing.assert_array_equal(read_image(path).data, nib.load(path).get_fdata(dtype=np.float32))


def test_no_single_flipped_bit_changes_an_image_unnoticed(tmp_path: Path) -> None:
    good = _compressed(_values())
    path = tmp_path / "x.nii.gz"
    path.write_bytes(good)
    expected = read_image(path).data
    rng = np.random.default_rng(0)
    assert 0.99 * len(good) < _refused(
        path, good, [8 * byte + int(rng.integers(8)) for byte in range(len(good))], expected
    )


@pytest.mark.stress
@pytest.mark.timeout(1200)
def test_no_bit_of_a_compressed_image_flips_unnoticed(tmp_path: Path) -> None:
    good = _compressed(_values())
    path = tmp_path / "x.nii.gz"
    path.write_bytes(good)
    refused = _refused(path, good, list(range(8 * len(good))), read_image(path).data)
    print(f"{refused} of {8 * len(good)} flipped bits refused, the others change nothing")  # noqa: T201
    assert refused > 0.99 * 8 * len(good)


def _refused(path: Path, good: bytes, bits: list[int], expected: np.ndarray[Any, Any]) -> int:
    """How many of these flips are refused; the others must not change a voxel."""
    refused = 0
    for bit in bits:
        damaged = bytearray(good)
        damaged[bit // 8] ^= 1 << bit % 8
        path.write_bytes(damaged)
        try:
            got = read_image(path).data
        except InputRefused:
            refused += 1
        else:
            np.testing.assert_array_equal(got, expected)
    return refused


def _made(make: Callable[[Path, str], None], root: Path) -> Path:
    make(root, "01")
    return root / "sub-01/anat/sub-01_T1w.nii.gz"


def test_form_mismatch_can_be_accepted(tmp_path: Path) -> None:
    path = _made(turned(6), tmp_path)
    volume = read_image(path, limits=GateLimits(accept_form_mismatch=True))
    assert volume.flags == ("flag_form_mismatch",)
    np.testing.assert_array_equal(volume.affine, nib.load(path).get_sform())


def test_links_may_stay_inside_the_dataset_only(tmp_path: Path) -> None:
    root = tmp_path / "dataset"
    (root / ".git/annex/objects").mkdir(parents=True)
    inside = root / ".git/annex/objects/key.nii.gz"
    inside.write_bytes(_compressed(_values()))
    outside = tmp_path / "secret.nii.gz"
    outside.write_bytes(_compressed(_values()))
    (root / "good.nii.gz").symlink_to(inside)
    (root / "bad.nii.gz").symlink_to(outside)
    assert read_image(root / "good.nii.gz", root=root).shape == SHAPE
    for path in (root / "bad.nii.gz", root / ".." / "secret.nii.gz"):
        with pytest.raises(InputRefused) as refusal:
            read_image(path, root=root)
        assert refusal.value.code == "outside_dataset"
    assert read_image(root / "bad.nii.gz").shape == SHAPE


def test_command_for_an_annex_link_can_be_pasted(tmp_path: Path) -> None:
    path = tmp_path / "my scan.nii.gz"
    path.symlink_to(".git/annex/objects/MD5E-s1--x")
    with pytest.raises(InputRefused, match=r"datalad get 'my scan\.nii\.gz'"):
        read_image(path, root=tmp_path)


@pytest.mark.parametrize(
    ("error", "expected"),
    [(PermissionError(13, "Permission denied"), InputRefused), (OSError(5, "Input/output error"), InfrastructureError)],
)
def test_errors_of_the_file_system(
    error: OSError, expected: type[Exception], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "x.nii.gz"
    path.write_bytes(_compressed(_values()))

    def fail(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr(zlib, "decompressobj", fail)
    with pytest.raises(expected):
        read_image(path)


def test_labels_are_whole_numbers(tmp_path: Path) -> None:
    path = tmp_path / "x.nii.gz"
    labels = np.random.default_rng(0).integers(0, 3000, SHAPE)
    path.write_bytes(_compressed(labels.astype(np.float32)))
    volume = read_labels(path)
    assert np.issubdtype(volume.data.dtype, np.integer)
    np.testing.assert_array_equal(volume.data, labels)
    path.write_bytes(_compressed(np.zeros(SHAPE, np.uint8)))
    assert read_labels(path).data.max() == 0
    for bad in (_values(), -labels.astype(np.int16), np.full(SHAPE, 3e9)):
        path.write_bytes(_compressed(bad))
        with pytest.raises(InputRefused) as refusal:
            read_labels(path)
        assert refusal.value.code == "not_labels"


def test_hash_of_a_file(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"abc")
    assert file_sha256(path) == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    os.mkfifo(tmp_path / "fifo")
    for bad in (tmp_path, tmp_path / "fifo", tmp_path / "missing"):
        with pytest.raises(InputRefused):
            file_sha256(bad)
    with pytest.raises(InputRefused):
        file_sha256(path, root=tmp_path / "dataset")


def test_every_code_is_explained_and_used() -> None:
    folder = Path(codes.__file__).parent
    text = "".join(path.read_text() for path in sorted(folder.glob("*.py")) if path.name != "codes.py")
    used = set(re.findall(r'code="(\w+)"', text))
    flags = set(re.findall(r'"((?:fix|flag)_\w+)', text))
    assert used == set(codes.REFUSALS)
    assert flags == {*codes.FIXES, *codes.NOTICES}
