"""The shim, the process of the jobs, and the states that a clean run goes through, once for all tests."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.faults import study
from tests.faults.jobs import Jobs, compiled, started


@dataclass(frozen=True)
class Stage:
    """One step of a clean run.

    Attributes
    ----------
    config : Path
    step : str
    before, after : Path
        Copies of the output directory.
    calls : int
        Calls below the output directory that the step makes.
    by_call : dict of str to int
    """

    config: Path
    step: str
    before: Path
    after: Path
    calls: int
    by_call: dict[str, int]


@pytest.fixture(scope="session")
def _library(tmp_path_factory: pytest.TempPathFactory) -> Path | None:
    return compiled(tmp_path_factory.mktemp("shim"))


@pytest.fixture(scope="session")
def shim(_library: Path | None) -> Path:
    """For tests that inject faults."""
    if _library is None:
        pytest.skip("faults are injected with a small C library, and here is no C compiler (cc, gcc or clang)")
    return _library


@pytest.fixture(scope="session")
def study_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("study")
    study.write_edited(study.write_study(folder))
    return folder


@pytest.fixture(scope="session")
def jobs(study_folder: Path, _library: Path | None) -> Iterator[Jobs]:
    with started(study_folder, _library) as process:
        yield process


@pytest.fixture(scope="session")
def stages(study_folder: Path, jobs: Jobs, tmp_path_factory: pytest.TempPathFactory) -> list[Stage]:
    """The steps of the study in an empty folder, then those of the edited configuration in the same folder."""
    copies = tmp_path_factory.mktemp("stages")
    output = jobs.outputs / "clean"
    before = copies / "empty"
    before.mkdir()
    found: list[Stage] = []
    for name in ("config.yaml", "edited.yaml"):
        for step in study.STEPS:
            done = jobs.run(study_folder / name, output, [step])
            assert done.code == 0, done.said
            after = copies / f"{name}-{step}"
            shutil.copytree(output, after)
            found.append(Stage(study_folder / name, step, before, after, done.calls, dict(done.by_call)))
            before = after
    return found


@pytest.fixture(scope="session")
def clean(stages: list[Stage]) -> dict[str, str]:
    """What a run of the first configuration leaves, undisturbed."""
    return study.contents(stages[len(study.STEPS) - 1].after)
