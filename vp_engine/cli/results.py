"""Commands on an output folder: `status` and `export`."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from vp_engine.cohort.status import Person, Status

ResultsArgument = Annotated[Path, typer.Argument(help="Output folder, such as results/.")]


def status(
    results: ResultsArgument,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
) -> None:
    """Say how far a run has come, what became of the prompts, and what to look at first; also while it goes on."""
    from vp_engine.cohort.status import read_status

    found = read_status(results)
    if as_json:
        print(json.dumps(_as_json(found), ensure_ascii=False))
        return
    for line in _lines(found, results):
        print(line)


def export(
    results: ResultsArgument,
    output: Annotated[Path, typer.Option("--output", "-o", help="File to write: .csv, .tsv or .parquet.")],
    prompt: Annotated[list[str] | None, typer.Option(help="Only this prompt; may be repeated.")] = None,
    config: Annotated[
        Path | None,
        typer.Option("--config", "-c", help="Configuration of the run, for the columns of participants.tsv."),
    ] = None,
    participants: Annotated[
        bool, typer.Option("--participants/--no-participants", help="With the columns of participants.tsv.")
    ] = True,
) -> None:
    """Write one table for spreadsheets: a row per participant and session, a column per number.

    What the columns mean, units among it, is written beside it as JSON.
    """
    from vp_engine.cohort.export import explanation_of, find_covariates
    from vp_engine.cohort.export import export as write_wide

    covariates = find_covariates(results, config) if participants else None
    rows, columns = write_wide(results, output, prompts=prompt or (), covariates=covariates)
    print(f"{output}: {rows} rows, {columns} columns; {explanation_of(output)} says what they mean")


def _lines(found: Status, results: Path) -> list[str]:
    """The state as text for a person."""
    from vp_engine.cohort.watching import duration

    share = 100 * found.recorded / found.participants if found.participants else 100.0
    head = [f"{found.recorded} of {found.participants} participants recorded ({share:.0f} %)"]
    if found.running:
        head.append(_counted(len(found.running), "job") + " running")
        if found.per_minute and found.minutes_left:
            head.append(f"{found.per_minute:.3g} per minute, about {duration(found.minutes_left)} left")
    elif found.recorded < found.participants:
        head.append("no job is running")
    lines = [", ".join(head)]
    waiting = found.prompts - sum(found.outcomes.values())
    outcomes = [f"{count} {name}" for name, count in sorted(found.outcomes.items(), key=lambda entry: -entry[1])]
    lines.append(f"prompts: {', '.join([*outcomes, *([f'{waiting} not yet'] if waiting else [])])}")
    if found.outdated:
        lines.append(f"{found.outdated} recorded before the plan was written last: looked at again by their job")
    if found.uncollected is None:
        lines.append("tables: none yet")
    elif found.uncollected:
        lines.append(f"tables: {found.uncollected} records are newer (`vp collect`)")
    for job in found.running:
        now = f", now sub-{job.current}" if job.current else ""
        where = f"{job.holder.part} on {job.holder.host}, process {job.holder.pid}, since {job.holder.since}"
        lines.append(f"running: {where}: {job.finished} of {job.participants}{now}")
    for holder in found.others:
        told = "" if holder.alive else "; it shows no sign of life and gives way to the next run"
        lines.append(f"writing: {holder.part} on {holder.host}, process {holder.pid}, since {holder.since}{told}")
    return lines + _first(found, results)


def _first(found: Status, results: Path) -> list[str]:
    """What to look at first."""
    from vp_engine.cohort.status import LISTED
    from vp_engine.cohort.watching import subject_log_path
    from vp_engine.tables.confidence import LOOK_BELOW

    lines: list[str] = []
    if found.unfinished:
        lines.append(f"begun and not finished: {len(found.unfinished)} participants; their logs say why:")
        lines += [f"  {subject_log_path(results, *person)}" for person in found.unfinished[:LISTED]]
    if found.reasons:
        lines.append("why prompts were not answered:")
    for reason in found.reasons:
        prompts = ", ".join(reason.prompts[:LISTED]) + (" ..." if len(reason.prompts) > LISTED else "")
        lines.append(f"  {reason.count} x {reason.status}, {reason.code} ({prompts})")
        lines.append(f"      {_who(reason.example)}: {reason.sentence or 'see the table runs'}")
    if found.troubled:
        lines.append("participants with most trouble:")
        lines += [f"  {_who(person)}: {_counted(count, 'prompt')}" for person, count in found.troubled]
    if found.lowest:
        lines.append(f"least certain delineations ({found.doubtful} numbers with a qc_score below {LOOK_BELOW}):")
        for row in found.lowest:
            session = "" if row["session"] is None else f" ses-{row['session']}"
            where = f"{_who((row['dataset'], row['participant']))}{session}"
            lines.append(f"  {where} {row['prompt_id']} {row['target']}: {row['qc_score']:.2f}")
    lines += map(str, found.not_fitted)
    if found.flags:
        lines.append("flags, by participants (docs/tables.md):")
        lines += [f"  {count} x {flag}" for flag, count in list(found.flags.items())[: 2 * LISTED]]
    return lines


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _who(person: Person) -> str:
    return f"{person[0]} sub-{person[1]}"


def _as_json(found: Status) -> dict[str, Any]:
    return asdict(found) | {"minutes_left": found.minutes_left}


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    for command in (status, export):
        app.command()(command)
