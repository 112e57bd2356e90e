"""Privacy: what stands in the fields of a dataset, and was not asked for, stands in no byte of the output."""

from __future__ import annotations

import base64
import gzip
import json
import logging
import zlib
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.security.canaries import Cage, found_in, plant
from tests.unit.cohort_fakes import FixedPlanner, IntensitySegmenter, run_study
from vp_engine.cli.reporting import make_report
from vp_engine.cohort.config import Config, load_config
from vp_engine.cohort.statistics import run_statistics
from vp_engine.errors import VoxelPromptError

PROGRAMS = {
    "volumes": 't1 = scan(current)\nreport(volume(segment(t1, "left_hippocampus")))\nsave(segment(t1, "csf"))\n',
    "boxes": 't1 = scan(current)\nm = segment(t1, "brainstem")\nsave(crop(t1, m))\n',
    "growth": 'report(change(volume(segment(scan(first), "csf")), volume(segment(scan(last), "csf"))))\n',
}
CONFIG = """\
datasets:
  tiny: {path: data}
output: out
prompts:
  - {id: vols, text: volumes}
  - {id: boxes, text: boxes, images: [T1w]}
  - {id: growth, text: growth, scope: participant}
  - {id: none, text: volumes, images: [T2w]}
streams: together
statistics:
  - id: bysite
    rows: {prompt: vols, measure: volume}
    model: value ~ site
"""


def study(folder: Path, cage: Cage, spoil: Callable[[Path, Cage], object] | None = None) -> Config:
    """Plant, and run every step on it."""
    root = plant(folder / "data", cage)
    asked = iter(["asked1", "asked2", "asked1"])
    table = (root / "participants.tsv").read_text().splitlines()
    (root / "participants.tsv").write_text(
        "\n".join([f"{table[0]}\tsite", *(f"{row}\t{next(asked)}" for row in table[1:])]) + "\n"
    )
    if spoil is not None:
        spoil(root, cage)
    (folder / "config.yaml").write_text(CONFIG)
    config = load_config(folder / "config.yaml")
    run_study(config, FixedPlanner(PROGRAMS), IntensitySegmenter())
    run_statistics(config, config.output)
    make_report(config, config.output)
    return config


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory) -> tuple[Config, Cage]:
    cage = Cage()
    return study(tmp_path_factory.mktemp("canaries"), cage), cage


def told(cage: Cage, found: dict[str, set[str]]) -> dict[str, set[str]]:
    """Field → files, for people."""
    return {cage.planted.get(name, name): files for name, files in found.items()}


def test_fields_of_the_input_reach_no_byte_of_the_output(clean: tuple[Config, Cage]) -> None:
    config, cage = clean
    assert len(cage.planted) > 150
    assert told(cage, found_in(config.output)) == {}


def test_the_study_made_every_kind_of_file(clean: tuple[Config, Cage]) -> None:
    """Else nothing was searched."""
    config, _ = clean
    made = {"".join(path.suffixes) for path in config.output.rglob("*") if path.is_file()}
    assert {".nii.gz", ".json", ".tsv", ".parquet", ".png", ".svg", ".html", ".sha256"} <= made, made
    runs = pq.read_table(config.output / "tables" / "runs").to_pylist()
    assert {row["status"] for row in runs} == {"ok", "no_input", "refused"}
    measurements = pq.read_table(config.output / "tables" / "measurements").to_pylist()
    done = [row for row in runs if row["status"] == "ok"]
    assert {row["model_id"] for row in [*done, *measurements]} == {"fake-1"}


def test_only_the_column_of_the_model_is_told(clean: tuple[Config, Cage]) -> None:
    config, _ = clean
    terms = pq.read_table(config.output / "tables" / "statistics").column("term").to_pylist()
    assert any("asked2" in term for term in terms)
    assert "asked2" in (config.output / "report.html").read_text()


def test_no_folder_of_this_machine_is_told_but_by_the_way_from_output_to_data(clean: tuple[Config, Cage]) -> None:
    config, _ = clean
    here = str(config.file.parent).encode()
    holding = [path for path in config.output.rglob("*") if path.is_file() and here in path.read_bytes()]
    assert [path.relative_to(config.output).as_posix() for path in holding] == []


def _no_header(root: Path, cage: Cage) -> None:
    rows = [f"sub-0{n}\t{cage.bird('participants.tsv without a header')}\t1\ta\tb\n" for n in (1, 2, 3)]
    head = "age\tgroup\tsite\tname\tmore\n"
    (root / "participants.tsv").write_text("".join([head, *rows]))


def _column_twice(root: Path, cage: Cage) -> None:
    name = cage.bird("participants.tsv, a column that is there twice")
    (root / "participants.tsv").write_text(f"participant_id\tsite\t{name}\t{name}\nsub-01\ta\tb\tc\n")


def _ragged(root: Path, cage: Cage) -> None:
    with (root / "participants.tsv").open("a") as table:
        table.write(f"sub-04\t{cage.bird('participants.tsv, a short row')}\n")


def _times(root: Path, cage: Cage) -> None:
    (root / "sub-01" / "sub-01_sessions.tsv").write_text(
        f"session_id\tacq_time\tdays_since_baseline\nses-01\t{cage.bird('acq_time')}\t{cage.bird('days')}\n"
    )
    (root / "sub-03" / "sub-03_sessions.tsv").unlink()
    (root / "sub-03" / "ses-01" / "sub-03_ses-01_scans.tsv").write_text(
        f"filename\tacq_time\nanat/sub-03_ses-01_T1w.nii.gz\t{cage.bird('acq_time of a scan')}\n"
    )


def _ids(root: Path, cage: Cage) -> None:
    with (root / "participants.tsv").open("a") as table:
        columns = (root / "participants.tsv").read_text().splitlines()[0].count("\t")
        table.write("sub-04 " + cage.bird("participant_id that is none") + "\tn/a" * columns + "\n")


def _broken_json(root: Path, cage: Cage) -> None:
    for path in sorted(root.glob("sub-01/ses-01/anat/*.json")):
        path.write_text('{"PatientName": "' + cage.bird("sidecar that is no JSON"))
    (root / "sub-02" / "ses-01" / "anat" / "sub-02_ses-01_T1w.json").write_text(
        json.dumps({"RepetitionTime": cage.bird("sidecar, of a wrong type"), "Manufacturer": 3})
    )


def _broken_images(root: Path, cage: Cage) -> None:
    html = f"<html><title>{cage.bird('a web page for an image')}</title>".encode()
    (root / "sub-01/ses-01/anat/sub-01_ses-01_T1w.nii.gz").write_bytes(html)
    (root / "sub-01/ses-02/anat/sub-01_ses-02_T1w.nii.gz").write_bytes(gzip.compress(html * 40))
    pointer = f"/annex/objects/MD5E-s1--{cage.bird('an annex pointer')}.nii.gz\n"
    (root / "sub-02/ses-01/anat/sub-02_ses-01_T1w.nii.gz").write_text(pointer)
    scan = root / "sub-03/ses-01/anat/sub-03_ses-01_T1w.nii.gz"
    content = bytearray(gzip.decompress(scan.read_bytes()))
    content[344:348] = b"CAN\0"
    content[148:228] = cage.bird("descrip of a refused image").ljust(80).encode()
    scan.write_bytes(gzip.compress(bytes(content)))


@pytest.mark.parametrize("spoil", [_no_header, _column_twice, _ragged, _times, _ids, _broken_json, _broken_images])
def test_nor_does_a_message_about_what_is_wrong_quote_it(
    tmp_path: Path, spoil: Callable[[Path, Cage], object], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, logger="vp_engine")
    said, cage = "", Cage()
    try:
        study(tmp_path, cage, spoil)
    except VoxelPromptError as error:  # what ends the run is said aloud
        said = error.message
    (tmp_path / "out").mkdir(exist_ok=True)
    (tmp_path / "out" / "vp.log").write_text(caplog.text + said)
    assert told(cage, found_in(tmp_path / "out")) == {}


@pytest.mark.parametrize(
    "kind", ["plain", "utf16", "gz", "parquet", "statistics", "metadata", "tEXt", "zTXt", "html", "name"]
)
def test_the_search_finds_what_is_there(tmp_path: Path, kind: str) -> None:
    bird = "CANARY001X"
    png = b"\x89PNG\r\n\x1a\n"

    def chunk(name: bytes, body: bytes) -> bytes:
        return len(body).to_bytes(4, "big") + name + body + bytes(4)

    table = pa.table({"a": [bird] if kind == "parquet" else ["x"]})
    if kind == "metadata":
        table = table.replace_schema_metadata({"note": bird})
    if kind in ("parquet", "metadata", "statistics"):
        pq.write_table(
            table if kind != "statistics" else pa.table({"a": [bird, "x"]}), tmp_path / "t.parquet", compression="zstd"
        )
    texts = {
        "plain": bird.encode(),
        "utf16": bird.encode("utf-16"),
        "gz": gzip.compress(bird.encode()),
        "tEXt": png + chunk(b"tEXt", b"a\0" + bird.encode()),
        "zTXt": png + chunk(b"zTXt", b"a\0\0" + zlib.compress(bird.encode())),
        "html": b'<img src="data:image/png;base64,' + base64.b64encode(png + chunk(b"tEXt", bird.encode())) + b'">',
    }
    if kind in texts:
        (tmp_path / "file").write_bytes(texts[kind])
    if kind == "name":
        (tmp_path / bird.lower()).touch()
    assert set(found_in(tmp_path)) == {bird}
