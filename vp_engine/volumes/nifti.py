"""NIfTI files in and out: the only place that imports nibabel.

Reading goes through the intake gate, cheap checks first: path, magic, header, geometry, and only then the data, twice:
to the end of the file with nothing kept, and once it is known to be good, into memory. Writing starts from a fresh
header, so that nothing but the geometry of an input reaches a derivative.
"""

# nibabel is published with annotations for some of its functions only
# mypy: untyped-calls-exclude=nibabel

from __future__ import annotations

import gzip
import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from nibabel.volumeutils import apply_read_scaling
from numpy.typing import NDArray

from vp_engine.errors import InputRefused
from vp_engine.volumes.content import PIECE_BYTES, Content, open_content
from vp_engine.volumes.forms import Affine, Placement, place
from vp_engine.volumes.geometry import shear_of, spacing_of
from vp_engine.volumes.header import HEADER_BYTES, NiftiHeader, check_header, header_version, parse_header
from vp_engine.volumes.intake import GateLimits, check_path, name_in_dataset
from vp_engine.volumes.volume import Grid, SpatialForms, Volume

_SCANNER = 1  # NIFTI_XFORM_SCANNER_ANAT
_RIGHT_ANGLES = 1e-5
_LABEL_LIMIT = 2**31

Array = NDArray[Any]


@dataclass(frozen=True, slots=True)
class _Scan:
    """An open file whose header was accepted."""

    name: str
    content: Content
    header: NiftiHeader
    placement: Placement
    flags: tuple[str, ...]
    limits: GateLimits


@dataclass(frozen=True, slots=True)
class _Survey:
    """What all voxels together say, NaN and infinite ones taken as 0."""

    low: float
    high: float
    broken: int
    whole: bool


def read_image(path: Path, *, root: Path | None = None, limits: GateLimits | None = None) -> Volume:
    """Read a 3-D image through the intake gate.

    Parameters
    ----------
    path : Path
        ``.nii`` or ``.nii.gz``.
    root : Path, optional
        Dataset folder that the file must lie in.
    limits : GateLimits, optional

    Returns
    -------
    Volume
        float32 on the native grid, values as nibabel scales them, repairs and notices as flags.

    Raises
    ------
    InputRefused
        With a code of :data:`vp_engine.volumes.codes.REFUSALS`.
    InfrastructureError
        If the file system fails.
    """
    with _opened(path, root, limits or GateLimits()) as scan:
        seen = _survey(scan)
        if max(-seen.low, seen.high) > scan.limits.max_abs_value:
            most = f"{scan.limits.max_abs_value:g}"
            message = f"{scan.name}: expected values within ±{most}, got {seen.low:g} to {seen.high:g}"
            raise InputRefused(f"{message}; convert the image again from its source", code="value_range")
        if np.float32(seen.low) == np.float32(seen.high):
            message = f"{scan.name}: expected an image, every voxel is {seen.low:g}; convert it again from its source"
            raise InputRefused(message, code="constant")
        return _volume(scan, seen, np.dtype(np.float32))


def read_labels(path: Path, *, root: Path | None = None, limits: GateLimits | None = None) -> Volume:
    """Read a label map or a mask through the intake gate.

    Parameters
    ----------
    path : Path
        ``.nii`` or ``.nii.gz``; numbers may be stored as floats but must be whole.
    root : Path, optional
        Dataset folder that the file must lie in.
    limits : GateLimits, optional

    Returns
    -------
    Volume
        int32 on the native grid. A map of one label only is accepted.

    Raises
    ------
    InputRefused
        With a code of :data:`vp_engine.volumes.codes.REFUSALS`.
    InfrastructureError
        If the file system fails.
    """
    with _opened(path, root, limits or GateLimits()) as scan:
        seen = _survey(scan)
        if not seen.whole or seen.low < 0 or seen.high >= _LABEL_LIMIT:
            got = f"{seen.low:g} to {seen.high:g}" if seen.whole else "fractions"
            message = f"{scan.name}: expected whole numbers from 0 to {_LABEL_LIMIT - 1}, got {got}; give a label map"
            raise InputRefused(message, code="not_labels")
        return _volume(scan, seen, np.dtype(np.int32))


def write_labels(path: Path, labels: NDArray[np.integer], *, like: Volume | Grid, descrip: str = "") -> None:
    """Write a label map in the geometry of an image, with identical shape, affine, sform and qform.

    Parameters
    ----------
    path : Path
        ``.nii.gz`` or ``.nii``.
    labels : np.ndarray, shape (X, Y, Z), integer
        0 to 65535, on the grid of `like`; stored as uint8 when they fit.
    like : Volume or Grid
        Only its geometry is used.
    descrip : str
        Up to 79 ASCII characters for the header.

    Raises
    ------
    ValueError
        If the shape, the range or `descrip` does not fit.
    """
    if labels.shape != like.shape:
        raise ValueError(f"labels have shape {labels.shape}, the image {like.shape}: bring them to its grid first")
    low, high = int(labels.min()), int(labels.max())
    if low < 0 or high > np.iinfo(np.uint16).max:
        raise ValueError(f"labels must lie in 0..65535 to be stored, got {low}..{high}")
    dtype = np.uint8 if high <= np.iinfo(np.uint8).max else np.uint16
    _write(path, labels.astype(dtype), like=like, descrip=descrip)


def write_image(path: Path, volume: Volume) -> None:
    """Write an image on its own grid.

    Parameters
    ----------
    path : Path
        ``.nii.gz`` or ``.nii``.
    volume : Volume
        Stored in its own data type, float64 and boolean excluded.

    Raises
    ------
    ValueError
        If NIfTI cannot store the data type.
    """
    _write(path, volume.data, like=volume, descrip="")


@contextmanager
def _opened(path: Path, root: Path | None, limits: GateLimits) -> Iterator[_Scan]:
    name = name_in_dataset(path, root)
    check_path(path, root=root, limits=limits)
    with open_content(path, name) as (content, open_flags):
        first = content.read(4)
        version, _ = header_version(first, name)
        block = first + content.read(HEADER_BYTES[version] - len(first))
        header, header_flags = check_header(parse_header(block, name), name, limits)
        placement = _place(header, name, limits)
        yield _Scan(name, content, header, placement, (*open_flags, *header_flags, *placement.flags), limits)


def _survey(scan: _Scan) -> _Survey:
    """Read the file to its end, so that a checksum there is compared too, and keep nothing.

    Raises
    ------
    InputRefused
        ``truncated``, ``bad_crc``, ``trailing_data`` or ``non_finite``.
    """
    low, high, broken, whole = math.inf, -math.inf, 0, True
    for values, wrong in _pieces(scan):
        low, high = min(low, values.min().item()), max(high, values.max().item())
        broken += wrong
        whole = whole and (values.dtype.kind != "f" or bool((values == np.rint(values)).all()))
    limits, extra = scan.limits, 0
    while more := scan.content.read(PIECE_BYTES):
        extra += len(more)
        if extra > limits.max_extra_bytes:
            message = f"{scan.name}: expected {scan.header.data_bytes} bytes of data"
            message = f"{message}, got over {limits.max_extra_bytes} more; convert the image again from its source"
            raise InputRefused(message, code="trailing_data")
    voxels = math.prod(scan.header.shape)
    if broken >= limits.max_nonfinite * voxels:
        message = f"{scan.name}: expected finite voxels, {broken} of {voxels} are NaN or infinite"
        raise InputRefused(f"{message}; convert the image again from its source", code="non_finite")
    return _Survey(low, high, broken, whole)


def _pieces(scan: _Scan) -> Iterator[tuple[Array, int]]:
    """Scaled voxels in the order of the file, a bounded number at a time, NaN and infinite ones as 0 and counted."""
    header = scan.header
    scan.content.rewind()
    scan.content.read(int(header.vox_offset))
    missing = header.data_bytes
    while missing:
        piece = scan.content.read(min(PIECE_BYTES, missing))
        missing -= len(piece)
        if not piece or len(piece) % header.dtype.itemsize:
            message = f"{scan.name}: expected {header.data_bytes} bytes of data, got {header.data_bytes - missing}"
            raise InputRefused(f"{message}; fetch or copy the file again", code="truncated")
        with np.errstate(over="ignore", invalid="ignore"):  # what overflows becomes infinite, and is counted
            values = apply_read_scaling(np.frombuffer(piece, header.dtype), header.slope, header.inter)
        wrong = ~np.isfinite(values) if values.dtype.kind == "f" else np.zeros(1, dtype=bool)
        if wrong.any():
            values = np.where(wrong, values.dtype.type(0), values)
        yield values, int(np.count_nonzero(wrong))


def _volume(scan: _Scan, seen: _Survey, dtype: np.dtype[Any]) -> Volume:
    """The voxels in memory, once the survey found them good."""
    voxels = np.empty(math.prod(scan.header.shape), dtype)
    filled = 0
    for values, _ in _pieces(scan):
        voxels[filled : filled + values.size] = values
        filled += values.size
    data = np.ascontiguousarray(voxels.reshape(scan.header.shape, order="F"))
    flags = (*scan.flags, f"fix_non_finite:{seen.broken}") if seen.broken else scan.flags
    place = scan.placement
    return Volume(data, place.affine, flags=flags, lateralised=place.lateralised, forms=place.forms)


def _place(header: NiftiHeader, name: str, limits: GateLimits) -> Placement:
    forms = SpatialForms(
        header.version, header.pixdim, header.qform_code, header.quatern, header.sform_code, header.srow
    )
    fields = _fresh_header(forms, header.shape, header.dtype)
    return place(
        header,
        sform=fields.get_sform() if header.sform_code > 0 else None,
        qform=_qform_of(fields) if header.qform_code > 0 else None,
        fallback=fields.get_base_affine(),
        name=name,
        limits=limits,
    )


def _qform_of(fields: nib.Nifti1Header) -> Affine:
    try:
        qform: Affine = fields.get_qform()
    except ValueError:  # a quaternion longer than 1
        qform = np.full((4, 4), np.nan)
    return qform


def _fresh_header(forms: SpatialForms, shape: tuple[int, ...], dtype: np.dtype[Any]) -> nib.Nifti1Header:
    header = nib.Nifti2Header() if forms.version == 2 else nib.Nifti1Header()
    header.set_data_shape(shape)
    header.set_data_dtype(dtype.newbyteorder("="))
    header.set_xyzt_units("mm")
    header["pixdim"][:4] = forms.pixdim
    header["qform_code"], header["sform_code"] = forms.qform_code, forms.sform_code
    for key, value in zip(
        ("quatern_b", "quatern_c", "quatern_d", "qoffset_x", "qoffset_y", "qoffset_z"), forms.quatern, strict=True
    ):
        header[key] = value
    for row, key in enumerate(("srow_x", "srow_y", "srow_z")):
        header[key] = forms.srow[4 * row : 4 * row + 4]
    return header


def _forms_of(affine: Affine, shape: tuple[int, ...]) -> SpatialForms:
    """Both forms from an affine; no qform for a sheared grid, which it cannot express."""
    header = nib.Nifti1Header()
    header.set_data_shape(shape)
    header.set_sform(affine, code=_SCANNER)
    header["pixdim"][1:4] = spacing_of(affine)
    if shear_of(affine) <= _RIGHT_ANGLES:
        header.set_qform(affine, code=_SCANNER)
    return SpatialForms(
        version=1,
        pixdim=tuple(header["pixdim"][:4].tolist()),
        qform_code=int(header["qform_code"]),
        quatern=tuple(float(header[f"quatern_{axis}"]) for axis in "bcd")
        + tuple(float(header[f"qoffset_{axis}"]) for axis in "xyz"),
        sform_code=_SCANNER,
        srow=tuple(float(value) for axis in "xyz" for value in header[f"srow_{axis}"]),
    )


def _write(path: Path, data: NDArray[Any], *, like: Volume | Grid, descrip: str) -> None:
    """Same input, same bytes: no time and no name in the gzip header."""
    if not descrip.isascii() or len(descrip) > 79:
        raise ValueError(f"descrip must be at most 79 ASCII characters, got {descrip!r}")
    header = _fresh_header(like.forms or _forms_of(like.affine, data.shape), data.shape, data.dtype)
    header["descrip"] = descrip.encode("ascii")
    header["scl_slope"], header["scl_inter"] = 1, 0
    header["vox_offset"] = header.single_vox_offset
    header["magic"] = header.single_magic
    content = header.binaryblock + bytes(header.single_vox_offset - len(header.binaryblock)) + data.tobytes(order="F")
    with path.open("wb") as raw:
        if path.name.endswith(".gz"):
            with gzip.GzipFile(filename="", mode="wb", fileobj=raw, mtime=0, compresslevel=6) as stream:
                stream.write(content)
        else:
            raw.write(content)
