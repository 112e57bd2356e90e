"""NIfTI files in and out: the only place that imports nibabel.

Reading goes through the intake gate, cheap checks first: path, magic, header, geometry, and only then the data, to the
end of the file. Writing starts from a fresh header, so that nothing but the geometry of an input reaches a derivative.
"""

# nibabel is published with annotations for some of its functions only
# mypy: untyped-calls-exclude=nibabel

from __future__ import annotations

import gzip
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import nibabel as nib
import numpy as np
from nibabel.volumeutils import apply_read_scaling
from numpy.typing import NDArray

from vp_engine.errors import InputRefused
from vp_engine.volumes.forms import Affine, Placement, place
from vp_engine.volumes.geometry import shear_of, spacing_of
from vp_engine.volumes.header import HEADER_BYTES, NiftiHeader, check_header, header_version, parse_header
from vp_engine.volumes.intake import GateLimits, check_path, name_in_dataset, open_content, read_payload
from vp_engine.volumes.volume import SpatialForms, Volume

_SCANNER = 1  # NIFTI_XFORM_SCANNER_ANAT
_RIGHT_ANGLES = 1e-5
_LABEL_LIMIT = 2**31


@dataclass(frozen=True, slots=True)
class _Content:
    values: NDArray[Any]  # (X, Y, Z), scaled, native byte order
    placement: Placement
    flags: tuple[str, ...]


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
    limits = limits or GateLimits()
    name = name_in_dataset(path, root)
    content = _read(path, root=root, limits=limits)
    values, value_flags = _finite(content.values, name, limits)
    low, high = float(values.min()), float(values.max())
    if max(-low, high) > limits.max_abs_value:
        message = f"{name}: expected values within ±{limits.max_abs_value:g}, got {low:g} to {high:g}"
        raise InputRefused(f"{message}; convert the image again from its source", code="value_range")
    data = values.astype(np.float32, order="C")
    if data.min() == data.max():
        message = f"{name}: expected an image, every voxel is {low:g}; convert it again from its source"
        raise InputRefused(message, code="constant")
    return _volume(data, content, (*content.flags, *value_flags))


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
    limits = limits or GateLimits()
    name = name_in_dataset(path, root)
    content = _read(path, root=root, limits=limits)
    values, value_flags = _finite(content.values, name, limits)
    whole = not np.issubdtype(values.dtype, np.floating) or bool((values == np.rint(values)).all())
    if not whole or values.min() < 0 or values.max() >= _LABEL_LIMIT:
        message = f"{name}: expected whole numbers from 0 to {_LABEL_LIMIT - 1}, got others; give a label map"
        raise InputRefused(message, code="not_labels")
    return _volume(values.astype(np.int32, order="C"), content, (*content.flags, *value_flags))


def write_labels(path: Path, labels: NDArray[np.integer], *, like: Volume, descrip: str = "") -> None:
    """Write a label map in the geometry of an image, with identical shape, affine, sform and qform.

    Parameters
    ----------
    path : Path
        ``.nii.gz`` or ``.nii``.
    labels : np.ndarray, shape (X, Y, Z), integer
        0 to 65535, on the grid of `like`; stored as uint8 when they fit.
    like : Volume
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


def _read(path: Path, *, root: Path | None, limits: GateLimits) -> _Content:
    name = name_in_dataset(path, root)
    check_path(path, root=root)
    with open_content(path, name) as (stream, open_flags):
        first = _read_exactly(stream, 4)
        version, _ = header_version(first, name)
        block = first + _read_exactly(stream, HEADER_BYTES[version] - len(first))
        header, header_flags = check_header(parse_header(block, name), name, limits)
        placement = _place(header, name, limits)
        _read_exactly(stream, int(header.vox_offset) - HEADER_BYTES[version])
        payload = read_payload(
            stream,
            header.data_bytes,
            file_bytes=path.stat().st_size,
            max_extra_bytes=limits.max_extra_bytes,
            name=name,
        )
    stored = np.frombuffer(payload, header.dtype).reshape(header.shape, order="F")
    values = apply_read_scaling(stored, header.slope, header.inter)
    native = values.astype(values.dtype.newbyteorder("="), copy=False)
    return _Content(native, placement, (*open_flags, *header_flags, *placement.flags))


def _read_exactly(stream: BinaryIO, n_bytes: int) -> bytes:
    """Up to `n_bytes` even when the stream hands them over in pieces; fewer only at its end."""
    pieces = b""
    while len(pieces) < n_bytes and (piece := stream.read(n_bytes - len(pieces))):
        pieces += piece
    return pieces


def _finite(values: NDArray[Any], name: str, limits: GateLimits) -> tuple[NDArray[Any], tuple[str, ...]]:
    """Values with the few NaN and infinite voxels set to 0."""
    if not np.issubdtype(values.dtype, np.floating):
        return values, ()
    broken = ~np.isfinite(values)
    count = int(np.count_nonzero(broken))
    if count == 0:
        return values, ()
    if count >= limits.max_nonfinite * values.size:
        message = f"{name}: expected finite voxels, {count} of {values.size} are NaN or infinite"
        raise InputRefused(f"{message}; convert the image again from its source", code="non_finite")
    return np.where(broken, values.dtype.type(0), values), (f"fix_non_finite:{count}",)


def _volume(data: NDArray[Any], content: _Content, flags: tuple[str, ...]) -> Volume:
    placement = content.placement
    return Volume(data, placement.affine, flags=flags, lateralised=placement.lateralised, forms=placement.forms)


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


def _write(path: Path, data: NDArray[Any], *, like: Volume, descrip: str) -> None:
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
