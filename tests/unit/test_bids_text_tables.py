"""Participants and sessions tables stay text."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from vp_engine.bids.text_tables import TextTable, read_participants, read_sessions, read_tsv
from vp_engine.errors import InputRefused


def test_ids_stay_text_and_missing_values_are_missing(tmp_path: Path) -> None:
    (tmp_path / "participants.tsv").write_text(
        '\ufeffparticipant_id\tage\tgroup\nsub-01\t007\tn/a\nsub-NA\tNA\t\nsub-1e5\t1e5\tnan\nsub-n/a\tNone\t"a\tb"\n'
    )
    table = read_participants(tmp_path)
    assert table.column("participant_id") == ["01", "NA", "1e5", "n/a"]
    assert table.column("age") == ["007", "NA", "1e5", "None"]
    assert table.column("group") == [None, None, "nan", "a\tb"]
    assert table.by("participant_id")["1e5"] == {"participant_id": "1e5", "age": "1e5", "group": "nan"}


def test_absent_tables_are_empty(tmp_path: Path) -> None:
    assert read_participants(tmp_path) == TextTable(("participant_id",), ())
    assert read_sessions(tmp_path, "01") == TextTable(("session_id",), ())


def test_sessions(tiny_dataset: Path) -> None:
    table = read_sessions(tiny_dataset, "02")
    assert table.column("session_id") == ["01", "02"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "empty"),
        (b"participant_id\tage\nsub-01\n", "row 2 has 1"),
        (b"participant_id\tage\nsub-01\t1\t2\n", "row 2 has 3"),
        (b"participant_id\tage\tage\n", "once"),
        (b"id\tage\nsub-01\t1\n", "participant_id"),
        (b"participant_id\nsub-01\n01\n", "row 3 has that of a row before"),
        (b"participant_id\n\xff\xfe\n", "UTF-8"),
    ],
)
def test_broken_tables_are_refused(content: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / "participants.tsv").write_bytes(content)
    with pytest.raises(InputRefused, match=message) as refusal:
        read_participants(tmp_path)
    assert refusal.value.code == "bad_tsv"


def _pipe(path: Path) -> None:
    os.mkfifo(path)


def _hole(path: Path) -> None:
    with path.open("wb") as stream:
        stream.truncate(8 * 2**30)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (_pipe, "not fetched"),
        (Path.mkdir, "not fetched"),
        (lambda path: path.symlink_to(".git/annex/objects/x"), "not fetched"),
        (lambda path: path.symlink_to("participants.tsv"), "not fetched"),
        (lambda path: path.symlink_to("/etc/passwd"), "outside"),
        (_hole, "at most"),
    ],
)
def test_what_is_no_table_is_not_opened(make: Callable[[Path], object], message: str, tmp_path: Path) -> None:
    make(tmp_path / "participants.tsv")
    with pytest.raises(InputRefused, match=message) as refusal:
        read_participants(tmp_path)
    assert refusal.value.code == "bad_tsv"
    assert "root:" not in refusal.value.message


def test_windows_line_ends_and_blank_lines(tmp_path: Path) -> None:
    (tmp_path / "x.tsv").write_bytes(b"a\tb\r\n1\t2\r\n\r\n3\t4\r\n")
    assert read_tsv(tmp_path, "x.tsv").rows == (("1", "2"), ("3", "4"))


def test_real_participants(shared_data: Callable[[str], Path]) -> None:
    table = read_participants(shared_data("cohort_ds002748"))
    assert len(table.rows) == 12
    assert table.column("participant_id")[0] == "01"
    assert Counter(table.column("group")) == {"depr": 6, "control": 6}
