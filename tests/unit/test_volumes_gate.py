"""The intake gate: one row of the table of outcomes per test case, each file made here."""

# nibabel is published with annotations for some of its functions only
# mypy: disable-error-code="no-untyped-call,attr-defined"

from __future__ import annotations

import gzip
import os
import re
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from vp_engine.errors import InfrastructureError, InputRefused
from vp_engine.volumes import codes, intake
from vp_engine.volumes.intake import GateLimits, file_sha256
from vp_engine.volumes.nifti import read_image, read_labels

SHAPE = (8, 9, 10)


def _values(shape: tuple[int, ...] = SHAPE, dtype: str = "float32") -> np.ndarray[Any, Any]:
    return np.random.default_rng(1).uniform(0, 200, shape).astype(dtype)


def _content(data: np.ndarray[Any, Any] | None = None, edit: dict[str, Any] | None = None) -> bytes:
    """Uncompressed NIfTI-1 file with identity affine in both forms, header fields overwritten as asked."""
    image = nib.Nifti1Image(_values() if data is None else data, np.eye(4))
    image.set_sform(np.eye(4), code=1)
    image.set_qform(np.eye(4), code=1)
    content = bytearray(image.to_bytes())
    header = np.frombuffer(content, nib.Nifti1Header.template_dtype, count=1)
    for key, value in (edit or {}).items():
        header[key][0] = value
    return bytes(content)


def _edited(**fields: Any) -> Callable[[], bytes]:
    return lambda: gzip.compress(_content(edit=fields))


def _of(data: np.ndarray[Any, Any]) -> Callable[[], bytes]:
    return lambda: gzip.compress(_content(data))


def _some(n_broken: int, value: float) -> np.ndarray[Any, Any]:
    data = _values((20, 20, 20))
    data.reshape(-1)[:n_broken] = value
    return data


def _with_affine(affine: np.ndarray[Any, Any]) -> Callable[[], bytes]:
    """A sform only, with zooms that fit it."""
    zooms = np.sqrt((affine[:3, :3] ** 2).sum(axis=0))
    rows = {f"srow_{axis}": affine[row] for row, axis in enumerate("xyz")}
    return _edited(qform_code=0, pixdim=[1, *zooms, 1, 1, 1, 1], **rows)


def _turned(degrees: float, shift_mm: float = 0) -> Callable[[], bytes]:
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    return _edited(srow_x=[c, -s, 0, shift_mm], srow_y=[s, c, 0, 0])


def _cut(n_bytes: int) -> Callable[[], bytes]:
    return lambda: gzip.compress(_content())[:n_bytes]


def _wrong_crc() -> bytes:
    content = bytearray(gzip.compress(_content()))
    content[-6] ^= 1
    return bytes(content)


SHEARED = np.eye(4)
SHEARED[0, 1] = 0.05

REFUSED: dict[str, tuple[str, Callable[[], bytes]]] = {
    "empty": ("empty_file", lambda: b""),
    "web page": ("not_gzip", lambda: b"<!DOCTYPE html><html>404</html>" * 20),
    "plain named gz": ("not_gzip", _content),
    "annex pointer": ("annex_pointer", lambda: b"/annex/objects/MD5E-s123--abc.nii.gz\n"),
    "cut in data": ("truncated", _cut(1500)),
    "cut in header": ("truncated", lambda: gzip.compress(_content()[:200])),
    "cut at four bytes": ("not_nifti", lambda: gzip.compress(b"ab")),
    "less data than claimed": ("truncated", lambda: gzip.compress(_content()[:-100])),
    "much claimed by a tiny file": ("truncated", _edited(dim=[3, 600, 600, 600, 1, 1, 1, 1])),
    "cut in trailer": ("truncated", lambda: gzip.compress(_content())[:-3]),
    "wrong crc": ("bad_crc", _wrong_crc),
    "bytes after the stream": ("bad_crc", lambda: gzip.compress(_content()) + b"PK"),
    "zeros after the data": ("trailing_data", lambda: gzip.compress(_content() + bytes(2**21))),
    "not an image": ("not_nifti", lambda: gzip.compress(b"hello" * 500)),
    "header-image pair": ("not_nifti", _edited(magic=b"ni1")),
    "30000 cubed": ("too_large", _edited(dim=[3, 30000, 30000, 30000, 1, 1, 1, 1])),
    "2000 cubed": ("too_large", _edited(dim=[3, 2000, 2000, 2000, 1, 1, 1, 1])),
    "offset in the header": ("bad_header", _edited(vox_offset=0)),
    "offset far away": ("bad_header", _edited(vox_offset=1e9)),
    "offset between bytes": ("bad_header", _edited(vox_offset=352.5)),
    "offset NaN": ("bad_header", _edited(vox_offset=np.nan)),
    "no axes": ("bad_header", _edited(dim=[0, 8, 9, 10, 1, 1, 1, 1])),
    "frames": ("several_frames", _of(_values((4, 4, 4, 3)))),
    "five axes": ("not_3d", _of(_values((4, 4, 4, 1, 3)))),
    "two axes": ("not_3d", _of(_values((40, 40)))),
    "one slice": ("not_3d", _of(_values((40, 40, 1)))),
    "zero axis": ("not_3d", _edited(dim=[3, 8, 0, 10, 1, 1, 1, 1])),
    "negative axis": ("not_3d", _edited(dim=[3, 8, -9, 10, 1, 1, 1, 1])),
    "rgb": ("bad_dtype", _edited(datatype=128)),
    "complex": ("bad_dtype", _of(_values().astype(np.complex64))),
    "unknown dtype": ("bad_dtype", _edited(datatype=77)),
    "float128": ("bad_dtype", _edited(datatype=1536)),
    "slope inf": ("bad_scaling", _edited(scl_slope=np.inf)),
    "intercept NaN": ("bad_scaling", _edited(scl_inter=np.nan)),
    "0.1 % NaN": ("non_finite", _of(_some(8, np.nan))),
    "all NaN": ("non_finite", _of(_some(8000, np.nan))),
    "huge value": ("value_range", _of(_some(1, -2e9))),
    "huge float64": ("value_range", _of(_some(0, 0).astype(np.float64) * 1e300)),
    "huge by scaling": ("value_range", _edited(scl_slope=1e9)),
    "constant": ("constant", _of(np.full(SHAPE, 7, np.float32))),
    "zeros": ("constant", _of(np.zeros(SHAPE, np.float32))),
    "zero zoom": ("bad_zooms", _edited(pixdim=[1, 1, 0, 1, 1, 1, 1, 1])),
    "NaN zoom": ("bad_zooms", _edited(pixdim=[1, 1, np.nan, 1, 1, 1, 1, 1])),
    "metres": ("bad_spacing", _edited(pixdim=[1, 0.001, 0.001, 0.001, 1, 1, 1, 1])),
    "zero affines": ("bad_affine", _edited(qform_code=0, srow_x=0, srow_y=0, srow_z=0)),
    "zero column": ("bad_affine", _edited(qform_code=0, srow_y=[1, 0, 0, 0])),
    "singular affine": ("bad_affine", _edited(qform_code=0, srow_x=[1, 1, 0, 0], srow_y=[1, 1, 0, 0])),
    "NaN in both forms": ("bad_affine", _edited(srow_x=np.nan, quatern_b=np.nan)),
    "long quaternion": ("bad_affine", _edited(sform_code=0, quatern_b=3)),
    "sheared": ("sheared", _with_affine(SHEARED)),
    "zooms 2 % off": ("zooms_mismatch", _edited(pixdim=[1, 1, 1.02, 1, 1, 1, 1, 1])),
    "forms 6 degrees apart": ("form_mismatch", _turned(6)),
    "forms 6 mm apart": ("form_mismatch", _turned(0, shift_mm=6)),
    "mirrored forms": ("form_mismatch", _edited(srow_x=[-1, 0, 0, 7])),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused(case: str, tmp_path: Path) -> None:
    code, make = REFUSED[case]
    path = tmp_path / "sub-01_T1w.nii.gz"
    path.write_bytes(make())
    with pytest.raises(InputRefused) as refusal:
        read_image(path, root=tmp_path)
    assert refusal.value.code == code
    assert refusal.value.code in codes.REFUSALS
    assert refusal.value.message.startswith("sub-01_T1w.nii.gz: ")
    assert str(tmp_path) not in refusal.value.message


ACCEPTED: dict[str, tuple[str | None, Callable[[], bytes]]] = {
    "plain": (None, lambda: gzip.compress(_content())),
    "one frame": ("fix_single_frame", _of(_values((*SHAPE, 1)))),
    "one frame, five axes": ("fix_single_frame", _of(_values((*SHAPE, 1, 1)))),
    "slope NaN": ("fix_scl_slope", _edited(scl_slope=np.nan)),
    "slope 0": ("fix_scl_slope", _edited(scl_slope=0)),
    "some NaN": ("fix_non_finite:7", _of(_some(7, np.nan))),
    "some inf": ("fix_non_finite:7", _of(_some(7, -np.inf))),
    "negative zooms": ("fix_negative_zooms", _edited(pixdim=[1, -1, 1, -1, 1, 1, 1, 1])),
    "zero sform": ("fix_bad_sform", _edited(srow_x=0, srow_y=0, srow_z=0)),
    "NaN sform": ("fix_bad_sform", _edited(srow_x=np.nan)),
    "NaN qform": ("fix_bad_qform", _edited(quatern_c=np.nan)),
    "no form": ("flag_no_orientation", _edited(sform_code=0, qform_code=0)),
    "thick slices": ("flag_thick_slices", _with_affine(np.diag([0.5, 0.5, 6, 1]))),
    "isotropic": (None, _with_affine(np.diag([3.0, 3.0, 3.0, 1]))),
    "metres claimed": ("flag_units", _edited(xyzt_units=1)),
    "forms 4 degrees apart": (None, _turned(4)),
    "forms 4 mm apart": (None, _turned(0, shift_mm=4)),
    "qform only": (None, _edited(sform_code=0)),
    "qfac 0": (None, _edited(pixdim=[0, 1, 1, 1, 1, 1, 1, 1])),
    "padding": (None, lambda: gzip.compress(_content() + bytes(512))),
    "two gzip members": (None, lambda: gzip.compress(_content()[:999]) + gzip.compress(_content()[999:])),
}


@pytest.mark.parametrize("case", ACCEPTED)
def test_accepted_with_the_values_and_affine_of_nibabel(case: str, tmp_path: Path) -> None:
    flag, make = ACCEPTED[case]
    path = tmp_path / "sub 01 ü.nii.gz"
    path.write_bytes(make())
    volume = read_image(path, root=tmp_path)
    assert volume.flags == (() if flag is None else (flag,))
    assert volume.lateralised == (case != "no form")
    assert volume.data.dtype == np.float32
    if case not in ("zero sform", "NaN sform", "metres claimed"):  # nibabel believes a broken sform
        image = nib.load(path)
        expected = np.nan_to_num(image.get_fdata(dtype=np.float32).reshape(volume.shape), posinf=0, neginf=0)
        np.testing.assert_array_equal(volume.data, expected)
        np.testing.assert_array_equal(volume.affine, image.affine)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("dtype", ["u1", "i1", "i2", "u2", "i4", "u4", "i8", "u8", "f4", "f8"])
def test_every_number_type_reads_as_nibabel_reads_it(order: str, version: int, dtype: str, tmp_path: Path) -> None:
    stored = _values(dtype="f8").astype(dtype)
    kind = nib.Nifti1Image if version == 1 else nib.Nifti2Image
    image = kind(stored, np.diag([-1.0, 1, 1, 1]), header=kind.header_class(endianness=order), dtype=stored.dtype)
    image.header.set_slope_inter(0.3, -11)
    path = tmp_path / "x.nii"
    image.to_filename(path)
    volume = read_image(path)
    assert volume.flags == (("fix_big_endian",) if order == ">" else ())
    np.testing.assert_array_equal(volume.data, nib.load(path).get_fdata(dtype=np.float32))


def test_gzip_under_a_plain_name_is_read(tmp_path: Path) -> None:
    path = tmp_path / "x.nii"
    path.write_bytes(gzip.compress(_content()))
    assert read_image(path).flags == ("fix_gzip_name",)


def test_truncated_uncompressed_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.nii"
    path.write_bytes(_content()[:-1])
    with pytest.raises(InputRefused) as refusal:
        read_image(path)
    assert refusal.value.code == "truncated"


def test_no_single_flipped_bit_changes_an_image_unnoticed(tmp_path: Path) -> None:
    good = gzip.compress(_content(), mtime=0)
    path = tmp_path / "x.nii.gz"
    path.write_bytes(good)
    expected = read_image(path).data
    rng = np.random.default_rng(0)
    positions = [*range(12), *rng.integers(12, len(good), 150).tolist(), *range(len(good) - 8, len(good))]
    refused = 0
    for position in positions:
        damaged = bytearray(good)
        damaged[position] ^= 1 << int(rng.integers(8))
        path.write_bytes(damaged)
        try:
            got = read_image(path).data
        except InputRefused:
            refused += 1
        else:
            np.testing.assert_array_equal(got, expected)
    assert refused > 150


def test_eight_gigabytes_of_zeros_are_refused_from_the_header(tmp_path: Path) -> None:
    path = tmp_path / "bomb.nii.gz"
    first = _content(edit={"dim": [3, 2000, 2000, 2000, 1, 1, 1, 1]})[:352]
    zeros = gzip.compress(bytes(2**24), compresslevel=9)
    path.write_bytes(gzip.compress(first) + zeros * 500)
    assert path.stat().st_size < 9_000_000
    tracemalloc.start()
    started = time.process_time()
    with pytest.raises(InputRefused) as refusal:
        read_image(path)
    seconds = time.process_time() - started
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert refusal.value.code == "too_large"
    assert peak < 2_000_000
    assert seconds < 0.1  # 10 ms without the memory tracer; inflating the bytes takes seconds


def test_memory_is_not_taken_for_what_cannot_be_in_the_file(tmp_path: Path) -> None:
    path = tmp_path / "x.nii.gz"
    path.write_bytes(REFUSED["much claimed by a tiny file"][1]())
    tracemalloc.start()
    with pytest.raises(InputRefused):
        read_image(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2_000_000


def test_zeros_after_a_small_image_are_not_inflated(tmp_path: Path) -> None:
    path = tmp_path / "bomb.nii.gz"
    path.write_bytes(gzip.compress(_content()) + gzip.compress(bytes(2**24), compresslevel=9) * 50)
    tracemalloc.start()
    with pytest.raises(InputRefused) as refusal:
        read_image(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert refusal.value.code == "trailing_data"
    assert peak < 2**24


def test_form_mismatch_can_be_accepted(tmp_path: Path) -> None:
    path = tmp_path / "x.nii.gz"
    path.write_bytes(_turned(6)())
    volume = read_image(path, limits=GateLimits(accept_form_mismatch=True))
    assert volume.flags == ("flag_form_mismatch",)
    np.testing.assert_array_equal(volume.affine, nib.load(path).get_sform())


def test_paths_that_are_no_files(tmp_path: Path) -> None:
    root = tmp_path / "dataset"
    (root / "folder.nii.gz").mkdir(parents=True)
    os.mkfifo(root / "fifo.nii.gz")
    (root / "loop.nii.gz").symlink_to(root / "loop.nii.gz")
    (root / "nowhere.nii.gz").symlink_to(root / "absent.nii.gz")
    for name in ("folder", "fifo", "loop", "nowhere", "missing"):
        with pytest.raises(InputRefused) as refusal:
            read_image(root / f"{name}.nii.gz", root=root)
        assert refusal.value.code == "not_a_file", name


def test_links_may_stay_inside_the_dataset_only(tmp_path: Path) -> None:
    root = tmp_path / "dataset"
    (root / ".git/annex/objects").mkdir(parents=True)
    inside = root / ".git/annex/objects/key.nii.gz"
    inside.write_bytes(gzip.compress(_content()))
    outside = tmp_path / "secret.nii.gz"
    outside.write_bytes(gzip.compress(_content()))
    (root / "good.nii.gz").symlink_to(inside)
    (root / "bad.nii.gz").symlink_to(outside)
    assert read_image(root / "good.nii.gz", root=root).shape == SHAPE
    for path in (root / "bad.nii.gz", root / ".." / "secret.nii.gz"):
        with pytest.raises(InputRefused) as refusal:
            read_image(path, root=root)
        assert refusal.value.code == "outside_dataset"
    assert read_image(root / "bad.nii.gz").shape == SHAPE


def test_dangling_annex_link_names_the_command(tmp_path: Path) -> None:
    path = tmp_path / "sub-01/anat/sub-01_T1w.nii.gz"
    path.parent.mkdir(parents=True)
    path.symlink_to("../../.git/annex/objects/aa/bb/MD5E-s1--x/MD5E-s1--x.nii.gz")
    with pytest.raises(InputRefused) as refusal:
        read_image(path, root=tmp_path)
    assert refusal.value.code == "annex_pointer"
    assert "datalad get sub-01/anat/sub-01_T1w.nii.gz" in refusal.value.message


@pytest.mark.parametrize(
    ("error", "expected"),
    [(PermissionError(13, "Permission denied"), InputRefused), (OSError(5, "Input/output error"), InfrastructureError)],
)
def test_errors_of_the_file_system(
    error: OSError, expected: type[Exception], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "x.nii.gz"
    path.write_bytes(gzip.compress(_content()))

    def fail(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr(intake.gzip, "GzipFile", fail)
    with pytest.raises(expected):
        read_image(path)


def test_labels_are_whole_numbers(tmp_path: Path) -> None:
    path = tmp_path / "x.nii.gz"
    labels = np.random.default_rng(0).integers(0, 3000, SHAPE)
    path.write_bytes(_of(labels.astype(np.float32))())
    volume = read_labels(path)
    assert np.issubdtype(volume.data.dtype, np.integer)
    np.testing.assert_array_equal(volume.data, labels)
    path.write_bytes(_of(np.zeros(SHAPE, np.uint8))())
    assert read_labels(path).data.max() == 0
    for bad in (_values(), -labels.astype(np.int16), np.full(SHAPE, 3e9)):
        path.write_bytes(_of(bad)())
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
