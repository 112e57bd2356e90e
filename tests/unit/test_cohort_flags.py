"""What the surroundings of a mask say about it, in the delineation and in what is computed from it."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

import vp_engine
from tests.unit.cohort_fakes import IntensitySegmenter, write_scan
from vp_engine.anatomy import PARTS
from vp_engine.cohort.choice import PlannedScan, choose
from vp_engine.cohort.flags import FLAGS, mask_flags, reaches_skull
from vp_engine.cohort.scans import Scans, delineate
from vp_engine.cohort.segment import segment_file
from vp_engine.cohort.world import CohortWorld
from vp_engine.environment.instruction import Instruction
from vp_engine.environment.omega import Environment
from vp_engine.environment.values import Number
from vp_engine.volumes.nifti import write_image
from vp_engine.volumes.volume import Volume

AFFINE = np.diag([2.5, 2.5, 2.5, 1.0])
SIZE = 56
CODES = {"left_cerebral_cortex": 100, "brainstem": 90, "csf": 30}


@dataclass(frozen=True)
class Found:
    """A mask on the whole grid."""

    inside: np.ndarray
    start: tuple[int, int, int] = (0, 0, 0)
    qc_score: float | None = 0.9


class CodeSegmenter:
    """Finds a part where the image has its number."""

    known = PARTS
    device = "cpu"

    def regions(
        self, volume: Volume, unions: Mapping[str, Sequence[str]], *, others: Sequence[Volume] = ()
    ) -> Iterator[tuple[str, Found]]:
        for name, parts in unions.items():
            yield name, Found(np.isin(volume.data, [CODES[part] for part in parts if part in CODES]))


def head(*, stripped: bool, shift: int = 0) -> Volume:
    """A ball of cortex and brainstem in fluid, with skull and scalp around it unless stripped."""
    x, y, z = (2.5 * (np.arange(SIZE) - (SIZE - 1) / 2) for _ in range(3))
    radius = np.sqrt(x[:, None, None] ** 2 + y[:, None] ** 2 + (z + 2.5 * shift) ** 2)
    image = np.where(radius < 56, 120.0, 0.0)
    image[radius < 50] = 5
    if stripped:
        image[:] = 0
    image[radius < 44] = CODES["csf"]
    image[radius < 40] = CODES["left_cerebral_cortex"]
    image[radius < 12] = CODES["brainstem"]
    return Volume(image.astype(np.float32), AFFINE)


def flags(volume: Volume, *structures: str) -> dict[str, tuple[str, ...]]:
    return {name: found.flags for name, found in delineate(volume, structures, CodeSegmenter()).items()}


def test_only_what_ends_at_the_skull_is_not_bounded_by_it() -> None:
    names = ("intracranial_volume", "csf", "brain", "brainstem")
    assert flags(head(stripped=False), *names) == dict.fromkeys(names, ())
    assert flags(head(stripped=True), *names) == {
        "intracranial_volume": ("not_skull_bounded:intracranial_volume",),
        "csf": ("not_skull_bounded:csf",),
        "brain": (),
        "brainstem": (),
    }


def test_nothing_is_delineated_beyond_what_was_asked() -> None:
    assert set(flags(head(stripped=True), "intracranial_volume")) == {"intracranial_volume"}
    assert flags(Volume(np.zeros((8, 8, 8), np.float32), AFFINE), "csf") == {"csf": ()}


@pytest.mark.parametrize("shift", [-12, 12])
def test_masks_at_the_border_of_the_image(shift: int) -> None:
    assert flags(head(stripped=False, shift=shift), "left_cerebral_cortex", "brainstem") == {
        "left_cerebral_cortex": ("touches_image_edge:left_cerebral_cortex",),
        "brainstem": (),
    }


def test_numbers_computed_from_the_intracranial_volume_have_its_flag_and_others_do_not(tmp_path: Path) -> None:
    scan = write_scan(tmp_path / "x_T1w.nii.gz")
    world = CohortWorld(choose([PlannedScan(None, "T1w", scan.name)]), Scans(tmp_path, IntensitySegmenter()))
    environment = Environment(world)
    program = """
small = volume(segment(scan(current), "left_hippocampus"))
whole = volume(segment(scan(current), "intracranial_volume"))
report(small)
report(whole)
report(ratio(small, whole))
"""
    assert environment.run(Instruction(program.strip())).status == "done"
    rows = [row for row in environment.reported if isinstance(row, Number)]
    assert all(row.value is not None for row in rows)
    flag = "not_skull_bounded:intracranial_volume"
    assert [row.flags for row in rows] == [(), (flag,), (flag,)]


def test_volumes_of_one_file_have_their_flags_beside_them(tmp_path: Path) -> None:
    write_image(tmp_path / "x_T1w.nii.gz", head(stripped=True))
    segment_file(tmp_path / "x_T1w.nii.gz", ["brainstem", "csf"], tmp_path / "out", segmenter=CodeSegmenter())
    _, *lines = (tmp_path / "out" / "x_T1w_volumes.tsv").read_text().splitlines()
    assert {line.split("\t")[0]: line.split("\t")[-1] for line in lines} == {
        "brainstem": "n/a",
        "csf": "not_skull_bounded:csf",
    }


def test_flags_of_a_mask_are_documented() -> None:
    (first, second) = mask_flags("csf", at_edge=True, skull_stripped=True)
    assert {flag.partition(":")[0] for flag in (first, second)} <= set(FLAGS)
    assert reaches_skull("intracranial_volume")
    assert not reaches_skull("brain")


def test_flags_named_in_the_code_are_documented() -> None:
    named = set()
    for path in Path(vp_engine.__file__).parent.rglob("*.py"):
        if path.parent.name == "report":
            continue  # its words that begin like this are headings
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                named.update(re.findall(r"^(?:flag|fix)_[a-z_]+(?=$|:)", node.value))
    assert named <= set(FLAGS)
    assert len(named) > 10
