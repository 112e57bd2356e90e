"""`vp report`: what the cohort has is handed to the report, two rooms that do not know each other."""

from __future__ import annotations

from pathlib import Path

from vp_engine.cohort.config import Config
from vp_engine.cohort.lock import writing
from vp_engine.cohort.pictures import delineated_scans
from vp_engine.cohort.publish import publish_bytes
from vp_engine.cohort.statistics import read_covariates
from vp_engine.cohort.verify import write_manifest
from vp_engine.cohort.weights import model_folder
from vp_engine.report.html import Picture, ReportExtras, write_report
from vp_engine.report.mosaic import mosaic_png
from vp_engine.stats.models import StatisticSpec


def make_report(config: Config, output: Path) -> Path:
    """Write pictures of delineations, figures and `report.html`; return the path of the report."""
    with writing(output, "report", alone=True):
        pictures = []
        for old in (output / "figures").glob("*_sub-*.png"):
            old.unlink()  # of an earlier run; its scan may have gone
        for scan in delineated_scans(config, output):
            path = output / "figures" / f"{scan.name}.png"
            publish_bytes(path, mosaic_png(scan.image.data, scan.labels.data, spacing_mm=scan.image.spacing_mm))
            pictures.append(Picture(path, scan.caption))
        limits = model_folder(config.model) / "limits.md"
        extras = ReportExtras(
            statistics=tuple(StatisticSpec(entry.id, entry.rows, entry.model) for entry in config.statistics),
            covariates=read_covariates(config) if config.statistics else None,
            pictures=tuple(pictures),
            limits=limits.read_text(encoding="utf-8") if limits.is_file() else "",
        )
        report = write_report(output, extras=extras)
        write_manifest(output)
    return report
