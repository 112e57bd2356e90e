"""The intensity scale that networks are trained and run on."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def rescale(image_XYZ: NDArray[np.float32]) -> NDArray[np.float32]:
    """Map intensities to [0, 1]: from the minimum to the 99.5th percentile of what is above it.

    The percentile is taken over at most 100 000 evenly spaced voxels.
    """
    low = image_XYZ.min()
    values = image_XYZ[image_XYZ > low]
    high = np.quantile(values[:: max(1, values.size // 50_000)], 0.995) if values.size else low + 1
    scaled: NDArray[np.float32] = np.clip((image_XYZ - low) / max(float(high - low), 1e-6), 0, 1)
    return scaled
