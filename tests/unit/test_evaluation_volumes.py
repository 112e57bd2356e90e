"""Agreement of volumes, against a published example and cases with a known answer."""

from __future__ import annotations

import numpy as np
import pytest

from vp_engine.evaluation.volumes import intraclass_correlation, volume_agreement


def test_published_example_of_four_judges() -> None:
    ratings = [[9, 2, 5, 8], [6, 1, 3, 2], [8, 4, 6, 8], [7, 1, 2, 6], [10, 5, 6, 9], [6, 2, 4, 7]]
    assert intraclass_correlation(ratings) == pytest.approx(0.29, abs=0.005)


def test_a_bias_lowers_the_agreement_but_not_the_correlation() -> None:
    truth = np.array([1200.0, 1400.0, 1500.0, 1700.0])
    same = volume_agreement(list(truth), list(truth))
    assert (same.bias_percent, same.worst_percent) == (0, 0)
    assert same.icc == pytest.approx(1)
    larger = volume_agreement(list(1.1 * truth), list(truth))
    assert larger.bias_percent == pytest.approx(10)
    assert larger.error_percent == pytest.approx(larger.worst_percent)
    assert larger.pearson == pytest.approx(1)
    assert larger.icc < 0.9


def test_errors_of_both_signs_cancel_in_the_bias_only() -> None:
    found = volume_agreement([110.0, 90.0, 200.0], [100.0, 100.0, 200.0])
    assert found.bias_percent == pytest.approx(0)
    assert found.error_percent == pytest.approx(20 / 3)
    assert found.worst_percent == pytest.approx(10)


@pytest.mark.parametrize("measured", [[1.0, 2.0], [1.0, 2.0, 3.0, 4.0]])
def test_volumes_of_other_heads_are_refused(measured: list[float]) -> None:
    with pytest.raises(ValueError, match="expected two lists"):
        volume_agreement(measured, [1.0, 2.0] if len(measured) == 2 else [1.0, 2.0, 3.0])
