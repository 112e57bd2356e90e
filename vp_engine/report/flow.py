"""Who of the planned participants is behind a statistic, and where the others were lost."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from vp_engine.report.summary import STATUSES

NO_IMAGE = ("no_input", "refused_input")
"""Statuses of a prompt that had no image to be asked about."""

_REASONS: Mapping[str, str] = {
    "no_value": "no value",
    "further_session": "further sessions of a participant who is counted once",
    "qc_score": "qc_score below the limit of the rule",
    "outlier": "value far from what the model expects (rule for outliers)",
}


@dataclass(frozen=True, slots=True)
class Step:
    """One step of the flow.

    Attributes
    ----------
    title : str
    count : str
        Participants who got this far; a range when structures differ.
    lost : tuple of (str, int)
        Reason and how many participants (or measurements, as the reason says) were lost on the way here.
    """

    title: str
    count: str
    lost: tuple[tuple[str, int], ...] = ()


def flow_of(plan: pa.Table, runs: pa.Table, prompts: Sequence[str], table: pd.DataFrame) -> list[Step]:
    """Planned, with an image, answered, in the model.

    Parameters
    ----------
    plan, runs : pyarrow.Table
    prompts : sequence of str
        Prompts that the statistic is about; none for all.
    table : DataFrame
        Its rows of the table `statistics`.

    Returns
    -------
    list of Step
        Each participant is counted at the step they reach with any session and prompt; those without a record may have
        had an image.
    """
    planned = _people(plan, prompts)
    asked = _of(runs, prompts)
    reached: dict[tuple[str, str], set[str]] = {}
    for row in asked.select(["dataset", "participant", "status"]).to_pylist():
        reached.setdefault((row["dataset"], row["participant"]), set()).add(row["status"])
    imaged = {who for who in planned if reached.get(who, {"no_record"}) - {*NO_IMAGE}}
    answered = {who for who in imaged if "ok" in reached.get(who, ())}
    steps = [
        Step("planned", f"{len(planned):,}"),
        Step("with a usable image", f"{len(imaged):,}", _lost(planned - imaged, reached)),
        Step("answered", f"{len(answered):,}", _lost(imaged - answered, reached)),
    ]
    for analysis, title in (("all", "in the model"), ("excluded", "in the model with exclusions")):
        own = table[(table["analysis"] == analysis) & (table["target"] != "n/a")]
        if not own.empty:
            steps.append(Step(title, _range(own["n"])))
    return steps


def exclusion_lines(exclusions: pd.DataFrame) -> list[tuple[str, str, int, int]]:
    """What the models did not use: analysis, reason in words, measurements, participants; most frequent first.

    Parameters
    ----------
    exclusions : DataFrame
        Rows of the table `exclusions` of one statistic.
    """
    lines = []
    for (analysis, reason), own in exclusions.groupby(["analysis", "reason"], sort=True):
        people = len(own[["dataset", "participant"]].drop_duplicates())
        lines.append((str(analysis), reason_text(str(reason)), len(own), people))
    return sorted(lines, key=lambda line: (line[0], -line[2], line[1]))


def reason_text(code: str) -> str:
    """A code of the table `exclusions` in words.

    >>> reason_text("missing:age"), reason_text("refused:no_input")
    ('no value in the column age', 'no measurement: no fitting scan')
    """
    kind, _, detail = code.partition(":")
    if kind == "missing":
        return f"no value in the column {detail}"
    if kind == "refused":
        return f"no measurement: {STATUSES.get(detail, detail).partition(':')[0]}"
    return _REASONS.get(kind, kind.replace("_", " ")) + (f" ({detail})" if detail else "")


def _of(table: pa.Table, prompts: Sequence[str]) -> pa.Table:
    if not prompts:
        return table
    return table.filter(pc.is_in(table.column("prompt_id"), value_set=pa.array(prompts, pa.string())))


def _people(plan: pa.Table, prompts: Sequence[str]) -> set[tuple[str, str]]:
    rows = _of(plan, prompts).group_by(["dataset", "participant"]).aggregate([]).to_pylist()
    return {(row["dataset"], row["participant"]) for row in rows}


def _lost(people: set[tuple[str, str]], reached: Mapping[tuple[str, str], set[str]]) -> tuple[tuple[str, int], ...]:
    """Why, counted by participant: the statuses of those who got no further."""
    counts: Counter[str] = Counter()
    for who in people:
        statuses = reached.get(who, {"no_record"})
        counts[", ".join(STATUSES[status].partition(":")[0] for status in STATUSES if status in statuses)] += 1
    return tuple(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def _range(numbers: pd.Series) -> str:
    low, high = int(numbers.min()), int(numbers.max())
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"
