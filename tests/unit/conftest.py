"""Fixtures that several unit tests share."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from vp_engine.training.sources import HELD_OUT_MAPS


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """Two heads of three tissues in the layout of the real archive, one of them held out."""
    n = np.arange(90) - 44.5
    radius = np.sqrt(n[:, None, None] ** 2 + n[None, :, None] ** 2 + n[None, None, :] ** 2)
    right = np.broadcast_to(n[None, None, :] < 0, radius.shape)  # stored k, j, i with i running to the left
    index = np.select([radius < 30, radius < 35], [np.where(right, 2, 1), 3], 0).astype(np.uint8)
    lia = np.array([[-1, 0, 0, 45], [0, 0, 1, -45], [0, -1, 0, 45], [0, 0, 0, 1]], float)
    names = ("01", HELD_OUT_MAPS[0])
    arrays = {f"map_{name}": index for name in names} | {f"affine_{name}": lia for name in names}
    np.savez(tmp_path / "maps.npz", label_values=np.array([0, 2, 41, 24]), **arrays)
    return tmp_path / "maps.npz"
