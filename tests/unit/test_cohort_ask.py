"""One prompt on files, and one on no file at all."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from tests.unit.cohort_fakes import FixedPlanner, IntensitySegmenter, fake_engine, write_scan
from vp_engine.anatomy import PARTS
from vp_engine.cohort.ask import ask, suffix_of_file
from vp_engine.cohort.choice import PlannedScan, choose
from vp_engine.cohort.preview import Output, outputs_of, plan_prompt
from vp_engine.cohort.scans import Scans
from vp_engine.cohort.world import CohortEnvironment, CohortWorld
from vp_engine.environment.instruction import Instruction
from vp_engine.environment.omega import Environment
from vp_engine.environment.phantom import PhantomWorld
from vp_engine.environment.values import Features, Number
from vp_engine.errors import ConfigError, InputRefused
from vp_engine.volumes.nifti import read_image

ASYMMETRY = (
    't1 = scan(current)\nleft = segment(t1, "left_hippocampus")\nright = segment(t1, "right_hippocampus")\n'
    "save([left, right])\nreport(asymmetry(volume(left), volume(right)))\n"
)
GROWTH = 'for s in sessions:\n    report(volume(segment(scan(s), "ventricles")))\n'
MASKS = 'save(segment(scan(current), "brainstem"))\nanswer("left", "hippocampus")\n'
REGIONS = 'm = segment(scan(current), "left_hippocampus")\nsave(part(m, "anterior"))\nsave(crop(scan(current), m))\n'
PLANNER = FixedPlanner(
    {"asymmetry": ASYMMETRY, "growth": GROWTH, "masks": MASKS, "regions": REGIONS, "wrong": "volume(3)\n"}
)


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


def test_ask_writes_regions_and_what_is_cut_out(tmp_path: Path) -> None:
    scan, out = write_scan(tmp_path / "x.nii.gz"), tmp_path / "out"
    answer = ask([scan], "regions", out, engine=fake_engine(PLANNER, IntensitySegmenter()))
    assert answer.transcript.status == "ok", answer.transcript.reason
    assert [(mask.structure, mask.label, mask.path.name, mask.voxels) for mask in answer.masks] == [
        ("left_hippocampus", 17, "x_dseg.nii.gz", 8),
        ("left_hippocampus_anterior_part", 1, "x_label-LHippocampusAnteriorPart_mask.nii.gz", 4),
    ]
    assert "left_hippocampus_anterior_part\t4\t48\t" in (out / "x_volumes.tsv").read_text()
    assert [path.name for path in answer.images] == ["x_desc-LHippocampus.nii.gz"]
    small, whole = read_image(answer.images[0]), read_image(scan)
    assert small.shape == (2, 2, 2)
    start = np.rint(np.linalg.solve(whole.affine, small.affine @ [0, 0, 0, 1])[:3]).astype(int)
    inside = tuple(slice(first, first + 2) for first in start)
    assert np.array_equal(small.data, whole.data[inside])


def test_features_are_looked_at_once_per_scan(tmp_path: Path) -> None:
    scan, segmenter = write_scan(tmp_path / "x.nii.gz"), IntensitySegmenter()
    scans = Scans(None, segmenter)
    environment = CohortEnvironment(
        CohortWorld(choose([PlannedScan(None, "T1w", str(scan))]), scans), clock=lambda: 0.0
    )
    code = 'img = scan(current)\nread(features(img, segment(img, "{}")))\n'
    for name in ("left_hippocampus", "brainstem", "left_hippocampus"):
        (value,) = environment.run(Instruction(code.format(name))).values
        assert isinstance(value, Features)
        assert value.values == pytest.approx(PARTS.index(name) + 1, abs=0.1)
    assert segmenter.calls.count(("features",)) == 1


def test_ask_refused_leaves_no_mask(tmp_path: Path) -> None:
    scan = write_scan(tmp_path / "x.nii.gz")
    answer = ask([scan], "poem", tmp_path / "out", engine=fake_engine(PLANNER, IntensitySegmenter()))
    assert (answer.transcript.status, answer.results, answer.masks) == ("refused", (), ())
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["transcript.json"]


def test_a_file_that_is_no_image_is_told_before_the_question_is_refused(tmp_path: Path) -> None:
    (tmp_path / "fake.nii.gz").write_text("no image")
    with pytest.raises(InputRefused, match=r"fake\.nii\.gz"):
        ask([tmp_path / "fake.nii.gz"], "poem", tmp_path / "out", engine=fake_engine(PLANNER, IntensitySegmenter()))


def test_half_a_character_is_refused_before_anything_is_loaded(tmp_path: Path) -> None:
    # what Python makes of bytes on the command line that are not UTF-8
    with pytest.raises(ConfigError, match="half of a character"):
        ask([tmp_path / "a_T1w.nii"], "volume \udcff", tmp_path, engine=fake_engine(PLANNER, IntensitySegmenter()))


def test_two_files_of_one_contrast(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"a_T1w\.nii.*T1w.*Sessions of one person .*`scope: participant`"):
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
    assert plan_prompt("regions", planner=PLANNER).outputs == (
        Output("left_hippocampus_anterior_part", "segmentation", None),
        Output("left_hippocampus", "image", None),
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


def test_rows_of_lesions_are_planned_once_and_not_as_many_as_the_phantom_has() -> None:
    environment = Environment(PhantomWorld())
    code = (
        'img = scan(current)\nfor m in pieces(segment(img, "lesion")):\n    report(volume(m))\n'
        '    report(describe(img, m, "side"))\n    save(m)\n'
    )
    assert environment.run(Instruction(code)).status == "done"
    assert len(environment.results) > 10
    assert outputs_of(environment.results) == (
        Output("lesion_NNN", "volume", "mm3"),
        Output("lesion_NNN", "side", None),
    )


def test_preview_of_what_cannot_be_done() -> None:
    for prompt, code in (("poem", "out_of_domain"), ("wrong", "")):
        preview = plan_prompt(prompt, planner=PLANNER)
        assert (preview.status, preview.outputs) == ("refused", ())
        assert preview.reason is not None
        assert preview.reason.startswith(code)
    assert set(preview.as_json()) == {"status", "reason", "program", "outputs"}
