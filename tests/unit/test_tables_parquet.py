"""Parquet files: refused when wrong, the same bytes for the same rows, and never silently damaged."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from vp_engine.errors import TableError
from vp_engine.tables.parquet import read_metadata, read_table, write_table
from vp_engine.tables.schema import SCHEMAS, arrow_schema, readable_versions

META = {"model_id": "default@abc"}
ROW: dict[str, Any] = {
    "dataset": "demo",
    "participant": "01",
    "session": None,
    "prompt_id": "vol",
    "target": "left_hippocampus",
    "measure": "volume",
    "value": 4012.5,
    "text": None,
    "unit": "mm3",
    "image": "T1w",
    "reference_session": None,
    "qc_score": 0.9,
    "flags": ["fix_nan"],
    "model_id": "default@abc",
    "program_sha256": "0" * 64,
    "record_id": "r",
}


def write(path: Path, rows: list[dict[str, Any]]) -> bytes:
    write_table(path, "measurements", rows, metadata=META)
    return path.read_bytes()


def test_rows_come_back_sorted_and_order_does_not_change_a_byte(tmp_path: Path) -> None:
    rows = [
        ROW | {"participant": name, "session": session} for name in ("10", "9", "1e5", "NA") for session in ("2", None)
    ]
    first = write(tmp_path / "a.parquet", rows)
    assert first == write(tmp_path / "b.parquet", rows[::-1])
    back = read_table(tmp_path / "a.parquet", "measurements")
    keys = [(row["participant"], row["session"]) for row in back.to_pylist()]
    assert keys == [(name, session) for name in ("10", "1e5", "9", "NA") for session in ("2", None)]


def test_metadata_name_the_table_and_the_weights(tmp_path: Path) -> None:
    write(tmp_path / "a.parquet", [ROW])
    found = read_metadata(tmp_path / "a.parquet")
    assert (found["schema_name"], found["schema_version"], found["model_id"]) == ("measurements", "3", "default@abc")
    assert found["vp_engine_version"]
    with pytest.raises(TableError, match="need model_id"):
        write_table(tmp_path / "b.parquet", "measurements", [ROW], metadata={})
    with pytest.raises(TableError, match="schema_name are set here"):
        write_table(tmp_path / "b.parquet", "measurements", [ROW], metadata={**META, "schema_name": "runs"})


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([ROW, ROW], "more than one row for dataset=demo, participant=01"),
        ([ROW | {"participant": None}], "column participant must not be null"),
        ([ROW | {"value": "4"}], "column value: expected double"),
        ([ROW | {"participant": 1}], "column participant: expected string"),
        ([ROW | {"extra": 1}], "unknown extra"),
        ([{key: value for key, value in ROW.items() if key != "unit"}], "missing unit"),
        ([ROW | {"flags": "fix_nan"}], "column flags: .* got text"),
        ([ROW | {"flags": [None]}], "column flags must not hold nulls"),
    ],
)
def test_wrong_rows_are_refused_and_nothing_is_written(
    tmp_path: Path, rows: list[dict[str, Any]], message: str
) -> None:
    with pytest.raises(TableError, match=message):
        write(tmp_path / "a.parquet", rows)
    assert list(tmp_path.iterdir()) == []


def test_words_and_whole_numbers_are_checked(tmp_path: Path) -> None:
    run = dict.fromkeys(arrow_schema("runs").names) | {
        "dataset": "d",
        "participant": "1",
        "prompt_id": "p",
        "prompt": "?",
        "status": "ok",
        "vp_engine_version": "0",
    }
    with pytest.raises(TableError, match=r"column status: expected one of .*, got 'fine'"):
        write_table(tmp_path / "a.parquet", "runs", [run | {"status": "fine"}], metadata=META)
    with pytest.raises(TableError, match="column steps: expected int32"):
        write_table(tmp_path / "a.parquet", "runs", [run | {"steps": 1.5}], metadata=META)
    write_table(tmp_path / "a.parquet", "runs", [run | {"steps": 2}], metadata=META)
    assert read_table(tmp_path / "a.parquet", "runs", columns=["steps"]).to_pylist() == [{"steps": 2}]


def test_not_a_number_is_missing(tmp_path: Path) -> None:
    write(tmp_path / "a.parquet", [ROW | {"value": float("nan")}])
    assert read_table(tmp_path / "a.parquet", "measurements", columns=["value"]).to_pylist() == [{"value": None}]


def test_no_flipped_bit_goes_unnoticed(tmp_path: Path) -> None:
    good = write(tmp_path / "a.parquet", [ROW | {"participant": f"{n:02d}", "value": n * 1.5} for n in range(50)])
    expected = read_table(tmp_path / "a.parquet", "measurements")
    rng = np.random.default_rng(0)
    refused = 0
    for _ in range(150):
        damaged = bytearray(good)
        damaged[rng.integers(len(good))] ^= 1 << int(rng.integers(8))
        (tmp_path / "b.parquet").write_bytes(damaged)
        try:
            assert read_table(tmp_path / "b.parquet", "measurements").equals(expected)
        except TableError:
            refused += 1
    assert refused > 50


@pytest.mark.parametrize("name", SCHEMAS)
def test_files_of_earlier_versions_stay_readable(tmp_path: Path, name: str) -> None:
    present, *earlier = readable_versions(name)
    write_table(tmp_path / "a.parquet", name, [], metadata=META)
    table = pq.read_table(tmp_path / "a.parquet")
    for version in earlier:
        metadata = {**table.schema.metadata, b"schema_version": version.encode()}
        pq.write_table(table.replace_schema_metadata(metadata), tmp_path / f"{version}.parquet")
        assert read_table(tmp_path / f"{version}.parquet", name).num_rows == 0
    assert present not in earlier


@pytest.mark.parametrize("before", ["1", "2"])
def test_a_row_of_measurements_from_before_regions_or_words_is_read(tmp_path: Path, before: str) -> None:
    write(tmp_path / "a.parquet", [ROW])
    table = pq.read_table(tmp_path / "a.parquet")
    assert table.schema.metadata[b"schema_version"] == b"3"
    pq.write_table(
        table.replace_schema_metadata({**table.schema.metadata, b"schema_version": before.encode()}),
        tmp_path / "b.parquet",
    )
    assert read_table(tmp_path / "b.parquet", "measurements").equals(read_table(tmp_path / "a.parquet", "measurements"))


def test_another_table_version_or_place_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "a.parquet", [ROW])
    with pytest.raises(TableError, match="expected table runs version 1, got measurements version 3"):
        read_table(tmp_path / "a.parquet", "runs")
    table = pq.read_table(tmp_path / "a.parquet")
    pq.write_table(
        table.replace_schema_metadata({**table.schema.metadata, b"schema_version": b"9"}), tmp_path / "b.parquet"
    )
    with pytest.raises(TableError, match="got measurements version 9"):
        read_table(tmp_path / "b.parquet", "measurements")
    pq.write_table(pa.table({"x": [1]}), tmp_path / "c.parquet")
    with pytest.raises(TableError, match="got nothing version nothing"):
        read_table(tmp_path / "c.parquet", "measurements")
    with pytest.raises(TableError, match="found nothing") as caught:
        read_table(tmp_path / "d.parquet", "measurements")
    assert caught.value.code == "missing_table"
    (tmp_path / "e.parquet").write_bytes(b"not Parquet")
    with pytest.raises(TableError, match="damaged") as caught:
        read_table(tmp_path / "e.parquet", "measurements")
    assert caught.value.code == "damaged_table"
    (tmp_path / "folder").mkdir()
    with pytest.raises(TableError, match="found none"):
        read_table(tmp_path / "folder", "measurements")
    with pytest.raises(TableError, match="has no column volume"):
        read_table(tmp_path / "a.parquet", "measurements", columns=["volume"])


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_failure_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    old = write(tmp_path / "a.parquet", [ROW])

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    if step == "fsync":
        monkeypatch.setattr("vp_engine.tables.publish.os.fsync", fail)
    else:
        monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(OSError, match="No space left"):
        write(tmp_path / "a.parquet", [ROW | {"value": 1.0}])
    assert (tmp_path / "a.parquet").read_bytes() == old
    assert [path.name for path in tmp_path.iterdir()] == ["a.parquet"]
