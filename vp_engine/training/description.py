"""Recipe of the answers about lesions: fitted to what the network delineates on synthetic scans with known answers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vp_engine.environment.one_scan import OneScan, found_among, found_in, said_of_lesions
from vp_engine.errors import WeightsError
from vp_engine.measure.regions import largest_component
from vp_engine.measure.signs import ANATOMY, SIGNS, head_of, lesion_signs
from vp_engine.synthesis.lesion_cases import LesionCase, lesion_cases
from vp_engine.training.logistic import logistic
from vp_engine.training.sources import Archives
from vp_engine.vision.checkpoint import from_pretrained
from vp_engine.vision.description import QUESTIONS, READ_OFF, DescriptionModel, Question, save_description
from vp_engine.vision.quality import weights_sha256
from vp_engine.vision.segmenter import NetworkSegmenter

_LEAST_SCALE = 1e-3


@dataclass(frozen=True, slots=True)
class DescriptionRecipe:
    """Everything a fit depends on besides the weights and the archives.

    Attributes
    ----------
    cases : int
    penalties : tuple of float
        Weights of half the squared slopes to choose from, by cross-validation.
    wanted : float
        Share of right answers among those given, in cross-validation; the others are ``unclear``.
    folds : int
    seed : int
    """

    cases: int = 240
    penalties: tuple[float, ...] = (3.0, 10.0, 30.0, 100.0, 300.0)
    wanted: float = 0.93
    folds: int = 5
    seed: int = 11


RECIPES: dict[str, DescriptionRecipe] = {
    "default": DescriptionRecipe(),
    "smoke": DescriptionRecipe(cases=12, penalties=(30.0,), folds=2),
}
"""Named fits: `default` made the released one, `smoke` shows in seconds that everything is connected."""


@dataclass(frozen=True, slots=True, eq=False)
class Seen:
    """Numbers of one mask of one case, and the true answers.

    Attributes
    ----------
    case : int
        Masks of one case resemble each other: they are in one fold.
    """

    case: int
    numbers: NDArray[np.float32]
    answers: dict[str, str]


def train_description(
    archives: Archives,
    folder: Path,
    *,
    recipe: DescriptionRecipe,
    device: str = "cpu",
    report: Callable[[str], None] = print,
) -> Path:
    """Fit the answers about lesions to the weights in a folder and write them beside these.

    Raises
    ------
    WeightsError
        If there are no weights, or they find no lesions to answer about.
    """
    segmenter = NetworkSegmenter(from_pretrained(folder, device=device), device=device)
    maps, _ = archives.label_maps()
    cases = lesion_cases(maps, archives.lesion_sources(), count=recipe.cases, seed=recipe.seed)
    seen: list[Seen] = []
    for number, case in enumerate(cases, start=1):
        seen += (Seen(number, numbers, answers) for numbers, answers in seen_of(segmenter, case))
        if number % 50 == 0:
            report(f"{number} cases, {len(seen)} masks")
    questions = {name: _fitted(name, seen, recipe, report) for name in QUESTIONS}
    return save_description(DescriptionModel(weights_sha256(folder), SIGNS, questions), folder)


def seen_of(segmenter: NetworkSegmenter, case: LesionCase) -> Iterator[tuple[NDArray[np.float32], dict[str, str]]]:
    """Numbers and true answers of all that was found of the lesions of a case, and of its largest piece.

    How a lesion looks is asked of what meets the true lesion, enhancement on T1w alone. Of the largest piece it is
    asked whether side, place and signal are those of the truly largest one, of all together whether the number is.
    """
    unions = {name: (name,) for name in segmenter.known}
    delineated = {name: region.full(case.scan.shape) for name, region in segmenter.regions(case.scan, unions)}
    seen, truly = found_among(delineated), found_in(case.truth)
    whole = seen("lesion")
    if not whole.any():
        return
    found, true = (OneScan(case.scan, case.sequence, where) for where in (seen, truly))
    said = {aspect: [said_of_lesions(world, aspect).word for world in (found, true)] for aspect in READ_OFF}
    right = {aspect: "yes" if a == b else "no" for aspect, (a, b) in said.items() if "unclear" not in (a, b)}
    of_all = {"number": right.pop("number")}
    piece = largest_component(whole)
    looks: dict[str, str] = {}
    if (piece & case.lesion).any():
        looks = {name: word for name, word in case.answers.items() if name != "enhancement" or case.sequence == "T1w"}
    anatomy = {name: seen(name) for name in ANATOMY}
    features, head = segmenter.features(case.scan), head_of(case.scan.data, anatomy, case.scan.affine)

    def numbers(mask: NDArray[np.bool_]) -> NDArray[np.float32]:
        signs = lesion_signs(case.scan.data, mask, anatomy, case.scan.affine, head)
        return np.concatenate([signs, features.inside(mask)])

    if np.array_equal(whole, piece):
        yield numbers(whole), looks | of_all | right
    else:
        yield numbers(whole), looks | of_all
        yield numbers(piece), looks | right


def _fitted(question: str, seen: list[Seen], recipe: DescriptionRecipe, report: Callable[[str], None]) -> Question:
    asked = [one for one in seen if question in one.answers]
    truth = np.array([one.answers[question] == QUESTIONS[question][0] for one in asked], float)
    if len(asked) < recipe.folds or not 0 < truth.mean() < 1:
        raise WeightsError(
            f"Expected lesions of both answers to {question} among {recipe.cases} cases, got {len(asked)} masks; "
            "train the weights longer, or take more cases.",
            code="description_unrelated",
        )
    rows = np.stack([one.numbers for one in asked]).astype(np.float64)
    mean, scale = rows.mean(0), np.maximum(rows.std(0), _LEAST_SCALE)
    rows = np.clip((rows - mean) / scale, -5, 5)
    folds = np.array([one.case % recipe.folds for one in asked])
    likelihoods, predicted = {}, {}
    for penalty in recipe.penalties:
        p = np.zeros(len(asked))
        for fold in range(recipe.folds):
            out = folds == fold
            p[out] = _probability(_slopes(rows[~out], truth[~out], penalty), rows[out])
        likelihoods[penalty] = float(np.mean(np.log(np.where(truth > 0, p, 1 - p).clip(1e-6))))
        predicted[penalty] = p
    best = max(likelihoods, key=lambda penalty: likelihoods[penalty])
    sure, right = np.maximum(predicted[best], 1 - predicted[best]), (predicted[best] >= 0.5) == (truth > 0)
    if question in READ_OFF:  # answered where it is right, so only the probability of that counts
        sure, right = predicted[best], truth > 0
    sure_from = _sure_from(sure, right, recipe.wanted)
    answered = sure >= sure_from
    report(
        f"{question}: {len(asked)} masks, {right.mean():.3f} right in cross-validation, "
        f"{right[answered].mean():.3f} of the {answered.mean():.3f} answered"
    )
    intercept, *slopes = (round(float(x), 5) for x in _slopes(rows, truth, best))
    return Question(_rounded(mean), _rounded(scale), tuple(slopes), intercept, sure_from)


def _slopes(rows_NF: NDArray[np.float64], truth_N: NDArray[np.float64], penalty: float) -> NDArray[np.float64]:
    """Intercept and slopes."""
    rows = np.column_stack([np.ones(len(rows_NF)), rows_NF])
    weights = np.full(rows.shape[1], penalty)
    weights[0] = 0.1
    return logistic(rows, truth_N, prior=np.zeros(rows.shape[1]), penalty=weights)


def _probability(slopes: NDArray[np.float64], rows_NF: NDArray[np.float64]) -> NDArray[np.float64]:
    p: NDArray[np.float64] = 1 / (1 + np.exp(-(rows_NF @ slopes[1:] + slopes[0])))
    return p


def _sure_from(sure: NDArray[np.float64], right: NDArray[np.bool_], wanted: float) -> float:
    """Lowest probability from which the share of right answers is as wanted."""
    for threshold in np.arange(0.5, 0.96, 0.02):
        if (sure >= threshold).any() and right[sure >= threshold].mean() >= wanted:
            return round(float(threshold), 2)
    return 0.96


def _rounded(values: NDArray[np.float64]) -> tuple[float, ...]:
    return tuple(float(f"{x:.6g}") for x in values)
