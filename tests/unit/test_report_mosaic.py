"""Mosaics: outlines where the delineation is, true proportions, equal bytes."""

from __future__ import annotations

import io
from pathlib import Path

import matplotlib.image
import numpy as np
import pytest

from vp_engine.report.mosaic import SLICES, TILE, mosaic_png

SHARED = Path(__file__).resolve().parents[2].parent / "shared" / "data"


def picture_of(image: np.ndarray, labels: np.ndarray, spacing_mm: tuple[float, float, float]) -> np.ndarray:
    png = mosaic_png(image, labels, spacing_mm=spacing_mm)
    return np.round(255 * matplotlib.image.imread(io.BytesIO(png))[..., :3]).astype(int)


def ball(shape: tuple[int, int, int], spacing: tuple[float, float, float], radius: float) -> np.ndarray:
    grid = np.stack(np.meshgrid(*(np.arange(n) - (n - 1) / 2 for n in shape), indexing="ij"), axis=-1) * spacing
    distance: np.ndarray = np.linalg.norm(grid, axis=-1)
    return distance < radius


def coloured(picture: np.ndarray) -> np.ndarray:
    saturated: np.ndarray = np.ptp(picture, axis=-1) > 20
    return saturated


def test_size_and_determinism() -> None:
    image = ball((40, 50, 30), (1, 1, 1), 14).astype(np.float32)
    labels = ball((40, 50, 30), (1, 1, 1), 7).astype(np.uint8)
    picture = picture_of(image, labels, (1.0, 1.0, 1.0))
    assert picture.shape == (3 * TILE + 4, SLICES * TILE + 8, 3)
    assert mosaic_png(image, labels, spacing_mm=(1, 1, 1)) == mosaic_png(image, labels, spacing_mm=(1, 1, 1))


def test_a_ball_is_round_on_thick_slices() -> None:
    spacing = (0.5, 0.5, 5.0)
    shape = (200, 200, 20)
    picture = picture_of(ball(shape, spacing, 45).astype(np.float32), ball(shape, spacing, 30).astype(int), spacing)
    coronal = coloured(picture[TILE + 2 : 2 * TILE + 2, 2 * (TILE + 2) : 3 * TILE + 4])
    rows, columns = np.flatnonzero(coronal.any(axis=1)), np.flatnonzero(coronal.any(axis=0))
    assert np.ptp(rows) == pytest.approx(np.ptp(columns), abs=12)


def test_left_of_the_participant_is_left_and_the_nose_is_up() -> None:
    image = np.ones((20, 20, 20), dtype=np.float32)
    labels = np.zeros((20, 20, 20), dtype=np.int16)
    labels[2:6, 13:18, 8:12] = 5  # low x is left, high y is front in RAS+
    tile = coloured(picture_of(image, labels, (1.0, 1.0, 1.0))[:TILE, 2 * (TILE + 2) : 3 * TILE + 4])
    rows, columns = np.nonzero(tile)
    assert columns.max() < TILE / 2
    assert rows.max() < TILE / 2


def test_only_the_rim_is_coloured() -> None:
    image = np.ones((30, 30, 30), dtype=np.float32)
    labels = np.zeros((30, 30, 30), dtype=np.uint8)
    labels[5:25, 5:25, 5:25] = 1
    tile = coloured(picture_of(image, labels, (1.0, 1.0, 1.0))[:TILE, :TILE])
    assert 0 < tile.mean() < 0.1
    assert not tile[TILE // 2, TILE // 2]


@pytest.mark.parametrize("fill", [0.0, np.nan, 7.0])
def test_images_without_contrast_do_not_fail(fill: float) -> None:
    empty = np.zeros((8, 9, 10), dtype=np.uint8)
    picture = picture_of(np.full((8, 9, 10), fill, dtype=np.float32), empty, (1.0, 1.0, 1.0))
    assert not coloured(picture).any()


def test_arrays_that_do_not_fit_are_refused() -> None:
    image = np.zeros((4, 4, 4), dtype=np.float32)
    with pytest.raises(ValueError, match="one 3-D shape"):
        mosaic_png(image, np.zeros((4, 4, 5), dtype=int), spacing_mm=(1, 1, 1))
    with pytest.raises(ValueError, match="above 0 mm"):
        mosaic_png(image, np.zeros((4, 4, 4), dtype=int), spacing_mm=(1, 0, 1))


def test_a_real_scan() -> None:
    if not (SHARED / "anatomy").is_dir():
        pytest.skip("the shared data are not on this machine")
    from vp_engine.volumes.geometry import to_canonical
    from vp_engine.volumes.nifti import read_image, read_labels

    scan, _ = to_canonical(read_image(SHARED / "anatomy" / "stripped_T1w.nii.gz"))
    labels, _ = to_canonical(read_labels(SHARED / "anatomy" / "stripped_T1w_aseg.nii.gz"))
    hippocampi = np.where(np.isin(labels.data, (17, 53)), labels.data, 0)
    picture = picture_of(scan.data, hippocampi, (1.0, 1.0, 1.0))
    assert 200 < coloured(picture).sum() < 20_000
