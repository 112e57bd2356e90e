"""One prompt on files, and one on no file at all."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.unit.cohort_fakes import FixedPlanner, IntensitySegmenter, fake_engine, write_scan
from vp_engine.cohort.ask import ask, suffix_of_file
from vp_engine.cohort.preview import Output, outputs_of, plan_prompt
from vp_engine.environment.instruction import Instruction
from vp_engine.environment.omega import Environment
from vp_engine.environment.phantom import PhantomWorld
from vp_engine.environment.values import Number
from vp_engine.errors import ConfigError

ASYMMETRY = (
    't1 = scan(current)\nleft = segment(t1, "left_hippocampus")\nright = segment(t1, "right_hippocampus")\n'
    "save([left, right])\nreport(asymmetry(volume(left), volume(right)))\n"
)
GROWTH = 'for s in sessions:\n    report(volume(segment(scan(s), "ventricles")))\n'
MASKS = 'save(segment(scan(current), "brainstem"))\nanswer("left", "hippocampus")\n'
PLANNER = FixedPlanner({"asymmetry": ASYMMETRY, "growth": GROWTH, "masks": MASKS, "wrong": "volume(3)\n"})


def test_ask_gives_numbers_and_masks(tmp_path: Path) -> None:
    scan, flair = write_scan(tmp_path / "x.nii.gz"), write_scan(tmp_path / "x_FLAIR.nii.gz")
    answer = ask([flair, scan], "asymmetry", tmp_path / "out", engine=fake_engine(PLANNER, IntensitySegmenter()))
    (number,) = answer.results
    assert isinstance(number, Number)
    assert (number.target, number.measure, number.image, number.value) == ("hippocampus", "asymmetry", "T1w", 0.0)
    assert [(mask.structure, mask.path.name) for mask in answer.masks] == [
        ("left_hippocampus", "x_dseg.nii.gz"),
        ("right_hippocampus", "x_dseg.nii.gz"),
    ]
    assert json.loads((tmp_path / "out" / "transcript.json").read_text())["status"] == "ok"


def test_ask_refused_leaves_no_mask(tmp_path: Path) -> None:
    scan = write_scan(tmp_path / "x.nii.gz")
    answer = ask([scan], "poem", tmp_path / "out", engine=fake_engine(PLANNER, IntensitySegmenter()))
    assert (answer.transcript.status, answer.results, answer.masks) == ("refused", (), ())
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["transcript.json"]


def test_two_files_of_one_contrast(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"a_T1w\.nii.*T1w"):
        ask([Path("a_T1w.nii"), Path("b.nii")], "x", tmp_path, engine=fake_engine(PLANNER, IntensitySegmenter()))


@pytest.mark.parametrize(
    ("name", "suffix"),
    [
        ("sub-1_acq-t2_T1w.nii.gz", "T1w"),
        ("AX_FLAIR_3mm.nii", "FLAIR"),
        ("scan_t2starw.nii.gz", "T2starw"),
        ("3D-MPRAGE.nii.gz", "T1w"),
        ("T2.nii.gz", "T2w"),
        ("x.nii.gz", "T1w"),
    ],
)
def test_contrast_from_the_name(name: str, suffix: str) -> None:
    assert suffix_of_file(Path(name)) == suffix


def test_preview_lists_what_would_come() -> None:
    preview = plan_prompt("asymmetry", planner=PLANNER)
    assert (preview.status, preview.reason, preview.program) == ("ok", None, ASYMMETRY)
    assert preview.outputs == (
        Output("left_hippocampus", "segmentation", None),
        Output("right_hippocampus", "segmentation", None),
        Output("hippocampus", "asymmetry", "1"),
    )
    assert plan_prompt("growth", planner=PLANNER, sessions=3).outputs == (Output("ventricles", "volume", "mm3"),)
    assert plan_prompt("masks", planner=PLANNER).outputs == (
        Output("brainstem", "segmentation", None),
        Output("hippocampus", "answer", None),
    )


def test_measured_mask_is_no_output_of_its_own() -> None:
    environment = Environment(PhantomWorld())
    code = 'm = segment(scan(current), "csf")\nsave([m, segment(scan(current), "brain")])\nreport(volume(m))\n'
    assert environment.run(Instruction(code)).status == "done"
    assert outputs_of(environment.results) == (Output("brain", "segmentation", None), Output("csf", "volume", "mm3"))


def test_preview_of_what_cannot_be_done() -> None:
    for prompt, code in (("poem", "out_of_domain"), ("wrong", "")):
        preview = plan_prompt(prompt, planner=PLANNER)
        assert (preview.status, preview.outputs) == ("refused", ())
        assert preview.reason is not None
        assert preview.reason.startswith(code)
    assert set(preview.as_json()) == {"status", "reason", "program", "outputs"}
