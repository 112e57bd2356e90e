"""Every outcome the intake gate can have, with its one-line meaning; the documentation prints these."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

REFUSALS: Mapping[str, str] = MappingProxyType(
    {
        "outside_dataset": "the path, or what it links to, lies outside the dataset folder",
        "not_a_file": "missing, a directory, a FIFO, a device or a link to nowhere",
        "unreadable": "the file or its folder may not be read by this user",
        "annex_pointer": "the content was not fetched by git-annex; the message holds the `datalad get` line",
        "empty_file": "zero bytes",
        "not_gzip": "named .nii.gz but not gzip, such as a saved web page",
        "not_nifti": "neither NIfTI-1 nor NIfTI-2 in a single file",
        "truncated": "the file ends before the data, or before the gzip trailer",
        "bad_crc": "the gzip stream is damaged or its checksum is wrong",
        "trailing_data": "much more data than the header announces",
        "bad_header": "a header field that cannot be (number of dimensions, data offset), or that of a CIFTI file",
        "not_3d": "fewer than 3 dimensions, more than 4, a single slice or an empty axis",
        "several_frames": "a time series or another 4-D image",
        "too_large": "more voxels or more bytes than the limits allow",
        "bad_dtype": "RGB, complex, bit or unknown data type",
        "bad_scaling": "scl_slope is infinite, or scl_inter is not finite",
        "non_finite": "0.1 % of the voxels or more are NaN or infinite",
        "value_range": "absolute values above 1e9",
        "constant": "every voxel has the same value",
        "not_labels": "a label image with values that are not integers from 0 to 2147483647",
        "bad_zooms": "a voxel size of zero, NaN or infinity",
        "bad_spacing": "a voxel size that no brain scan in mm has",
        "bad_affine": "no form with a finite, invertible affine",
        "sheared": "array axes are not at right angles (cosine above 0.01)",
        "zooms_mismatch": "the voxel sizes of the header and of the affine differ by more than 1 %",
        "form_mismatch": "sform and qform differ by more than 5 degrees or 5 mm",
        "not_a_transform": "the file of a registration holds no affine transform in three dimensions",
    }
)
"""Code of :class:`~vp_engine.errors.InputRefused` to meaning."""

FIXES: Mapping[str, str] = MappingProxyType(
    {
        "fix_gzip_name": "gzip content under a name without .gz was read",
        "fix_big_endian": "big-endian numbers were converted",
        "fix_single_frame": "axes of length 1 after the third were dropped",
        "fix_scl_slope": "scl_slope NaN or 0 was read as no scaling, as the standard says",
        "fix_negative_zooms": "negative voxel sizes were taken as positive",
        "fix_form_code": "a form with a code that NIfTI does not have was ignored",
        "fix_bad_sform": "an invalid sform was ignored in favour of the qform",
        "fix_bad_qform": "an invalid qform was ignored in favour of the sform",
        "fix_non_finite": "NaN or infinite voxels were set to 0; their number follows a colon",
    }
)
"""Repairs, listed in ``Volume.flags``."""

NOTICES: Mapping[str, str] = MappingProxyType(
    {
        "flag_no_orientation": "neither sform nor qform: left and right are unknown, lateralised measures are refused",
        "flag_form_mismatch": "sform and qform differ by more than 5 degrees or 5 mm; sform used as configured",
        "flag_thick_slices": "the largest voxel size is more than twice the smallest",
        "flag_units": "the header does not give its lengths in mm; they were taken as mm",
    }
)
"""Observations, listed in ``Volume.flags``."""
