"""Collecting again makes only what changed anew, and what comes out is what a first collection gives."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.unit.results_fakes import number, planned, run, write_plan
from vp_engine.cohort import collect as collect_module
from vp_engine.cohort.collect import RECEIPT, collect_tables
from vp_engine.cohort.config import Config, DatasetConfig
from vp_engine.cohort.records import TaskRecord, record_folder, save_record, task_id
from vp_engine.cohort.verify import verify
from vp_engine.errors import InfrastructureError
from vp_engine.tables import collect as tables_collect
from vp_engine.tables.collect import Part, write_part
from vp_engine.tables.parquet import read_metadata, read_table

PARTICIPANTS = tuple(f"{number:02d}" for number in range(8))
PER_PART = 2


@pytest.fixture
def study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Config:
    """Eight participants in four parts, collected."""
    monkeypatch.setattr(tables_collect, "PLANNED_ROWS", PER_PART)
    config = Config(tmp_path / "config.yaml", (DatasetConfig("tiny", tmp_path / "tiny"),), tmp_path / "results", ())
    config.datasets[0].path.mkdir()
    plan(config.output)
    for participant in PARTICIPANTS:
        record(config.output, participant)
    collect_tables(config, config.output)
    return config


def plan(output: Path, *, text: str = "Text of vol.", of: str = "05") -> None:
    rows = [planned("tiny", participant, None, "vol") for participant in PARTICIPANTS]
    write_plan(output, [row | ({"prompt": text} if row["participant"] == of else {}) for row in rows])


def record(output: Path, participant: str, value: float = 1.0, model: str = "fake-1") -> None:
    own = {"record_id": f"r{participant}", "model_id": model}
    rows = {
        "runs": [run("tiny", participant, None, "vol", **own)],
        "measurements": [number("tiny", participant, None, "vol", "edema", value, **own)],
        "segmentations": [],
    }
    tasks = {task_id(None, "vol"): TaskRecord("key", "ok", {}, rows)}
    save_record(record_folder(output, "tiny", participant), tasks, model_id=model)


def contents(output: Path) -> dict[str, bytes]:
    """Everything that is collected, and the manifest."""
    files = [*output.glob("tables/**/*.parquet"), *output.glob("derivatives/**/*"), output / "manifest.sha256"]
    return {path.relative_to(output).as_posix(): path.read_bytes() for path in files if path.is_file()}


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Numbers of the parts that are made."""
    numbers: list[int] = []

    def told(part: Part, *given: object) -> list[Path]:
        numbers.append(part.number)
        return write_part(part, *given)  # type: ignore[arg-type]

    monkeypatch.setattr(collect_module, "write_part", told)
    return numbers


def of(output: Path, participant: str, name: str) -> Path:
    return record_folder(output, "tiny", participant) / name


def two_records(output: Path) -> None:
    record(output, "00", 2.0)
    record(output, "07", 2.0)


def forget_a_file(output: Path) -> None:
    receipt = json.loads((output / RECEIPT).read_text())
    receipt["tiny/0"]["tables"].popitem()
    (output / RECEIPT).write_text(json.dumps(receipt))


CHANGES: dict[str, tuple[Callable[[Path], None], list[int]]] = {
    "nothing": (lambda _output: None, []),
    "record": (lambda output: record(output, "05", 2.0), [2]),
    "weights": (lambda output: record(output, "05", model="fake-2"), [2]),
    "two records": (two_records, [0, 3]),
    "record gone": (lambda output: of(output, "05", "done.json").unlink(), [2]),
    "folder gone": (lambda output: shutil.rmtree(of(output, "05", "")), [2]),
    "row file gone": (lambda output: of(output, "05", "segmentations.parquet").unlink(), [2]),
    "row file damaged": (lambda output: of(output, "05", "runs.parquet").write_bytes(b"PAR1"), [2]),
    "record damaged": (lambda output: of(output, "05", "done.json").write_text("{}"), [2]),
    "wording": (lambda output: plan(output, text="Measure it better."), [2]),
    "table damaged": (lambda output: (output / "tables/runs/dataset=tiny/part-1.parquet").write_bytes(b""), [1]),
    "table gone": (lambda output: (output / "tables/segmentations/dataset=tiny/part-1.parquet").unlink(), [1]),
    "tables gone": (lambda output: shutil.rmtree(output / "tables"), [0, 1, 2, 3]),
    "receipt gone": (lambda output: (output / RECEIPT).unlink(), [0, 1, 2, 3]),
    "receipt damaged": (lambda output: (output / RECEIPT).write_text('{"tiny/0": {"inputs": '), [0, 1, 2, 3]),
    "receipt of others": (lambda output: (output / RECEIPT).write_text('{"tiny/0": 1}'), [0, 1, 2, 3]),
    "receipt lacks a file": (forget_a_file, [0]),
}


@pytest.mark.parametrize("change", CHANGES)
def test_only_what_changed_is_made_and_all_is_as_after_a_first_collection(
    study: Config, made: list[int], tmp_path: Path, change: str
) -> None:
    change_it, expected = CHANGES[change]
    before = contents(study.output)
    change_it(study.output)
    collect_tables(study, study.output)
    assert sorted(made) == expected
    again = contents(study.output)
    # as a first collection of the same records somewhere else
    first = tmp_path / "first"
    shutil.copytree(study.output / "records", first / "records")
    (first / RECEIPT).unlink()
    shutil.copy(study.output / "plan.parquet", first / "plan.parquet")
    collect_tables(study, first)
    assert again == contents(first)
    assert len(made) == len(expected) + len(PARTICIPANTS) // PER_PART
    inputs_changed = change not in ("nothing", "tables gone") and not change.startswith(("table ", "receipt "))
    assert (again != before) == inputs_changed


def test_new_participants_and_prompts(study: Config, made: list[int]) -> None:
    rows = [planned("tiny", participant, None, "vol") for participant in (*PARTICIPANTS, "99")]
    write_plan(study.output, rows)
    record(study.output, "99", 7.0)
    collect_tables(study, study.output)
    assert made == [4]
    assert read_table(study.output / "tables" / "runs", "runs").num_rows == 9
    write_plan(study.output, rows[:3])
    collect_tables(study, study.output)
    assert sorted(made) == [1, 4], "the first part stays, those behind the last go"
    table = read_table(study.output / "tables" / "measurements", "measurements")
    assert table.column("participant").to_pylist() == ["00", "01", "02"]


@pytest.mark.parametrize("what", ["__version__", "readable_versions"])
def test_other_versions_make_everything_again(
    study: Config, made: list[int], monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    monkeypatch.setattr(collect_module, what, "99" if what == "__version__" else lambda _name: ("99",))
    collect_tables(study, study.output)
    assert sorted(made) == [0, 1, 2, 3]


def test_files_name_the_models_of_their_own_rows(study: Config) -> None:
    record(study.output, "05", model="fake-2")
    of(study.output, "00", "done.json").unlink()
    of(study.output, "01", "done.json").unlink()
    collect_tables(study, study.output)
    folder = study.output / "tables" / "measurements" / "dataset=tiny"
    models = [read_metadata(folder / f"part-{number}.parquet")["model_id"] for number in range(4)]
    assert models == ["none", "fake-1", "fake-1, fake-2", "fake-1"]


def test_manifest_holds_what_is_on_the_disk(study: Config) -> None:
    record(study.output, "05", 2.0)
    stranger = record_folder(study.output, "tiny", "gone")
    shutil.copytree(record_folder(study.output, "tiny", "05"), stranger)
    collect_tables(study, study.output)
    assert verify(study.output) == []
    (stranger / "done.json").write_text("{}")
    assert verify(study.output) == [
        "records/tiny/sub-gone/done.json: changed",
        "records/tiny/sub-gone/done.json: damaged",
    ]


def test_disk_that_does_not_give_a_record_is_no_missing_record(study: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    read = Path.read_bytes

    def failing(path: Path) -> bytes:
        if path.name == "measurements.parquet" and path.parent.name == "sub-05":
            raise OSError(5, "Input/output error")
        return read(path)

    before = contents(study.output)
    monkeypatch.setattr(Path, "read_bytes", failing)
    with pytest.raises(InfrastructureError, match=r"measurements\.parquet"):
        collect_tables(study, study.output)
    monkeypatch.undo()
    assert contents(study.output) == before
