"""The intake gate: what becomes of every input of the table, alone and in a cohort, and what it costs to say so."""

from __future__ import annotations

import ctypes
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.security.intake_cases import CASES, ROWS, Case, packed, scan_path
from tests.unit.cohort_fakes import FixedPlanner, IntensitySegmenter, run_study, write_dataset
from vp_engine.bids.dataset import index_dataset
from vp_engine.bids.findings import FINDINGS
from vp_engine.cohort.config import Config, DatasetConfig, PromptConfig, load_config
from vp_engine.errors import ConfigError, InputRefused
from vp_engine.tables.parquet import read_table
from vp_engine.volumes import codes
from vp_engine.volumes.geometry import voxel_volume_mm3
from vp_engine.volumes.nifti import read_image

SECONDS = 2.0
MEGABYTES = 200
NEIGHBOUR = "neighbour"
WHOLE, LEFT = "How large is the hippocampus?", "How large is the left hippocampus?"
PROGRAMS = {
    WHOLE: 'report(volume(segment(scan(current), "hippocampus")))\n',
    LEFT: 'report(volume(segment(scan(current), "left_hippocampus")))\n',
}
PROMPTS = (PromptConfig("whole", WHOLE, images=("T1w",)), PromptConfig("left", LEFT, images=("T1w",)))
BY_LABEL = {case.label: case for case in CASES}
VOXELS = 16  # of both hippocampi of the fake brain

LONG = ("halfAGigabyte", "scaledZeros")  # read to the end in the cohort and where costs are taken
NO_OVERRIDE = ~(1 << 1 | 1 << 2)  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH
COST = """
import json, os, resource, signal, sys
from pathlib import Path
from vp_engine.errors import InputRefused
from vp_engine.volumes.nifti import read_image

def cost(path, root):
    signal.alarm(60)
    used = resource.getrusage(resource.RUSAGE_SELF)
    try:
        code = f"shape {read_image(Path(path), root=Path(root)).shape}"
    except InputRefused as error:
        code = error.code
    now = resource.getrusage(resource.RUSAGE_SELF)
    seconds = now.ru_utime + now.ru_stime - used.ru_utime - used.ru_stime
    return code, seconds, (now.ru_maxrss - used.ru_maxrss) / 1024

root, good, *paths = sys.argv[1:]
read_image(Path(good), root=Path(root))
for path in paths:
    reader, writer = os.pipe()
    if os.fork() == 0:  # its peak of memory starts anew
        os.write(writer, json.dumps(cost(path, root)).encode())
        os._exit(0)
    os.close(writer)
    print(os.read(reader, 1000).decode() or "null")
    os.wait()
"""


@contextmanager
def _obeying_permissions() -> Iterator[None]:
    """Without the privileges that let root read everything."""
    if os.geteuid() != 0:
        yield
        return
    libc = ctypes.CDLL(None, use_errno=True)
    header = (ctypes.c_uint32 * 2)(0x20080522, 0)
    before = (ctypes.c_uint32 * 6)()
    assert libc.capget(header, before) == 0
    lowered = (ctypes.c_uint32 * 6)(*before)
    lowered[0] &= NO_OVERRIDE & 0xFFFFFFFF
    assert libc.capset(header, lowered) == 0
    try:
        yield
    finally:
        assert libc.capset(header, before) == 0


class Cohort:
    """A dataset in which every case is a participant, between two good ones, and what became of it."""

    def __init__(self, folder: Path) -> None:
        self.root = folder / "data set ü" / "raw"
        write_dataset(self.root)
        shutil.rmtree(self.root / "sub-01")
        shutil.rmtree(self.root / "sub-02")
        shutil.rmtree(self.root / "sub-03")
        for case in CASES:
            case.make(self.root, case.label)
        packed()(self.root, NEIGHBOUR)
        ids = [f"sub-{case.label}" for case in CASES if case.label.isascii()]
        (self.root / "participants.tsv").write_text("\n".join(["participant_id", *ids, f"sub-{NEIGHBOUR}", ""]))
        datasets = (DatasetConfig("tiny", self.root),)
        self.config = Config(folder / "config.yaml", datasets, folder / "out put é", PROMPTS, subjects_per_job=64)
        with _obeying_permissions():
            run_study(self.config, FixedPlanner(PROGRAMS), IntensitySegmenter())

    def rows(self, table: str, label: str, prompt: str = "whole") -> list[dict[str, Any]]:
        """Rows of one participant and prompt."""
        rows = read_table(self.config.output / "tables" / table, table).to_pylist()
        return [row for row in rows if row["participant"] == shown(label) and row["prompt_id"] == prompt]


def shown(label: str) -> str:
    """How tables hold a label that is no UTF-8, or could be mistaken for one."""
    return label.replace("\\", "\\\\").encode("utf-8", "backslashreplace").decode()


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cohort]:
    """All cases, analysed in one run."""
    folder = tmp_path_factory.mktemp("intake")
    yield Cohort(folder)
    for path in folder.rglob("*"):
        if path.is_dir() and not path.is_symlink():
            path.chmod(0o700)
    shutil.rmtree(folder)  # hundreds of megabytes


def _case(value: Case) -> str:
    return ascii(value.label)


def _code(case: Case) -> str:
    return (case.code or "").partition(":")[0]


def test_rows_codes_and_cases_belong_together() -> None:
    assert len(BY_LABEL) == len(CASES)
    of_gate = {_code(case) for case in CASES if case.gate and case.code}
    not_here = {"not_labels", "not_a_transform", "flag_form_mismatch"}  # other readers; only when configured
    assert of_gate == {*codes.REFUSALS, *codes.FIXES, *codes.NOTICES} - not_here
    of_walk = {_code(case) for case in CASES if not case.gate}
    assert of_walk <= {*FINDINGS, *codes.REFUSALS}
    for row, cases in ROWS.items():
        assert cases, row


@pytest.mark.parametrize("case", [case for case in CASES if case.gate and case.label not in LONG], ids=_case)
def test_the_gate(case: Case, tmp_path: Path) -> None:
    root = tmp_path / "raw"
    root.mkdir()
    case.make(root, case.label)
    (path,) = (root / f"sub-{case.label}" / "anat").iterdir()
    if case.outcome != "REFUSE":
        assert read_image(path, root=root).flags == ((case.code,) if case.code else ())
        return
    with _obeying_permissions(), pytest.raises(InputRefused) as refusal:
        read_image(path, root=root)
    assert refusal.value.code == case.code
    _says_what_to_do(refusal.value.message, path.relative_to(root).as_posix())
    assert str(tmp_path) not in refusal.value.message


def _says_what_to_do(message: str, name: str) -> None:
    assert name in message
    assert re.search(r"expected .*[,;].+; \w", message), message


@pytest.mark.parametrize("case", CASES, ids=_case)
def test_a_case_in_a_cohort_is_a_row_of_its_own(case: Case, cohort: Cohort) -> None:
    (run,) = cohort.rows("runs", case.label)
    measured = cohort.rows("measurements", case.label)
    if case.outcome in ("REFUSE", "no_input"):
        assert run["status"] == ("refused_input" if case.outcome == "REFUSE" else "no_input")
        assert run["reason"].startswith(f"{case.code}: ")
        assert not measured
        assert not list((cohort.config.output / "derivatives/tiny").glob(f"sub-{shown(case.label)}/**/*.nii.gz"))
        if case.outcome == "REFUSE":
            _says_what_to_do(run["reason"], f"sub-{shown(case.label)}".replace("\\\\", "\\"))
        if case.code == "annex_pointer":
            assert f"datalad get sub-{case.label}/anat/sub-{case.label}_T1w.nii.gz" in run["reason"]
        return
    assert (run["status"], run["reason"]) == ("ok", None)
    (number,) = measured
    assert [flag for flag in number["flags"] if flag.startswith(("fix_", "flag_"))] == (
        [case.code] if case.code else []
    )
    (path,) = (cohort.root / f"sub-{case.label}/anat").iterdir()
    affine = read_image(path, root=cohort.root).affine
    assert number["value"] == pytest.approx(VOXELS * voxel_volume_mm3(affine), rel=1e-4)
    (left,) = cohort.rows("runs", case.label, "left")
    if case.code == "flag_no_orientation":
        assert left["status"] == "refused"
        assert left["reason"].startswith("not_lateralised: ")
    else:
        assert left["status"] == "ok"


def test_the_neighbour_of_them_all_succeeds(cohort: Cohort) -> None:
    for prompt, voxels in (("whole", VOXELS), ("left", VOXELS / 2)):
        (run,) = cohort.rows("runs", NEIGHBOUR, prompt)
        (number,) = cohort.rows("measurements", NEIGHBOUR, prompt)
        assert (run["status"], number["value"], number["flags"]) == ("ok", voxels, [])
    assert cohort.rows("runs", "s1")[0]["reason"] == cohort.rows("runs", "S1")[0]["reason"].replace(
        "sub-S1:", "sub-s1:"
    )


def test_no_case_costs_much(cohort: Cohort) -> None:
    cases = [case for case in CASES if case.gate and case.code != "unreadable"]
    paths = [str(next((cohort.root / f"sub-{case.label}" / "anat").iterdir())) for case in cases]
    good = str(scan_path(cohort.root, NEIGHBOUR))
    command = [sys.executable, "-c", COST, str(cohort.root), good, *paths]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=250)
    costs = dict(zip((case.label for case in cases), map(json.loads, done.stdout.splitlines()), strict=True))
    slowest = max(costs.items(), key=lambda item: item[1][1])
    largest = max(costs.items(), key=lambda item: item[1][2])
    print(f"{len(costs)} inputs; most seconds of CPU: {slowest}; most megabytes: {largest}")  # noqa: T201
    for label, (code, seconds, megabytes) in costs.items():
        if BY_LABEL[label].outcome == "REFUSE":
            assert code == BY_LABEL[label].code
        assert seconds < SECONDS, label
        assert megabytes < MEGABYTES, label
    for label in ("claims30000", "claims2000", "claimsNifti2", "eightGigabytes", "hole"):
        assert costs[label][1] < 0.01, label
        assert costs[label][2] < 4, label


def test_only_subjects_asked_for_are_refused(tmp_path: Path) -> None:
    root = tmp_path / "raw"
    for label in ("annexLink", "annexFile", "pipe", "closedSubject"):
        BY_LABEL[label].make(root, label)
    packed()(root, NEIGHBOUR)
    with _obeying_permissions():
        (session,) = index_dataset(root, participants=[NEIGHBOUR])
    assert (session.participant, len(session.scans), session.findings) == (NEIGHBOUR, 1, ())


@pytest.mark.parametrize("damage", ["missing", "pipe", "folder", "other bytes", "closed", "link out", "hole"])
@pytest.mark.parametrize("name", ["participants.tsv", "dataset_description.json", "sub-01/sub-01_sessions.tsv"])
def test_text_files_are_optional_whatever_lies_in_their_place(damage: str, name: str, tmp_path: Path) -> None:
    root = write_dataset(tmp_path / "raw")
    path = root / name
    path.unlink()
    if damage == "pipe":
        os.mkfifo(path)
    elif damage == "folder":
        path.mkdir()
    elif damage == "other bytes":
        path.write_bytes(b"[" * 300_000 + b"\xff\0")
    elif damage == "closed":
        path.touch(0)
    elif damage == "link out":
        path.symlink_to("/etc/passwd")
    elif damage == "hole":
        with path.open("wb") as stream:
            stream.truncate(8 * 2**30)
    with _obeying_permissions():
        sessions = index_dataset(root)
    assert [(s.participant, len(s.scans)) for s in sessions] == [("01", 2), ("01", 2), ("02", 1), ("02", 1), ("03", 1)]


def test_a_pipe_in_the_place_of_a_table_does_not_hang_the_configuration(tmp_path: Path) -> None:
    root = write_dataset(tmp_path / "raw")
    (root / "participants.tsv").unlink()
    os.mkfifo(root / "participants.tsv")
    (tmp_path / "config.yaml").write_text(
        "datasets: {tiny: {path: raw}}\noutput: out\nprompts: [{id: vol, text: volumes}]\n"
        "statistics: [{id: byage, rows: {prompt: vol, measure: volume}, model: value ~ age}]\n"
    )
    with pytest.raises(ConfigError, match="no column 'age'"):
        load_config(tmp_path / "config.yaml")


def test_values_are_those_of_the_file_after_a_repair(tmp_path: Path) -> None:
    plain = read_image_of("plain", tmp_path).data
    for label in ("bigEndian", "oneFrame", "gzipNamedNii", "zerosAfter", "emptyBlocks"):
        np.testing.assert_array_equal(read_image_of(label, tmp_path).data, plain)


def read_image_of(label: str, root: Path) -> Any:
    """The volume of a case."""
    BY_LABEL[label].make(root, label)
    (path,) = (root / f"sub-{label}" / "anat").iterdir()
    return read_image(path, root=root)
