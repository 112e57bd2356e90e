"""One task run: the agent in its environment, and what comes of it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import replace

from vp_engine.agent.loop import context_of, run_prompt
from vp_engine.agent.transcript import Transcript
from vp_engine.cohort.answers import answer
from vp_engine.cohort.drawn import Drawn, drawn_images, drawn_scans
from vp_engine.cohort.engine import Engine
from vp_engine.cohort.flags import SESSION_LEFT_OUT
from vp_engine.cohort.outcome import Outcome, Row
from vp_engine.cohort.scans import Scans
from vp_engine.cohort.tasks import Fingerprint, Task, run_row
from vp_engine.cohort.world import PHI_DISAGREES, CohortEnvironment, CohortWorld
from vp_engine.environment.calls import planned_segmentations
from vp_engine.environment.values import Number, Text
from vp_engine.errors import InputRefused, ProgramError

_OUT_OF_TIME = "budget_seconds"


def announce(tasks: Iterable[Task], scans: Scans, engine: Engine) -> None:
    """Tell the scans what the first programs of all tasks will ask for, so that each is encoded once.

    Parameters
    ----------
    tasks : iterable of Task
        All that will be run on `scans`.
    scans : Scans
    engine : Engine
    """
    planner = engine.load().planner
    for task in tasks:
        if task.status is None:
            world = _world(task, scans, engine)
            first = planner.next_instruction(context_of(task.prompt, task.scope, world), [])
            announce_program(first.code, world, scans)


def announce_program(code: str, world: CohortWorld, scans: Scans) -> None:
    """Tell the scans what one program will ask for; nothing when it is not a valid one."""
    try:
        calls = planned_segmentations(code, world)
    except ProgramError:
        return  # the agent is told when the program is run
    for call in calls:
        scans.want(world.choice(call.session, call.suffix).scan.path, [call.structure])


def run_task(task: Task, fingerprint: Fingerprint, scans: Scans, engine: Engine) -> Outcome:
    """Run one task; nothing is written yet.

    Parameters
    ----------
    task : Task
    fingerprint : Fingerprint
        Of the task.
    scans : Scans
        Shared by the tasks of the participant.
    engine : Engine

    Returns
    -------
    Outcome
        Whatever the data or the program did; the status of its row says what.

    Raises
    ------
    InfrastructureError
        If the disk or the device fails.
    """
    row = run_row(task, fingerprint, engine.model_id)
    if task.status is not None:
        return Outcome(task, fingerprint, row | {"status": task.status, "reason": task.reason})
    started = engine.clock()
    world = _world(task, scans, engine)
    environment = CohortEnvironment(world, clock=engine.clock)
    try:
        transcript = run_prompt(engine.load().planner, task.prompt, environment, scope=task.scope, clock=engine.clock)
    except InputRefused as error:
        refused = {"status": "refused_input", "reason": f"{error.code}: {error.message}"}
        return Outcome(task, fingerprint, row | refused)
    status, reason = _outcome(transcript)
    drawn = Drawn(between=tuple(world.aligned_pairs))
    measurements: list[Row] = []
    if status == "ok":
        cutouts = [(world.choice(one.image.session, one.image.suffix), one) for one in environment.cutouts]
        regions = world.regions(environment.saved)
        drawn = replace(drawn, scans=drawn_scans(world.delineated, regions, scans), images=drawn_images(cutouts, scans))
        program_sha256 = hashlib.sha256(transcript.program.encode()).hexdigest()
        common = {name: row[name] for name in ("model_id", "record_id")} | {"program_sha256": program_sha256}
        measurements = [measurement(task, result) | common for result in environment.reported]
    elif task.left_out:
        reason = f"{reason} Sessions without a scan for this: {', '.join(task.left_out)}."
    told = {"answer": answer(transcript, environment.results, flags=_left_out(task)), "model_id": engine.model_id}
    row |= {
        "status": status,
        "reason": reason,
        "steps": len(transcript.turns),
        "program": transcript.program or None,
        "seconds": round(engine.clock() - started, 3),
        "device": scans.segmenter.device,
    }
    return Outcome(task, fingerprint, row, tuple(measurements), drawn, transcript.as_json() | told)


def measurement(task: Task, result: Number | Text) -> Row:
    """Row of `measurements` for a number or an answer, without the columns that say where it comes from."""
    row: Row = {
        "dataset": task.dataset,
        "participant": task.participant,
        "session": result.session.label if result.session is not None else task.session,
        "prompt_id": task.prompt_id,
        "target": result.target,
    }
    left_out = _left_out(task)
    if isinstance(result, Text):
        nothing: Row = dict.fromkeys(("value", "unit", "reference_session"))
        return (
            row
            | nothing
            | {
                "measure": result.measure,
                "text": result.word,
                "image": result.image,
                "qc_score": result.confidence,
                "flags": sorted(left_out.union(result.flags)),
            }
        )
    reference = result.reference_session
    return row | {
        "measure": result.measure,
        "value": result.value,
        "text": None,
        "unit": result.unit,
        "image": result.image,
        "reference_session": None if reference is None else reference.label,
        "qc_score": result.qc_score,
        "flags": sorted(left_out.union(result.flags)),
    }


def _left_out(task: Task) -> set[str]:
    """Flags of the sessions that have no scan for this."""
    return {f"{SESSION_LEFT_OUT}:{label}" for label in task.left_out}


def _world(task: Task, scans: Scans, engine: Engine) -> CohortWorld:
    return CohortWorld(task.choices, scans, agrees=engine.load().agrees)


def _outcome(transcript: Transcript) -> tuple[str, str | None]:
    """Status and reason of `runs`."""
    if transcript.status == "ok":
        return "ok", None
    reason = f"{transcript.code}: {transcript.reason}"
    if transcript.code == _OUT_OF_TIME:
        return "timeout", reason
    # the agent contradicting itself is a fault of the model, not of the request
    return ("failed" if transcript.code == PHI_DISAGREES else transcript.status), reason
