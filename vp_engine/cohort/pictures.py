"""Scans with their delineations, for the pictures that people check."""

from __future__ import annotations

import json
import logging
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from vp_engine.cohort.config import Config
from vp_engine.cohort.records import derivative_folder
from vp_engine.errors import InputRefused
from vp_engine.tables.parquet import read_table
from vp_engine.volumes.geometry import to_canonical
from vp_engine.volumes.nifti import read_image, read_labels
from vp_engine.volumes.volume import Volume

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, eq=False)
class DelineatedScan:
    """A scan and what was outlined on it, both in RAS+ axis order on one grid.

    Attributes
    ----------
    name : str
        For a file name: dataset, participant, session and prompt.
    caption : str
        The same for a person.
    image, labels : Volume
    """

    name: str
    caption: str
    image: Volume
    labels: Volume


def delineated_scans(config: Config, output: Path, *, limit: int = 12) -> Iterator[DelineatedScan]:
    """One delineation of each of the first sessions: the label image with the most structures.

    Parameters
    ----------
    config : Config
    output : Path
        Output directory with collected tables.
    limit : int
        Scans at most.

    Yields
    ------
    DelineatedScan
        Sorted by dataset, participant, session. A scan that is no longer readable is left out, with a line in the log.

    Raises
    ------
    TableError
        If the table `segmentations` is missing or damaged.
    """
    columns = ("dataset", "participant", "session", "prompt_id", "path")
    rows = read_table(output / "tables" / "segmentations", "segmentations", columns=columns).to_pylist()
    images = Counter(tuple(row[column] or "" for column in columns) for row in rows if "_dseg." in row["path"])
    best: dict[tuple[str, ...], tuple[str, ...]] = {}
    for row_key in sorted(images, key=lambda one: (-images[one], one)):
        best.setdefault(row_key[:3], row_key)
    for key in sorted(best)[:limit]:
        dataset, participant, session, prompt_id, path = best[key]
        derivatives = derivative_folder(output, dataset)
        try:
            scan = _scan_of(derivatives / path)
            root, limits = config.dataset(dataset).path, config.dataset(dataset).limits
            image, _ = to_canonical(read_image(root / scan, root=root, limits=limits))
            labels, _ = to_canonical(read_labels(derivatives / path))
        except (InputRefused, OSError, KeyError, ValueError) as error:
            if isinstance(error, OSError) and error.errno is not None and not isinstance(error, FileNotFoundError):
                raise  # of the machine: worth a retry, while a report without its picture would stay
            _log.warning("no picture of %s: %s", path, error)
            continue
        parts = [dataset, f"sub-{participant}", *([f"ses-{session}"] if session else []), prompt_id]
        yield DelineatedScan("_".join(parts), ", ".join(parts), image, labels)


def _scan_of(path: Path) -> str:
    """Scan a label image was made on, relative to its dataset, as the sidecar has it."""
    sidecar = path.with_name(path.name.removesuffix(".gz").removesuffix(".nii") + ".json")
    reference: str = json.loads(sidecar.read_text(encoding="utf-8"))["SpatialReference"]
    scheme, _, scan = reference.split(":", 2)
    if scheme != "bids":
        raise ValueError(f"expected a BIDS URI in {sidecar.name}, got {reference}")
    return scan
