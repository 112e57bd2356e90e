"""The released vision weights on a real scan: agreement with FreeSurfer, and left on the left."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml

from vp_engine.evaluation.anatomy import TEN, agreement, label_scan
from vp_engine.vision.segmenter import NetworkSegmenter
from vp_engine.volumes.nifti import read_image, read_labels

ROOT = Path(__file__).resolve().parents[2]
GOLDEN = yaml.safe_load((Path(__file__).parent / "vision.yaml").read_text())


@pytest.fixture(scope="module")
def segmenter() -> NetworkSegmenter:
    return NetworkSegmenter.from_pretrained(ROOT / "vp_engine/models/default/vision")


def test_agreement_with_freesurfer_in_every_orientation(
    segmenter: NetworkSegmenter, shared_data: Callable[[str], Path]
) -> None:
    folder = shared_data("anatomy")
    volume = read_image(folder / "stripped_T1w.nii.gz")
    reference = read_labels(folder / "stripped_T1w_aseg.nii.gz").data
    labels = label_scan(segmenter, volume)
    result = agreement(labels, reference)
    assert result.mean(TEN) == pytest.approx(GOLDEN["mean_of_ten"], abs=GOLDEN["tolerance"])
    assert result.mean() == pytest.approx(GOLDEN["mean_of_sixteen"], abs=GOLDEN["tolerance"])
    assert result.sides_swapped < GOLDEN["sides_swapped_at_most"]

    to_lpi = np.diag([-1.0, -1.0, -1.0, 1.0])
    to_lpi[:3, 3] = np.array(volume.shape) - 1
    turned = replace(volume, data=volume.data[::-1, ::-1, ::-1], affine=volume.affine @ to_lpi, forms=None)
    assert np.array_equal(label_scan(segmenter, turned)[::-1, ::-1, ::-1], labels)
    swapped = volume.affine[:, [2, 0, 1, 3]]
    turned = replace(volume, data=volume.data.transpose(2, 0, 1), affine=swapped, forms=None)
    assert np.array_equal(label_scan(segmenter, turned).transpose(1, 2, 0), labels)
