"""Indexing datasets: every scan that is safe to use, a finding for every one that is not."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from vp_engine.bids.dataset import Session, index_dataset
from vp_engine.bids.names import anatomical_suffixes
from vp_engine.errors import ConfigError


def _files(root: Path, *names: str) -> Path:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    return root


def _codes(session: Session) -> list[str]:
    return [finding.code for finding in session.findings]


def _snapshot(root: Path) -> list[tuple[str, int]]:
    return sorted((str(path), path.lstat().st_mtime_ns) for path in root.rglob("*"))


def test_sessions_scans_and_dates(tiny_dataset: Path) -> None:
    before = _snapshot(tiny_dataset)
    first, second, third = index_dataset(tiny_dataset)
    assert _snapshot(tiny_dataset) == before
    assert (first.participant, first.session, first.acquired, first.days) == ("01", None, None, None)
    assert [scan.path for scan in first.scans] == ["sub-01/anat/sub-01_T1w.nii.gz"]
    assert [scan.suffix for scan in second.scans] == ["FLAIR", "T1w"]
    assert (second.session, second.acquired, second.days) == ("01", "2020-01-31", 0)
    assert (third.session, third.acquired, third.days) == ("02", "2021-01-31", 366)
    assert not first.findings + second.findings + third.findings


def test_participants_asked_for(tiny_dataset: Path) -> None:
    assert {session.participant for session in index_dataset(tiny_dataset, participants=["02"])} == {"02"}
    with pytest.raises(ConfigError, match=r"'001' has no folder .*; close: 01$"):
        index_dataset(tiny_dataset, participants=["01", "001"])
    with pytest.raises(ConfigError, match="folder"):
        index_dataset(tiny_dataset / "absent")
    with pytest.raises(ConfigError, match="found none"):
        index_dataset(tiny_dataset / "sub-02")


def test_a_participant_asked_for_is_not_mistaken_for_a_longer_label(tmp_path: Path) -> None:
    root = _files(tmp_path, "sub-1/anat/sub-1_T1w.nii.gz", "sub-10/anat/sub-10_T1w.nii.gz")
    (session,) = index_dataset(root, participants=["1"])
    assert [scan.path for scan in session.scans] == ["sub-1/anat/sub-1_T1w.nii.gz"]
    (session,) = index_dataset(root, participants=["10"])
    assert [scan.path for scan in session.scans] == ["sub-10/anat/sub-10_T1w.nii.gz"]


def test_ids_stay_text(tmp_path: Path) -> None:
    ids = ["01", "1e5", "NA", "None", "true"]
    root = _files(tmp_path, *(f"sub-{label}/anat/sub-{label}_T1w.nii.gz" for label in ids))
    assert [session.participant for session in index_dataset(root)] == ids


def test_what_is_not_an_anatomical_image_is_passed_over(tmp_path: Path) -> None:
    root = _files(
        tmp_path,
        "sub-01/anat/sub-01_T1w.nii.gz",
        "sub-01/anat/sub-01_T1w.json",
        "sub-01/anat/sub-01_T1map.nii.gz",
        "sub-01/anat/sub-01_mod-T1w_defacemask.nii.gz",
        "sub-01/anat/sub-01_part-phase_T2starw.nii.gz",
        "sub-01/func/sub-01_task-rest_bold.nii.gz",
        "sub-01/extra/anat/sub-01_T1w.nii.gz",
        "derivatives/x/sub-01/anat/sub-01_T1w.nii.gz",
        "sourcedata/sub-01/anat/sub-01_T1w.nii.gz",
        ".git/annex/sub-01/anat/sub-01_T1w.nii.gz",
    )
    (session,) = index_dataset(root)
    assert [scan.path for scan in session.scans] == ["sub-01/anat/sub-01_T1w.nii.gz"]
    assert session.findings == ()


def test_contrast_agent_runs_and_acquisitions_are_different_images(tmp_path: Path) -> None:
    stems = ["T1w", "ce-gadolinium_T1w", "run-1_T2w", "run-2_T2w", "acq-highres_T1w", "inplaneT1", "PDw"]
    root = _files(tmp_path, *(f"sub-01/anat/sub-01_{stem}.nii.gz" for stem in stems))
    (session,) = index_dataset(root)
    assert len(session.scans) == len(stems)
    assert {"ce": "gadolinium"} in [scan.entities for scan in session.scans]
    assert session.findings == ()


def test_subject_without_images_is_listed(tmp_path: Path) -> None:
    root = _files(tmp_path, "sub-01/ses-a/anat/sub-01_ses-a_T1w.nii.gz", "sub-02/func/sub-02_task-x_bold.nii.gz")
    (root / "sub-01/ses-b").mkdir()
    assert [(s.participant, s.session, len(s.scans)) for s in index_dataset(root)] == [
        ("01", "a", 1),
        ("01", "b", 0),
        ("02", None, 0),
    ]


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("T1w.nii.gz", "T1w.nii"),
        ("run-1_T1w.nii.gz", "run-01_T1w.nii.gz"),
        ("acq-A_T1w.nii.gz", "acq-a_T1w.nii.gz"),
        ("acq-x_run-1_T1w.nii.gz", "run-1_acq-x_T1w.nii.gz"),
    ],
)
def test_two_files_for_one_image_are_both_refused(first: str, second: str, tmp_path: Path) -> None:
    names = [f"sub-01/anat/sub-01_{name}" for name in (first, second)]
    (session,) = index_dataset(_files(tmp_path, "sub-01/anat/sub-01_FLAIR.nii.gz", *names))
    assert [scan.suffix for scan in session.scans] == ["FLAIR"]
    assert _codes(session) == ["duplicate_scan"] * 2
    assert {finding.path for finding in session.findings} == set(names)
    for finding in session.findings:
        assert finding.severity == "error"
        assert all(name in finding.message for name in names)


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("sub-01_acq-0.5_T1w.nii.gz", "invalid_entity"),
        ("sub-01_acq-a b_T1w.nii.gz", "invalid_entity"),
        ("sub-01_acq-é_T1w.nii.gz", "invalid_entity"),
        ("sub-01_run-1_run-2_T1w.nii.gz", "invalid_entity"),
        ("sub-01_foo-1_T1w.nii.gz", "invalid_entity"),
        ("sub-02_T1w.nii.gz", "name_mismatch"),
        ("sub-01_ses-1_T1w.nii.gz", "name_mismatch"),
    ],
)
def test_names_that_break_the_rules(name: str, code: str, tmp_path: Path) -> None:
    (session,) = index_dataset(_files(tmp_path, f"sub-01/anat/{name}", "sub-01/anat/sub-01_T2w.nii.gz"))
    assert [scan.suffix for scan in session.scans] == ["T2w"]
    assert _codes(session) == [code]
    assert session.findings[0].path == f"sub-01/anat/{name}"


def test_labels_that_differ_by_case_are_both_refused(tmp_path: Path) -> None:
    root = _files(tmp_path, *(f"sub-{label}/anat/sub-{label}_T1w.nii.gz" for label in ("s1", "S1", "s2")))
    if len(list(root.iterdir())) < 3:
        pytest.skip("this file system does not tell names by case")
    sessions = {session.participant: session for session in index_dataset(root)}
    assert [len(sessions[label].scans) for label in ("s1", "S1", "s2")] == [0, 0, 1]
    assert _codes(sessions["s1"]) == _codes(sessions["S1"]) == ["labels_differ_by_case"]
    (alone,) = index_dataset(root, participants=["s1"])
    assert _codes(alone) == ["labels_differ_by_case"]


def test_folders_with_invalid_labels_are_rows_without_scans(tmp_path: Path) -> None:
    root = _files(tmp_path, "sub-a b/anat/sub-a b_T1w.nii.gz", "sub-c/ses-x_y/anat/sub-c_ses-x_y_T1w.nii.gz")
    first, second = index_dataset(root)
    assert (first.participant, first.scans, _codes(first)) == ("a b", (), ["invalid_entity"])
    assert (second.session, second.scans, _codes(second)) == ("x_y", (), ["invalid_entity"])


def test_dangling_links_are_indexed_and_left_to_the_gate(tmp_path: Path) -> None:
    root = _files(tmp_path, "sub-01/anat/sub-01_T1w.nii.gz")
    (root / "sub-02/anat").mkdir(parents=True)
    (root / "sub-02/anat/sub-02_T1w.nii.gz").symlink_to("../../.git/annex/objects/x/y")
    (root / "sub-01/anat/loop").symlink_to("..")
    assert [len(session.scans) for session in index_dataset(root)] == [1, 1]


def test_session_times(tmp_path: Path) -> None:
    root = _files(tmp_path, *(f"sub-01/ses-{n}/anat/sub-01_ses-{n}_T1w.nii.gz" for n in range(1, 5)))
    (root / "sub-01/sub-01_sessions.tsv").write_text(
        "session_id\tacq_time\tdays_since_baseline\n"
        "ses-1\t2001-02-03T04:05:06.000000Z\tn/a\n"
        "ses-2\tn/a\t12.5\n"
        "ses-3\tn/a\tn/a\n"
        "ses-4\tlast week\tsoon\n"
    )
    (root / "sub-01/ses-3/sub-01_ses-3_scans.tsv").write_text(
        "filename\tacq_time\n"
        "func/sub-01_ses-3_task-x_bold.nii.gz\t2001-01-01T00:00:00\n"
        "anat/sub-01_ses-3_T1w.nii.gz\t2001-02-13T00:00:00\n"
        "anat/sub-01_ses-3_T2w.nii.gz\tn/a\n"
    )
    sessions = index_dataset(root)
    assert [session.acquired for session in sessions] == ["2001-02-03", None, "2001-02-13", None]
    assert [session.days for session in sessions] == [None, 12.5, None, None], "nothing tells one baseline by the other"
    assert _codes(sessions[3]) == ["bad_time", "bad_time"]
    assert all(len(session.scans) == 1 for session in sessions)


def test_a_session_with_date_and_days_ties_the_others_to_its_baseline(tmp_path: Path) -> None:
    root = _files(tmp_path, *(f"sub-01/ses-{n}/anat/sub-01_ses-{n}_T1w.nii.gz" for n in range(1, 4)))
    (root / "sub-01/sub-01_sessions.tsv").write_text(
        "session_id\tacq_time\tdays_since_baseline\n"
        "ses-1\tn/a\t0\n"
        "ses-2\t2021-01-11T00:00:00\t100\n"
        "ses-3\t2021-02-10T00:00:00\tn/a\n"
    )
    assert [session.days for session in index_dataset(root)] == [0, 100, 130]


@pytest.mark.parametrize("days", ["1e12", "-800000", "inf", "nan", "1" * 400])
def test_impossible_times_are_not_used(days: str, tmp_path: Path) -> None:
    root = _files(tmp_path, "sub-01/ses-1/anat/sub-01_ses-1_T1w.nii.gz")
    (root / "sub-01/sub-01_sessions.tsv").write_text(f"session_id\tdays_since_baseline\nses-1\t{days}\n")
    (session,) = index_dataset(root)
    assert (session.days, _codes(session)) == (None, ["bad_time"])


def test_a_broken_sessions_table_costs_the_dates_only(tmp_path: Path) -> None:
    root = _files(tmp_path, "sub-01/ses-1/anat/sub-01_ses-1_T1w.nii.gz")
    (root / "sub-01/sub-01_sessions.tsv").write_bytes(b"session_id\tacq_time\nses-1\n")
    (session,) = index_dataset(root)
    assert len(session.scans) == 1
    assert [(finding.code, finding.severity) for finding in session.findings] == [("bad_tsv", "warning")]


@pytest.mark.parametrize(
    "description", ["", "[]", "not json", '{"DatasetType": "derivative"}', '{"DatasetType": "derivative", "x": 1}']
)
def test_a_broken_description_does_not_stop_indexing(description: str, tmp_path: Path) -> None:
    root = _files(tmp_path, "sub-01/anat/sub-01_T1w.nii.gz")
    (root / "dataset_description.json").write_text(description)
    assert len(index_dataset(root)[0].scans) == 1


def test_the_walk_finds_what_pybids_finds(tiny_dataset: Path, shared_data: Callable[[str], Path]) -> None:
    from bids.layout import BIDSLayout, BIDSLayoutIndexer

    for root in (tiny_dataset, shared_data("cohort_ds002748"), shared_data("longitudinal_openms")):
        layout = BIDSLayout(root, validate=False, indexer=BIDSLayoutIndexer(validate=False, index_metadata=False))
        found = layout.get(datatype="anat", suffix=list(anatomical_suffixes()), extension=[".nii", ".nii.gz"])
        walked = [scan.path for session in index_dataset(root) for scan in session.scans]
        assert walked
        assert sorted(walked) == sorted(file.relpath for file in found)


def test_real_datasets(shared_data: Callable[[str], Path]) -> None:
    cohort = index_dataset(shared_data("cohort_ds002748"))
    assert len(cohort) == 12
    assert all([scan.suffix for scan in session.scans] == ["T1w"] for session in cohort)
    longitudinal = index_dataset(shared_data("longitudinal_openms"))
    got = [(s.participant, s.session, s.days, [scan.suffix for scan in s.scans]) for s in longitudinal]
    assert got == [
        ("openms01", "01", 0, ["FLAIR", "T1w", "T2w"]),
        ("openms01", "02", 203, ["FLAIR", "T1w", "T2w"]),
        ("openms03", "01", 0, ["FLAIR", "T2w"]),
        ("openms03", "02", 671, ["FLAIR", "T1w", "T2w"]),
    ]
    assert not any(session.findings for session in (*cohort, *longitudinal))
