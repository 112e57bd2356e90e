"""What the report says, as plain rows: from tables to counts, means and lists."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from vp_engine.report.flags import count_flags, flags_text, kind_of
from vp_engine.tables.confidence import LOOK_BELOW

Row = dict[str, Any]

STATUSES: Mapping[str, str] = {
    "ok": "done",
    "refused": "refused: cannot be done with this model or these images",
    "refused_input": "an image cannot be used",
    "no_input": "no fitting scan",
    "failed": "failed",
    "timeout": "ran out of time",
    "interrupted": "interrupted",
    "no_record": "no result recorded",
}
"""Words for each status of `runs`, in the order they are shown."""

TROUBLE = ("refused_input", "no_input", "failed", "timeout", "interrupted", "no_record")
"""Statuses that say something about the participant, not only about the prompt."""

_EXAMPLES = 3
_PROGRAMS = 10
_LISTED = 25


def summarise_prompts(plan: pa.Table, runs: pa.Table, order: Sequence[str] = ()) -> list[Row]:
    """One row per prompt: `id`, `text`, `scope`, `images`, `counts` (status to number), `total`.

    They come in the order given; others, as the plan is sorted, by their ids.
    """
    counts: dict[str, Counter[str]] = {}
    for row in runs.group_by(["prompt_id", "status"]).aggregate([([], "count_all")]).to_pylist():
        counts.setdefault(row["prompt_id"], Counter())[row["status"]] = row["count_all"]
    prompts: dict[str, Row] = {}
    asked = plan.select(["prompt_id", "prompt", "scope", "images"])
    place = {prompt_id: n for n, prompt_id in enumerate(order)}
    planned = pc.unique(asked.column("prompt_id")).to_pylist()
    for prompt_id in sorted(planned, key=lambda one: (place.get(one, len(place)), one)):
        row = asked.filter(pc.equal(asked.column("prompt_id"), prompt_id)).slice(0, 1).to_pylist()[0]
        own = counts.get(prompt_id, Counter())
        prompts[prompt_id] = {
            "id": prompt_id,
            "text": row["prompt"],
            "scope": row["scope"],
            "images": ", ".join(row["images"]) or "any",
            "counts": {status: own[status] for status in STATUSES},
            "total": own.total(),
        }
    return list(prompts.values())


def summarise_programs(runs: pa.Table) -> dict[str, list[Row]]:
    """For each prompt the programs that ran, most frequent first: `program`, `people`, `runs`.

    `people` are the participants a program ran for, `runs` their sessions; at most 10 programs of a prompt.
    """
    asked = runs.filter(pc.is_valid(runs.column("program")))
    keys = ["prompt_id", "program", "dataset", "participant"]
    people = asked.group_by(keys).aggregate([([], "count_all")])
    counted = people.group_by(keys[:2]).aggregate([([], "count_all"), ("count_all", "sum")]).to_pylist()
    found: dict[str, list[Row]] = {}
    for row in sorted(counted, key=lambda row: (row["prompt_id"], -row["count_all_sum"], row["program"])):
        own = found.setdefault(row["prompt_id"], [])
        if len(own) < _PROGRAMS:
            text = row["program"].strip("\n")
            own.append({"program": text, "people": row["count_all"], "runs": row["count_all_sum"]})
    return found


def summarise_reasons(runs: pa.Table) -> list[Row]:
    """Why prompts were not answered, most frequent first: `status`, `prompt_id`, `reason`, `count`, `examples`."""
    groups: dict[tuple[str, str, str], list[Row]] = {}
    left = runs.filter(pc.not_equal(runs.column("status"), "ok"))
    for row in left.select(["dataset", "participant", "session", "prompt_id", "status", "reason"]).to_pylist():
        groups.setdefault((row["status"], row["prompt_id"], row["reason"] or ""), []).append(row)
    ordered = sorted(groups.items(), key=lambda item: (-len(item[1]), item[0]))
    return [
        {
            "status": status,
            "prompt_id": prompt_id,
            "reason": reason,
            "count": len(rows),
            "examples": ", ".join(_who(row) for row in rows[:_EXAMPLES]) + (" …" if len(rows) > _EXAMPLES else ""),
        }
        for (status, prompt_id, reason), rows in ordered
    ]


def list_troubled(runs: pa.Table) -> tuple[list[Row], int]:
    """Participants with most prompts that came to nothing because of their images or of the run.

    Returns
    -------
    rows : list of dict
        `who`, `count`, `statuses`; at most 25.
    total : int
        Participants with any.
    """
    trouble = runs.filter(pc.is_in(runs.column("status"), value_set=pa.array(TROUBLE)))
    people: dict[str, Counter[str]] = {}
    for row in trouble.group_by(["dataset", "participant", "status"]).aggregate([([], "count_all")]).to_pylist():
        people.setdefault(_who(row | {"session": None}), Counter())[row["status"]] = row["count_all"]
    worst = sorted(people, key=lambda who: (-people[who].total(), who))
    rows = [
        {
            "who": who,
            "count": people[who].total(),
            "statuses": ", ".join(STATUSES[status] for status in TROUBLE if people[who][status]),
        }
        for who in worst[:_LISTED]
    ]
    return rows, len(people)


def summarise_numbers(measurements: pa.Table) -> list[Row]:
    """One row per prompt, target, measure and unit: `n`, `mean`, `sd` (sample), `min`, `max`, and `flags` and `kinds`.

    Numbered lesions of one name are pooled: `lesion_001` of one scan has nothing to do with that of another.
    """
    keys = ["prompt_id", "target", "measure", "unit"]
    numbers = _pooled(measurements.filter(pc.is_valid(measurements.column("value"))))
    spread = pc.VarianceOptions(ddof=1)
    grouped = numbers.group_by(keys).aggregate(
        [
            ("value", "count"),
            ("value", "mean"),
            ("value", "stddev", spread),
            ("value", "min"),
            ("value", "max"),
        ]
    )
    names = {"value_count": "n", "value_mean": "mean", "value_stddev": "sd", "value_min": "min", "value_max": "max"}
    rows = [{names.get(key, key): value for key, value in row.items()} for row in grouped.to_pylist()]
    return sorted(_with_flags(rows, numbers, keys), key=lambda row: tuple(row[key] or "" for key in keys))


def summarise_answers(measurements: pa.Table) -> list[Row]:
    """One row per prompt and answer: `prompt_id`, `target`, `measure`, `text`, `n` and flags; lesions are pooled."""
    keys = ["prompt_id", "target", "measure", "text"]
    answers = _pooled(measurements.filter(pc.is_valid(measurements.column("text"))))
    grouped = answers.group_by(keys).aggregate([([], "count_all")]).to_pylist()
    rows = [{key: row[key] for key in keys} | {"n": row["count_all"]} for row in grouped]
    rows = _with_flags(rows, answers, keys)
    return sorted(rows, key=lambda row: (row["prompt_id"], row["target"] or "", row["measure"], -row["n"], row["text"]))


def summarise_flags(measurements: pa.Table) -> list[Row]:
    """What was repaired or noticed: `flag` without its details after the colon, `count` of images, `examples`."""
    flagged = _flagged(measurements)
    images: dict[str, dict[tuple[str, str, str, str], Row]] = {}
    for row in flagged.select(["dataset", "participant", "session", "image", "flags"]).to_pylist():
        key = (row["dataset"], row["participant"], row["session"] or "", row["image"] or "")
        for flag in row["flags"]:
            images.setdefault(kind_of(flag), {})[key] = row
    return [
        {
            "flag": flag,
            "count": len(own),
            "examples": ", ".join(_who(own[key]) for key in sorted(own)[:_EXAMPLES])
            + (" …" if len(own) > _EXAMPLES else ""),
        }
        for flag, own in sorted(images.items(), key=lambda item: (-len(item[1]), item[0]))
    ]


def list_low_quality(measurements: pa.Table) -> tuple[list[Row], int]:
    """The delineations to look at, worst first, and how many there are; not words, which have other scores.

    Returns
    -------
    rows : list of dict
        `who`, `prompt_id`, `target`, `qc_score`; at most 25.
    total : int
        Measurements with a `qc_score` below `LOOK_BELOW`.
    """
    numbers = measurements.filter(pc.is_null(measurements.column("text")))
    low = numbers.filter(pc.less(numbers.column("qc_score"), LOOK_BELOW))
    order = [("qc_score", "ascending"), ("dataset", "ascending"), ("participant", "ascending"), ("target", "ascending")]
    worst = low.sort_by(order).slice(0, _LISTED).to_pylist()
    rows = [{key: row[key] for key in ("prompt_id", "target", "qc_score")} | {"who": _who(row)} for row in worst]
    return rows, low.num_rows


def _flagged(measurements: pa.Table) -> pa.Table:
    return measurements.filter(pc.greater(pc.list_value_length(measurements.column("flags")), 0))


def _with_flags(rows: list[Row], measurements: pa.Table, keys: Sequence[str]) -> list[Row]:
    """The rows with the flags of the measurements each is made of: `flags` for a cell, and their `kinds`."""
    found = count_flags(_flagged(measurements).select([*keys, "flags"]).to_pylist(), keys)
    counts = [found.get(tuple(row[key] for key in keys), Counter()) for row in rows]
    return [
        row | {"flags": flags_text(own, row["n"]), "kinds": sorted(own)} for row, own in zip(rows, counts, strict=True)
    ]


def _pooled(measurements: pa.Table) -> pa.Table:
    """Rows with the number of a lesion taken out of its name: `lesion_001` becomes `lesion_NNN`."""
    column = measurements.schema.get_field_index("target")
    names = pc.replace_substring_regex(measurements.column("target"), r"_\d{3}$", "_NNN")
    return measurements.set_column(column, measurements.schema.field(column), names)


def _who(row: Row) -> str:
    session = f" ses-{row['session']}" if row["session"] is not None else ""
    return f"{row['dataset']}: sub-{row['participant']}{session}"
