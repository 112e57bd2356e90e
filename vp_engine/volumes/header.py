"""Own reading of the 348 or 540 header bytes of a NIfTI file, and every check that needs nothing else.

nibabel would trust the header and allocate what it claims; here a hostile or broken header costs microseconds.

References
----------
NIfTI-1 and NIfTI-2 header files, nifti1.h and nifti2.h of the NIfTI Data Format Working Group.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from vp_engine.errors import InputRefused
from vp_engine.volumes.intake import GateLimits

Version = Literal[1, 2]
ByteOrder = Literal["<", ">"]

HEADER_BYTES: dict[Version, int] = {1: 348, 2: 540}

# field: (numpy format, offset)
_FIELDS: dict[Version, dict[str, tuple[str, int]]] = {
    1: {
        "dim": ("8i2", 40),
        "intent_code": ("i2", 68),
        "datatype": ("i2", 70),
        "pixdim": ("8f4", 76),
        "vox_offset": ("f4", 108),
        "scl_slope": ("f4", 112),
        "scl_inter": ("f4", 116),
        "xyzt_units": ("u1", 123),
        "qform_code": ("i2", 252),
        "sform_code": ("i2", 254),
        "quatern": ("6f4", 256),
        "srow": ("12f4", 280),
        "magic": ("S4", 344),
    },
    2: {
        "magic": ("S8", 4),
        "datatype": ("i2", 12),
        "dim": ("8i8", 16),
        "pixdim": ("8f8", 104),
        "vox_offset": ("i8", 168),
        "scl_slope": ("f8", 176),
        "scl_inter": ("f8", 184),
        "qform_code": ("i4", 344),
        "sform_code": ("i4", 348),
        "quatern": ("6f8", 352),
        "srow": ("12f8", 400),
        "xyzt_units": ("i4", 500),
        "intent_code": ("i4", 504),
    },
}
_MAGIC: dict[Version, bytes] = {1: b"n+1", 2: b"n+2\0\r\n\032\n"}

_DTYPES = {
    2: "u1",
    4: "i2",
    8: "i4",
    16: "f4",
    64: "f8",
    256: "i1",
    512: "u2",
    768: "u4",
    1024: "i8",
    1280: "u8",
}
_CIFTI_INTENTS = range(3000, 3100)  # of NIfTI-2 files; other readers take them for grayordinates, not for images
_FORM_CODES = range(6)
_SPATIAL_UNITS = 0x07
_UNKNOWN_OR_MM = (0, 2)


@dataclass(frozen=True, slots=True)
class NiftiHeader:
    """The header fields that matter, in native numbers.

    Attributes
    ----------
    version : int
        1 or 2.
    byteorder : str
        ``<`` or ``>``.
    shape : tuple of int
        As many axes as the file claims.
    datatype : int
        NIfTI code.
    pixdim : tuple of float, length 4
        ``qfac`` and three zooms.
    vox_offset, slope, inter : float
        Where the data starts in bytes, and its scaling.
    units : int
        ``xyzt_units``.
    qform_code, sform_code : int
    quatern : tuple of float, length 6
    srow : tuple of float, length 12
    """

    version: Version
    byteorder: ByteOrder
    shape: tuple[int, ...]
    datatype: int
    pixdim: tuple[float, ...]
    vox_offset: float
    slope: float
    inter: float
    units: int
    qform_code: int
    sform_code: int
    quatern: tuple[float, ...]
    srow: tuple[float, ...]

    @property
    def dtype(self) -> np.dtype[np.number]:
        """Of the stored numbers; only known once :func:`check_header` has passed."""
        return np.dtype(self.byteorder + _DTYPES[self.datatype])

    @property
    def data_bytes(self) -> int:
        """Bytes of the stored numbers."""
        return math.prod(self.shape) * self.dtype.itemsize


def header_version(first_bytes: bytes, name: str) -> tuple[Version, ByteOrder]:
    """Tell version and byte order from the first four bytes.

    Raises
    ------
    InputRefused
        ``not_nifti``.
    """
    for version, size in HEADER_BYTES.items():
        for byteorder in ("<", ">"):
            if first_bytes[:4] == np.array(size, dtype=byteorder + "i4").tobytes():
                return version, "<" if byteorder == "<" else ">"
    raise InputRefused(
        f"{name}: expected a NIfTI header, got bytes {first_bytes[:4].hex(' ')}; convert the file to NIfTI",
        code="not_nifti",
    )


def parse_header(block: bytes, name: str) -> NiftiHeader:
    """Read the header fields.

    Parameters
    ----------
    block : bytes
        The first 348 (NIfTI-1) or 540 (NIfTI-2) bytes of the file.
    name : str
        What messages call the file.

    Returns
    -------
    NiftiHeader
        Unchecked, apart from what is needed to read it.

    Raises
    ------
    InputRefused
        ``truncated``, ``not_nifti`` or ``bad_header``.
    """
    version, byteorder = header_version(block, name)
    if len(block) < HEADER_BYTES[version]:
        message = f"{name}: expected {HEADER_BYTES[version]} header bytes, got {len(block)}; fetch the file again"
        raise InputRefused(message, code="truncated")
    fields = _FIELDS[version]
    layout = np.dtype(
        {
            "names": list(fields),
            "formats": [_with_byteorder(form, byteorder) for form, _ in fields.values()],
            "offsets": [offset for _, offset in fields.values()],
            "itemsize": HEADER_BYTES[version],
        }
    )
    values = {key: np.frombuffer(block, layout, count=1)[0][key].tolist() for key in fields}
    if values["magic"] != _MAGIC[version]:
        message = f"{name}: expected a single-file NIfTI (magic {_MAGIC[version]!r}), got {values['magic']!r}"
        raise InputRefused(f"{message}; convert header-image pairs and ANALYZE files to .nii.gz", code="not_nifti")
    n_axes = values["dim"][0]
    if not 1 <= n_axes <= 7:
        message = f"{name}: expected 1 to 7 dimensions, the header says {n_axes}; convert the image again"
        raise InputRefused(message, code="bad_header")
    if version == 2 and values["intent_code"] in _CIFTI_INTENTS:
        message = f"{name}: expected an image, the header says it is a CIFTI file (intent {values['intent_code']})"
        raise InputRefused(f"{message}; give a volume", code="bad_header")
    return NiftiHeader(
        version=version,
        byteorder=byteorder,
        shape=tuple(values["dim"][1 : n_axes + 1]),
        datatype=values["datatype"],
        pixdim=tuple(values["pixdim"][:4]),
        vox_offset=float(values["vox_offset"]),
        slope=values["scl_slope"],
        inter=values["scl_inter"],
        units=values["xyzt_units"],
        qform_code=values["qform_code"],
        sform_code=values["sform_code"],
        quatern=tuple(values["quatern"]),
        srow=tuple(values["srow"]),
    )


def check_header(header: NiftiHeader, name: str, limits: GateLimits) -> tuple[NiftiHeader, tuple[str, ...]]:
    """Check shape, size, data type, scaling and voxel sizes, and repair what the standard lets us repair.

    Parameters
    ----------
    header : NiftiHeader
        As the file has it.
    name : str
        What messages call the file.
    limits : GateLimits

    Returns
    -------
    NiftiHeader
        With three axes, positive zooms and a finite scaling.
    tuple of str
        Flags.

    Raises
    ------
    InputRefused
        With one of the codes of :data:`vp_engine.volumes.codes.REFUSALS`.
    """
    flags = ["fix_big_endian"] if header.byteorder == ">" else []
    shape, shape_flags = _three_axes(header.shape, name)
    header = replace(header, shape=shape)
    _check_size(header, name, limits)
    slope, inter, scaling_flags = _scaling(header, name)
    pixdim, zoom_flags = _positive_zooms(header, name, limits)
    if header.units & _SPATIAL_UNITS not in _UNKNOWN_OR_MM:
        flags.append("flag_units")
    qform_code, sform_code = (code if code in _FORM_CODES else 0 for code in (header.qform_code, header.sform_code))
    if (qform_code, sform_code) != (header.qform_code, header.sform_code):
        flags.append("fix_form_code")
    fixed = replace(header, slope=slope, inter=inter, pixdim=pixdim, qform_code=qform_code, sform_code=sform_code)
    return fixed, (*flags, *shape_flags, *scaling_flags, *zoom_flags)


def _with_byteorder(form: str, byteorder: ByteOrder) -> str:
    kind = form.lstrip("0123456789")
    return f"{form[: len(form) - len(kind)]}{byteorder}{kind}"


def _three_axes(shape: tuple[int, ...], name: str) -> tuple[tuple[int, int, int], tuple[str, ...]]:
    got = f"{name}: expected a 3-D image, got shape {shape}"
    if len(shape) < 3 or min(shape) < 1 or min(shape[:3]) < 2:
        raise InputRefused(f"{got}; give a volume with at least 2 voxels along each of 3 axes", code="not_3d")
    if any(length > 1 for length in shape[4:]):
        raise InputRefused(f"{got}; give a single 3-D volume", code="not_3d")
    if len(shape) > 3 and shape[3] > 1:
        raise InputRefused(f"{got}; extract or average the frames first", code="several_frames")
    return (shape[0], shape[1], shape[2]), ("fix_single_frame",) if len(shape) > 3 else ()


def _check_size(header: NiftiHeader, name: str, limits: GateLimits) -> None:
    voxels = math.prod(header.shape)
    if voxels > limits.max_voxels:
        message = f"{name}: expected at most {limits.max_voxels} voxels, the header claims {header.shape}"
        raise InputRefused(f"{message}; crop or resample the image", code="too_large")
    if header.datatype not in _DTYPES:
        message = f"{name}: expected real numbers, got NIfTI data type {header.datatype}"
        raise InputRefused(f"{message} (RGB, complex or unknown); convert to float32", code="bad_dtype")
    if header.data_bytes > limits.max_bytes:
        message = f"{name}: expected at most {limits.max_bytes} bytes of data, the header claims {header.data_bytes}"
        raise InputRefused(f"{message}; crop the image or convert it to float32", code="too_large")
    first = HEADER_BYTES[header.version] + 4
    if not (first <= header.vox_offset <= first + limits.max_extra_bytes and header.vox_offset.is_integer()):
        message = f"{name}: expected the data to start {first} to {first + limits.max_extra_bytes} bytes into the file"
        message = f"{message}, the header says {header.vox_offset}; convert the image again from its source"
        raise InputRefused(message, code="bad_header")


def _scaling(header: NiftiHeader, name: str) -> tuple[float, float, tuple[str, ...]]:
    if math.isnan(header.slope) or header.slope == 0:
        return 1.0, 0.0, ("fix_scl_slope",)
    if not (math.isfinite(header.slope) and math.isfinite(header.inter)):
        message = f"{name}: expected finite scaling, got slope {header.slope} and intercept {header.inter}"
        raise InputRefused(f"{message}; convert the image again from its source", code="bad_scaling")
    return header.slope, header.inter, ()


def _positive_zooms(header: NiftiHeader, name: str, limits: GateLimits) -> tuple[tuple[float, ...], tuple[str, ...]]:
    qfac, *zooms = header.pixdim
    if not all(math.isfinite(zoom) and zoom != 0 for zoom in zooms):
        message = f"{name}: expected three voxel sizes in mm, got {zooms}; convert the image again from its source"
        raise InputRefused(message, code="bad_zooms")
    sizes = [abs(zoom) for zoom in zooms]
    low, high = limits.spacing_mm
    if not all(low <= size <= high for size in sizes):
        message = f"{name}: expected voxel sizes of {low} to {high} mm, got {zooms}"
        raise InputRefused(f"{message}; correct the units of the header", code="bad_spacing")
    handedness = -1.0 if qfac == -1 else 1.0  # readers take every other value as 1
    return (handedness, *sizes), ("fix_negative_zooms",) if min(zooms) < 0 else ()
