"""Whatever stands in the bytes of a header: a code, or the voxels and the affine that nibabel gives."""

# nibabel is published with annotations for some of its functions only
# mypy: disable-error-code="no-untyped-call,attr-defined"

from __future__ import annotations

import gzip
import logging
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vp_engine.errors import InputRefused
from vp_engine.volumes import codes
from vp_engine.volumes.header import HEADER_BYTES, Version
from vp_engine.volumes.nifti import read_image

VERSIONS: tuple[Version, ...] = (1, 2)
KINDS: dict[Version, Any] = {1: nib.Nifti1Image, 2: nib.Nifti2Image}
FORMATS = [(version, order) for version in VERSIONS for order in "<>"]
SOME = (0x00, 0x02, 0x7F, 0x80, 0xFF)

pytestmark = pytest.mark.filterwarnings("ignore:invalid value encountered in cast")  # signalling NaN, in nibabel


@pytest.fixture(autouse=True)
def _quiet() -> None:
    """nibabel warns of every header that it repairs."""
    logging.getLogger("nibabel.global").setLevel(logging.CRITICAL)


def good(version: Version, order: str) -> bytes:
    """A whole file of int16 with scaling, an oblique sform and a qform that agrees with it."""
    kind = KINDS[version]
    turn = nib.eulerangles.euler2mat(0.1, -0.2, 0.3)
    affine = nib.affines.from_matvec(turn @ np.diag([-0.9, 1, 1.1]), [11, -20, 3])
    data = np.random.default_rng(0).integers(-900, 900, (5, 6, 7)).astype(np.int16)
    image = kind(data, affine, header=kind.header_class(endianness=order), dtype=np.int16)
    image.set_sform(affine, code=1)
    image.set_qform(affine, code=1)
    image.header.set_slope_inter(0.5, 3)
    whole: bytes = image.to_bytes()
    assert len(whole) == HEADER_BYTES[version] + 4 + data.nbytes
    return whole


def outcome(whole: bytes, path: Path) -> str:
    """What becomes of a file: the code of its refusal, or ``accepted`` after a look at what nibabel makes of it."""
    path.write_bytes(gzip.compress(whole, 1) if path.suffix == ".gz" else whole)
    try:
        volume = read_image(path)
    except InputRefused as refusal:
        if refusal.code not in codes.REFUSALS:
            raise
        return refusal.code
    assert {flag.partition(":")[0] for flag in volume.flags} <= {*codes.FIXES, *codes.NOTICES}
    image = nib.load(path)
    expected = np.asarray(image.dataobj).reshape(volume.shape).astype(np.float32)
    np.testing.assert_array_equal(volume.data, np.where(np.isfinite(expected), expected, 0))
    if "fix_bad_sform" not in volume.flags:  # nibabel believes it
        np.testing.assert_array_equal(volume.affine, image.affine)
    assert np.isfinite(volume.affine).all()
    return "accepted"


def replaced(whole: bytes, edits: Iterable[tuple[int, int]]) -> bytes:
    """The file with bytes at some positions set."""
    changed = bytearray(whole)
    for position, value in edits:
        changed[position] = value
    return bytes(changed)


@pytest.mark.parametrize(("version", "order"), [(1, "<"), (2, ">")])
def test_each_byte_of_the_header(version: Version, order: str, tmp_path: Path) -> None:
    whole = good(version, order)
    assert outcome(whole, tmp_path / "x.nii") == "accepted"
    outcomes: Counter[str] = Counter()
    for position in range(HEADER_BYTES[version]):
        for value in {*SOME, whole[position] ^ 1}:
            outcomes[outcome(replaced(whole, [(position, value)]), tmp_path / "x.nii")] += 1
    assert set(outcomes) >= {
        "accepted",
        "bad_dtype",
        "bad_header",
        "bad_spacing",
        "form_mismatch",
        "not_3d",
        "not_nifti",
    }


@pytest.mark.stress
@pytest.mark.timeout(3600)
@pytest.mark.parametrize(("version", "order"), FORMATS)
def test_each_value_of_each_byte_of_the_header(version: Version, order: str, tmp_path: Path) -> None:
    whole = good(version, order)
    edits = [(position, value) for position in range(HEADER_BYTES[version]) for value in range(256)]
    outcomes = Counter(outcome(replaced(whole, [edit]), tmp_path / "x.nii") for edit in edits)
    print(f"NIfTI-{version} {order}: {len(edits)} headers, {dict(outcomes.most_common())}")  # noqa: T201
    assert outcomes["accepted"] < len(edits)


@given(data=st.data())
@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_some_bytes_of_the_header_at_once(data: st.DataObject, tmp_path: Path) -> None:
    version, order = data.draw(st.sampled_from(FORMATS))
    edit = st.tuples(st.integers(0, HEADER_BYTES[version] - 1), st.integers(0, 255))
    edits = data.draw(st.lists(edit, min_size=1, max_size=12))
    suffix = data.draw(st.sampled_from([".nii", ".nii.gz"]))
    outcome(replaced(good(version, order), edits), tmp_path / f"x{suffix}")


# what stands in front, and the magic, so that the rest is looked at
KEPT: dict[Version, tuple[slice, ...]] = {1: (slice(0, 4), slice(344, 348)), 2: (slice(0, 12),)}
NUMBERS = st.sampled_from([0.0, -0.0, 1.0, -1.0, 0.5, 1e-30, 1e30, 3e38, np.inf, -np.inf, np.nan, 352.0, 2.0**31])


@given(data=st.data())
@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_header_of_any_bytes(data: st.DataObject, tmp_path: Path) -> None:
    version, order = data.draw(st.sampled_from(FORMATS))
    whole, size = good(version, order), HEADER_BYTES[version]
    header = bytearray(data.draw(st.binary(min_size=size, max_size=size)))
    for kept in KEPT[version]:
        header[kept] = whole[kept]
    outcome(bytes(header) + whole[size:], tmp_path / "x.nii")


@given(data=st.data())
@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_numbers_that_no_header_should_hold(data: st.DataObject, tmp_path: Path) -> None:
    version, order = data.draw(st.sampled_from(FORMATS))
    whole = bytearray(good(version, order))
    header = np.frombuffer(whole, KINDS[version].header_class.template_dtype.newbyteorder(order), count=1)
    fields = ["pixdim", "scl_slope", "scl_inter", "srow_x", "srow_y", "srow_z", "quatern_b", "quatern_d", "qoffset_y"]
    with np.errstate(over="ignore"):
        for name in data.draw(st.lists(st.sampled_from(fields), min_size=1, max_size=4, unique=True)):
            values = header[name].reshape(-1)
            values[data.draw(st.integers(0, values.size - 1))] = data.draw(NUMBERS)
    outcome(bytes(whole), tmp_path / "x.nii")


@given(content=st.binary(max_size=600), gz=st.booleans())
@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_bytes_at_all_are_refused(content: bytes, gz: bool, tmp_path: Path) -> None:
    assert outcome(content, tmp_path / ("x.nii.gz" if gz else "x.nii")) in codes.REFUSALS
