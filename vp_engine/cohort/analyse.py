"""One job: every planned prompt on the participants of a shard, each ending as a row, and a record per participant."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from vp_engine.cohort.config import Config
from vp_engine.cohort.derivatives import read_registrations
from vp_engine.cohort.engine import Engine, device_failures
from vp_engine.cohort.lock import writing
from vp_engine.cohort.plan import shard_number
from vp_engine.cohort.publish import publish_json, sha256_of, sweep
from vp_engine.cohort.records import (
    TaskRecord,
    derivative_folder,
    load_record,
    record_folder,
    remove_strays,
    save_record,
)
from vp_engine.cohort.scans import Scans
from vp_engine.cohort.streams import Streams
from vp_engine.cohort.tasks import Fingerprint, Task, read_tasks, scan_hashes
from vp_engine.errors import ConfigError, InfrastructureError, WeightsError
from vp_engine.volumes.intake import GateLimits

_log = logging.getLogger(__name__)


def analyse_shard(
    config: Config,
    output: Path,
    *,
    dataset: str,
    shard: str,
    engine: Engine,
    participants: Sequence[str] = (),
) -> None:
    """Run what is not recorded yet for the participants of one shard, then write `records/<dataset>/<shard>.json`.

    Parameters
    ----------
    config : Config
    output : Path
        Output directory with a plan.
    dataset, shard : str
        As in `plan.shards.json`.
    engine : Engine
        Its models are loaded only when something is to be run.
    participants : sequence of str, optional
        Only these of the shard; the receipt of the shard is then not written.

    Raises
    ------
    ConfigError
        If there is no such dataset, shard or participant.
    OutputInUse
        If another process works on this shard.
    InfrastructureError
        If the disk or the device fails; participants that were finished keep their records.
    """
    root, limits = config.dataset(dataset).path, config.dataset(dataset).limits
    tasks = read_tasks(output, dataset, shard_number(shard))
    if unknown := sorted(set(participants) - tasks.keys()):
        raise ConfigError(f"Expected participants of {shard}, got {', '.join(unknown)}; it has {', '.join(tasks)}")
    bugs: list[Exception] = []
    receipt: dict[str, str] = {}
    with writing(output, f"{dataset}.{shard}", alone=False):
        for participant, own in tasks.items():
            if participants and participant not in participants:
                continue
            try:
                receipt[participant] = analyse_participant(own, root, output, engine=engine, limits=limits)
            except (InfrastructureError, WeightsError):
                raise
            except Exception as error:  # noqa: BLE001 - a bug must not take the neighbours along; raised after the last
                _log.exception("sub-%s: not finished", participant)
                bugs.append(error)
        if bugs:
            raise bugs[0]
        if not participants:
            publish_json(output / "records" / dataset / f"{shard}.json", receipt)


def analyse_participant(
    tasks: Sequence[Task], root: Path, output: Path, *, engine: Engine, limits: GateLimits | None = None
) -> str:
    """Run the tasks of one participant that are not recorded yet, and write the record.

    Parameters
    ----------
    tasks : sequence of Task
        All tasks of the participant; what is recorded of others is removed.
    root : Path
        The dataset.
    output : Path
        Output directory.
    engine : Engine
    limits : GateLimits, optional
        What the intake gate accepts, if not the usual.

    Returns
    -------
    str
        sha256 of the `done.json`.

    Raises
    ------
    InfrastructureError
        If the disk or the device fails; nothing recorded is lost.
    """
    dataset, participant = tasks[0].dataset, tasks[0].participant
    derivatives = derivative_folder(output, dataset)
    folder = record_folder(output, dataset, participant)
    sweep(folder)
    sweep(derivatives / f"sub-{participant}")
    hashes = scan_hashes(tasks, root)
    asked = {task.id: (task, task.fingerprint(hashes, engine.model_id, limits=limits)) for task in tasks}
    recorded = load_record(output, dataset, participant)
    kept = {name: record for name, record in recorded.items() if name in asked and record.key == asked[name][1].key}
    todo = {name: both for name, both in asked.items() if name not in kept}
    records = dict(kept)
    if todo:
        # with it comes torch, which takes seconds that a job without work should not cost
        with device_failures():
            segmenter = engine.load().segmenter
        choices = [choice for task, _ in todo.values() for choice in task.choices]
        streams = Streams(choices, hashes, read_registrations(derivatives, kept.values()))
        scans = Scans(root, segmenter, limits=limits, streams=streams)
        records |= _run(todo, scans, derivatives=derivatives, engine=engine)
    remove_strays(derivatives, participant, records)
    ordered = {task.id: records[task.id] for task in tasks}
    if todo or set(recorded) != set(ordered):
        save_record(folder, ordered, model_id=engine.model_id)
    statuses = Counter(record.status for record in ordered.values())
    told = ", ".join(f"{count} {status}" for status, count in sorted(statuses.items()))
    _log.info("sub-%s: %s (%d kept)", participant, told, len(kept))
    return sha256_of(folder / "done.json")


def _run(
    todo: Mapping[str, tuple[Task, Fingerprint]], scans: Scans, *, derivatives: Path, engine: Engine
) -> dict[str, TaskRecord]:
    from vp_engine.cohort.results import announce, run_task

    with device_failures():
        announce([task for task, _ in todo.values()], scans, engine)
        return {
            name: run_task(task, fingerprint, scans, engine, root=derivatives)
            for name, (task, fingerprint) in todo.items()
        }
