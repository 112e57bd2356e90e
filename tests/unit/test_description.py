"""Answers about lesions: signs that mean what they say, a model that is calibrated and guarded, cases that are true."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from vp_engine.anatomy import PARTS
from vp_engine.environment.judging import WITH_CONTRAST_AGENT, Judging, judged
from vp_engine.environment.phantom import PhantomWorld
from vp_engine.environment.values import Image, Mask
from vp_engine.errors import WeightsError
from vp_engine.measure.signs import ANATOMY, SIGNS, head_of, lesion_signs
from vp_engine.synthesis.blobs import Blob
from vp_engine.synthesis.intensity import draw_intensity
from vp_engine.synthesis.label_maps import ENHANCING, NECROSIS, LabelMap
from vp_engine.synthesis.lesion_cases import LesionCase, lesion_cases, true_answers
from vp_engine.synthesis.pathology import LesionSources
from vp_engine.synthesis.tumor import Pattern, Tumor
from vp_engine.training import description as training
from vp_engine.training.description import DescriptionRecipe, Seen
from vp_engine.vision.description import (
    DESCRIPTION,
    QUESTIONS,
    DescriptionModel,
    Question,
    load_description,
    save_description,
)
from vp_engine.vision.quality import weights_sha256
from vp_engine.vision.segmenter import Region
from vp_engine.volumes.volume import Volume

AFFINE = np.diag([2.0, 2.0, 2.0, 1.0])
SHAPE = (60, 60, 40)


def ball(middle: tuple[float, float, float], radius: float) -> np.ndarray:
    at = np.indices(SHAPE) - np.array(middle)[:, None, None, None]
    inside: np.ndarray = (at**2).sum(0) <= radius**2
    return inside


def head(*, shift: float = 0.0) -> dict[str, np.ndarray]:
    """Anatomy on a grid of 2 mm, its middle structures moved along x by some voxels."""
    left = np.indices(SHAPE)[0] < 30
    brain, inner = ball((29.5, 30, 20), 24), ball((29.5, 30, 20), 18)
    anatomy = {name: np.zeros(SHAPE, bool) for name in ANATOMY}
    for side, half in (("left", left), ("right", ~left)):
        anatomy[f"{side}_cerebral_cortex"] = brain & ~inner & half
        anatomy[f"{side}_cerebral_white_matter"] = inner & half
        x = 24 if side == "left" else 35
        anatomy[f"{side}_lateral_ventricle"] = ball((x + shift, 30, 22), 4)
        anatomy[f"{side}_thalamus"] = ball((x + shift, 24, 18), 3)
    anatomy["third_ventricle"] = ball((29.5 + shift, 30, 18), 2)
    return anatomy


def signs(image: np.ndarray, mask: np.ndarray, anatomy: dict[str, np.ndarray]) -> dict[str, float]:
    return dict(
        zip(SIGNS, lesion_signs(image, mask, anatomy, AFFINE, head_of(image, anatomy, AFFINE)).tolist(), strict=True)
    )


def image(anatomy: dict[str, np.ndarray], *, rim: float, core: float, lesion: np.ndarray) -> np.ndarray:
    made = np.zeros(SHAPE, np.float32)
    for name, value in (("cerebral_cortex", 60.0), ("cerebral_white_matter", 80.0), ("lateral_ventricle", 10.0)):
        for side in ("left", "right"):
            made[anatomy[f"{side}_{name}"]] = value
    made[lesion] = rim
    made[lesion & ball((18, 36, 20), 3)] = core
    return made


def test_a_ring_is_seen_from_the_border_inwards() -> None:
    anatomy, lesion = head(), ball((18, 36, 20), 6)
    anatomy["left_cerebral_white_matter"] &= ~lesion
    ring = signs(image(anatomy, rim=100, core=30, lesion=lesion), lesion, anatomy)
    solid = signs(image(anatomy, rim=100, core=100, lesion=lesion), lesion, anatomy)
    assert ring["outer"] == pytest.approx(solid["outer"])
    assert ring["outer"] > 0
    assert ring["inner_less_outer"] < -0.5
    assert solid["inner_less_outer"] == pytest.approx(0, abs=1e-3)
    assert ring["log_volume"] == pytest.approx(np.log(lesion.sum() * 8))
    assert solid["gray"] < 0
    assert solid["fluid"] < solid["gray"]


def test_a_shift_of_the_middle_is_away_from_the_lesion_on_either_side() -> None:
    for x, shift in ((14, 3.0), (45, -3.0)):
        lesion = ball((x, 30, 20), 5)
        moved, still = (signs(np.ones(SHAPE, np.float32), lesion, head(shift=s)) for s in (shift, 0.0))
        assert moved["third_ventricle_shift"] == pytest.approx(6, abs=1)
        assert still["third_ventricle_shift"] == pytest.approx(0, abs=1)
        assert moved["thalamus_shift"] == pytest.approx(6, abs=1)
        towards = signs(np.ones(SHAPE, np.float32), lesion, head(shift=-shift))
        assert towards["third_ventricle_shift"] == pytest.approx(-6, abs=1)


def test_a_narrow_ventricle_on_the_side_of_the_lesion_counts_and_kinds_have_their_shares() -> None:
    anatomy, lesion = head(), ball((18, 36, 20), 6)
    anatomy["left_lateral_ventricle"] = ball((24, 30, 22), 2)
    anatomy["edema"] = lesion & ~ball((18, 36, 20), 4)
    found = signs(np.ones(SHAPE, np.float32), lesion, anatomy)
    assert found["ventricle_asymmetry"] < -1
    assert found["share_edema"] == pytest.approx(anatomy["edema"].sum() / lesion.sum(), abs=1e-6)
    assert found["share_hemorrhage"] == 0


def test_signs_are_finite_without_anatomy_and_an_empty_mask_has_none() -> None:
    nothing = {name: np.zeros(SHAPE, bool) for name in ANATOMY}
    for anatomy in (nothing, {}):
        against = head_of(np.zeros(SHAPE), anatomy, AFFINE)
        assert np.isfinite(lesion_signs(np.zeros(SHAPE), ball((18, 36, 20), 3), anatomy, AFFINE, against)).all()
    with pytest.raises(ValueError, match="empty"):
        lesion_signs(np.zeros(SHAPE), np.zeros(SHAPE, bool), nothing, AFFINE, against)


def model(folder: Path) -> DescriptionModel:
    (folder / "model.safetensors").write_bytes(b"weights")
    question = Question((0.0, 1.0), (1.0, 2.0), (2.0, 0.0), 0.5, 0.8)
    return DescriptionModel(weights_sha256(folder), ("a", "b"), dict.fromkeys(QUESTIONS, question))


def test_a_model_is_read_as_it_was_written_and_is_unclear_below_its_threshold(tmp_path: Path) -> None:
    written = model(tmp_path)
    save_description(written, tmp_path)
    read = load_description(tmp_path)
    assert read == written
    assert read.answer("pattern", np.array([3.0, 1.0]))[0] == "ring"
    assert read.answer("pattern", np.array([-3.0, 1.0]))[0] == "solid"
    word, sure = read.answer("pattern", np.array([0.0, 1.0]))
    assert word == "unclear"
    assert sure == pytest.approx(1 / (1 + np.exp(-0.5)))


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"weights_sha256": "0" * 64}, "description_stale"),
        ({"more": 1}, "description_unreadable"),
        ({"questions": {}}, "description_unreadable"),
        ({"scale": [1.0, 0.0]}, "description_unreadable"),
        ({"slopes": [1.0, None]}, "description_unreadable"),
        ({"mean": [1.0]}, "description_unreadable"),
        ({"intercept": float("nan")}, "description_unreadable"),
    ],
)
def test_a_model_that_is_not_that_of_its_weights_is_refused(
    tmp_path: Path, change: dict[str, object], code: str
) -> None:
    path = save_description(model(tmp_path), tmp_path)
    content = json.loads(path.read_text())
    for key, value in change.items():
        target = content if key in (*content, "more") else content["questions"]["pattern"]
        target[key] = value
    path.write_text(json.dumps(content))
    with pytest.raises(WeightsError) as caught:
        load_description(tmp_path)
    assert caught.value.code == code
    assert DESCRIPTION in caught.value.message


def test_enhancement_is_answered_where_the_image_can_show_it() -> None:
    world = PhantomWorld()

    def asked(suffix: str, flags: tuple[str, ...], word: str) -> str:
        shown = world.image(world.sessions[0], "T1w")
        shown = Image(shown.session, suffix, shown.data, shown.affine, flags=flags)
        mask = Mask(shown, "lesion", shown.data > shown.data.mean())
        return judged(Judging(world), shown, mask, "enhancement", lambda *_: (word, 0.9))[0]

    assert asked("T1w", (), "yes") == "yes"
    assert asked("T1w", (), "no") == "unclear", "nobody says that contrast agent was given"
    assert asked("T1w", (WITH_CONTRAST_AGENT,), "no") == "no"
    assert asked("FLAIR", (WITH_CONTRAST_AGENT,), "yes") == "unclear"


def test_true_answers_follow_from_what_a_case_is_made_of() -> None:
    intensity = draw_intensity(np.random.default_rng(0), prior_contrast=1.0, sequence="T1w", contrast_agent=True)
    voxels = np.zeros(1024, np.int64)
    voxels[[NECROSIS, ENHANCING]] = 500, 500

    def tumor(pattern: Pattern, *, radius: float = 15.0, push: float = 0.0) -> Tumor:
        return Tumor(Blob(0.5, np.full(3, radius), np.zeros((2, 2, 2))), pattern, 0.3, 0.0, push)

    assert true_answers(tumor("ring"), intensity, voxels, contrast_agent=True) == {
        "pattern": "ring", "mass_effect": "no", "enhancement": "yes",
    }  # fmt: skip
    assert true_answers(tumor("solid", push=0.8), intensity, voxels, contrast_agent=True) == {
        "pattern": "solid", "mass_effect": "yes", "enhancement": "yes",
    }  # fmt: skip
    assert "mass_effect" not in true_answers(tumor("solid", push=0.3), intensity, voxels, contrast_agent=True)
    assert true_answers(tumor("non_enhancing"), intensity, voxels, contrast_agent=True)["enhancement"] == "no"
    assert true_answers(tumor("ring"), intensity, voxels, contrast_agent=False)["enhancement"] == "no"
    voxels[NECROSIS] = 10
    assert "pattern" not in true_answers(tumor("ring"), intensity, voxels, contrast_agent=True), "a trace of a core"
    alike = replace(intensity, mean=np.full(1024, 0.5, np.float32))
    voxels[NECROSIS] = 500
    assert true_answers(tumor("ring"), alike, voxels, contrast_agent=True)["pattern"] == "solid"


def test_cases_are_the_same_for_a_seed_and_hold_a_lesion() -> None:
    n = torch.arange(150) - 74.5
    radius = (n[:, None, None] ** 2 + n[None, :, None] ** 2 + n[None, None, :] ** 2).sqrt()
    sides = torch.where(n[:, None, None] < 0, 2, 41).expand(radius.shape)
    labels = torch.where(radius < 50, sides, torch.where(radius < 58, sides + 1, torch.where(radius < 64, 24, 0)))
    maps = [LabelMap(labels.to(torch.int16), "01")]
    first, again = (list(lesion_cases(maps, LesionSources(), count=2, seed=3)) for _ in range(2))
    for a, b in zip(first, again, strict=True):
        assert np.array_equal(a.scan.data, b.scan.data)
        assert a.answers == b.answers
        assert a.lesion.any()
        assert set(a.answers) <= set(QUESTIONS)


def test_the_fit_finds_the_sign_that_tells_and_answers_only_where_it_is_sure() -> None:
    rng = np.random.default_rng(0)
    seen = []
    for case in range(600):
        numbers = rng.normal(0, 1, 6).astype(np.float32)
        yes = rng.random() < 1 / (1 + np.exp(-2.5 * numbers[2]))
        seen.append(Seen(case, numbers, {"mass_effect": "yes" if yes else "no"}))
    lines: list[str] = []
    fitted = training._fitted("mass_effect", seen, DescriptionRecipe(penalties=(1.0, 30.0)), lines.append)
    assert np.argmax(np.abs(fitted.slopes)) == 2
    assert fitted.slopes[2] > 1.5
    assert 0.6 < fitted.sure_from < 0.96, "four in five would be right without a threshold"
    with pytest.raises(WeightsError, match="both answers"):
        training._fitted("pattern", seen, DescriptionRecipe(), lines.append)


class Found:
    """Finds a lesion where it is told; sees nothing inside."""

    known = (*ANATOMY, "csf")

    def __init__(self, parts: dict[str, np.ndarray]) -> None:
        self._parts = parts

    def regions(self, volume: Volume, unions: dict[str, tuple[str, ...]]) -> Iterator[tuple[str, Region]]:
        empty = np.zeros(volume.shape, bool)
        for name, (part,) in unions.items():
            yield name, region_of(self._parts.get(part, empty))

    def features(self, volume: Volume) -> Inside:
        return Inside()


class Inside:
    def inside(self, mask: np.ndarray) -> np.ndarray:
        return np.zeros(3, np.float32)


def region_of(mask: np.ndarray) -> Region:
    return Region((0, 0, 0), mask.astype(np.float32), mask)


@pytest.mark.parametrize(
    ("middles", "right"),
    [
        (((16, 30, 20),), {"signal": "yes", "number": "yes"}),
        (((43, 30, 20),), {"signal": "no", "number": "yes"}),  # another lesion
        (((16, 30, 20), (43, 40, 26)), {"signal": "yes", "number": "no"}),
    ],
)
def test_what_is_read_off_is_right_where_the_true_lesion_says_the_same(
    middles: tuple[tuple[float, float, float], ...], right: dict[str, str]
) -> None:
    anatomy, lesion = head(), ball((16, 30, 20), 5)
    shown = Volume(image(anatomy, rim=100, core=100, lesion=lesion), AFFINE)
    truth = np.zeros(SHAPE, np.int64)
    for name, mask in (*anatomy.items(), ("edema", lesion)):
        truth[mask] = 1 + PARTS.index(name)
    case = LesionCase(shown, "T1w", contrast_agent=False, truth=truth, answers={"pattern": "solid"})
    parts = anatomy | {"edema": np.logical_or.reduce([ball(m, 5 - n) for n, m in enumerate(middles)])}
    seen = list(training.seen_of(Found(parts), case))  # type: ignore[arg-type]
    answers = {name: word for _, found in seen for name, word in found.items()}
    assert len(seen) == len(middles)
    assert {name: answers[name] for name in right} == right
    assert ("pattern" in answers) is (right["signal"] == "yes"), "how a lesion looks is asked of the lesion alone"
    assert "side" not in answers, "too little anatomy around it to say"
    assert all(len(numbers) == len(SIGNS) + 3 for numbers, _ in seen)
    assert not list(training.seen_of(Found(anatomy), case)), "nothing found"  # type: ignore[arg-type]


def test_read_off_words_are_kept_where_they_are_right_often_enough() -> None:
    rng = np.random.default_rng(1)
    seen = []
    for case in range(600):
        numbers = rng.normal(0, 1, 4).astype(np.float32)
        yes = rng.random() < 1 / (1 + np.exp(-3 * numbers[1]))
        seen.append(Seen(case, numbers, {"side": "yes" if yes else "no"}))
    fitted = training._fitted("side", seen, DescriptionRecipe(penalties=(1.0,)), lambda _: None)
    kept = np.array([fitted.probability(one.numbers) >= fitted.sure_from for one in seen])
    right = np.array([one.answers["side"] == "yes" for one in seen])
    assert 0.2 < kept.mean() < 0.6
    assert right[kept].mean() > 0.9
    assert right[~kept].mean() < 0.4
