"""What a statistic is asked to do, and the columns of what it gives."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

COLUMNS: tuple[str, ...] = (
    "statistic_id",
    "target",
    "measure",
    "model",
    "term",
    "estimate",
    "std_error",
    "ci_low",
    "ci_high",
    "statistic",
    "df",
    "p",
    "p_fdr",
    "effect_size",
    "effect_size_name",
    "n",
    "n_excluded",
    "method",
    "analysis",
    "unit",
    "estimator",
    "p_bonferroni",
    "p_permutation",
    "effect_ci_low",
    "effect_ci_high",
    "flags",
)
"""Columns of the table `statistics`."""

EXCLUSION_COLUMNS: tuple[str, ...] = (
    "statistic_id",
    "target",
    "measure",
    "analysis",
    "dataset",
    "participant",
    "session",
    "reason",
)
"""Columns of the table `exclusions`."""

CENTILE_COLUMNS: tuple[str, ...] = (
    "statistic_id",
    "target",
    "measure",
    "dataset",
    "participant",
    "session",
    "age",
    "value",
    "unit",
    "expected",
    "z",
    "centile",
    "in_reference",
    "reason",
)
"""Columns of the table `centiles`."""

ROW_COLUMNS = ("dataset", "session")
"""Columns of the measurements that a model may use as categories."""

NOT_KNOWN = "n/a"
"""Target, measure or term of a row about a model that has none."""

ALL = "all"
"""Analysis of every usable measurement."""

EXCLUDED = "excluded"
"""Analysis without what the rule of `exclude` leaves out."""

ICV = "icv"
"""Column of the intracranial volume (mm³) in a model that has it as a covariate."""


@dataclass(frozen=True, slots=True)
class IcvOption:
    """How measurements are adjusted for head size.

    Attributes
    ----------
    method : str
        ``covariate``, ``proportion`` or ``residual``.
    prompt : str
        Id of the prompt that measures the intracranial volume.
    """

    method: Literal["covariate", "proportion", "residual"]
    prompt: str


@dataclass(frozen=True, slots=True)
class ExcludeOption:
    """What the second analysis leaves out.

    Attributes
    ----------
    qc_below : float or None
        Measurements with a lower `qc_score`; those without one stay.
    outliers : float or None
        Measurements whose residual is further from the median of all residuals, in robust standard deviations.
    """

    qc_below: float | None = None
    outliers: float | None = None


@dataclass(frozen=True, slots=True)
class CentilesOption:
    """Against whom each participant is compared.

    Attributes
    ----------
    age : str
        Column with the age; a number.
    reference : mapping of str to tuple of str
        Column → values that the members of the reference have.
    """

    age: str
    reference: Mapping[str, tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class Options:
    """How a statistic differs from ordinary least squares on first sessions.

    Attributes
    ----------
    icv : IcvOption or None
    sessions : str
        ``first``: the first usable session of each participant; ``mixed``: all, with a random intercept.
    standard_errors : str
        ``classical`` or ``HC3``.
    family : str
        Over what p values are corrected: ``term`` (the same term of all models) or ``statistic`` (all terms of all).
    permutations : int
        Of each term; 0 for none.
    site : str or None
        Column that names the site for ComBat.
    exclude : ExcludeOption or None
    centiles : CentilesOption or None
    """

    icv: IcvOption | None = None
    sessions: Literal["first", "mixed"] = "first"
    standard_errors: Literal["classical", "HC3"] = "classical"
    family: Literal["term", "statistic"] = "term"
    permutations: int = 0
    site: str | None = None
    exclude: ExcludeOption | None = None
    centiles: CentilesOption | None = None

    @property
    def columns(self) -> tuple[str, ...]:
        """Covariates it needs beside those of the model."""
        wanted = [self.site] if self.site is not None else []
        if self.centiles is not None:
            wanted += [self.centiles.age, *self.centiles.reference]
        return tuple(dict.fromkeys(wanted))


@dataclass(frozen=True, slots=True)
class StatisticSpec:
    """One entry of `statistics` in config.yaml.

    Attributes
    ----------
    id : str
        Names the rows of the result.
    rows : mapping of str to tuple of str
        Which measurements: `prompt`, `measure`, `target`, `image`, `session` or `dataset` to the values allowed.
    model : str
        Formula, ``value ~ columns of participants.tsv and sessions.tsv``.
    options : Options
    """

    id: str
    rows: Mapping[str, tuple[str, ...]]
    model: str
    options: Options = field(default_factory=Options)

    @property
    def prompts(self) -> tuple[str, ...] | None:
        """Prompts whose measurements it needs; None when any may be."""
        asked = self.rows.get("prompt")
        if asked is None or self.options.icv is None:
            return asked
        return (*asked, self.options.icv.prompt)


class NotFittedError(Exception):
    """Why a model has no estimates; becomes the text of `method`."""

    def __init__(self, reason: str, terms: tuple[str, ...] = (NOT_KNOWN,), flags: tuple[str, ...] = ()) -> None:
        super().__init__(reason)
        self.terms = terms
        self.flags = flags
