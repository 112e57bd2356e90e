"""Synthetic heads that differ by a lesion alone, and what is scored on them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from vp_engine.anatomy import PARTS, STRUCTURES
from vp_engine.evaluation.anatomy import Overlap
from vp_engine.evaluation.synthetic_lesions import IMAGES, KINDS, CaseScores, anatomy_dice, cases, draw_image, scored
from vp_engine.evaluation.vision import WholeHead
from vp_engine.synthesis.label_maps import ENHANCING, LabelMap
from vp_engine.synthesis.lesion_masks import LesionMask
from vp_engine.synthesis.pathology import LesionSources
from vp_engine.volumes.volume import Volume

FIELD_OF_VIEW_MM = (64.0, 64.0, 64.0)
LESIONS = {
    "white_matter_lesion": "white_matter_lesion", "stroke": "stroke_lesion", "tumor": "tumor",
    "hemorrhage": "hemorrhage", "resection": "resection_cavity",
}  # fmt: skip


@pytest.fixture(scope="module")
def ball() -> LabelMap:
    """Two halves of white matter in a cortex, with a lesion of its own."""
    n = np.arange(72) - 35.5
    radius = np.sqrt(n[:, None, None] ** 2 + n[None, :, None] ** 2 + n[None, None, :] ** 2)
    right = np.broadcast_to((n > 0)[:, None, None], radius.shape)
    labels = np.select([radius < 20, radius < 26, radius < 29], [np.where(right, 41, 2), np.where(right, 42, 3), 24], 0)
    labels[40:44, 34:38, 34:38] = 57
    return LabelMap(torch.from_numpy(labels.astype(np.int16)), "ball")


@pytest.fixture(scope="module")
def sources() -> LesionSources:
    mask = LesionMask(torch.ones(40, 40, 40, dtype=torch.bool), np.array([-20.0, -37.0, -10.0]), "cube")
    return LesionSources([mask], [mask])


@pytest.fixture(scope="module")
def heads(ball: LabelMap, sources: LesionSources) -> dict[str, WholeHead]:
    made = cases([ball], sources, per_map=1, seed=3, field_of_view_mm=FIELD_OF_VIEW_MM)
    return {case.kind: case.seen for case in made}


def truth_of(head: WholeHead, name: str) -> np.ndarray:
    return np.isin(head.truth, [STRUCTURES[part].label for part in STRUCTURES[name].parts])


def test_each_kind_has_its_lesion_and_the_head_without_has_none(heads: dict[str, WholeHead]) -> None:
    assert list(heads) == list(KINDS)
    for kind in ("none", "lookalikes"):
        assert not truth_of(heads[kind], "lesion").any()
    for kind, name in LESIONS.items():
        assert truth_of(heads[kind], name).any(), kind


def test_cases_of_a_head_differ_where_the_lesion_is_and_hardly_elsewhere(heads: dict[str, WholeHead]) -> None:
    well, ill = heads["none"], heads["white_matter_lesion"]  # which pushes nothing aside
    changed = well.truth != ill.truth
    np.testing.assert_array_equal(changed, truth_of(ill, "lesion"))
    same = (well.truth > 0) & ~changed
    for before, after in zip(well.scans, ill.scans, strict=True):
        outside, inside = (np.corrcoef(before.data[where], after.data[where])[0, 1] for where in (same, changed))
        assert outside > max(0.99, inside)


def test_cases_are_the_same_every_time_and_each_seed_has_its_own(
    ball: LabelMap, sources: LesionSources, heads: dict[str, WholeHead]
) -> None:
    def tumor(seed: int) -> WholeHead:
        made = cases([ball], sources, per_map=1, kinds=("tumor",), seed=seed, field_of_view_mm=FIELD_OF_VIEW_MM)
        return next(made).seen

    np.testing.assert_array_equal(tumor(3).scans[0].data, heads["tumor"].scans[0].data)
    assert not np.array_equal(tumor(4).truth, heads["tumor"].truth)


def test_contrast_agent_is_seen_where_it_was_asked_for() -> None:
    for seed in range(20):
        for name, brighter in (("T1w", False), ("T1w_ce-gadolinium", True)):
            mean = draw_image(np.random.default_rng(seed), name, FIELD_OF_VIEW_MM).intensity.mean
            assert (mean[ENHANCING] > mean[2]) == brighter
    assert draw_image(np.random.default_rng(0), "CT", FIELD_OF_VIEW_MM).window is not None
    assert draw_image(np.random.default_rng(0), "FLAIR", FIELD_OF_VIEW_MM).window is None


def test_unknown_kinds_are_refused(ball: LabelMap, sources: LesionSources) -> None:
    with pytest.raises(ValueError, match="expected kinds of none, lookalikes"):
        next(cases([ball], sources, per_map=1, kinds=("flu",)))


class ImageSegmenter:
    """Delineates part number n where the rounded image says n, in a box that leaves out the first plane."""

    def __init__(self, *known: str) -> None:
        self.known = known

    def regions(
        self, volume: Volume, unions: Mapping[str, Sequence[str]], *, others: Sequence[Volume] = ()
    ) -> Iterator[tuple[str, Any]]:
        data = others[0].data if others else volume.data
        for name, parts in unions.items():
            assert set(parts) <= set(self.known)
            inside = np.isin(data.round(), [1 + PARTS.index(part) for part in parts])
            yield name, SimpleNamespace(start=(1, 0, 0), inside=inside[1:])


def test_scores_are_of_parts_and_of_unions_with_the_images_asked_for() -> None:
    enhancing, edema, thalamus = (1 + PARTS.index(name) for name in ("enhancing_tumor", "edema", "left_thalamus"))
    numbers = np.array([0, *(STRUCTURES[name].label for name in PARTS)])
    index = np.zeros((6, 4, 4), int)
    index[1:3], index[3:5], index[5] = enhancing, edema, thalamus
    seen = index.copy()
    seen[4] = 0
    blank = np.zeros(index.shape)
    scans = [Volume(x.astype(np.float32), np.eye(4)) for x in (index, blank, blank, seen, blank)]
    head = WholeHead(scans, numbers[index])
    scores = scored(ImageSegmenter(*PARTS), head, ("T1w",))  # type: ignore[arg-type]
    assert {name: o.dice for name, o in scores.pathology.items() if o.truth} == dict.fromkeys(
        ("lesion", "tumor", "tumor_core", "enhancing_tumor", "edema"), 1.0
    )
    assert scores.anatomy["left_thalamus"] == Overlap(16, 16, 16)
    together = scored(ImageSegmenter(*PARTS), head, ("T1w", "FLAIR"))  # type: ignore[arg-type]
    assert together.pathology["tumor"] == Overlap(48, 64, 48)
    few = scored(ImageSegmenter("left_thalamus", "edema"), head, (IMAGES[3],))  # type: ignore[arg-type]
    assert set(few.anatomy) == {"left_thalamus"}
    assert few.pathology == {"edema": Overlap(16, 32, 16), "lesion": Overlap(16, 64, 16)}


def test_parts_that_a_lesion_has_mostly_replaced_are_left_out_with_and_without_it() -> None:
    well = {"a": Overlap(10, 10, 10), "b": Overlap(10, 10, 5), "c": Overlap(10, 10, 10), "d": Overlap(0, 0, 0)}
    ill = {"a": Overlap(8, 8, 4), "b": Overlap(5, 5, 5), "c": Overlap(9, 4, 0), "d": Overlap(0, 0, 0)}
    assert anatomy_dice(CaseScores(well, {}), CaseScores(ill, {})) == (pytest.approx(0.75), pytest.approx(0.75))
