"""A cohort of any size that nobody is behind: tiny scans, and records as the product writes them.

One participant is analysed by the product with a **stand-in for the networks**: fixed programs in place of the language
model, voxel values in place of the segmenter. Its record is the mould of all others: the same rows with other labels,
values and hashes. What an analysis costs is thus no part of what is measured with such a cohort.
"""

from __future__ import annotations

import json
import random
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import yaml

from tests.unit.cohort_fakes import FixedPlanner, IntensitySegmenter, fake_engine, write_scan
from vp_engine.anatomy import PARTS
from vp_engine.cohort.analyse import analyse_shard, one_by_one
from vp_engine.cohort.config import Config, load_config
from vp_engine.cohort.participant import analyse_participant
from vp_engine.cohort.plan import write_plan
from vp_engine.cohort.publish import sha256_of
from vp_engine.cohort.records import TABLES, record_folder, task_key
from vp_engine.tables.parquet import file_metadata, read_table

SESSIONS = ("01", "02")
PROMPTS = 20
TARGETS = 5
"""Structures that each prompt measures and delineates."""

_MOULD = "00000"


def prompts() -> dict[str, str]:
    """Text of each prompt → the program that the stand-in writes for it."""
    programs = {}
    for number in range(PROMPTS):
        names = [PARTS[(number + place) % len(PARTS)] for place in range(TARGETS)]
        masks = ", ".join(f'segment(t1, "{name}")' for name in names)
        programs[f"Measure {', '.join(names)}."] = f"t1 = scan(current)\nfor m in [{masks}]:\n    report(volume(m))\n"
    return programs


def write_dataset(folder: Path, participants: int) -> Path:
    """A BIDS dataset of so many participants, two sessions each, all with the same two scans; the configuration."""
    root = folder / "tiny"
    root.mkdir(parents=True)
    about = {"Name": "simulated", "BIDSVersion": "1.10.0", "DatasetType": "raw", "License": "CC0"}
    (root / "dataset_description.json").write_text(json.dumps(about))
    (root / "README").write_text("A dataset made by a benchmark, with nobody behind it.\n")
    (root / "participants.json").write_text('{"age": {"Description": "Age", "Units": "year"}}')
    images = [write_scan(folder / f"{label}.nii.gz", seed).read_bytes() for seed, label in enumerate(SESSIONS)]
    lines = []
    for number in range(participants):
        name = f"sub-{number:05d}"
        lines.append(f"{name}\t{40 + number % 50}\n")
        for session, image in zip(SESSIONS, images, strict=True):
            anat = root / name / f"ses-{session}" / "anat"
            anat.mkdir(parents=True)
            (anat / f"{name}_ses-{session}_T1w.nii.gz").write_bytes(image)
        rows = (f"ses-{session}\t20{session}-01-01T00:00:00\n" for session in SESSIONS)
        (root / name / f"{name}_sessions.tsv").write_text(f"session_id\tacq_time\n{''.join(rows)}")
    (root / "participants.tsv").write_text(f"participant_id\tage\n{''.join(lines)}")
    asked = [{"id": f"p{n:02d}", "text": text, "images": ["T1w"]} for n, text in enumerate(prompts())]
    statistic = {"id": "byage", "rows": {"prompt": "p00", "measure": "volume"}, "model": "value ~ age"}
    content = {"datasets": {"tiny": {"path": str(root)}}, "output": str(folder / "results"), "prompts": asked}
    config = folder / "config.yaml"
    config.write_text(yaml.safe_dump(content | {"statistics": [statistic | {"per": ["target"]}]}))
    return config


def analyse_with_stand_in(config: Config, output: Path, shard: str, participants: tuple[str, ...] = ()) -> None:
    """Analyse a shard, or some of its participants, as `vp analyse` does but for the networks and the process."""
    engine = fake_engine(FixedPlanner(prompts()), IntensitySegmenter())
    job = one_by_one(partial(analyse_participant, engine=engine))
    analyse_shard(config, output, dataset="tiny", shard=shard, analyse=job, participants=participants)


class Mould:
    """The record of one participant, from which those of others are made."""

    def __init__(self, folder: Path) -> None:
        config = load_config(write_dataset(folder, 1))
        write_plan(config, config.output)
        analyse_with_stand_in(config, config.output, "shard-00000")
        own = record_folder(config.output, "tiny", _MOULD)
        self.tables = {name: read_table(own / f"{name}.parquet", name) for name in TABLES}
        self.done = (own / "done.json").read_text()

    def cast(self, output: Path, number: int, *, seed: int = 0) -> str:
        """Write the record of a participant; the sha256 of its `done.json`.

        Not flushed to the disk, which is what takes the product most of the time here.
        """
        label = f"{number:05d}"
        folder = record_folder(output, "tiny", label)
        folder.mkdir(parents=True, exist_ok=True)
        hashes = {}
        for name, mould in self.tables.items():
            path = folder / f"{name}.parquet"
            metadata = file_metadata(name, {"model_id": "fake-1"})
            table = self._of(mould, label, random.Random(f"{number} {seed}").random())  # noqa: S311 - no secret
            pq.write_table(table.replace_schema_metadata(metadata), path, compression="zstd", write_page_checksum=True)
            hashes[path.name] = sha256_of(path)
        document: dict[str, Any] = json.loads(self.done.replace(f"sub-{_MOULD}", f"sub-{label}"))
        del document["sha256"]
        document["tables"] = hashes
        text = json.dumps(document | {"sha256": task_key(**document)}, indent=2, sort_keys=True, ensure_ascii=False)
        (folder / "done.json").write_text(f"{text}\n")
        return sha256_of(folder / "done.json")

    def _of(self, mould: pa.Table, label: str, share: float) -> pa.Table:
        own: Mapping[str, Any] = {
            "participant": pa.repeat(label, mould.num_rows),
            "record_id": pc.binary_join_element_wise(
                pc.utf8_slice_codeunits(mould["record_id"], 0, 11), pa.scalar(label), ""
            ),
        }
        for column in ("value", "volume_mm3", "seconds"):
            if column in mould.column_names:
                noise = np.random.default_rng(int(share * 2**32)).uniform(0.9, 1.1, mould.num_rows)
                own = {**own, column: pc.multiply(mould[column], pa.array(noise))}
        for column in ("path",):
            if column in mould.column_names:
                own = {**own, column: pc.replace_substring(mould[column], _MOULD, label)}
        for column, values in own.items():
            place = mould.schema.get_field_index(column)
            mould = mould.set_column(place, mould.schema.field(column), values)
        return mould
