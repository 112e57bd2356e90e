"""Mosaics and thumbnails: outlines where the delineation is, true proportions, sides marked, equal bytes."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import matplotlib.image
import numpy as np
import pytest
from PIL import Image

from vp_engine.report.mosaic import SLICES, mosaic_png
from vp_engine.report.mosaic import TILE as LARGE
from vp_engine.report.slices import Layer, best_slices, draw_slice
from vp_engine.report.thumbnails import MAX_BYTES, TILE, thumbnail_webp

SHARED = Path(__file__).resolve().parents[2].parent / "shared" / "data"
Draw = Callable[..., bytes]


def layers_of(labels: np.ndarray) -> list[Layer]:
    return [(labels, {int(label): n for n, label in enumerate(np.unique(labels[labels > 0]))})]


def picture_of(image: np.ndarray, labels: np.ndarray, spacing_mm: tuple[float, float, float]) -> np.ndarray:
    png = mosaic_png(image, layers_of(labels), spacing_mm=spacing_mm)
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
    assert picture.shape == (3 * LARGE + 4, SLICES * LARGE + 8, 3)
    for draw in (mosaic_png, thumbnail_webp):
        first = draw(image, layers_of(labels), spacing_mm=(1, 1, 1))
        assert first == draw(image, layers_of(labels), spacing_mm=(1, 1, 1))


def test_a_ball_is_round_on_thick_slices() -> None:
    spacing = (0.5, 0.5, 5.0)
    shape = (200, 200, 20)
    picture = picture_of(ball(shape, spacing, 45).astype(np.float32), ball(shape, spacing, 30).astype(int), spacing)
    coronal = coloured(picture[LARGE + 2 : 2 * LARGE + 2, 2 * (LARGE + 2) : 3 * LARGE + 4])
    rows, columns = np.flatnonzero(coronal.any(axis=1)), np.flatnonzero(coronal.any(axis=0))
    assert np.ptp(rows) == pytest.approx(np.ptp(columns), abs=12)


@pytest.mark.parametrize(
    ("axis", "low", "letters"),
    [(2, (0, 1), "LR"), (1, (0, 2), "LR"), (0, (1, 2), "PA")],
)
def test_what_is_low_is_left_and_below_and_the_letters_say_so(axis: int, low: tuple[int, int], letters: str) -> None:
    """Neurological convention: RAS+ arrays, so low x is the left of the participant, low y its back."""
    grey = np.zeros((20, 20, 20), dtype=np.uint8)
    labels = np.zeros((20, 20, 20), dtype=np.int16)
    place: list[slice] = [slice(8, 12)] * 3
    for part in low:
        place[part] = slice(2, 6)
    labels[tuple(place)] = 5
    tile = draw_slice(grey, [(labels, {5: 0})], axis=axis, position=10, spacing_mm=(1.0, 1.0, 1.0), tile=100)
    rows, columns = np.nonzero(coloured(tile))
    assert columns.max() < 50
    assert rows.min() > 50
    found = [tile[46:54, start:stop, 0].max() for start, stop in ((0, 10), (90, 100))]
    assert found == [255, 255], letters
    shapes = {"L": [1, 1, 1, 1, 4], "R": [3, 2, 3, 2, 2], "P": [3, 2, 3, 1, 1], "A": [2, 2, 4, 2, 2]}
    for letter, part in zip(letters, (tile[:, :10], tile[:, 90:]), strict=True):
        white = (part == 255).all(axis=-1)
        assert [int(line.sum()) for line in white if line.any()] == shapes[letter]


def test_only_the_rim_is_coloured_also_where_structures_touch() -> None:
    image = np.ones((30, 30, 30), dtype=np.float32)
    labels = np.zeros((30, 30, 30), dtype=np.uint8)
    labels[5:25, 5:25, 5:25] = 1
    tile = coloured(picture_of(image, labels, (1.0, 1.0, 1.0))[:LARGE, :LARGE])
    assert 0 < tile.mean() < 0.1
    assert not tile[LARGE // 2, LARGE // 2]


def test_slices_are_where_small_structures_are_seen_as_well_as_large_ones() -> None:
    labels = np.zeros((60, 60, 60), dtype=np.uint8)
    labels[0:58, 0:58, 0:30] = 1  # large and everywhere: a part of it in each slice
    labels[40:42, 20:22, 10:12] = 2
    assert best_slices([(labels, {1: 0, 2: 1})], labels.shape) == (40, 20, 10)
    assert best_slices([], labels.shape) == (30, 30, 30)


def test_thumbnails_are_small_files_of_three_planes() -> None:
    rng = np.random.default_rng(0)
    head = ball((80, 90, 70), (1, 1, 1), 34)
    labels = ball((80, 90, 70), (1, 1, 1), 9).astype(np.uint8)
    for noise in (5.0, 80.0):  # the second one is nothing but noise, which cannot be pressed well
        image = np.where(head, 100 + rng.normal(0, noise, head.shape), 0).astype(np.float32)
        content = thumbnail_webp(image, layers_of(labels), spacing_mm=(1.0, 1.0, 1.0))
        assert len(content) <= MAX_BYTES
        picture = Image.open(io.BytesIO(content))
        assert (picture.format, picture.size) == ("WEBP", (3 * TILE + 4, TILE))
        pixels = np.asarray(picture.convert("RGB")).astype(int)
        thirds = [coloured(pixels[:, n * (TILE + 2) : n * (TILE + 2) + TILE]).any() for n in range(3)]
        assert thirds == [True] * 3


@pytest.mark.parametrize("draw", [mosaic_png, thumbnail_webp])
@pytest.mark.parametrize("fill", [0.0, np.nan, 7.0])
def test_images_without_contrast_do_not_fail(fill: float, draw: Draw) -> None:
    empty = np.zeros((8, 9, 10), dtype=np.uint8)
    content = draw(np.full((8, 9, 10), fill, dtype=np.float32), [(empty, {1: 0})], spacing_mm=(1.0, 1.0, 1.0))
    assert not coloured(np.asarray(Image.open(io.BytesIO(content)).convert("RGB")).astype(int)).any()


@pytest.mark.parametrize("draw", [mosaic_png, thumbnail_webp])
def test_arrays_that_do_not_fit_are_refused(draw: Draw) -> None:
    image = np.zeros((4, 4, 4), dtype=np.float32)
    with pytest.raises(ValueError, match="one 3-D shape"):
        draw(image, [(np.zeros((4, 4, 5), dtype=int), {1: 0})], spacing_mm=(1, 1, 1))
    with pytest.raises(ValueError, match="above 0 mm"):
        draw(image, [(np.zeros((4, 4, 4), dtype=int), {1: 0})], spacing_mm=(1, 0, 1))


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
    assert len(thumbnail_webp(scan.data, layers_of(hippocampi), spacing_mm=(1.0, 1.0, 1.0))) <= MAX_BYTES
