"""The terms of each statistic as text, for spreadsheets and for the tables of `snakemake --report`."""

from __future__ import annotations

import csv
import io
import re
from pathlib import Path
from typing import Any

from vp_engine.cohort.export import no_formula
from vp_engine.cohort.publish import publish_bytes
from vp_engine.cohort.statistics import LOCATION
from vp_engine.tables.parquet import read_table

_MISSING = "n/a"


def write_terms(output: Path) -> list[Path]:
    """Write ``figures/<statistic>_terms.tsv`` of each statistic: the rows of the table `statistics`, flags in one cell.

    Parameters
    ----------
    output : Path
        Output directory.

    Returns
    -------
    list of Path
        None when there is no table yet.

    Raises
    ------
    TableError
        If the table is damaged.
    InfrastructureError
        When the file system refuses.
    """
    if not (output / LOCATION).is_file():
        return []
    table = read_table(output / LOCATION, "statistics")
    columns = [name for name in table.column_names if name != "statistic_id"]
    rows: dict[str, list[dict[str, Any]]] = {}
    for row in table.to_pylist():
        rows.setdefault(row["statistic_id"], []).append(row)
    paths = []
    for statistic_id, own in sorted(rows.items()):
        buffer = io.StringIO()
        writer = csv.writer(buffer, delimiter="\t", lineterminator="\n")
        writer.writerow(columns)
        writer.writerows([_cell(row[column]) for column in columns] for row in own)
        path = output / "figures" / f"{re.sub('[^0-9A-Za-z_]', '_', statistic_id)}_terms.tsv"
        publish_bytes(path, buffer.getvalue().encode())
        paths.append(path)
    return paths


def _cell(value: Any) -> str:
    """One line that no spreadsheet takes for a formula; BIDS' `n/a` where there is nothing."""
    if value is None:
        return _MISSING
    text = "; ".join(value) if isinstance(value, list) else str(value)
    return no_formula(" ".join(text.split()))
