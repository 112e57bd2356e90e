"""What an image is inside the package: voxels, where they lie in the world, and what the gate noticed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vp_engine.volumes.geometry import axcodes_of, spacing_of


@dataclass(frozen=True, slots=True)
class SpatialForms:
    """The spatial fields of a NIfTI header as they stood in the file, so that masks can be written with the same ones.

    Attributes
    ----------
    version : int
        1 or 2, the NIfTI version whose number precision the fields have.
    pixdim : tuple of float, length 4
        ``qfac`` and the three zooms in mm.
    qform_code, sform_code : int
        0 when the form is absent.
    quatern : tuple of float, length 6
        ``quatern_b, quatern_c, quatern_d, qoffset_x, qoffset_y, qoffset_z``.
    srow : tuple of float, length 12
        The three rows of the sform.
    """

    version: int
    pixdim: tuple[float, ...]
    qform_code: int
    quatern: tuple[float, ...]
    sform_code: int
    srow: tuple[float, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Grid:
    """Where the voxels of an image lie, without the voxels.

    Attributes
    ----------
    shape : tuple of int, length 3
        Voxels along each axis.
    affine : np.ndarray, shape (4, 4), float64
        Voxel index to world, RAS+ mm.
    forms : SpatialForms, optional
        As in `Volume`.
    """

    shape: tuple[int, int, int]
    affine: NDArray[np.float64]
    forms: SpatialForms | None = None

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Distance between neighbouring voxels along each axis, in mm."""
        x, y, z = spacing_of(self.affine)
        return float(x), float(y), float(z)


@dataclass(frozen=True, slots=True, eq=False)
class Volume:
    """An image or a label map on its native grid.

    Attributes
    ----------
    data : np.ndarray, shape (X, Y, Z)
        float32 for images, integer for labels, in the axis order of the file.
    affine : np.ndarray, shape (4, 4), float64
        Voxel index to world, RAS+ mm.
    flags : tuple of str
        What the gate repaired (``fix_*``) or noticed (``flag_*``); see :mod:`vp_engine.volumes.codes`.
    lateralised : bool
        False when the file does not say which side is left.
    forms : SpatialForms, optional
        Spatial header fields of the file it was read from; None once the grid has been changed.
    """

    data: NDArray[Any]
    affine: NDArray[np.float64]
    flags: tuple[str, ...] = ()
    lateralised: bool = True
    forms: SpatialForms | None = None

    @property
    def shape(self) -> tuple[int, int, int]:
        """Voxels along each axis."""
        x, y, z = self.data.shape
        return x, y, z

    @property
    def grid(self) -> Grid:
        """Where the voxels lie."""
        return Grid(self.shape, self.affine, self.forms)

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Distance between neighbouring voxels along each axis, in mm."""
        return self.grid.spacing_mm

    @property
    def axcodes(self) -> tuple[str, str, str]:
        """Direction in which each axis runs, such as ``("L", "A", "S")``."""
        return axcodes_of(self.affine)
