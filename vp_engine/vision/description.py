"""What is learnt of how lesions look: ring or solid, with mass effect or not, enhancing or not; and when to be silent.

One logistic regression per question, on signs of the lesion and on what the network sees inside it. Lies beside the
weights it was fitted to, as the `qc_score` does.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import numpy as np

from vp_engine.errors import WeightsError
from vp_engine.vision.quality import weights_sha256

DESCRIPTION = "description.json"
"""Beside the weights it was fitted on."""

READ_OFF = ("side", "place", "number", "signal")
"""What measures say of the mask of a lesion: asked is whether they would say that of the true lesion."""
QUESTIONS: Mapping[str, tuple[str, str]] = {
    "pattern": ("ring", "solid"),
    "mass_effect": ("yes", "no"),
    "enhancement": ("yes", "no"),
    **dict.fromkeys(READ_OFF, ("yes", "no")),
}
"""What is asked -> the word for yes and the word for no."""


@dataclass(frozen=True, slots=True)
class Question:
    """Logistic regression of one question.

    Attributes
    ----------
    mean, scale : tuple of float
        Of each number that is looked at, over the cases it was fitted on.
    slopes : tuple of float
        For numbers less their mean, in units of their scale.
    intercept : float
    sure_from : float
        Probability of the more probable word below which the answer is ``unclear``.
    """

    mean: tuple[float, ...]
    scale: tuple[float, ...]
    slopes: tuple[float, ...]
    intercept: float
    sure_from: float

    def probability(self, numbers: np.ndarray) -> float:
        """Of the word for yes; `numbers` (N,)."""
        standard = np.clip((numbers - np.array(self.mean)) / np.array(self.scale), -5, 5)
        return 1 / (1 + math.exp(-float(standard @ np.array(self.slopes) + self.intercept)))


@dataclass(frozen=True, slots=True)
class DescriptionModel:
    """Every question of `QUESTIONS`, fitted to one network.

    Attributes
    ----------
    weights_sha256 : str
        Of the weights it was fitted on; it says nothing about others.
    signs : tuple of str
        Names of the signs that come before the features.
    questions : mapping of str to Question
    """

    weights_sha256: str
    signs: tuple[str, ...]
    questions: Mapping[str, Question]

    def answer(self, question: str, numbers: np.ndarray) -> tuple[str, float]:
        """One word and the probability that it is right.

        Parameters
        ----------
        question : str
            One of `QUESTIONS`.
        numbers : (N,) float array
            Signs of the lesion, then the pooled features inside it.

        Returns
        -------
        word : str
            Of the question, or ``unclear``: then the probability is that of the more probable word.
        probability : float
        """
        fitted = self.questions[question]
        p = fitted.probability(numbers)
        word, sure = (QUESTIONS[question][0], p) if p >= 0.5 else (QUESTIONS[question][1], 1 - p)
        return (word if sure >= fitted.sure_from else "unclear"), sure


def save_description(model: DescriptionModel, folder: Path) -> Path:
    """Write the model into the folder of its weights."""
    path = folder / DESCRIPTION
    path.write_text(json.dumps(asdict(model), indent=1) + "\n", encoding="utf-8")
    return path


def load_description(folder: Path) -> DescriptionModel | None:
    """Read the model that lies beside weights; None where there is none, and all these questions are then ``unclear``.

    Raises
    ------
    WeightsError
        If the file is damaged, is not about these questions, or was fitted on other weights.
    """
    path = folder / DESCRIPTION
    if not path.exists():
        return None
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        names = {field.name for field in fields(Question)}
        expected = {field.name for field in fields(DescriptionModel)}
        if set(content) != expected or set(content["questions"]) != set(QUESTIONS):
            raise ValueError("it is not about the questions of this version")
        questions = {}
        signs = tuple(str(name) for name in content["signs"])
        numbers = {len(fitted["slopes"]) for fitted in content["questions"].values()}
        for name, fitted in content["questions"].items():
            if set(fitted) != names:
                raise ValueError(f"{name} has {sorted(set(fitted) ^ names)} unknown or missing")
            mean, scale, slopes = (tuple(float(x) for x in fitted[key]) for key in ("mean", "scale", "slopes"))
            intercept, sure_from = (float(fitted[key]) for key in ("intercept", "sure_from"))
            every = [*mean, *scale, *slopes, intercept, sure_from]
            if {len(mean), len(scale), len(slopes)} != numbers or not all(map(math.isfinite, every)):
                raise ValueError(f"{name} does not hold as many finite numbers as the other questions")
            if min(scale) <= 0:
                raise ValueError(f"{name} has a scale that is not positive")
            questions[name] = Question(mean, scale, slopes, intercept, sure_from)
    except (OSError, ValueError, TypeError, AttributeError, LookupError, ArithmeticError, RecursionError) as error:
        raise WeightsError(
            f"{path} cannot be used ({error}); `vp train description` fits it anew.", code="description_unreadable"
        ) from error
    if content["weights_sha256"] != weights_sha256(folder):
        raise WeightsError(
            f"{path} was fitted on other weights than those beside it; run `vp train description`.",
            code="description_stale",
        )
    return DescriptionModel(content["weights_sha256"], signs, questions)
