"""The table of outcomes of the intake gate: every row with the inputs that stand for it, each made here."""

# nibabel is published with annotations for some of its functions only
# mypy: disable-error-code="no-untyped-call,attr-defined"

from __future__ import annotations

import gzip
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import nibabel as nib
import numpy as np

from tests.unit.cohort_fakes import brain

Outcome = Literal["REFUSE", "FIX", "FLAG", "ACCEPT", "no_input"]
Make = Callable[[Path, str], None]


@dataclass(frozen=True)
class Case:
    """One input and what must become of it.

    Attributes
    ----------
    label : str
        Of the participant whose scan it is; names the test.
    outcome : str
    code : str or None
        Of the refusal, or the flag.
    make : callable
        Writes the participant into a dataset: root, label.
    gate : bool
        Whether it is for the gate to judge; else the walk through the dataset knows already.
    """

    label: str
    outcome: Outcome
    code: str | None
    make: Make
    gate: bool = True


def scan_path(root: Path, label: str, extension: str = ".nii.gz") -> Path:
    """Where the T1w of a participant lies, folders made on the way."""
    path = root / f"sub-{label}" / "anat" / f"sub-{label}_T1w{extension}"
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def content(data: np.ndarray[Any, Any] | None = None, edit: dict[str, Any] | None = None, *, version: int = 1) -> bytes:
    """Uncompressed NIfTI file with identity affine in both forms, header fields overwritten as asked."""
    kind = nib.Nifti1Image if version == 1 else nib.Nifti2Image
    image = kind(brain(0) if data is None else data, np.eye(4))
    image.set_sform(np.eye(4), code=1)
    image.set_qform(np.eye(4), code=1)
    whole = bytearray(image.to_bytes())
    header = np.frombuffer(whole, kind.header_class.template_dtype, count=1)
    for key, value in (edit or {}).items():
        header[key][0] = value
    return bytes(whole)


def packed(make: Callable[[], bytes] = content, extension: str = ".nii.gz") -> Make:
    """A scan of compressed content."""
    return raw(lambda: gzip.compress(make(), mtime=0), extension)


def raw(make: Callable[[], bytes], extension: str = ".nii.gz") -> Make:
    """A scan of the bytes as they are."""

    def write(root: Path, label: str) -> None:
        scan_path(root, label, extension).write_bytes(make())

    return write


def edited(version: int = 1, **fields: Any) -> Make:
    """A scan with some fields of its header overwritten."""
    return packed(lambda: content(edit=fields, version=version))


def of(data: np.ndarray[Any, Any]) -> Make:
    """A scan of these voxels."""
    return packed(lambda: content(data))


def with_affine(affine: np.ndarray[Any, Any]) -> Make:
    """A sform only, with zooms that fit it."""
    zooms = np.sqrt((affine[:3, :3] ** 2).sum(axis=0))
    rows = {f"srow_{axis}": affine[row] for row, axis in enumerate("xyz")}
    return edited(qform_code=0, pixdim=[1, *zooms, 1, 1, 1, 1], **rows)


def turned(degrees: float, shift_mm: float = 0) -> Make:
    """A sform that differs from the qform."""
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    return edited(srow_x=[c, -s, 0, shift_mm], srow_y=[s, c, 0, 0])


def some(n_broken: int, value: float) -> Make:
    """A brain with as many voxels of a value, from the first one on, which lie outside the parts."""
    data = brain(0)
    data[0].reshape(-1)[:n_broken] = value
    return of(data)


def cut(n_bytes: int) -> Make:
    """The compressed file without its end."""
    return raw(lambda: gzip.compress(content(), mtime=0)[:n_bytes])


def flipped(position: int) -> Make:
    """The compressed file with one bit changed."""

    def damaged() -> bytes:
        whole = bytearray(gzip.compress(content(), mtime=0))
        whole[position] ^= 16
        return bytes(whole)

    return raw(damaged)


def zeros(dim: list[int], datatype: int, megabytes: int, **fields: Any) -> Make:
    """A header that claims so many numbers, and that many compressed zeros, a thousandth of it on disk."""

    def bomb() -> bytes:
        claimed = {"dim": [3, *dim, 1, 1, 1, 1], "datatype": datatype, **fields}
        many = gzip.compress(bytes(2**24), compresslevel=9) * (megabytes // 16)
        return gzip.compress(content(edit=claimed)[:352]) + many

    return raw(bomb)


def _claims(length: int) -> Make:
    """A file of a hundred bytes whose header claims a cube."""
    return packed(lambda: content(edit={"dim": [3, length, length, length, 1, 1, 1, 1]})[:352])


def _endless_name() -> bytes:
    good = gzip.compress(content(), mtime=0)
    return b"\x1f\x8b\x08\x08" + good[4:10] + b"A" * 50_000_000 + b"\0" + good[10:]


def _empty_blocks() -> bytes:
    good = gzip.compress(content(), mtime=0)
    return good[:10] + b"\0\0\0\xff\xff" * 10_000_000 + good[10:]


def _hole(root: Path, label: str) -> None:
    with scan_path(root, label, ".nii").open("wb") as stream:
        stream.write(content())
        stream.truncate(40 * 2**30)


def _folder(root: Path, label: str) -> None:
    scan_path(root, label).mkdir()


def _pipe(root: Path, label: str) -> None:
    os.mkfifo(scan_path(root, label))


def _link(target: str) -> Make:
    return lambda root, label: scan_path(root, label).symlink_to(target)


def _link_out(root: Path, label: str) -> None:
    outside = root.parent / "secret.nii.gz"
    outside.write_bytes(gzip.compress(content()))
    scan_path(root, label).symlink_to(outside)


def _folder_out(root: Path, label: str) -> None:
    packed()(root.parent / "elsewhere", label)
    (root / f"sub-{label}").symlink_to(root.parent / "elsewhere" / f"sub-{label}")


def _link_in(root: Path, label: str) -> None:
    """As git-annex has it when the content is there."""
    objects = root / ".git/annex/objects"
    objects.mkdir(parents=True, exist_ok=True)
    (objects / "key.nii.gz").write_bytes(gzip.compress(content()))
    scan_path(root, label).symlink_to("../../.git/annex/objects/key.nii.gz")


def _closed_file(root: Path, label: str) -> None:
    packed()(root, label)
    scan_path(root, label).chmod(0)


def _closed_folder(which: str) -> Make:
    def close(root: Path, label: str) -> None:
        packed()(root, label)
        (root / f"sub-{label}" / which).chmod(0)

    return close


def _named(*names: str) -> Make:
    """Good images under other names, ``{label}`` filled in; bytes that are no UTF-8 as ``\\udcff``."""

    def write(root: Path, label: str) -> None:
        for name in names:
            scan_path(root, label).with_name(name.format(label=label)).write_bytes(gzip.compress(content()))

    return write


def _twin_by_case(root: Path, label: str) -> None:
    for either in (label, label.upper()):
        packed()(root, either)


def _beside(root: Path, label: str) -> None:
    packed()(root, label)
    raw(content, ".nii")(root, label)


def _nothing(root: Path, label: str) -> None:
    (root / f"sub-{label}").mkdir()


SHEARED = np.eye(4)
SHEARED[0, 1] = 0.05
THICK = np.diag([0.5, 0.5, 6, 1])
LAS = np.diag([-2.0, 2.0, 2.0, 1])
BROKEN = 4  # of 4032 voxels: under 0.1 %

ROWS: dict[str, tuple[Case, ...]] = {
    "empty; not gzip (HTML page); truncated data; truncated trailer or wrong CRC; flipped byte": (
        Case("empty", "REFUSE", "empty_file", raw(lambda: b"")),
        Case("webPage", "REFUSE", "not_gzip", raw(lambda: b"<!DOCTYPE html><html>404</html>" * 20)),
        Case("plainNamedGz", "REFUSE", "not_gzip", raw(content)),
        Case("notAnImage", "REFUSE", "not_nifti", packed(lambda: b"hello" * 500)),
        Case("pairOfFiles", "REFUSE", "not_nifti", edited(magic=b"ni1")),
        Case("twoBytes", "REFUSE", "not_nifti", packed(lambda: b"ab")),
        Case("cutInHeader", "REFUSE", "truncated", packed(lambda: content()[:200])),
        Case("cutInData", "REFUSE", "truncated", cut(5000)),
        Case("lessThanClaimed", "REFUSE", "truncated", packed(lambda: content()[:-100])),
        Case("cutInVoxel", "REFUSE", "truncated", raw(lambda: content()[:-1], ".nii")),
        Case("cutInTrailer", "REFUSE", "truncated", cut(-3)),
        Case("wrongCrc", "REFUSE", "bad_crc", flipped(-6)),
        Case("wrongLength", "REFUSE", "bad_crc", flipped(-2)),
        Case("flippedBit", "REFUSE", "bad_crc", flipped(4000)),
        Case("bytesAfter", "REFUSE", "bad_crc", raw(lambda: gzip.compress(content()) + b"PK")),
        Case("offsetNone", "REFUSE", "bad_header", edited(vox_offset=0)),
        Case("offsetFar", "REFUSE", "bad_header", edited(vox_offset=1e9)),
        Case("offsetHalf", "REFUSE", "bad_header", edited(vox_offset=352.5)),
        Case("offsetNan", "REFUSE", "bad_header", edited(vox_offset=np.nan)),
        Case("cifti", "REFUSE", "bad_header", edited(2, intent_code=3006)),
        Case(
            "manyMembers", "REFUSE", "bad_crc", raw(lambda: gzip.compress(content()) + gzip.compress(b"") * 1_000_000)
        ),
        Case("padding", "ACCEPT", None, packed(lambda: content() + bytes(512))),
        Case(
            "twoMembers", "ACCEPT", None, raw(lambda: gzip.compress(content()[:999]) + gzip.compress(content()[999:]))
        ),
        Case("zerosAfter", "ACCEPT", None, raw(lambda: gzip.compress(content()) + bytes(50_000_000))),
        Case("endlessName", "ACCEPT", None, raw(_endless_name)),
        Case("emptyBlocks", "ACCEPT", None, raw(_empty_blocks)),
    ),
    "header claims 30000³ or 2000³ in a 100-byte file; 8 GB of zeros in 8 MB": (
        Case("claims30000", "REFUSE", "too_large", _claims(30000)),
        Case("claims2000", "REFUSE", "too_large", _claims(2000)),
        Case("claimsNifti2", "REFUSE", "too_large", edited(2, dim=[3, 2**62, 2**62, 2**62, 1, 1, 1, 1])),
        Case("eightGigabytes", "REFUSE", "too_large", zeros([2000, 2000, 2000], 16, 8192)),
        Case("doubles", "REFUSE", "too_large", zeros([500, 500, 500], 64, 1024)),
        Case("hole", "REFUSE", "too_large", _hole),
        Case("claims500", "REFUSE", "truncated", _claims(500)),
        Case("halfAGigabyte", "REFUSE", "constant", zeros([512, 512, 512], 16, 512)),
        Case("scaledZeros", "REFUSE", "constant", zeros([512, 512, 512], 2, 128, scl_slope=2)),
        Case("endlessZeros", "REFUSE", "trailing_data", zeros([16, 18, 14], 16, 8192)),
    ),
    "4-D with one frame; big-endian; gzip named `.nii`; negative zooms; scl_slope NaN": (
        Case("oneFrame", "FIX", "fix_single_frame", of(brain(0)[..., None])),
        Case("oneFrameOfFive", "FIX", "fix_single_frame", of(brain(0)[..., None, None])),
        Case("bigEndian", "FIX", "fix_big_endian", packed(lambda: swapped(content()))),
        Case("gzipNamedNii", "FIX", "fix_gzip_name", packed(extension=".nii")),
        Case("negativeZooms", "FIX", "fix_negative_zooms", edited(pixdim=[1, -1, 1, -1, 1, 1, 1, 1])),
        Case("slopeNan", "FIX", "fix_scl_slope", edited(scl_slope=np.nan)),
        Case("slopeZero", "FIX", "fix_scl_slope", edited(scl_slope=0)),
    ),
    "4-D with several frames, 5-D, 2-D, one slice, a zero dimension": (
        Case("frames", "REFUSE", "several_frames", of(np.zeros((4, 4, 4, 3), np.float32))),
        Case("fiveAxes", "REFUSE", "not_3d", of(np.zeros((4, 4, 4, 1, 3), np.float32))),
        Case("twoAxes", "REFUSE", "not_3d", of(np.zeros((40, 40), np.float32))),
        Case("oneSlice", "REFUSE", "not_3d", of(np.zeros((40, 40, 1), np.float32))),
        Case("zeroAxis", "REFUSE", "not_3d", edited(dim=[3, 8, 0, 10, 1, 1, 1, 1])),
        Case("negativeAxis", "REFUSE", "not_3d", edited(dim=[3, 8, -9, 10, 1, 1, 1, 1])),
        Case("noAxes", "REFUSE", "bad_header", edited(dim=[0, 8, 9, 10, 1, 1, 1, 1])),
        Case("eightAxes", "REFUSE", "bad_header", edited(dim=[8, 8, 9, 10, 1, 1, 1, 1])),
    ),
    "NaN/Inf: < 0.1 % of voxels → FIX to 0 with the count; more, or all, or constant image": (
        Case("fewNan", "FIX", f"fix_non_finite:{BROKEN}", some(BROKEN, np.nan)),
        Case("fewInf", "FIX", f"fix_non_finite:{BROKEN}", some(BROKEN, -np.inf)),
        Case("moreNan", "REFUSE", "non_finite", some(BROKEN + 1, np.nan)),
        Case("allNan", "REFUSE", "non_finite", of(np.full((16, 18, 14), np.nan, np.float32))),
        Case("constant", "REFUSE", "constant", of(np.full((16, 18, 14), 7, np.float32))),
        Case("constantBut32", "REFUSE", "constant", of(1e6 + np.linspace(0, 1e-3, 4032).reshape(16, 18, 14))),
        Case("nothing", "REFUSE", "constant", of(np.zeros((16, 18, 14), np.float32))),
    ),
    "scl_slope Inf, |value| > 1e9, RGB, complex, unknown dtype": (
        Case("slopeInf", "REFUSE", "bad_scaling", edited(scl_slope=np.inf)),
        Case("interceptNan", "REFUSE", "bad_scaling", edited(scl_inter=np.nan)),
        Case("hugeValue", "REFUSE", "value_range", some(1, -2e9)),
        Case("hugeDouble", "REFUSE", "value_range", of(brain(0).astype(np.float64) * 1e300)),
        Case("hugeByScaling", "REFUSE", "value_range", edited(scl_slope=1e9)),
        Case(
            "overflow",
            "REFUSE",
            "non_finite",
            packed(lambda: content(1e300 * brain(0).astype("f8"), {"scl_slope": 1e30})),
        ),
        Case("rgb", "REFUSE", "bad_dtype", edited(datatype=128)),
        Case("complex", "REFUSE", "bad_dtype", of(brain(0).astype(np.complex64))),
        Case("float128", "REFUSE", "bad_dtype", edited(datatype=1536)),
        Case("bits", "REFUSE", "bad_dtype", edited(datatype=1)),
        Case("unknownType", "REFUSE", "bad_dtype", edited(datatype=77)),
    ),
    "zero, singular or NaN affine: use a valid qform (FIX), else REFUSE; shear > 1e-2 REFUSE": (
        Case("zeroSform", "FIX", "fix_bad_sform", edited(srow_x=0, srow_y=0, srow_z=0)),
        Case("nanSform", "FIX", "fix_bad_sform", edited(srow_x=np.nan)),
        Case("singularSform", "FIX", "fix_bad_sform", edited(srow_x=[1, 1, 0, 0], srow_y=[1, 1, 0, 0])),
        Case("nanQform", "FIX", "fix_bad_qform", edited(quatern_c=np.nan)),
        Case("unknownForm", "FIX", "fix_form_code", edited(sform_code=257)),
        Case("zeroAffine", "REFUSE", "bad_affine", edited(qform_code=0, srow_x=0, srow_y=0, srow_z=0)),
        Case("zeroColumn", "REFUSE", "bad_affine", edited(qform_code=0, srow_y=[1, 0, 0, 0])),
        Case("singular", "REFUSE", "bad_affine", edited(qform_code=0, srow_x=[1, 1, 0, 0], srow_y=[1, 1, 0, 0])),
        Case("nanInBoth", "REFUSE", "bad_affine", edited(srow_x=np.nan, quatern_b=np.nan)),
        Case("longQuaternion", "REFUSE", "bad_affine", edited(sform_code=0, quatern_b=3)),
        Case("sheared", "REFUSE", "sheared", with_affine(SHEARED)),
    ),
    "no sform and no qform: left and right unknown": (
        Case("noForm", "FLAG", "flag_no_orientation", edited(sform_code=0, qform_code=0)),
    ),
    "sform ≠ qform: use sform; > 5° or > 5 mm": (
        Case("turnedBy4", "ACCEPT", None, turned(4)),
        Case("movedBy4", "ACCEPT", None, turned(0, shift_mm=4)),
        Case("turnedBy6", "REFUSE", "form_mismatch", turned(6)),
        Case("movedBy6", "REFUSE", "form_mismatch", turned(0, shift_mm=6)),
        Case("mirrored", "REFUSE", "form_mismatch", edited(srow_x=[-1, 0, 0, 7])),
    ),
    "zooms ≠ affine scale by > 1 %, zero or NaN pixdim": (
        Case("zoomsOff", "REFUSE", "zooms_mismatch", edited(pixdim=[1, 1, 1.02, 1, 1, 1, 1, 1])),
        Case("zeroZoom", "REFUSE", "bad_zooms", edited(pixdim=[1, 1, 0, 1, 1, 1, 1, 1])),
        Case("nanZoom", "REFUSE", "bad_zooms", edited(pixdim=[1, 1, np.nan, 1, 1, 1, 1, 1])),
        Case("metres", "REFUSE", "bad_spacing", edited(pixdim=[1, 0.001, 0.001, 0.001, 1, 1, 1, 1])),
        Case("metresClaimed", "FLAG", "flag_units", edited(xyzt_units=1)),
    ),
    "left-handed affine (LAS) and every one of the 48 orientations": (
        Case("plain", "ACCEPT", None, packed()),
        Case("las", "ACCEPT", None, with_affine(LAS)),
        Case("qformOnly", "ACCEPT", None, edited(sform_code=0)),
        Case("qfacZero", "ACCEPT", None, edited(pixdim=[0, 1, 1, 1, 1, 1, 1, 1])),
    ),
    "0.5 x 0.5 x 6 mm": (Case("thick", "FLAG", "flag_thick_slices", with_affine(THICK)),),
    "dangling annex link or pointer file": (
        Case("annexLink", "REFUSE", "annex_pointer", _link("../../.git/annex/objects/aa/MD5E-s1--x/MD5E-s1--x.nii.gz")),
        Case("annexFile", "REFUSE", "annex_pointer", raw(lambda: b"/annex/objects/MD5E-s123--abc.nii.gz\n")),
        Case("annexContent", "ACCEPT", None, _link_in),
    ),
    "directory, FIFO, unreadable, link out of the dataset": (
        Case("folder", "REFUSE", "not_a_file", _folder),
        Case("pipe", "REFUSE", "not_a_file", _pipe),
        Case("loop", "REFUSE", "not_a_file", _link("sub-loop_T1w.nii.gz")),
        Case("nowhere", "REFUSE", "not_a_file", _link("absent.nii.gz")),
        Case("linkOut", "REFUSE", "outside_dataset", _link_out),
        Case("device", "REFUSE", "outside_dataset", _link("/dev/zero")),
        Case("folderOut", "REFUSE", "outside_dataset", _folder_out, gate=False),
        Case("closedFile", "REFUSE", "unreadable", _closed_file),
        Case("closedFolder", "REFUSE", "unreadable", _closed_folder("anat"), gate=False),
        Case("closedSubject", "REFUSE", "unreadable", _closed_folder(""), gate=False),
    ),
    "entity not `[0-9A-Za-z]+` (ASCII `fullmatch`)": (
        Case("dotInLabel", "REFUSE", "invalid_entity", _named("sub-{label}_acq-0.5_T1w.nii.gz"), gate=False),
        Case("accent", "REFUSE", "invalid_entity", _named("sub-{label}_acq-é_T1w.nii.gz"), gate=False),
        Case("digitOfArabic", "REFUSE", "invalid_entity", _named("sub-{label}_run-\u0661_T1w.nii.gz"), gate=False),
        Case("lineEnd", "REFUSE", "invalid_entity", _named("sub-{label}_run-1\n_T1w.nii.gz"), gate=False),
        Case("noUtf8", "REFUSE", "invalid_entity", _named("sub-{label}_acq-\udcff_T1w.nii.gz"), gate=False),
        Case("unknownKey", "REFUSE", "invalid_entity", _named("sub-{label}_foo-1_T1w.nii.gz"), gate=False),
        Case("otherFolder", "REFUSE", "name_mismatch", _named("sub-02_T1w.nii.gz"), gate=False),
        Case("a b", "REFUSE", "invalid_entity", packed(), gate=False),
        Case("ü", "REFUSE", "invalid_entity", packed(), gate=False),
        Case("..", "REFUSE", "invalid_entity", packed(), gate=False),
        Case("<b>", "REFUSE", "invalid_entity", packed(), gate=False),
        Case("\udcff", "REFUSE", "invalid_entity", packed(), gate=False),
        Case("\\udcff", "REFUSE", "invalid_entity", packed(), gate=False),
    ),
    "`sub-s1` beside `sub-S1`; `.nii` beside `.nii.gz`; duplicate run": (
        Case("s1", "REFUSE", "labels_differ_by_case", _twin_by_case, gate=False),
        Case("beside", "REFUSE", "duplicate_scan", _beside, gate=False),
        Case(
            "runTwice",
            "REFUSE",
            "duplicate_scan",
            _named("sub-{label}_run-1_T1w.nii.gz", "sub-{label}_run-01_T1w.nii.gz"),
            gate=False,
        ),
    ),
    "`participants.tsv` missing; ids such as `01`, `NA`, `1e5`": tuple(
        Case(label, "ACCEPT", None, packed()) for label in ("01", "1", "NA", "1e5", "null", "True")
    ),
    "subject without a fitting scan": (
        Case("noFolder", "no_input", "no_fitting_scan", lambda _root, _label: None, gate=False),
        Case("emptyFolder", "no_input", "no_fitting_scan", _nothing, gate=False),
        Case("otherContrast", "no_input", "no_fitting_scan", _named("sub-{label}_T2w.nii.gz"), gate=False),
        Case("otherSuffix", "no_input", "no_fitting_scan", _named("sub-{label}_bold.nii.gz"), gate=False),
        Case("hidden", "no_input", "no_fitting_scan", _named("._sub-{label}_T1w.nii.gz"), gate=False),
    ),
}
"""Rows in the order and the words of the specification; the last word on each is the code of its cases."""

CASES = [case for cases in ROWS.values() for case in cases]


def swapped(whole: bytes) -> bytes:
    """The same NIfTI-1 file of float32 in the other byte order."""
    header = np.frombuffer(whole[:348], nib.Nifti1Header.template_dtype).copy()
    voxels = np.frombuffer(whole[352:], np.float32).byteswap()
    return header.byteswap().tobytes() + whole[348:352] + voxels.tobytes()
