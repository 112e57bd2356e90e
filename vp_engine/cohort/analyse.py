"""One job: every planned prompt on the participants of a shard, each ending as a row, and a record per participant."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from pathlib import Path

from vp_engine.cohort.config import Config
from vp_engine.cohort.lock import writing
from vp_engine.cohort.participant import Job
from vp_engine.cohort.publish import publish_json
from vp_engine.cohort.supervisor import WorkerEnded
from vp_engine.cohort.tasks import read_tasks, shard_number
from vp_engine.errors import ConfigError, InfrastructureError, WeightsError

_log = logging.getLogger(__name__)


def analyse_shard(
    config: Config,
    output: Path,
    *,
    dataset: str,
    shard: str,
    analyse: Callable[[Job], str],
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
    analyse : callable
        Analyses one participant and gives the hash of its `done.json`: a `Supervisor`, or `analyse_participant` with
        an engine.
    participants : sequence of str, optional
        Only these of the shard; the receipt of the shard is then not written.

    Raises
    ------
    ConfigError
        If there is no such dataset, shard or participant.
    OutputInUse
        If another process works on this shard.
    InfrastructureError
        If the disk or the device fails, a process is ended, or a signal asks to stop; participants that were finished
        keep their records.
    """
    root, limits = config.dataset(dataset).path, config.dataset(dataset).limits
    tasks = read_tasks(output, dataset, shard_number(shard))
    if unknown := sorted(set(participants) - tasks.keys()):
        raise ConfigError(f"Expected participants of {shard}, got {', '.join(unknown)}; it has {', '.join(tasks)}")
    failures: list[Exception] = []
    receipt: dict[str, str] = {}
    with writing(output, f"{dataset}.{shard}", alone=False):
        for participant, own in tasks.items():
            if participants and participant not in participants:
                continue
            try:
                receipt[participant] = analyse(Job(tuple(own), root, output, limits))
            except WorkerEnded as error:
                # maybe this participant is too large: the neighbours have theirs, then the job is worth a retry
                _log.error("%s", error.message)
                failures.insert(0, error)
            except (InfrastructureError, WeightsError):
                raise
            except Exception as error:  # noqa: BLE001 - a bug must not take the neighbours along; raised after the last
                _log.exception("sub-%s: not finished", participant)
                failures.append(error)
        if failures:
            raise failures[0]
        if not participants:
            publish_json(output / "records" / dataset / f"{shard}.json", receipt)
