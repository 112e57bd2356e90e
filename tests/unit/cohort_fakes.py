"""A tiny BIDS dataset whose voxels say which part they belong to, and the network that can read them."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from vp_engine.agent.planner import Context, History
from vp_engine.anatomy import PARTS
from vp_engine.cohort.analyse import analyse_shard, one_by_one
from vp_engine.cohort.collect import collect_tables
from vp_engine.cohort.config import Config
from vp_engine.cohort.engine import Engine, Models
from vp_engine.cohort.participant import analyse_participant
from vp_engine.cohort.plan import write_plan
from vp_engine.environment.instruction import Instruction
from vp_engine.environment.values import FEATURES
from vp_engine.volumes.nifti import write_image
from vp_engine.volumes.volume import Volume

SHAPE = (16, 18, 14)
AFFINE = np.diag([-2.0, 2.0, 3.0, 1.0])  # LAS: left-handed, as many scanners write


def wait_for(what: Callable[[], bool], seconds: float = 120.0) -> None:
    """Wait until something is so."""
    until = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < until, "did not come about"
        time.sleep(0.02)


@dataclass(frozen=True)
class Box:
    """Probabilities from a voxel on."""

    start: tuple[int, int, int]
    probability: np.ndarray

    @property
    def inside(self) -> np.ndarray:
        return self.probability > 0.5

    @property
    def qc_score(self) -> float | None:
        return float(self.probability[self.inside].mean()) if self.inside.any() else None


@dataclass(frozen=True)
class MeanOf:
    """The mean intensity inside a mask, as often as features have numbers."""

    data: np.ndarray

    def inside(self, mask_XYZ: np.ndarray) -> np.ndarray:
        return np.full(FEATURES, self.data[mask_XYZ].mean() if mask_XYZ.any() else 0, dtype=np.float32)


class IntensitySegmenter:
    """Delineates part number n where the image says n."""

    known = PARTS
    device = "cpu"

    def __init__(self) -> None:
        self.calls: list[tuple[str, ...]] = []
        self.others: list[Sequence[Volume]] = []

    def regions(
        self, volume: Volume, unions: Mapping[str, Sequence[str]], *, others: Sequence[Volume] = ()
    ) -> Iterator[tuple[str, Box]]:
        self.calls.append(tuple(unions))
        self.others.append(others)
        for name, parts in unions.items():
            p = sum(np.clip(0.9 - np.abs(volume.data - PARTS.index(part) - 1), 0, 1) for part in parts)
            # a box as networks give it, with nothing in the first slice left out
            yield name, Box((0, 0, 0), p) if p[0].any() else Box((1, 0, 0), p[1:])

    def features(self, volume: Volume, *, others: Sequence[Volume] = ()) -> MeanOf:
        self.calls.append(("features",))
        self.others.append(others)
        return MeanOf(volume.data)

    def answer(self, question: str, numbers: np.ndarray) -> tuple[str, float]:
        del question, numbers
        return "unclear", 0.0


def brain(seed: int, *, grown: int = 0) -> np.ndarray:
    """Boxes two voxels wide, one per part, none at the edge; `left_hippocampus` longer by `grown`."""
    data = np.zeros(SHAPE, dtype=np.float32)
    for number, name in enumerate(PARTS):
        x, rest = divmod(number, 12)
        y, z = divmod(rest, 4)
        size = 2 + (grown if name == "left_hippocampus" else 0)
        x, y, z = 1 + 4 * x, 1 + 5 * y, 1 + 3 * z
        data[x : x + 2, y : y + size, z : z + 2] = number + 1
    noise = np.random.default_rng(seed).uniform(-0.05, 0.05, SHAPE)
    return (data + noise).astype(np.float32)


def write_scan(path: Path, seed: int = 0, *, grown: int = 0) -> Path:
    """One image of the fake brain."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_image(path, Volume(brain(seed, grown=grown), AFFINE))
    return path


def write_dataset(root: Path) -> Path:
    """Two participants with two sessions, one with one; T1w everywhere, FLAIR in some."""
    root.mkdir(parents=True)
    (root / "dataset_description.json").write_text(
        json.dumps({"Name": "tiny", "BIDSVersion": "1.10.0", "DatasetType": "raw", "License": "CC0"})
    )
    (root / "README").write_text("A dataset made by a test, with nobody behind it.\n")
    (root / "participants.tsv").write_text(
        "participant_id\tage\tgroup\nsub-01\t60\tpatient\nsub-02\t61\tcontrol\nsub-03\t62\tcontrol\n"
    )
    (root / "participants.json").write_text(
        json.dumps({"age": {"Description": "Age", "Units": "year"}, "group": {"Description": "Arm of the study"}})
    )
    for participant, sessions in (("01", 2), ("02", 2), ("03", 1)):
        lines = ["session_id\tacq_time\n"]
        for number in range(1, sessions + 1):
            anat = root / f"sub-{participant}" / f"ses-0{number}" / "anat"
            name = f"sub-{participant}_ses-0{number}"
            write_scan(
                anat / f"{name}_T1w.nii.gz", 10 * int(participant) + number, grown=number - 1 + (participant == "02")
            )
            lines.append(f"ses-0{number}\t202{number}-01-01T00:00:00\n")
            if participant == "01":
                write_scan(anat / f"{name}_FLAIR.nii.gz", 100 + number)
        (root / f"sub-{participant}" / f"sub-{participant}_sessions.tsv").write_text("".join(lines))
    return root


class FixedPlanner:
    """Writes the program that belongs to a prompt; refuses what it does not know."""

    def __init__(self, programs: Mapping[str, str], embeddings: Mapping[int, np.ndarray] | None = None) -> None:
        self.programs = programs
        self.embeddings = embeddings or {}
        self.asked: list[Context] = []

    def next_instruction(self, context: Context, history: History) -> Instruction:
        self.asked.append(context)
        code = self.programs.get(context.prompt, 'refuse("out_of_domain")\n')
        return Instruction(code, self.embeddings if "segment" in code else {})


def fake_engine(planner: FixedPlanner, segmenter: IntensitySegmenter, **options: Any) -> Engine:
    """Models without weights and a clock that stands still."""
    return Engine("fake-1", lambda: Models(planner, segmenter, **options), clock=lambda: 0.0)


def run_study(config: Config, planner: FixedPlanner, segmenter: IntensitySegmenter) -> None:
    """Plan the dataset ``tiny``, analyse all of it and collect its tables."""
    write_plan(config, config.output)
    engine = fake_engine(planner, segmenter)
    for shard in json.loads((config.output / "plan.shards.json").read_text())["tiny"]:
        analyse_shard(
            config,
            config.output,
            dataset="tiny",
            shard=shard,
            analyse=one_by_one(partial(analyse_participant, engine=engine)),
        )
    collect_tables(config, config.output)
