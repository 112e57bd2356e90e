"""One job: every prompt a row, whatever happens; nothing computed twice; nothing left over."""

from __future__ import annotations

import json
import shutil
from collections.abc import Generator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.unit.cohort_fakes import FixedPlanner, IntensitySegmenter, fake_engine, write_dataset, write_scan
from vp_engine.cli.app import exit_for
from vp_engine.cohort.analyse import Step, analyse_shard, one_by_one
from vp_engine.cohort.collect import collect_tables
from vp_engine.cohort.config import Config, DatasetConfig, PromptConfig
from vp_engine.cohort.engine import Engine
from vp_engine.cohort.participant import Begun, Finished, Job, Known, analyse_participant, give_up
from vp_engine.cohort.plan import write_plan
from vp_engine.cohort.tasks import read_tasks
from vp_engine.cohort.verify import verify
from vp_engine.environment.instruction import Instruction
from vp_engine.errors import ConfigError, InfrastructureError
from vp_engine.tables.parquet import read_table
from vp_engine.volumes.intake import file_sha256
from vp_engine.volumes.nifti import read_labels

VOLUMES = "Measure the hippocampi."
RATIO = "Hippocampus to head."
GROWTH = "How much did the hippocampus grow?"
BROKEN = "Write a program that is wrong."
LIVER = "Segment the liver."
BOTH = "Brainstem on both contrasts."
SECOND = "Right at the second try."
PROGRAMS = {
    VOLUMES: 't1 = scan(current)\nfor m in [segment(t1, "left_hippocampus"), segment(t1, "right_hippocampus")]:\n'
    "    report(volume(m))\n",
    RATIO: "t1 = scan(current)\n"
    'report(ratio(volume(segment(t1, "hippocampus")), volume(segment(t1, "intracranial_volume"))))\n',
    GROWTH: 'report(change(volume(segment(scan(first), "left_hippocampus")), '
    'volume(segment(scan(last), "left_hippocampus"))))\n',
    BROKEN: "report(volume(scan(current)))\n",
    BOTH: 'save(segment(image("T1w", current), "brainstem"))\nsave(segment(image("FLAIR", current), "brainstem"))\n',
}
PROMPTS = (
    PromptConfig("vol", VOLUMES, images=("T1w",)),
    PromptConfig("ratio", RATIO),
    PromptConfig("growth", GROWTH, scope="participant", images=("T1w",)),
    PromptConfig("broken", BROKEN),
    PromptConfig("liver", LIVER),
    PromptConfig("both", BOTH),
    PromptConfig("flair", VOLUMES, images=("FLAIR",)),
)


class Study:
    """A tiny dataset, its configuration, and the steps of the workflow."""

    def __init__(self, folder: Path) -> None:
        self.root = folder / "tiny" if folder.exists() else write_dataset(folder / "tiny")
        self.config = Config(folder / "config.yaml", (DatasetConfig("tiny", self.root),), folder / "results", PROMPTS)
        self.output = self.config.output
        self.segmenter = IntensitySegmenter()
        self.planner = FixedPlanner(PROGRAMS)

    @property
    def engine(self) -> Engine:
        return fake_engine(self.planner, self.segmenter)

    def run(self, *, engine: Engine | None = None) -> dict[str, int]:
        write_plan(self.config, self.output)
        for shard in json.loads((self.output / "plan.shards.json").read_text())["tiny"]:
            self.analyse(shard, engine=engine)
        return collect_tables(self.config, self.output)

    def analyse(self, shard: str, *, engine: Engine | None = None, **options: Any) -> None:
        analyse = one_by_one(partial(analyse_participant, engine=engine or self.engine))
        analyse_shard(self.config, self.output, dataset="tiny", shard=shard, analyse=analyse, **options)

    def table(self, name: str, **where: Any) -> list[dict[str, Any]]:
        rows = read_table(self.output / "tables" / name, name).to_pylist()
        return [row for row in rows if all(row[key] == value for key, value in where.items())]

    def hashes(self) -> dict[str, bytes]:
        files = [path for path in self.output.rglob("*") if path.is_file()]
        return {path.relative_to(self.output).as_posix(): path.read_bytes() for path in files}


@pytest.fixture(autouse=True)
def _no_validator(monkeypatch: pytest.MonkeyPatch) -> None:
    """The official validator has its own tests, and takes longer than all of this."""
    monkeypatch.setattr("vp_engine.cohort.plan.validate_dataset", lambda _root, **_options: [])


@pytest.fixture
def study(tmp_path: Path) -> Study:
    """A study that has not been run."""
    return Study(tmp_path / "study")


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Study:
    """A study that has been run; not to be changed."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("vp_engine.cohort.plan.validate_dataset", lambda _root, **_options: [])
        study = Study(tmp_path_factory.mktemp("cohort") / "study")
        study.run()
    return study


@pytest.fixture
def again(finished: Study, tmp_path: Path) -> Study:
    """A copy of the finished study, to go on with."""
    shutil.copytree(finished.root.parent, tmp_path / "study")
    return Study(tmp_path / "study")


def test_every_planned_prompt_has_its_row_and_reason(finished: Study) -> None:
    runs = {(r["participant"], r["session"], r["prompt_id"]): r for r in finished.table("runs")}
    plan = read_table(finished.output / "plan.parquet", "plan").to_pylist()
    assert set(runs) == {(r["participant"], r["session"], r["prompt_id"]) for r in plan}
    statuses = {prompt: runs["01", "01", prompt]["status"] for prompt in ("vol", "ratio", "broken", "liver", "both")}
    assert statuses == {"vol": "ok", "ratio": "ok", "broken": "failed", "liver": "refused", "both": "ok"}
    assert runs["01", None, "growth"]["status"] == "ok"
    assert runs["03", None, "growth"]["status"] == "refused"
    assert runs["02", "01", "flair"]["status"] == "no_input"
    assert runs["02", "01", "both"]["status"] == "refused"
    assert all((r["reason"] is None) == (r["status"] == "ok") for r in runs.values())
    assert runs["01", "01", "broken"]["reason"].startswith("wrong_type:")
    assert verify(finished.output) == []


def test_numbers_say_what_they_are_about(finished: Study) -> None:
    left, right = finished.table("measurements", participant="01", session="02", prompt_id="vol")
    assert (left["target"], left["value"], left["unit"], left["image"]) == ("left_hippocampus", 144.0, "mm3", "T1w")
    assert (right["value"], right["measure"]) == (96.0, "volume")
    assert 0.8 < left["qc_score"] < 1
    (growth,) = finished.table("measurements", participant="01", prompt_id="growth")
    assert (growth["session"], growth["reference_session"], growth["value"]) == ("02", "01", 48.0)
    run = finished.table("runs", participant="01", session="02", prompt_id="vol")[0]
    assert run["program"] == PROGRAMS[VOLUMES]
    assert left["record_id"] == run["record_id"]
    assert len(left["program_sha256"]) == 64


def test_masks_lie_where_the_table_says(finished: Study) -> None:
    derivatives = finished.output / "derivatives" / "tiny"
    rows = finished.table("segmentations")
    for row in rows:
        labels = read_labels(derivatives / row["path"])
        assert int((labels.data == row["label"]).sum()) == row["voxels"] > 0
    names = {row["path"].rpartition("/")[2] for row in rows if row["participant"] == "01" and row["session"] == "01"}
    assert names == {
        "sub-01_ses-01_space-orig_seg-vol_dseg.nii.gz",
        "sub-01_ses-01_space-orig_seg-growth_dseg.nii.gz",
        "sub-01_ses-01_space-orig_seg-ratio_dseg.nii.gz",
        "sub-01_ses-01_space-orig_label-intracranialVolume_desc-ratio_mask.nii.gz",
        "sub-01_ses-01_space-orig_seg-both_dseg.nii.gz",
        "sub-01_ses-01_space-FLAIR_seg-both_dseg.nii.gz",
        "sub-01_ses-01_space-orig_seg-flair_dseg.nii.gz",
    }


def test_session_without_the_usual_contrast_is_in_the_space_of_its_best(study: Study) -> None:
    anat = study.root / "sub-03" / "ses-01" / "anat"
    (anat / "sub-03_ses-01_T1w.nii.gz").rename(anat / "sub-03_ses-01_FLAIR.nii.gz")
    study.config = replace(study.config, datasets=(DatasetConfig("tiny", study.root, ("03",)),))
    study.run()
    names = {row["path"].rpartition("/")[2] for row in study.table("segmentations", prompt_id="ratio")}
    assert "sub-03_ses-01_space-orig_seg-ratio_dseg.nii.gz" in names
    assert {row["space"] for row in study.table("segmentations")} == {"orig"}


def test_each_scan_is_encoded_once_for_all_prompts(finished: Study) -> None:
    scans = len(list(finished.root.rglob("*.nii.gz")))
    assert len(finished.segmenter.calls) == scans


def test_corrupt_scan_costs_its_rows_only(study: Study) -> None:
    scan = study.root / "sub-01" / "ses-02" / "anat" / "sub-01_ses-02_T1w.nii.gz"
    scan.write_bytes(scan.read_bytes()[:200])
    study.run()
    status = {(r["participant"], r["session"], r["prompt_id"]): r["status"] for r in study.table("runs")}
    assert status["01", "02", "vol"] == status["01", None, "growth"] == "refused_input"
    assert status["01", "01", "vol"] == status["01", "02", "flair"] == status["02", "02", "vol"] == "ok"
    assert study.table("measurements", participant="01", session="02", prompt_id="vol") == []


def test_flags_of_gate_and_choice_are_in_the_rows(study: Study) -> None:
    anat = study.root / "sub-03" / "ses-01" / "anat"
    (anat / "sub-03_ses-01_T1w.nii.gz").rename(anat / "sub-03_ses-01_run-1_T1w.nii.gz")
    write_scan(anat / "sub-03_ses-01_run-2_T1w.nii.gz", 7, grown=1)
    study.config = replace(study.config, datasets=(DatasetConfig("tiny", study.root, ("03",)),))
    study.run()
    left, _ = study.table("measurements", prompt_id="vol")
    assert (left["value"], left["flags"]) == (96.0, ["flag_several_scans"])
    (path,) = {row["path"] for row in study.table("segmentations", prompt_id="vol")}
    assert path.endswith("sub-03_ses-01_run-1_space-orig_seg-vol_dseg.nii.gz")


def test_nothing_is_done_twice(again: Study) -> None:
    before = again.hashes()

    def no_models() -> Any:
        raise AssertionError("loaded although nothing is to be done")

    again.run(engine=Engine("fake-1", no_models))
    assert again.hashes() == before


def test_each_scan_is_hashed_once(again: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[Path] = []

    def counted(path: Path, *, root: Path | None = None) -> str:
        read.append(path)
        return file_sha256(path, root=root)

    monkeypatch.setattr("vp_engine.cohort.tasks.file_sha256", counted)
    again.run()
    assert sorted(read) == sorted(again.root.rglob("*.nii.gz"))


def test_edited_prompt_alone_is_redone(again: Study) -> None:
    before = again.hashes()
    again.planner.asked.clear()
    edited = replace(PROMPTS[1], text=VOLUMES)
    again.config = replace(again.config, prompts=(PROMPTS[0], edited, *PROMPTS[2:]))
    again.run()
    assert {(context.prompt, len(context.images)) for context in again.planner.asked} == {(VOLUMES, 1), (VOLUMES, 2)}
    after = again.hashes()
    assert not [name for name in after if "_desc-ratio_mask" in name]
    transcripts = [name for name in before if name.endswith("_transcript.json")]
    changed = {name for name in transcripts if before[name] != after[name]}
    assert changed == {name for name in transcripts if "_ratio_transcript" in name}


def test_removed_prompt_leaves_nothing(again: Study) -> None:
    again.config = replace(again.config, prompts=PROMPTS[:1])
    again.planner.asked.clear()
    again.run()
    assert again.planner.asked == []
    assert not [name for name in again.hashes() if "growth" in name or "ratio" in name]
    assert {row["prompt_id"] for row in again.table("measurements")} == {"vol"}
    assert verify(again.output) == []


def test_changed_scan_model_or_damaged_mask_is_redone(again: Study) -> None:
    mask = again.output / "derivatives/tiny/sub-02/ses-01/anat/sub-02_ses-01_space-orig_seg-vol_dseg.nii.gz"
    good = mask.read_bytes()
    mask.write_bytes(b"")
    again.planner.asked.clear()
    again.run()
    assert mask.read_bytes() == good
    assert {context.prompt for context in again.planner.asked} == {VOLUMES}
    again.run(engine=replace(again.engine, model_id="fake-2"))
    assert {row["model_id"] for row in again.table("runs")} == {"fake-2"}


def test_changed_scan_costs_what_rests_on_it(again: Study) -> None:
    write_scan(again.root / "sub-01/ses-02/anat/sub-01_ses-02_FLAIR.nii.gz", 7)
    again.planner.asked.clear()
    again.run()
    assert {context.prompt for context in again.planner.asked} == {RATIO, BROKEN, LIVER, BOTH, VOLUMES}
    assert len(again.segmenter.calls) == 2, "the other contrast of the session, for prompts that may use both"


def test_other_version_of_the_code_does_everything_again(again: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vp_engine.cohort.tasks.__version__", "99")
    again.run()
    assert len(again.segmenter.calls) == len(list(again.root.rglob("*.nii.gz")))
    assert {row["vp_engine_version"] for row in again.table("runs", status="ok")} == {"99"}


def test_who_is_given_up_keeps_what_was_finished(again: Study) -> None:
    edited = replace(PROMPTS[0], text=RATIO)
    again.config = replace(again.config, prompts=(edited, *PROMPTS[1:]))
    write_plan(again.config, again.output)
    job = Job(tuple(read_tasks(again.output, "tiny")["01"]), again.root, again.output)
    known = Known()

    class Ended(Exception):
        pass

    def end_after_one(message: Begun | Finished) -> None:
        known.add(message)
        if isinstance(message, Finished):
            raise Ended

    with pytest.raises(Ended):
        analyse_participant(job, engine=again.engine, tell=end_after_one)
    give_up(job, known, model_id="fake-1", status="timeout", reason="deadline: too long")
    collect_tables(again.config, again.output)
    rows = {(row["session"], row["prompt_id"]): row for row in again.table("runs", participant="01")}
    assert {key: row["status"] for key, row in rows.items() if key[1] == "vol"} == {
        ("01", "vol"): "ok",
        ("02", "vol"): "timeout",
    }
    assert rows["02", "vol"]["reason"] == "deadline: too long"
    assert rows["01", "ratio"]["status"] == "ok"
    files = {path.name for path in (again.output / "derivatives/tiny/sub-01/ses-02").rglob("*_vol_*")}
    assert files == set(), "of what has no row there is no file"
    assert verify(again.output) == []


def test_who_is_given_up_unread_has_rows_all_the_same(study: Study) -> None:
    write_plan(study.config, study.output)
    job = Job(tuple(read_tasks(study.output, "tiny")["03"]), study.root, study.output)
    give_up(job, Known(), model_id="fake-1", status="timeout", reason="deadline: too long")
    collect_tables(study.config, study.output)
    rows = study.table("runs", participant="03")
    statuses = {row["prompt_id"]: row["status"] for row in rows}
    settled = {prompt: status for prompt, status in statuses.items() if status != "timeout"}
    assert settled == {"flair": "no_input"}, "what the plan knows already"
    assert len(statuses) == len(PROMPTS)
    assert {row["input_sha256"] for row in rows} == {None}


def test_same_inputs_same_bytes(finished: Study, study: Study) -> None:
    study.run()
    assert study.hashes() == finished.hashes()


def test_vector_that_contradicts_the_program_fails(study: Study) -> None:
    study.planner = FixedPlanner(PROGRAMS, {0: np.ones(32, np.float32)})
    engine = fake_engine(study.planner, study.segmenter, agrees=lambda _phi, _name: False)
    study.run(engine=engine)
    (run,) = study.table("runs", participant="03", prompt_id="vol")
    assert (run["status"], run["reason"].partition(":")[0]) == ("failed", "phi_disagrees")
    assert study.table("segmentations") == []


def test_session_left_out_is_named_in_the_rows(study: Study) -> None:
    (study.root / "sub-02" / "ses-01" / "anat" / "sub-02_ses-01_T1w.nii.gz").unlink()
    average = replace(PROMPTS[0], scope="participant")
    study.planner = FixedPlanner(PROGRAMS | {GROWTH: 'refuse("ambiguous")\n'})
    study.config = replace(study.config, prompts=(average, PROMPTS[2]))
    study.run()
    rows = study.table("measurements", prompt_id="vol")
    assert {row["participant"]: row["flags"] for row in rows} == {"01": [], "02": ["session_left_out:01"], "03": []}
    reasons = {row["participant"]: row["reason"] for row in study.table("runs", prompt_id="growth")}
    assert "Sessions without a scan for this: 01." in reasons["02"]
    assert "Sessions" not in reasons["01"]


class SecondTry(FixedPlanner):
    """Delineates one thing and reads its volume, then another in code that fails, and then a third."""

    def next_instruction(self, context: Any, history: Any) -> Instruction:
        steps = (
            'read(volume(segment(scan(current), "left_thalamus")))\n',
            'm = segment(scan(current), "brainstem")\nreport(ratio(volume(m), surface_area(m)))\n',
            'report(volume(segment(scan(current), "left_hippocampus")))\n',
        )
        return Instruction(steps[len(history)], {})


def test_masks_of_code_that_failed_are_not_kept(study: Study) -> None:
    study.planner = SecondTry({})
    study.config = replace(study.config, prompts=(PromptConfig("second", SECOND, images=("T1w",)),))
    study.run()
    assert {(row["status"], row["steps"]) for row in study.table("runs")} == {("ok", 3)}
    assert {row["target"] for row in study.table("segmentations")} == {"left_hippocampus", "left_thalamus"}


def test_edited_prompt_is_not_answered_by_its_old_record(again: Study) -> None:
    edited = replace(PROMPTS[0], text=RATIO)
    again.config = replace(again.config, prompts=(edited, *PROMPTS[1:]))
    write_plan(again.config, again.output)
    before = len(again.table("measurements", prompt_id="ratio"))
    collect_tables(again.config, again.output)
    assert {row["status"] for row in again.table("runs", prompt_id="vol")} == {"no_record"}
    assert again.table("measurements", prompt_id="vol") == again.table("segmentations", prompt_id="vol") == []
    assert len(again.table("measurements", prompt_id="ratio")) == before > 0


@pytest.mark.parametrize(
    "failure",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 8 GiB"),
        torch.AcceleratorError("CUDA error: an illegal memory access was encountered"),
        RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory"),
        MemoryError(),
    ],
)
def test_device_that_fails_is_no_bug(study: Study, monkeypatch: pytest.MonkeyPatch, failure: Exception) -> None:
    def failing(_volume: Any, _unions: Any, **_options: Any) -> Any:
        raise failure

    monkeypatch.setattr(study.segmenter, "regions", failing)
    with pytest.raises(InfrastructureError, match="memory or the device") as caught:
        study.run()
    assert exit_for(caught.value)[0] == 75
    assert not list(study.output.rglob("done.json"))


def test_who_has_no_folder_has_rows_all_the_same(study: Study) -> None:
    with (study.root / "participants.tsv").open("a") as table:
        table.write("sub-99\t50\tcontrol\n")
    study.run()
    assert {row["status"] for row in study.table("runs", participant="99")} == {"no_input"}
    assert len(study.table("runs", participant="99")) == len(PROMPTS)
    assert verify(study.output) == []


def test_participant_without_record_is_told(again: Study) -> None:
    (again.output / "records" / "tiny" / "sub-02" / "done.json").unlink()
    statuses = collect_tables(again.config, again.output)
    assert statuses["no_record"] == len(again.table("runs", participant="02"))


def test_bug_does_not_take_the_neighbours_along(study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    study.config = replace(study.config, subjects_per_job=3)
    calls = study.segmenter.regions

    def faulty(volume: Any, unions: Any, **options: Any) -> Any:
        if len(study.segmenter.calls) == 0:
            study.segmenter.calls.append(())
            raise ZeroDivisionError
        return calls(volume, unions, **options)

    monkeypatch.setattr(study.segmenter, "regions", faulty)
    with pytest.raises(ZeroDivisionError):
        study.run()
    done = sorted(path.parent.name for path in study.output.glob("records/tiny/*/done.json"))
    assert done == ["sub-02", "sub-03"]
    assert not (study.output / "records" / "tiny" / "shard-00000.json").exists()
    study.run()
    assert (study.output / "records" / "tiny" / "shard-00000.json").exists()


def test_full_disk_stops_the_job(study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_arguments: Any, **_options: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("vp_engine.cohort.derivatives.write_labels", full)
    with pytest.raises(InfrastructureError, match="No space left"):
        study.run()
    assert not list(study.output.rglob("done.json"))


def test_unknown_shard_or_participant(study: Study) -> None:
    write_plan(study.config, study.output)
    with pytest.raises(ConfigError, match="shard-00000"):
        study.analyse("first")
    with pytest.raises(ConfigError, match="99"):
        study.analyse("shard-00000", participants=["99"])


def test_transcripts_have_the_answer_in_words(again: Study) -> None:
    written = {path.name: json.loads(path.read_text()) for path in again.output.rglob("*_transcript.json")}
    answers = {name: transcript["answer"] for name, transcript in written.items()}
    assert answers["sub-01_ses-01_vol_transcript.json"].startswith(
        "The volume of the left hippocampus is 96.0 mm3 (right:"
    )
    grown = answers["sub-01_growth_transcript.json"]
    assert grown == "From session 01 to session 02, the volume of the left hippocampus changed by +48.0 mm3."
    assert answers["sub-01_ses-01_liver_transcript.json"] == written["sub-01_ses-01_liver_transcript.json"]["reason"]


def test_nothing_writes_any_more_when_the_lock_is_given_back(study: Study) -> None:
    write_plan(study.config, study.output)
    locks: list[int] = []

    def failing(jobs: Sequence[Job]) -> Generator[Step]:
        try:
            yield Step(jobs[0])
            yield Step(jobs[0], InfrastructureError("the disk is full"))
        finally:
            locks.append(len(list((study.output / ".locks").iterdir())))

    with pytest.raises(InfrastructureError):
        analyse_shard(study.config, study.output, dataset="tiny", shard="shard-00000", analyse=failing)
    assert locks == [1]
