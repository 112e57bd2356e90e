"""Commands of the cohort workflow, one for each rule, and `vp verify`."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vp_engine.cli.options import Device, DeviceOption
from vp_engine.cli.progress import showing

if TYPE_CHECKING:
    from vp_engine.cohort.config import Config

CONFIG_FILE = Path("config.yaml")

ConfigOption = Annotated[Path, typer.Option("--config", "-c", help="Configuration file.")]
OutputOption = Annotated[
    Path | None, typer.Option("--output", "-o", help="Output folder; default: the one of the configuration.")
]


def demo(
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of the new BIDS dataset.")] = Path("demo"),
) -> None:
    """Make the demo cohort: eight made-up people with planted effects, as a BIDS dataset."""
    from vp_engine.cohort.demo import make_demo

    make_demo(out)
    print(out)


def index(config: ConfigOption = CONFIG_FILE, output: OutputOption = None) -> None:
    """Walk the datasets and write the plan: every prompt on every session."""
    settings = _load(config)

    from vp_engine.cohort.plan import write_plan

    summary = write_plan(settings, output or settings.output)
    print(
        f"{summary.participants} participants, {summary.rows} prompts to answer "
        f"({summary.settled} cannot be), {summary.shards} jobs"
    )


def analyse(
    dataset: Annotated[str, typer.Option(help="Name of the dataset in the configuration.")],
    shard: Annotated[str, typer.Option(help="Job of the plan, such as shard-00000.")],
    participant: Annotated[list[str] | None, typer.Option(help="Only these of the shard; may be repeated.")] = None,
    config: ConfigOption = CONFIG_FILE,
    output: OutputOption = None,
    device: DeviceOption = Device.AUTO,
) -> None:
    """Run all prompts on the participants of one job; what is recorded and unchanged is kept."""
    settings = _load(config)

    from vp_engine.cohort.analyse import analyse_shard
    from vp_engine.cohort.engine import load_engine
    from vp_engine.cohort.supervisor import Supervisor
    from vp_engine.cohort.watching import Pace, participants_of, watched

    where = output or settings.output
    only = [label.removeprefix("sub-") for label in participant or ()]
    total = participants_of(where, dataset, shard, only)
    engine = partial(load_engine, settings.model, settings.planner, device=device)
    with showing(total) as show, Supervisor(engine, deadline_s=settings.deadline_s) as supervisor:
        analyse_shard(
            settings,
            where,
            dataset=dataset,
            shard=shard,
            analyse=watched(supervisor, Pace(total), show),
            participants=only,
        )


def collect(config: ConfigOption = CONFIG_FILE, output: OutputOption = None) -> None:
    """Join the records of all participants into the tables."""
    settings = _load(config)

    from vp_engine.cohort.collect import collect_tables

    for status, rows in sorted(collect_tables(settings, output or settings.output).items()):
        print(f"{status}\t{rows}")


def stats(config: ConfigOption = CONFIG_FILE, output: OutputOption = None) -> None:
    """Fit the statistics of the configuration to the measurements."""
    settings = _load(config)

    from vp_engine.cohort.statistics import run_statistics
    from vp_engine.cohort.status import read_not_fitted

    where = output or settings.output
    run_statistics(settings, where)
    for entry in read_not_fitted(where):
        print(entry)


def report(config: ConfigOption = CONFIG_FILE, output: OutputOption = None) -> None:
    """Write figures and `report.html` from the tables."""
    settings = _load(config)

    from vp_engine.cli.reporting import make_report

    print(make_report(settings, output or settings.output))


def verify(output: Annotated[Path, typer.Argument(help="Output folder, such as results/.")]) -> None:
    """Hash every file again and name what differs; exit 1 when something does."""
    from vp_engine.cohort.verify import verify as differences_in

    differences = differences_in(output)
    for difference in differences:
        print(difference)
    if differences:
        raise typer.Exit(1)
    print("all files are as recorded")


def _load(path: Path) -> Config:
    # before anything heavy is imported: a wrong configuration is told at once
    from vp_engine.cohort.config import load_config

    return load_config(path)


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    for command in (index, analyse, collect, stats, report, verify, demo):
        app.command()(command)
