"""Which measurements a model is fitted to, and who is left out and why."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import pandas as pd

from vp_engine.errors import ConfigError
from vp_engine.stats.formula import RESPONSE, Formula
from vp_engine.stats.spec import ICV, NotFittedError, StatisticSpec

PERSON = ["dataset", "participant"]
"""Columns that name somebody."""

NO_VALUE = "no_value"
FURTHER_SESSION = "further_session"
MISSING = "missing:"
"""Reasons of the table `exclusions`; the last one is followed by the column."""

ICV_TARGET = "intracranial_volume"
"""Structure whose volume is that of the head."""

_FILTERS: Mapping[str, str] = {"prompt": "prompt_id"}
_ICV_MEASURE = "volume"


@dataclass(frozen=True, slots=True, eq=False)
class Sample:
    """Rows one model is fitted to, and what became of the others.

    Attributes
    ----------
    frame : DataFrame
        Sorted by dataset, participant and session.
    dropped : DataFrame
        The other rows, with `reason`.
    notes : tuple of str
        What `method` should say.
    """

    frame: pd.DataFrame
    dropped: pd.DataFrame
    notes: tuple[str, ...]


def select(rows: pd.DataFrame, spec: StatisticSpec) -> pd.DataFrame:
    """Numbers about a structure that the statistic asks for.

    Raises
    ------
    ConfigError
        If it asks for a column that the table does not have.
    """
    chosen = rows[rows["text"].isna() & rows["target"].notna()]
    for key, values in spec.rows.items():
        column = _FILTERS.get(key, key)
        if column not in rows.columns:
            raise ConfigError(f"statistic {spec.id}: rows.{key}: the table measurements has no column {column!r}")
        chosen = chosen[chosen[column].isin(list(values))]
    return chosen.reset_index(drop=True)


def runs_without_rows(runs: pd.DataFrame, spec: StatisticSpec) -> pd.DataFrame:
    """What was asked for and came to nothing: `dataset`, `participant`, `session`, `reason`.

    Parameters
    ----------
    runs : DataFrame
        Table `runs`.
    spec : StatisticSpec

    Returns
    -------
    DataFrame
        One row per prompt and session whose status is not `ok`.
    """
    failed = runs[runs["status"] != "ok"]
    for key in ("prompt", "session", "dataset"):
        if key in spec.rows:
            failed = failed[failed[_FILTERS.get(key, key)].isin(list(spec.rows[key]))]
    reasons = "refused:" + failed["status"].astype(str)
    return failed[[*PERSON, "session"]].assign(reason=reasons).drop_duplicates()


def join_icv(selected: pd.DataFrame, rows: pd.DataFrame, prompt: str) -> pd.DataFrame:
    """Put the intracranial volume (mm³) beside each measurement, as column `icv`.

    It is that of the same image; where that has none, the only one of the session. Missing where there is none, where
    there are several of other images, and where it is not above 0.

    Parameters
    ----------
    selected : DataFrame
        Rows to complete.
    rows : DataFrame
        Table `measurements`.
    prompt : str
        Id of the prompt that measures it.
    """
    found = rows[
        (rows["prompt_id"] == prompt)
        & (rows["target"] == ICV_TARGET)
        & (rows["measure"] == _ICV_MEASURE)
        & rows[RESPONSE].gt(0)
    ]
    session = [*PERSON, "session"]
    own_image = found.drop_duplicates([*session, "image"], keep=False)
    only_one = found.drop_duplicates(session, keep=False)

    def beside(icv: pd.DataFrame, keys: list[str]) -> pd.Series:
        right = icv[[*keys, RESPONSE]].rename(columns={RESPONSE: ICV}).astype(dict.fromkeys(keys, object))
        left = selected[keys].astype(object)
        return left.merge(right, how="left", on=keys, validate="many_to_one")[ICV].set_axis(selected.index)

    same = beside(own_image, [*session, "image"])
    return selected.assign(**{ICV: same.where(same.notna(), beside(only_one, session)).astype("float64")})


def take_sample(group: pd.DataFrame, formula: Formula, columns: Iterable[str], *, every_session: bool) -> Sample:
    """The usable measurements of one structure and measure.

    Parameters
    ----------
    group : DataFrame
        Measurements with their covariates.
    formula : Formula
        Of the model.
    columns : iterable of str
        What nobody in the model may miss.
    every_session : bool
        All sessions, else the first usable one of each participant (natural order of the labels).
    """
    frame = group
    dropped = []

    def keep(those: pd.Series, reason: str) -> pd.DataFrame:
        dropped.append(frame[~those].assign(reason=reason))
        return frame[those]

    frame = keep(frame[RESPONSE].notna(), NO_VALUE)
    for column in columns:
        frame = keep(frame[column].notna(), f"{MISSING}{column}")
    order = frame["session"].map(_natural)
    frame = frame.assign(__order=order).sort_values([*PERSON, "__order"], kind="stable")
    if not every_session:
        first = frame.groupby(PERSON, sort=False)["__order"].transform("first")
        frame = keep(frame["__order"] == first, FURTHER_SESSION)
    left = pd.concat(dropped).drop(columns="__order", errors="ignore")
    return Sample(frame.drop(columns="__order"), left, _notes(group, formula))


def without(sample: Sample, excluded_by: pd.Series) -> Sample:
    """A sample without those rows of its frame that have a reason.

    Parameters
    ----------
    sample : Sample
    excluded_by : Series of str
        Reason for each row of the frame, missing for those that stay.
    """
    left = sample.frame.assign(reason=excluded_by)[excluded_by.notna()]
    return Sample(sample.frame[excluded_by.isna()], pd.concat([sample.dropped, left]), sample.notes)


def told_exclusions(dropped: pd.DataFrame) -> list[str]:
    """What `method` says of the rows that a model did not use."""
    told = []
    for reason, count in dropped["reason"].value_counts(sort=False).items():
        code = str(reason)
        words = f"no {code.removeprefix(MISSING)}" if code.startswith(MISSING) else _WORDS[code]
        told.append(f"excluded {count}: {words}")
    return told


def check_sample(frame: pd.DataFrame, columns: Iterable[str], *, every_session: bool) -> None:
    """Faults of the data that no model survives.

    Raises
    ------
    NotFittedError
    """
    if frame.empty:
        raise NotFittedError("no participant has a value and every covariate")
    key = [*PERSON, "session"] if every_session else PERSON
    again = frame[frame.duplicated(key)]
    if len(again):
        participant = again["participant"].iloc[0]
        raise NotFittedError(
            f"more than one value for participant {participant} in one session; "
            "narrow `rows` in config.yaml with prompt, image or session"
        )
    units = sorted(frame["unit"].dropna().unique())
    if len(units) > 1:
        raise NotFittedError(f"values in different units: {', '.join(units)}")
    if len(frame[RESPONSE].unique()) == 1 and len(frame) > 1:
        raise NotFittedError(f"every value is {frame[RESPONSE].iloc[0]:g}")
    for column in columns:
        if len(frame[column].unique()) == 1:
            raise NotFittedError(f"{column} is {frame[column].iloc[0]} for every participant")


_WORDS: Mapping[str, str] = {
    NO_VALUE: "no value",
    FURTHER_SESSION: "further sessions (the first of each participant is used)",
    "small_site": "fewer than 2 values at their site",
    "qc_score": "qc_score below the limit",
    "outlier": "outliers",
}


def _notes(group: pd.DataFrame, formula: Formula) -> tuple[str, ...]:
    notes = []
    if len(group["dataset"].unique()) > 1 and "dataset" not in formula.columns:
        notes.append(f"pooled over datasets {', '.join(sorted(group['dataset'].unique()))}")
    weights = group["model_id"].unique()
    if len(weights) > 1:
        notes.append(f"values of {len(weights)} versions of the weights")
    return tuple(notes)


def _natural(label: object) -> str:
    """Sort key by which session 2 comes before 10; no label comes first."""
    return re.sub(r"[0-9]+", lambda match: match[0].zfill(20), label) if isinstance(label, str) else ""
