"""One HTML file that tells what was asked, what was found and how far to trust it; it needs nothing but itself."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jinja2
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from jinja2.utils import htmlsafe_json_dumps

from vp_engine.report import cells, methods, summary
from vp_engine.report.flags import explain, explained
from vp_engine.report.methods import Setup
from vp_engine.report.quality import FAR, MIN_GROUP, ScanQuality, compared, gallery_data
from vp_engine.report.results import MAX_ROWS, Tables, tell_statistics
from vp_engine.report.slices import COLOURS
from vp_engine.report.viewer import Case, niivue_licence, packed_script
from vp_engine.stats.spec import CENTILE_COLUMNS, EXCLUSION_COLUMNS, StatisticSpec
from vp_engine.stats.spec import COLUMNS as STATISTIC_COLUMNS
from vp_engine.tables.confidence import LOOK_BELOW
from vp_engine.tables.parquet import read_table
from vp_engine.tables.publish import publishing

MAX_THUMBNAILS = 10_000
"""Thumbnails that travel inside the page at most, the ones to look at first."""

STATIC_THUMBNAILS = 12
"""Thumbnails that are seen without JavaScript."""

CHUNK = 64
"""Thumbnails of one block of the page: read only when one of them is seen."""

_FOLDER = Path(__file__).resolve().parent
_FIGURE = re.compile(r"_(values|trajectories|effects|centiles)(\.svg|\.png|_narrow\.svg)$")
_PLANNED = ("dataset", "participant", "session", "prompt_id", "prompt", "scope", "images", "days")
_RUN = (
    "dataset", "participant", "session", "prompt_id", "status", "reason", "program", "device", "model_id",
    "vp_engine_version",
)  # fmt: skip
_MEASURED = (
    "dataset", "participant", "session", "prompt_id", "target", "measure", "value", "text", "unit", "image", "qc_score",
    "flags", "model_id",
)  # fmt: skip


@dataclass(frozen=True, slots=True, eq=False)
class ReportExtras:
    """What the report shows beyond the tables.

    Attributes
    ----------
    statistics : tuple of StatisticSpec
        As configured.
    covariates : DataFrame, optional
        As `fit_statistics` had them; without them there are no figures of values.
    scans : tuple of ScanQuality
        From `judge_scans`: every scan on which something was delineated, with its thumbnail.
    cases : tuple of Case
        Scans for the viewer.
    setup : Setup
        How the run was set up.
    limits : str
        What the weights cannot do, from their model card; empty lines separate paragraphs.
    prompts : tuple of str
        Ids in the order in which they are shown, that of the configuration; the tables are sorted by id.
    meanings : mapping of str to str
        Flag of measurements → what it means, as part of a sentence.
    """

    statistics: tuple[StatisticSpec, ...] = ()
    covariates: pd.DataFrame | None = None
    scans: tuple[ScanQuality, ...] = ()
    cases: tuple[Case, ...] = ()
    setup: Setup = field(default_factory=Setup)
    limits: str = ""
    prompts: tuple[str, ...] = ()
    meanings: Mapping[str, str] = field(default_factory=dict)


def write_report(results_dir: Path, *, extras: ReportExtras | None = None) -> Path:
    """Write figures and ``report.html`` from the tables of a run.

    The same tables give the same bytes. All text from the tables is escaped, and the page can load nothing.

    Parameters
    ----------
    results_dir : Path
        Output folder with ``plan.parquet`` and ``tables/``; ``figures/`` and ``report.html`` are written there.
    extras : ReportExtras, optional
        Figures, pictures and text that are not in the tables.

    Returns
    -------
    Path
        The HTML file.

    Raises
    ------
    TableError
        If a table is missing or damaged; `statistics`, `exclusions`, `centiles` and `segmentations` may be missing.
    ConfigError
        If a statistic does not fit the covariates.
    """
    extras = extras or ReportExtras()
    folder = results_dir / "tables"
    segmentations = _optional(folder, "segmentations", ("target", "spacing_mm", "qc_score"))
    tables = Tables(
        plan=read_table(results_dir / "plan.parquet", "plan", columns=_PLANNED),
        runs=read_table(folder / "runs", "runs", columns=_RUN),
        measurements=read_table(folder / "measurements", "measurements", columns=_MEASURED),
        statistics=_optional(folder, "statistics", STATISTIC_COLUMNS).to_pandas(),
        exclusions=_optional(folder, "exclusions", EXCLUSION_COLUMNS).to_pandas(),
        centiles=_optional(folder, "centiles", CENTILE_COLUMNS).to_pandas(),
        meanings=extras.meanings,
    )
    statistics = tell_statistics(tables, extras.statistics, extras.covariates, results_dir / "figures")
    text = methods.methods_text(tables.plan, tables.runs, segmentations, statistics, extras.scans, extras.setup)
    viewer = bool(extras.cases)
    cited = methods.citations(
        [line for one in statistics for line in one["methods"]],
        sizes="hedges_g" in set(tables.statistics["effect_size_name"]),
        outliers=compared(extras.scans),
        viewer=viewer,
    )
    content = {
        "title": "Cohort report",
        **_asked(tables.plan, tables.runs, extras.prompts),
        "statistics": statistics,
        **_measured(tables.measurements, extras.meanings),
        **_gallery(extras.scans),
        **_viewer(extras.cases, extras.scans),
        "methods": text,
        "citations": cited,
        "methods_plain": methods.plain_text(text, cited),
        "versions": methods.versions(tables.runs, tables.measurements, viewer=viewer),
        "hashes": methods.hashes(results_dir),
        "licences": methods.licences(extras.setup, viewer=viewer),
        "limits": [part.strip() for part in extras.limits.split("\n\n") if part.strip()],
        "dagger": cells.MARK,
        "low_limit": LOOK_BELOW,
        "far_limit": FAR,
        "compared": compared(extras.scans),
        "fewest_compared": MIN_GROUP,
    }
    path = results_dir / "report.html"
    with publishing(path) as file:
        file.write(_render(content).encode())
    _remove_other_figures(results_dir / "figures", statistics)
    return path


def _remove_other_figures(folder: Path, statistics: list[dict[str, Any]]) -> None:
    """Figures of statistics that are no longer asked for; last, so that a run that is ended leaves no gaps."""
    drawn = [figure for one in statistics for measure in one["measures"] for figure in measure["figures"]]
    current = {path for figure in drawn for path in (figure.svg, figure.png, figure.narrow)}
    for path in sorted(folder.glob("*")):
        if _FIGURE.search(path.name) and path not in current:
            path.unlink()


def _render(content: dict[str, Any]) -> str:
    """The page; its style sheet and its scripts are the only ones that the page itself allows."""
    style = (_FOLDER / "report.css").read_text(encoding="utf-8")
    script = (_FOLDER / "report.js").read_text(encoding="utf-8")
    scripts = [_digest(script), *([_digest(content["niivue_script"])] if content["niivue_script"] else [])]
    environment = jinja2.Environment(
        autoescape=True,
        loader=jinja2.FileSystemLoader(_FOLDER),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["figure_uri"] = _figure_uri
    return environment.get_template("report.html.jinja").render(
        content, style_hash=_digest(style), script_hashes=scripts
    )


def _digest(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


def _optional(folder: Path, name: str, columns: tuple[str, ...]) -> pa.Table:
    """A table that a run may not have; then one without rows."""
    if not (folder / name).is_dir():
        return pa.table({column: [] for column in columns})
    return read_table(folder / name, name, columns=columns)


def _asked(plan: pa.Table, runs: pa.Table, order: tuple[str, ...]) -> dict[str, Any]:
    """Prompts, the programs they became, and what became of them."""
    programs = summary.summarise_programs(runs)
    prompts = [row | {"programs": programs.get(row["id"], [])} for row in summary.summarise_prompts(plan, runs, order)]
    occurring = [status for status in summary.STATUSES if status == "ok" or any(p["counts"][status] for p in prompts)]
    reasons = summary.summarise_reasons(runs)
    troubled, troubled_total = summary.list_troubled(runs)
    people = plan.group_by(["dataset", "participant"]).aggregate([]).num_rows
    datasets = sorted(pc.unique(plan.column("dataset")).to_pylist())
    return {
        "counts": {
            "prompts": len(prompts),
            "participants": f"{people:,}",
            "datasets": ", ".join(datasets),
            "ok": f"{sum(p['counts']['ok'] for p in prompts):,}",
            "asked": f"{sum(p['total'] for p in prompts):,}",
        },
        "prompts": prompts,
        "outcome_columns": [
            *cells.OUTCOME_COLUMNS,
            *(
                cells.Column(status, summary.STATUSES[status].partition(":")[0].capitalize(), number=True)
                for status in occurring
            ),
        ],
        "outcomes": [
            {"id": p["id"], "total": f"{p['total']:,}"} | {k: f"{v:,}" for k, v in p["counts"].items()} for p in prompts
        ],
        "reason_columns": cells.REASON_COLUMNS,
        "reasons": [row | {"outcome": summary.STATUSES[row["status"]]} for row in reasons[:MAX_ROWS]],
        "reasons_left": max(0, len(reasons) - MAX_ROWS),
        "trouble_columns": cells.TROUBLE_COLUMNS,
        "troubled": troubled,
        "troubled_left": troubled_total - len(troubled),
    }


def _measured(measurements: pa.Table, meanings: Mapping[str, str]) -> dict[str, Any]:
    """Numbers and answers with their flags, and doubtful delineations."""
    numbers = summary.summarise_numbers(measurements)
    answers = summary.summarise_answers(measurements)[:MAX_ROWS]
    low, low_total = summary.list_low_quality(measurements)
    return {
        "number_columns": _without_empty_flags(cells.NUMBER_COLUMNS, numbers[:MAX_ROWS]),
        "numbers": [cells.number_cells(row) for row in numbers[:MAX_ROWS]],
        "numbers_left": max(0, len(numbers) - MAX_ROWS),
        "number_flags": explained(numbers[:MAX_ROWS], meanings),
        "answer_columns": _without_empty_flags(cells.ANSWER_COLUMNS, answers),
        "answer_flags": explained(answers, meanings),
        "answers": [cells.answer_cells(row) for row in answers],
        "flag_columns": cells.FLAG_COLUMNS,
        "flags": [row | {"meaning": explain(row["flag"], meanings)} for row in summary.summarise_flags(measurements)],
        "low_columns": cells.LOW_COLUMNS,
        "low": [row | {"qc_score": f"{row['qc_score']:.2f}", "target": cells.words(row["target"])} for row in low],
        "low_total": low_total,
    }


def _without_empty_flags(columns: tuple[cells.Column, ...], rows: list[dict[str, Any]]) -> list[cells.Column]:
    """Columns of a table, without that of the flags where nothing has one."""
    flagged = any(row["kinds"] for row in rows)
    return [column for column in columns if flagged or column is not cells.FLAGS_COLUMN]


def _gallery(scans: tuple[ScanQuality, ...]) -> dict[str, Any]:
    """Thumbnails in blocks, what the script sorts them by, and the first ones as plain pictures."""
    pictures = [base64.b64encode(scan.thumbnail or b"").decode() for scan in scans[:MAX_THUMBNAILS]]
    data = gallery_data(scans)
    data["targets"] = [cells.words(target) for target in data["targets"]]
    return {
        "gallery": htmlsafe_json_dumps(data, dumps=json.dumps, separators=(",", ":")) if scans else None,
        "gallery_chunks": ["\n".join(pictures[start : start + CHUNK]) for start in range(0, len(pictures), CHUNK)],
        "gallery_chunk": CHUNK,
        "gallery_total": len(scans),
        "gallery_suspicious": sum(scan.suspicious for scan in scans),
        "gallery_missing": [(scan.who, scan.why) for scan in scans if scan.why][:MAX_ROWS],
        "gallery_static": [
            {"who": scan.who, "uri": f"data:image/webp;base64,{picture}", "note": _note(scan)}
            for scan, picture in zip(scans[:STATIC_THUMBNAILS], pictures, strict=False)
            if picture
        ],
        "legend": [(n % len(COLOURS), target) for n, target in enumerate(data["targets"])],
    }


def _viewer(cases: tuple[Case, ...], scans: tuple[ScanQuality, ...]) -> dict[str, Any]:
    """Cases with their pictures and volumes, and the script that shows them."""
    targets = sorted({one.target for scan in scans for one in scan.structures})
    names = {n + 1: cells.words(target) for n, target in enumerate(targets)}
    script, packed = packed_script() if cases else ("", b"")
    return {
        "cases": [
            {
                "who": case.scan.who,
                "reason": case.reason,
                "note": _note(case.scan),
                "mosaic": f"data:image/png;base64,{base64.b64encode(case.mosaic).decode()}",
                "image": base64.b64encode(case.volumes.image).decode(),
                "labels": base64.b64encode(case.volumes.labels).decode(),
                "centre": [round(value, 1) for value in case.volumes.centre_mm],
                "structures": ", ".join(cells.words(one.target) for one in case.scan.structures),
                "legend": [
                    (targets.index(one.target) % len(COLOURS), cells.words(one.target)) for one in case.scan.structures
                ],
            }
            for case in cases
        ],
        "viewer_names": htmlsafe_json_dumps({"names": names, "colours": COLOURS}, dumps=json.dumps),
        "niivue_script": script,
        "niivue_licence": niivue_licence() if cases else "",
        "niivue_packed": base64.b64encode(packed).decode(),
    }


def _note(scan: ScanQuality) -> str:
    """Scores of a scan in one line."""
    parts = []
    if scan.worst is not None:
        parts.append(f"lowest qc_score {scan.worst.qc_score:.2f} ({cells.words(scan.worst.target)})")
    if scan.farthest is not None:
        sign = "+" if (scan.farthest.z or 0.0) >= 0 else "\N{MINUS SIGN}"
        distance = f"{sign}{abs(scan.farthest.z or 0.0):.1f} SD"
        parts.append(f"volume farthest from the others {distance} ({cells.words(scan.farthest.target)})")
    return "; ".join(parts) or "no score"


def _figure_uri(path: Path) -> str:
    return f"data:image/svg+xml;base64,{base64.b64encode(path.read_bytes()).decode()}"
