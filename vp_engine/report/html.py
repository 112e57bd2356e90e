"""One HTML file that tells what was asked, what was found and how far to trust it; it needs nothing but itself."""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from vp_engine import __version__
from vp_engine.report import cells, summary
from vp_engine.report.figures import SavedFigure, save_distributions, save_effects
from vp_engine.stats.models import StatisticSpec, model_samples
from vp_engine.tables.parquet import read_table
from vp_engine.tables.publish import publishing

MAX_ROWS = 200
"""Rows a table of the report shows at most."""

MAX_PICTURES = 24
"""Pictures of delineations the report shows at most."""

MAX_PICTURE_BYTES = 2_000_000
"""Largest picture that is taken into the report."""

_FOLDER = Path(__file__).resolve().parent
_PNG = b"\x89PNG\r\n\x1a\n"
_PLANNED = ("dataset", "participant", "prompt_id", "prompt", "scope", "images")
_RUN = ("dataset", "participant", "session", "prompt_id", "status", "reason", "vp_engine_version")
_MEASURED = (
    "dataset", "participant", "session", "prompt_id", "target", "measure", "value", "text", "unit", "image", "qc_score",
    "flags", "model_id",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture of a delineation for the report.

    Attributes
    ----------
    path : Path
        PNG file, such as `mosaic_png` makes.
    caption : str
        Whose, and what is outlined.
    """

    path: Path
    caption: str


@dataclass(frozen=True, slots=True, eq=False)
class ReportExtras:
    """What the report shows beyond the tables.

    Attributes
    ----------
    statistics : tuple of StatisticSpec
        As configured; the first gets a figure of its values.
    covariates : DataFrame, optional
        As `fit_statistics` had them; without them there is no figure of values.
    pictures : tuple of Picture
        Delineations to look at; the first 24 are shown.
    limits : str
        What the weights cannot do, from their model card; empty lines separate paragraphs.
    """

    statistics: tuple[StatisticSpec, ...] = ()
    covariates: pd.DataFrame | None = None
    pictures: tuple[Picture, ...] = ()
    limits: str = ""


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
        If a table is missing or damaged; `statistics` may be missing.
    ConfigError
        If a statistic does not fit the covariates.
    ValueError
        If a picture is no PNG or too large.
    """
    extras = extras or ReportExtras()
    tables = results_dir / "tables"
    plan = read_table(results_dir / "plan.parquet", "plan", columns=_PLANNED)
    runs = read_table(tables / "runs", "runs", columns=_RUN)
    measurements = read_table(tables / "measurements", "measurements", columns=_MEASURED)
    found = _statistics_table(tables)
    values = None
    if extras.statistics and extras.covariates is not None:
        values = _values_figure(measurements, extras.covariates, extras.statistics[0], results_dir / "figures")
    content = {
        "title": "Cohort report",
        **_asked(plan, runs),
        "statistics": [_statistic(rows, measurements, results_dir / "figures", values) for rows in found],
        **_measured(measurements),
        "pictures": [_embedded_picture(picture) for picture in extras.pictures[:MAX_PICTURES]],
        "pictures_left": max(0, len(extras.pictures) - MAX_PICTURES),
        "versions": _versions(runs, measurements),
        "limits": [part.strip() for part in extras.limits.split("\n\n") if part.strip()],
    }
    path = results_dir / "report.html"
    with publishing(path) as file:
        file.write(_render(content).encode())
    return path


def _render(content: dict[str, Any]) -> str:
    """The page; its style sheet is the only one that the page itself allows."""
    style = (_FOLDER / "report.css").read_bytes()
    digest = base64.b64encode(hashlib.sha256(style).digest()).decode()
    environment = jinja2.Environment(
        autoescape=True,
        loader=jinja2.FileSystemLoader(_FOLDER),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    return environment.get_template("report.html.jinja").render(content, style_hash=f"sha256-{digest}")


def _asked(plan: pa.Table, runs: pa.Table) -> dict[str, Any]:
    """Prompts, and what became of them."""
    prompts = summary.summarise_prompts(plan, runs)
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


def _statistics_table(tables: Path) -> list[pd.DataFrame]:
    """Rows of each statistic, in order of their ids; none when none were computed."""
    if not (tables / "statistics").is_dir():
        return []
    table = read_table(tables / "statistics", "statistics").to_pandas()
    return [rows for _, rows in table.groupby("statistic_id", sort=True)]


def _statistic(
    rows: pd.DataFrame, measurements: pa.Table, folder: Path, values: tuple[str, SavedFigure] | None
) -> dict[str, Any]:
    """One statistic: figures, terms, methods."""
    statistic_id = str(rows["statistic_id"].iloc[0])
    figures = [_embedded_figure(values[1])] if values is not None and values[0] == statistic_id else []
    for measure, own in rows.groupby("measure", sort=True):
        unit = _unit_of(measurements, str(measure))
        figure = save_effects(own, unit, folder, f"{statistic_id}_{measure}_effects")
        if figure is not None:
            figures.append(_embedded_figure(figure))
    shown = rows[rows["term"] != "Intercept"]
    return {
        "id": statistic_id,
        "model": rows["model"].iloc[0],
        "figures": figures,
        "columns": cells.TERM_COLUMNS,
        "rows": [cells.term_cells(row) for row in shown.head(MAX_ROWS).to_dict("records")],
        "left": max(0, len(shown) - MAX_ROWS),
        "methods": _methods(rows),
    }


def _values_figure(
    measurements: pa.Table, covariates: pd.DataFrame, spec: StatisticSpec, folder: Path
) -> tuple[str, SavedFigure] | None:
    """The values of the first statistic's first measure, with its id."""
    prompts = pa.array(spec.rows.get("prompt", ()), pa.string())
    asked = measurements.filter(pc.is_in(measurements.column("prompt_id"), value_set=prompts))
    samples = model_samples(asked.to_pandas(), covariates, spec)
    if samples.empty:
        return None
    measure = min(samples["measure"])
    own = samples[samples["measure"] == measure]
    return spec.id, save_distributions(own, folder, f"{spec.id}_{measure}_values")


def _unit_of(measurements: pa.Table, measure: str) -> str | None:
    """Unit of a measure when all its numbers share one."""
    own = measurements.filter(pc.equal(measurements.column("measure"), measure))
    units = pc.unique(own.column("unit").drop_null()).to_pylist()
    return str(units[0]) if len(units) == 1 else None


def _methods(rows: pd.DataFrame) -> list[str]:
    """Each way numbers were made, once, with the structures it is about."""
    lines = []
    for method, own in rows.groupby("method", sort=False):
        targets = sorted({cells.words(target) for target in own["target"]})
        named = ", ".join(targets[:6]) + (f" and {len(targets) - 6} more" if len(targets) > 6 else "")
        lines.append(f"{named}: {method}")
    return lines


def _measured(measurements: pa.Table) -> dict[str, Any]:
    """Numbers, answers, flags and doubtful delineations."""
    numbers = summary.summarise_numbers(measurements)
    low, low_total = summary.list_low_quality(measurements)
    return {
        "number_columns": cells.NUMBER_COLUMNS,
        "numbers": [cells.number_cells(row) for row in numbers[:MAX_ROWS]],
        "numbers_left": max(0, len(numbers) - MAX_ROWS),
        "answer_columns": cells.ANSWER_COLUMNS,
        "answers": [
            row | {key: cells.words(row[key]) for key in ("target", "measure", "text")}
            for row in summary.summarise_answers(measurements)[:MAX_ROWS]
        ],
        "flag_columns": cells.FLAG_COLUMNS,
        "flags": summary.summarise_flags(measurements),
        "low_columns": cells.LOW_COLUMNS,
        "low": [row | {"qc_score": f"{row['qc_score']:.2f}", "target": cells.words(row["target"])} for row in low],
        "low_total": low_total,
        "low_limit": summary.LOW_QC,
    }


def _versions(runs: pa.Table, measurements: pa.Table) -> list[tuple[str, str]]:
    engines = sorted(pc.unique(runs.column("vp_engine_version")).to_pylist())
    weights = sorted(pc.unique(measurements.column("model_id")).to_pylist())
    return [
        ("vp_engine", ", ".join(engines) or "nothing was run"),
        ("Weights (model_id)", ", ".join(weights) or "none were used"),
        ("Report written by", f"vp_engine {__version__}"),
    ]


def _embedded_figure(figure: SavedFigure) -> dict[str, str]:
    return {"uri": _data_uri("image/svg+xml", figure.svg.read_bytes()), "alt": figure.alt, "caption": figure.caption}


def _embedded_picture(picture: Picture) -> dict[str, str]:
    content = picture.path.read_bytes()
    if not content.startswith(_PNG) or len(content) > MAX_PICTURE_BYTES:
        raise ValueError(f"{picture.path}: expected a PNG of at most {MAX_PICTURE_BYTES} bytes")
    return {"uri": _data_uri("image/png", content), "caption": picture.caption}


def _data_uri(kind: str, content: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"
