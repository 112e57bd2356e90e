"""A stand-in for the models that has a job meet its fate when the first participant of the job is finished."""

from __future__ import annotations

import os
import time
from pathlib import Path

from tests.faults.study import PROGRAMS
from tests.slurm.stand_in import FATES, note, notes, this_job
from tests.unit.cohort_fakes import FixedPlanner, IntensitySegmenter, fake_engine
from vp_engine.agent.planner import Context, History
from vp_engine.cohort.engine import Engine
from vp_engine.environment.instruction import Instruction

NEEDS_MB = 1600
"""What a job with the fate `memory` uses, at each attempt, beside some hundred for the program."""
FALLS_AT = 5
"""Each participant has four questions."""


def load() -> Engine:
    """Models without weights."""
    return fake_engine(Planner(PROGRAMS), IntensitySegmenter())


class Planner(FixedPlanner):
    """Fixed programs; asked about the second participant of its job it meets the fate of the job."""

    met = False

    def next_instruction(self, context: Context, history: History) -> Instruction:
        instruction = super().next_instruction(context, history)
        shard, attempt, fate = this_job()
        note("asked", context.prompt)
        so_far = sum((one.shard, one.what) == (shard, "asked") for one in notes(Path(os.environ[FATES])))
        if so_far >= FALLS_AT and fate and not self.met:
            self.met = True
            note("meets", fate)
            _meet(fate, attempt)
        return instruction


def _meet(fate: str, attempt: int) -> None:
    match fate:
        case "bug":
            raise KeyError("a bug, made for a test")
        case "memory":
            taken = bytearray(NEEDS_MB * 2**20)
            taken[::4096] = b"x" * (len(taken) // 4096)
            time.sleep(3)  # usage is looked at once a second
        case "waits" if attempt == 1:
            time.sleep(3600)
        case "minute":
            time.sleep(60)
    while fate.startswith("/") and not Path(fate).exists():
        time.sleep(0.05)
