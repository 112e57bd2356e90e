"""The intensity scale that networks are trained and run on."""

from __future__ import annotations

from typing import Any, TypeVar

Image = TypeVar("Image", bound=Any)
"""An array or a tensor of float32."""


def rescale(image_XYZ: Image) -> Image:
    """Map intensities to [0, 1]: from the minimum to the 99.5th percentile of what is above it.

    Parameters
    ----------
    image_XYZ : numpy.ndarray or torch.Tensor of float32, shape (X, Y, Z)

    Returns
    -------
    numpy.ndarray or torch.Tensor
        What was given, scaled, on the same device. The percentile is taken over at most 100 000 evenly spaced voxels.
    """
    low = image_XYZ.min()
    values = image_XYZ[image_XYZ > low]
    if not len(values):
        return image_XYZ - low  # type: ignore[no-any-return]  # any array type
    values = values[:: max(1, len(values) // 50_000)]
    ordered = values[values.argsort()]
    whole, part = divmod(0.995 * (len(ordered) - 1), 1)
    below, above = ordered[int(whole)], ordered[min(int(whole) + 1, len(ordered) - 1)]
    high = below + (above - below) * part
    return ((image_XYZ - low) / max(float(high - low), 1e-6)).clip(0, 1)  # type: ignore[no-any-return]
