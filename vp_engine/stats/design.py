"""Designs: columns of a model as numbers and categories, and the matrix made of them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd
import patsy
from scipy import stats

from vp_engine.stats.covariates import sorted_levels
from vp_engine.stats.formula import RESPONSE, Formula
from vp_engine.stats.spec import NotFittedError

Array = npt.NDArray[np.float64]

INTERCEPT = "Intercept"


@dataclass(frozen=True, slots=True, eq=False)
class Design:
    """A model's matrix with the values it is to explain.

    Attributes
    ----------
    x : float64 (N, P)
    y : float64 (N,)
    terms : tuple of str
        Names of the columns of `x`.
    references : mapping of str to str
        Reference level of each category.
    two_levels : frozenset of str
        Terms that are the difference between the two levels of a factor that is in no interaction.
    lost : int
        Parameters estimated on the way to `y`, for which the residual degrees of freedom are reduced.
    widening : float64 (P,), optional
        Factor on the standard error of each term, for the same reason.
    """

    x: Array
    y: Array
    terms: tuple[str, ...]
    references: Mapping[str, str]
    two_levels: frozenset[str]
    lost: int = 0
    widening: Array | None = None

    @property
    def df(self) -> int:
        """Residual degrees of freedom."""
        return len(self.y) - len(self.terms) - self.lost


@dataclass(frozen=True, slots=True, eq=False)
class Estimates:
    """What a model says of each term; every array has one number per term.

    Attributes
    ----------
    terms : tuple of str
    estimate, std_error, statistic, df, p : float64 (P,)
        Statistic is t; p is two-sided.
    effect_error, effect_df : float64 (P,)
        Standard error and degrees of freedom under the usual assumptions, from which effect sizes are made.
    sd : float
        Standard deviation of a value around its expectation.
    residuals : float64 (N,)
        Of the fixed part.
    checked : float64 (N,)
        Residuals that are independent of each other when the model is right.
    how : str
        Estimator, for `method`.
    flags : tuple of str
    """

    terms: tuple[str, ...]
    estimate: Array
    std_error: Array
    statistic: Array
    df: Array
    p: Array
    effect_error: Array
    effect_df: Array
    sd: float
    residuals: Array
    checked: Array
    how: str
    flags: tuple[str, ...] = ()

    def interval(self, index: int) -> tuple[float, float]:
        """Ends of the 95 % confidence interval of a term."""
        half = stats.t.ppf(0.975, self.df[index]) * self.std_error[index]
        return float(self.estimate[index] - half), float(self.estimate[index] + half)


def typed(frame: pd.DataFrame, formula: Formula, numeric: frozenset[str]) -> tuple[pd.DataFrame, dict[str, str]]:
    """Columns of the model as numbers and categories, and the reference level of each category."""
    data = pd.DataFrame({RESPONSE: frame[RESPONSE].astype("float64")})
    references = {}
    for column in formula.columns:
        if column in numeric:
            data[column] = frame[column].astype("float64")
        else:
            levels = sorted_levels(frame[column].astype(str))
            data[column] = pd.Categorical(frame[column].astype(str), categories=levels)
            if levels:  # none in a sample without rows
                references[column] = levels[0]
    return data, references


def make_design(frame: pd.DataFrame, formula: Formula, numeric: frozenset[str], *, lost: int = 0) -> Design:
    """The matrix of a model on a sample.

    Raises
    ------
    NotFittedError
        If there is no residual left, or some terms can be computed from others.
    """
    data, references = typed(frame, formula, numeric)
    y = data.pop(RESPONSE).to_numpy()
    try:
        matrix = patsy.dmatrix(formula.right, data, eval_env=patsy.EvalEnvironment([]), return_type="dataframe")
    except patsy.PatsyError as error:
        raise NotFittedError(str(error).splitlines()[0]) from error
    terms = tuple(str(column) for column in matrix.columns)
    design = Design(matrix.to_numpy(), y, terms, references, _two_level_terms(matrix.design_info), lost)
    if design.df < 1:
        raise NotFittedError(f"{len(y)} participants are too few for {len(terms) + lost} terms", terms)
    if rank(design.x) < len(terms):
        raise NotFittedError("singular design: some terms can be computed from others", terms)
    return design


def rank(x: Array) -> int:
    """Rank of a matrix, whatever the units of its columns."""
    return int(np.linalg.matrix_rank(x / np.maximum(np.linalg.norm(x, axis=0), np.finfo(float).tiny)))


def is_mean(term: str) -> bool:
    """Whether a term is a mean against zero, not an effect: the intercept, or a level without a reference.

    >>> is_mean("Intercept"), is_mean("group[a]"), is_mean("group[T.a]"), is_mean("group[a]:age")
    (True, True, False, False)
    """
    return term == INTERCEPT or re.fullmatch(r"[^:]*\[(?!T\.)[^\]]*\]", term) is not None


def _two_level_terms(design: patsy.DesignInfo) -> frozenset[str]:
    found = set()
    for term, codings in design.term_codings.items():
        shared = [other for other in design.terms if other is not term and set(term.factors) & set(other.factors)]
        contrasts = [m for coding in codings for m in coding.contrast_matrices.values()]
        if len(term.factors) == 1 and not shared and len(contrasts) == 1 and contrasts[0].matrix.shape == (2, 1):
            found.add(design.column_names[design.term_slices[term]][0])
    return frozenset(found)
