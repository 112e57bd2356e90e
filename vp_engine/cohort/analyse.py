"""One job: every planned prompt on the participants of a shard, each ending as a row, and a record per participant."""

from __future__ import annotations

import logging
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from vp_engine.cohort.config import Config
from vp_engine.cohort.lock import writing
from vp_engine.cohort.messages import Computed, WorkerEnded
from vp_engine.cohort.participant import Job
from vp_engine.cohort.publish import publish_json
from vp_engine.cohort.tasks import read_tasks, shard_number
from vp_engine.errors import ConfigError, InfrastructureError, WeightsError

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Step:
    """A participant is begun, or has ended.

    Attributes
    ----------
    job : Job
    ended : str or Exception or None
        sha256 of its `done.json`, or why it has none; None when it is begun.
    computed : Computed or None
        How long the computing took, where that is known.
    """

    job: Job
    ended: str | Exception | None = None
    computed: Computed | None = None


Analyse = Callable[[Sequence[Job]], Generator[Step]]
"""Analyses participants, and says of each when it is begun and when it has ended; several may be under way at once.

Closed, it leaves nothing behind that still writes.
"""


def one_by_one(analyse: Callable[[Job], str]) -> Analyse:
    """Analyse participants one after another with a function of one, such as `analyse_participant` with an engine."""

    def steps(jobs: Sequence[Job]) -> Generator[Step]:
        for job in jobs:
            yield Step(job)
            try:
                ended: str | Exception = analyse(job)
            except Exception as error:  # noqa: BLE001 - told to who asked
                ended = error
            yield Step(job, ended)

    return steps


def analyse_shard(
    config: Config,
    output: Path,
    *,
    dataset: str,
    shard: str,
    analyse: Analyse,
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
        A `Supervisor`, or `one_by_one`.
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
    chosen = [own for participant, own in tasks.items() if not participants or participant in participants]
    failures: list[Exception] = []
    receipt: dict[str, str] = {}
    jobs = [Job(tuple(own), root, output, limits) for own in chosen]
    with writing(output, f"{dataset}.{shard}", alone=False), closing(analyse(jobs)) as steps:
        for step in steps:
            match step.ended:
                case str():
                    receipt[step.job.participant] = step.ended
                case WorkerEnded():
                    # maybe this participant is too large: the neighbours have theirs, then the job is worth a retry
                    _log.error("%s", step.ended.message)
                    failures.insert(0, step.ended)
                case InfrastructureError() | WeightsError():
                    raise step.ended
                case Exception():
                    # a bug must not take the neighbours along; raised after the last
                    _log.error("sub-%s: not finished", step.job.participant, exc_info=step.ended)
                    failures.append(step.ended)
        if failures:
            raise failures[0]
        if not participants:
            publish_json(output / "records" / dataset / f"{shard}.json", receipt)
