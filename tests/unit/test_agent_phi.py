"""Conditioning vectors of structures."""

from __future__ import annotations

import numpy as np
import pytest

from vp_engine.agent.phi import agreement, nearest_structure, structure_phi
from vp_engine.anatomy import PARTS, STRUCTURES
from vp_engine.vision.codes import structure_codes


def test_a_part_has_its_own_code() -> None:
    np.testing.assert_allclose(structure_phi(PARTS[3]), structure_codes(len(PARTS))[3], rtol=1e-6)


def test_a_union_points_to_the_mean_of_its_parts() -> None:
    codes = structure_codes(len(PARTS))
    rows = [PARTS.index(part) for part in STRUCTURES["ventricles"].parts]
    phi = structure_phi("ventricles")
    assert phi is not None
    mean = codes[rows].mean(0)
    assert phi @ mean / np.linalg.norm(phi) / np.linalg.norm(mean) == pytest.approx(1.0)


def test_every_structure_has_a_code() -> None:
    assert all(structure_phi(name) is not None for name in STRUCTURES)


@pytest.mark.parametrize("name", [*PARTS, "hippocampus", "brain"])
def test_the_nearest_structure_to_a_code_is_its_own(name: str) -> None:
    phi = structure_phi(name)
    assert phi is not None
    nearest, cosine = nearest_structure(phi * 2.0)
    assert STRUCTURES[nearest].parts == STRUCTURES[name].parts
    assert cosine == pytest.approx(1.0)
    assert agreement(phi, name) == pytest.approx(1.0)


def test_another_structure_does_not_agree() -> None:
    phi = structure_phi("left_hippocampus")
    assert phi is not None
    assert agreement(phi, "right_hippocampus") < 0.9
