"""Pictures of delineations: of every scan, once, of the right one; kept when nothing changed; lines when missing."""

from __future__ import annotations

import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.unit.cohort_fakes import FixedPlanner, IntensitySegmenter, run_study, write_dataset
from vp_engine.cohort import pictures
from vp_engine.cohort.config import Config, load_config
from vp_engine.cohort.pictures import DelineatedScan, colours_of, list_scans, make_thumbnails, open_scan, try_open
from vp_engine.cohort.statistics import LOCATION
from vp_engine.cohort.terms import write_terms
from vp_engine.report.thumbnails import thumbnail_webp
from vp_engine.tables.parquet import write_table
from vp_engine.tables.schema import arrow_schema

CONFIG = """
datasets:
  tiny: {path: tiny}
output: results
prompts:
  - {id: hippvol, text: Volumes of the hippocampi., images: [T1w]}
  - {id: again, text: The left one again., images: [T1w]}
  - {id: both, text: Both contrasts., scope: participant}
"""
LEFT = 't1 = scan(current)\nreport(volume(segment(t1, "left_hippocampus")))\n'
PROGRAMS = {
    "Volumes of the hippocampi.": LEFT + 'report(volume(segment(t1, "right_hippocampus")))\n',
    "The left one again.": LEFT,
    "Both contrasts.": "for s in sessions:\n"
    '    save(segment(image("T1w", s), "brainstem"))\n    save(segment(image("FLAIR", s), "lesion"))\n',
}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Config:
    folder = tmp_path_factory.mktemp("study")
    write_dataset(folder / "tiny")
    (folder / "config.yaml").write_text(CONFIG)
    config = load_config(folder / "config.yaml")
    run_study(config, FixedPlanner(PROGRAMS), IntensitySegmenter())
    return config


@pytest.fixture
def study(made: Config, tmp_path: Path) -> Config:
    shutil.copytree(made.file.parent, tmp_path / "study")
    return load_config(tmp_path / "study" / "config.yaml")


class Drawn:
    """In place of `thumbnail_webp`: notes what it is given."""

    def __init__(self) -> None:
        self.seen: list[tuple[Any, ...]] = []

    def __call__(self, image: np.ndarray, layers: list[Any], *, spacing_mm: tuple[float, float, float]) -> bytes:
        self.seen.append((image, layers, spacing_mm))
        return b"picture"


def made_of(study: Config, scans: list[DelineatedScan], draw: Any, version: int = 1) -> list[tuple[str, str]]:
    found = make_thumbnails(study, study.output, scans, draw, version=version)
    return [(scan.name, why if path is None else path.name) for scan, path, why in found]


def test_every_scan_is_listed_once_with_all_that_was_delineated_on_it(study: Config) -> None:
    scans = {scan.name: [outline.target for outline in scan.outlines] for scan in list_scans(study.output)}
    assert scans["tiny_sub-01_ses-01_T1w"] == ["brainstem", "left_hippocampus", "right_hippocampus"]
    assert scans["tiny_sub-01_ses-01_FLAIR"] == ["lesion"]
    assert len(scans) == len(list_scans(study.output))


def test_arrays_are_those_of_the_scan_in_ras_order(study: Config) -> None:
    (scan,) = [one for one in list_scans(study.output) if one.name == "tiny_sub-01_ses-01_T1w"]
    colours = colours_of(list_scans(study.output))
    opened = open_scan(study, study.output, scan, colours)
    assert np.all(np.diag(opened.affine)[:3] > 0)  # the file is LAS
    for outline in scan.outlines:
        (number,) = {
            round(float(np.median(opened.image[labels == label])))
            for labels, drawn in opened.layers
            for label, colour in drawn.items()
            if colour == colours[outline.target]
        }
        assert number == IntensitySegmenter.known.index(outline.target) + 1  # the image says which part it is


def test_pictures_are_kept_until_a_file_of_theirs_changes(study: Config) -> None:
    scans, draw = list_scans(study.output), Drawn()
    first = made_of(study, scans, draw)
    assert len(draw.seen) == len(scans)
    assert {name for _, name in first} == {path.name for path in (study.output / pictures.FOLDER).iterdir()}
    assert made_of(study, scans, draw) == first
    assert len(draw.seen) == len(scans)
    changed = replace(scans[0], inputs="other")
    assert made_of(study, [changed, *scans[1:]], draw)[1:] == first[1:]
    assert len(draw.seen) == len(scans) + 1
    made_of(study, [changed, *scans[1:]], draw, version=2)
    assert len(draw.seen) == 2 * len(scans) + 1
    assert len(list((study.output / pictures.FOLDER).iterdir())) == len(scans)  # those of before are gone


def test_what_cannot_be_drawn_is_a_line_and_the_others_are_there(study: Config) -> None:
    scans = list_scans(study.output)
    root = study.dataset("tiny").path
    (root / scans[0].scan).unlink()
    damaged = study.output / "derivatives" / "tiny" / scans[1].outlines[0].path
    damaged.write_bytes(damaged.read_bytes()[:100])
    nameless = next(scan for scan in scans[2:] if scan.participant != scans[0].participant)
    for outline in nameless.outlines:
        path = study.output / "derivatives" / "tiny" / outline.path
        path.with_name(path.name.replace(".nii.gz", ".json")).write_text("{}")
    found = {scan.name: why for scan, path, why in make_thumbnails(study, study.output, list_scans(study.output),
                                                                  Drawn(), version=1)}  # fmt: skip
    assert found[scans[0].name].startswith(f"{scans[0].scan}: expected a file, it is missing")
    assert found[scans[1].name].startswith("sub-01/ses-01/anat/")  # nothing of where this machine has its folders
    assert "no readable sidecar" in found[nameless.name.rpartition("_")[0] + "_unknown"]
    assert sum(why == "" for why in found.values()) >= 2


def test_faults_of_the_machine_are_no_lines(study: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_args: Any, **_options: Any) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(pictures, "read_image", fails)
    (scan, *_) = list_scans(study.output)
    with pytest.raises(OSError, match="Input/output"):
        try_open(study, study.output, scan, colours_of([scan]))


def test_several_processes_make_the_same_pictures(study: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    scans = list_scans(study.output)
    first = made_of(study, scans, thumbnail_webp)
    kept = {path.name: path.read_bytes() for path in (study.output / pictures.FOLDER).iterdir()}
    shutil.rmtree(study.output / pictures.FOLDER)
    monkeypatch.setattr(pictures, "_FEW", 0)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: {0, 1})
    assert made_of(study, scans, thumbnail_webp) == first
    assert {path.name: path.read_bytes() for path in (study.output / pictures.FOLDER).iterdir()} == kept


def test_terms_are_text_that_no_spreadsheet_runs(tmp_path: Path) -> None:
    values = dict.fromkeys(arrow_schema("statistics").names) | {
        "statistic_id": "s", "target": "caudate", "measure": "volume", "model": "value ~ g", "term": "g[T.=1+1]",
        "estimate": -2.5, "n": 8, "n_excluded": 0, "method": "=a\tb\nc", "analysis": "all", "estimator": "ols",
        "flags": ["collinear:age", "few_participants"],
    }  # fmt: skip
    assert write_terms(tmp_path) == []
    write_table(tmp_path / LOCATION, "statistics", [values], metadata={"model_id": "x"})
    (path,) = write_terms(tmp_path)
    assert path == tmp_path / "figures" / "s_terms.tsv"
    header, line = (row.split("\t") for row in path.read_text().splitlines())
    cells = dict(zip(header, line, strict=True))
    assert (cells["estimate"], cells["std_error"], cells["flags"]) == ("-2.5", "n/a", "collinear:age; few_participants")
    assert cells["method"] == "'=a b c"
