"""Masks carried over to other grids of a session: what a whole resampling gives, from a box alone."""

from __future__ import annotations

import numpy as np
import pytest

from tests.unit.test_measure import GRIDS, ROTATION
from vp_engine.environment.grids import on_grid, same_grid
from vp_engine.environment.misuse import Misuse
from vp_engine.environment.values import Image, Mask, SessionInfo
from vp_engine.volumes.resampling import resample

SESSION = SessionInfo(None, None, ("T1w", "FLAIR"))


def image(affine: np.ndarray, shape: tuple[int, int, int], session: SessionInfo = SESSION) -> Image:
    moved = np.array(affine, dtype=float)
    # a different place for every shape, so that no centre of one grid is as near to two voxels of the other
    moved[:3, 3] = -moved[:3, :3] @ (np.array(shape) - 1) / 2 + np.sqrt(shape) / 3
    return Image(session, "T1w", np.zeros(shape, np.float32), moved)


@pytest.mark.parametrize("target", GRIDS.values(), ids=GRIDS)
@pytest.mark.parametrize("seed", range(3))
def test_a_carried_mask_is_that_of_a_whole_resampling(target: np.ndarray, seed: int) -> None:
    rng = np.random.default_rng(seed)
    source = image(np.block([[ROTATION * 1.7137, np.zeros((3, 1))], [np.zeros((1, 3)), 1.0]]), (14, 12, 10))
    to = image(target, (22, 20, 18))
    data = np.zeros(source.data.shape, bool)
    low = rng.integers(0, 7, 3)
    data[tuple(slice(a, a + n) for a, n in zip(low, rng.integers(1, 5, 3), strict=True))] = True
    data &= rng.random(data.shape) < 0.8
    found, flags = on_grid(Mask(source, "lesion", data), to)
    whole = resample(
        data.astype(np.uint8),
        source.affine,
        shape=to.data.shape,
        target_affine=to.affine,
        order=0,  # type: ignore[arg-type]
    )
    assert flags == ("mask_resampled",)
    assert np.array_equal(found, whole > 0)


def test_a_mask_at_the_border_or_beyond_the_other_image_is_carried_as_far_as_that_goes() -> None:
    source, to = image(np.eye(4), (20, 20, 20)), image(np.diag([0.5, 0.5, 0.5, 1.0]), (10, 10, 10))
    everything = Mask(source, "brain", np.ones(source.data.shape, bool))
    assert on_grid(everything, to)[0].all()
    corner = np.zeros(source.data.shape, bool)
    corner[:3, :3, :3] = True
    assert not on_grid(Mask(source, "brain", corner), to)[0].any()
    assert not on_grid(Mask(source, "brain", np.zeros_like(corner)), to)[0].any()


def test_one_grid_needs_no_carrying_and_two_sessions_have_none() -> None:
    source = image(np.eye(4), (5, 5, 5))
    mask = Mask(source, "brain", np.ones((5, 5, 5), bool))
    assert on_grid(mask, image(np.eye(4), (5, 5, 5))) == (mask.data, ())
    assert not same_grid(source, image(np.eye(4), (5, 5, 6)))
    with pytest.raises(Misuse):
        on_grid(mask, image(np.eye(4), (5, 5, 5), SessionInfo("02", None, ("T1w",))))
