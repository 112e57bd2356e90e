"""What came of one task before it is written, and the writing: rows, masks, images, transforms and a transcript."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vp_engine.cohort.derivatives import Written, write_images, write_masks, write_transcript, write_transforms
from vp_engine.cohort.drawn import Drawn
from vp_engine.cohort.records import TaskRecord
from vp_engine.cohort.tasks import Fingerprint, Task

Row = dict[str, Any]


@dataclass(frozen=True, slots=True, eq=False)
class Outcome:
    """What came of one task; plain values, that can be sent to another process.

    Attributes
    ----------
    task : Task
    fingerprint : Fingerprint
    row : dict
        Of the table `runs`, complete.
    measurements : tuple of dict
        Of the table `measurements`.
    drawn : Drawn
    transcript : mapping or None
        What was asked, written, observed and when; None when no program was run.
    """

    task: Task
    fingerprint: Fingerprint
    row: Row
    measurements: tuple[Row, ...] = ()
    drawn: Drawn = field(default_factory=Drawn)
    transcript: Mapping[str, Any] | None = None

    def write(self, root: Path) -> TaskRecord:
        """Write the derivatives below the root of the derivative dataset.

        Raises
        ------
        InfrastructureError
            When the file system refuses.
        """
        written: Written = write_masks(root, self.task, self.drawn, record_id=self.fingerprint.record_id)
        write_images(root, self.task, self.drawn.images, into=written)
        written.outputs |= write_transforms(root, self.task.participant, self.drawn.between)
        if self.transcript is not None:
            name, sha256 = write_transcript(root, self.task, self.transcript)
            written.outputs[name] = sha256
        rows = {
            "runs": [self.row],
            "measurements": list(self.measurements),
            "segmentations": written.segmentations,
        }
        return TaskRecord(self.fingerprint.key, self.row["status"], written.outputs, rows)
