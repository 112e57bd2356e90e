"""From samples to what the models see: head size, sites and the rule of exclusion."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import pandas as pd
import patsy

from vp_engine.stats.adjustment import adjust_for_icv
from vp_engine.stats.design import INTERCEPT, typed
from vp_engine.stats.formula import RESPONSE, Formula
from vp_engine.stats.harmonisation import ConfoundedError, combat
from vp_engine.stats.sample import PERSON, Sample, check_sample, without
from vp_engine.stats.spec import NotFittedError, Options

RAW = "raw_value"
"""Column of the value as measured, where `value` is adjusted."""

SMALL_SITE = "small_site"

Key = tuple[str, str]  # target and measure


@dataclass(frozen=True, slots=True)
class Model:
    """The model of a statistic, as it is fitted to each structure and measure.

    Attributes
    ----------
    formula : Formula
        With the intracranial volume where it is a covariate.
    numeric : frozenset of str
        Its columns that are numbers.
    options : Options
    """

    formula: Formula
    numeric: frozenset[str]
    options: Options

    @property
    def every_session(self) -> bool:
        """Whether all sessions of a participant are used."""
        return self.options.sessions == "mixed"


@dataclass(frozen=True, slots=True, eq=False)
class Prepared:
    """What one model sees.

    Attributes
    ----------
    sample : Sample
        Its frame has the adjusted `value`, its unit, and `raw_value`.
    lost : int
        Parameters estimated on the way.
    site : int (N,), optional
        Number of the site of each row, where values are harmonised.
    how : tuple of str
        What was done, for `method`.
    flags : tuple of str
    fault : NotFittedError, optional
        Why there can be no model.
    """

    sample: Sample
    lost: int = 0
    site: npt.NDArray[np.intp] | None = None
    how: tuple[str, ...] = ()
    flags: tuple[str, ...] = ()
    fault: NotFittedError | None = None


def prepare(samples: Mapping[Key, Sample], model: Model) -> dict[Key, Prepared]:
    """Adjust every sample for head size, then take the differences between sites out of those of one measure."""
    prepared = {key: _adjusted(sample, model) for key, sample in samples.items()}
    if model.options.site is not None:
        for measure in sorted({measure for _, measure in prepared}):
            own = {key: one for key, one in prepared.items() if key[1] == measure and one.fault is None}
            prepared |= _harmonised(own, model, model.options.site)
    return prepared


def _adjusted(sample: Sample, model: Model) -> Prepared:
    options = model.options
    if options.site is not None:
        counts = sample.frame.groupby(options.site)[options.site].transform("size")
        few = pd.Series(None, index=sample.frame.index, dtype=object).mask(counts < 2, SMALL_SITE)
        sample = without(sample, few)
    sample = replace(sample, frame=sample.frame.assign(**{RAW: sample.frame[RESPONSE]}))
    try:
        check_sample(sample.frame, model.formula.columns, every_session=model.every_session)
        frame, lost, how = adjust_for_icv(sample.frame, options.icv)
    except NotFittedError as fault:
        return Prepared(sample, fault=fault)
    return Prepared(replace(sample, frame=frame), lost, how=(how,) if how else ())


def _harmonised(prepared: Mapping[Key, Prepared], model: Model, column: str) -> dict[Key, Prepared]:
    """The samples of one measure after ComBat over their structures."""
    if not prepared:
        return {}
    row = [*PERSON, "session"]
    stacked = pd.concat([one.sample.frame.assign(__number=n) for n, one in enumerate(prepared.values())])
    stacked[row] = stacked[row].astype(object).where(stacked[row].notna(), "")  # no session is a key like any other
    people = stacked.drop_duplicates(row).sort_values(row).set_index(row, drop=False)
    sites = sorted(people[column].unique())
    if len(sites) < 2:
        only = NotFittedError(f"{column} is {sites[0]} for every participant: nothing to harmonise")
        return {key: replace(one, fault=only) for key, one in prepared.items()}
    values = stacked.set_index([*row, "__number"])[RESPONSE].unstack("__number").reindex(people.index)
    codes = pd.Series({site: number for number, site in enumerate(sites)})
    site = people[column].map(codes).to_numpy(dtype=np.intp)
    data, _ = typed(people.reset_index(drop=True), model.formula, model.numeric)
    try:
        matrix = patsy.dmatrix(
            f"{model.formula.right} + 1", data, eval_env=patsy.EvalEnvironment([]), return_type="dataframe"
        )
        covariates = matrix.drop(columns=INTERCEPT).to_numpy()
        found = combat(values.to_numpy(dtype=np.float64), site, covariates)
    except (ConfoundedError, patsy.PatsyError):
        mixed_up = NotFittedError(
            f"{column} is confounded with the columns of the model, so that what it explains cannot be taken out",
            flags=("confounded_site",),
        )
        return {key: replace(one, fault=mixed_up) for key, one in prepared.items()}
    how = f"ComBat over {len(sites)} sites ({column}) and {len(prepared)} structures, keeping the columns of the model"
    harmonised = pd.DataFrame(found.cleaned, index=values.index, columns=values.columns)
    result = {}
    for number, (key, one) in enumerate(prepared.items()):
        frame = one.sample.frame
        index = pd.MultiIndex.from_frame(frame[row].astype(object).where(frame[row].notna(), ""))
        frame = frame.assign(**{RESPONSE: harmonised[number].reindex(index).to_numpy()})
        result[key] = replace(
            one,
            sample=replace(one.sample, frame=frame),
            lost=one.lost + frame[column].nunique() - 1,
            site=frame[column].map(codes).to_numpy(dtype=np.intp),
            how=(*one.how, how),
            flags=one.flags if found.shrunk else (*one.flags, "no_shrinkage"),
        )
    return result
