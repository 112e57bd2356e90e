"""Flags of measurements, beside the numbers they belong to."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import pandas as pd

from vp_engine.report.cells import MARK, words
from vp_engine.stats.sample import ICV_TARGET, select
from vp_engine.stats.spec import StatisticSpec

Row = Mapping[str, Any]


def kind_of(flag: str) -> str:
    """A flag without the details that follow a colon."""
    return flag.partition(":")[0]


def count_flags(rows: Iterable[Row], keys: Sequence[str]) -> dict[tuple[Hashable, ...], Counter[str]]:
    """How many rows have each kind of flag, for each combination of the keys that has any."""
    found: dict[tuple[Hashable, ...], Counter[str]] = {}
    for row in rows:
        if kinds := {kind_of(flag) for flag in row["flags"]}:
            found.setdefault(tuple(row[key] for key in keys), Counter()).update(kinds)
    return found


def flags_text(counts: Mapping[str, int], total: int) -> str:
    """Flags of several numbers in a cell, the most frequent first.

    >>> flags_text({"mask_resampled": 1, "not_skull_bounded": 10}, 10)
    'not_skull_bounded (10 of 10), mask_resampled (1 of 10)'
    """
    ordered = sorted(counts, key=lambda kind: (-counts[kind], kind))
    return ", ".join(f"{kind} ({counts[kind]:,} of {total:,})" for kind in ordered)


def explain(kind: str, meanings: Mapping[str, str]) -> str:
    """What a flag means, as a sentence.

    >>> explain("fix_scl_slope", {"fix_scl_slope": "the scaling was ignored"}), explain("new_one", {})
    ('The scaling was ignored.', 'docs/tables.md says what it means.')
    """
    meaning = meanings.get(kind, "docs/tables.md says what it means").removesuffix(".")
    return f"{meaning[:1].upper()}{meaning[1:]}." if kind in meanings else f"{meaning}."


def explained(rows: Iterable[Row], meanings: Mapping[str, str]) -> list[tuple[str, str]]:
    """Each kind of flag that stands in the column `kinds` of rows, with its meaning."""
    return [(kind, explain(kind, meanings)) for kind in sorted({kind for row in rows for kind in row["kinds"]})]


def flags_behind(rows: pd.DataFrame, spec: StatisticSpec) -> dict[str, tuple[Counter[str], int]]:
    """Flags of the measurements that a statistic is about, and of the intracranial volumes it adjusts by.

    Parameters
    ----------
    rows : DataFrame
        Of the table `measurements`, of all prompts that the statistic needs.
    spec : StatisticSpec

    Returns
    -------
    dict
        Structure → how many of its measurements have each kind of flag, and how many there are; only of structures
        with any.
    """
    asked = [select(rows, spec)]
    if spec.options.icv is not None:
        head = {"prompt": (spec.options.icv.prompt,), "target": (ICV_TARGET,)}
        asked.append(select(rows, replace(spec, rows=head)))
    used = pd.concat(asked)
    total = Counter(used["target"])
    rows_of = ({"target": target, "flags": own} for target, own in zip(used["target"], used["flags"], strict=True))
    return {str(target): (counts, total[target]) for (target,), counts in count_flags(rows_of, ("target",)).items()}


def behind_lines(flagged: Mapping[str, tuple[Counter[str], int]], meanings: Mapping[str, str]) -> list[str]:
    """Each flag behind a statistic with the structures it is about, as sentences."""
    lines: dict[str, list[str]] = {}
    for target, (counts, total) in sorted(flagged.items()):
        for kind in counts:
            lines.setdefault(kind, []).append(f"{words(target)} ({counts[kind]:,} of {total:,})")
    return [
        f"{MARK} {kind}: {explain(kind, meanings)} In measurements of: {', '.join(lines[kind])}."
        for kind in sorted(lines)
    ]
