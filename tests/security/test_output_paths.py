"""Nothing is written outside the output folder, whatever lies in it or stands in names."""

from __future__ import annotations

import ast
from pathlib import Path, PurePosixPath

import pyarrow.parquet as pq
import pytest

from tests.unit.cohort_fakes import FixedPlanner, IntensitySegmenter, run_study, write_dataset
from vp_engine.bids.derivatives import dseg_name, image_name, mask_name, output_path, transcript_name, transform_name
from vp_engine.bids.names import check_label
from vp_engine.cohort.config import load_config
from vp_engine.cohort.tasks import shard_number
from vp_engine.errors import VoxelPromptError

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = 't1 = scan(current)\nreport(volume(segment(t1, "left_hippocampus")))\n'
CONFIG = """\
datasets:
  tiny: {path: "data [1]*?", participants: ["01", "03"]}
output: "out [2]*?"
prompts:
  - {id: vols, text: volumes, images: [T1w]}
"""
LABELS = (
    "", "..", "../x", "/etc", "a/b", "a\\b", "a\0", "a\n", "a b", "a-b", "a_b", ".", "*", "a?", "[a]", "~", "$(x)",
    "`x`", "ä", "\uff41", "a\u202e", "\u0661", "CON:", "a;b", "a|b", "%2e%2e", "sub-01", "a" * 4 + "\r",
)  # fmt: skip


@pytest.mark.parametrize("label", LABELS, ids=ascii)
def test_no_label_but_letters_and_digits_gets_into_a_path(label: str) -> None:
    makers = (
        lambda: check_label(label, "a label"),
        lambda: dseg_name(label, None, "p"),
        lambda: dseg_name("01", label, "p"),
        lambda: dseg_name("01", None, label),
        lambda: dseg_name("01", None, "p", {"acq": label}),
        lambda: dseg_name("01", None, "p", space=label),
        lambda: mask_name("01", None, label, "brainstem"),
        lambda: image_name("01", label, "p", "T1w"),
        lambda: transcript_name(label, None, "p"),
        lambda: transcript_name("01", None, label),
        lambda: transform_name("01", None, moving=label, fixed="T1w"),
    )
    for make in makers:
        with pytest.raises(VoxelPromptError):
            make()


@pytest.mark.parametrize(
    "name", ["..", "shard-1/..", "shard-", "shard-1\n", "shard-\u0661", "../shard-00001", "shard-9999999999"]
)
def test_a_shard_is_a_number(name: str) -> None:
    with pytest.raises(VoxelPromptError):
        shard_number(name)


@pytest.mark.parametrize("name", ["../x", "a/../../x", "/etc/passwd", "link/x"])
def test_a_path_that_leads_out_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "link").symlink_to(tmp_path)
    with pytest.raises(VoxelPromptError) as caught:
        output_path(tmp_path / "root", PurePosixPath(name))
    assert caught.value.code == "outside_output"


MINE = ("mine.txt", "done.json", "runs.parquet", "sub-01_ses-01_space-orig_seg-old_dseg.nii.gz")
"""Of somebody else, some called as our files are."""


def names_below(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


@pytest.mark.parametrize(
    "place", ["derivatives/tiny/sub-01", "derivatives/tiny/sub-01/ses-01/anat", "records/tiny/sub-01"]
)
def test_a_link_out_of_the_output_is_not_followed(tmp_path: Path, place: str) -> None:
    write_dataset(tmp_path / "data [1]*?")
    outside = tmp_path / "outside"
    outside.mkdir()
    for name in MINE:
        (outside / name).write_text("left alone")
    link = tmp_path / "out [2]*?" / place
    link.parent.mkdir(parents=True)
    link.symlink_to(outside)
    (tmp_path / "config.yaml").write_text(CONFIG)
    config = load_config(tmp_path / "config.yaml")
    said = ""
    try:
        run_study(config, FixedPlanner({"volumes": PROGRAM}), IntensitySegmenter())
    except VoxelPromptError as error:
        said = error.message
    assert names_below(outside) == sorted(MINE), said
    assert {(outside / name).read_text() for name in MINE} == {"left alone"}
    if not said:
        runs = pq.read_table(config.output / "tables" / "runs").to_pylist()
        status = {(row["participant"], row["session"]): row["status"] for row in runs}
        assert status["03", "01"] == "ok"
        assert status["01", "01"] != "ok"


def test_characters_of_globs_in_folders_are_characters(tmp_path: Path) -> None:
    write_dataset(tmp_path / "data [1]*?")
    # what the patterns would match
    write_dataset(tmp_path / "data 1xy")
    (tmp_path / "config.yaml").write_text(CONFIG)
    config = load_config(tmp_path / "config.yaml")
    run_study(config, FixedPlanner({"volumes": PROGRAM}), IntensitySegmenter())
    runs = pq.read_table(config.output / "tables" / "runs").to_pylist()
    assert [(row["participant"], row["status"]) for row in runs] == [("01", "ok"), ("01", "ok"), ("03", "ok")]
    assert not (tmp_path / "out 2xy").exists()


def test_no_text_becomes_sql_or_a_pattern() -> None:
    """Tables are read with Arrow; who adds a database has to come by here, with parameters instead of text."""
    for path in sorted((ROOT / "vp_engine").rglob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for node in ast.walk(tree):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not {name.partition(".")[0] for name in names} & {"duckdb", "sqlite3", "sqlalchemy"}, path
            if (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Attribute)
                and node.func.attr in ("glob", "rglob")
            ):
                # a text of the module, or a name for one, or put together of constants
                inside = [part.value for value in node.args for part in ast.walk(value) if hasattr(part, "conversion")]
                plain = all(isinstance(value, ast.Constant | ast.Name | ast.JoinedStr) for value in node.args)
                plain = plain and all(isinstance(part, ast.Name) and part.id.isupper() for part in inside)
                assert plain, f"{path}:{node.lineno}: a pattern made of data"
