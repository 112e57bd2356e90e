"""`vp report`: what the cohort has is handed to the report, two rooms that do not know each other."""

from __future__ import annotations

import logging
from pathlib import Path

from vp_engine.cohort.config import Config
from vp_engine.cohort.flags import FLAGS, meaning_of
from vp_engine.cohort.lock import writing
from vp_engine.cohort.pictures import (
    DelineatedScan,
    colours_of,
    list_scans,
    make_thumbnails,
    try_open,
)
from vp_engine.cohort.publish import publish_bytes
from vp_engine.cohort.statistics import read_covariates, spec_of
from vp_engine.cohort.terms import write_terms
from vp_engine.cohort.verify import write_manifest
from vp_engine.cohort.weights import model_folder
from vp_engine.report.html import ReportExtras, write_report
from vp_engine.report.methods import Setup
from vp_engine.report.mosaic import mosaic_png
from vp_engine.report.quality import ScanQuality, Structure, choose_cases, judge_scans
from vp_engine.report.thumbnails import VERSION, thumbnail_webp
from vp_engine.report.viewer import Case, embed_scan

_log = logging.getLogger(__name__)


def make_report(config: Config, output: Path) -> Path:
    """Write pictures of delineations, figures and `report.html`; return the path of the report."""
    with writing(output, "report", alone=True):
        (output / "figures").mkdir(parents=True, exist_ok=True)
        scans = list_scans(output)
        judged = _judged(config, output, scans)
        cases = _cases(config, output, judged, scans)
        limits = model_folder(config.model) / "limits.md"
        extras = ReportExtras(
            statistics=tuple(spec_of(entry) for entry in config.statistics),
            covariates=read_covariates(config) if config.statistics else None,
            scans=tuple(judged),
            cases=tuple(cases),
            setup=Setup(
                builtin_planner=config.planner == "builtin",
                together=config.streams == "together",
                default_weights=config.model == "default",
            ),
            limits=limits.read_text(encoding="utf-8") if limits.is_file() else "",
            prompts=tuple(prompt.id for prompt in config.prompts),
            meanings={flag: meaning_of(flag) for flag in FLAGS},
        )
        report = write_report(output, extras=extras)
        terms = write_terms(output)
        _remove_others(output, "*_sub-*.png", {_mosaic(output, case.scan) for case in cases})
        _remove_others(output, "*_terms.tsv", set(terms))
        write_manifest(output)
    return report


def _judged(config: Config, output: Path, scans: list[DelineatedScan]) -> list[ScanQuality]:
    """All scans with their thumbnails, the ones to look at first at the beginning."""
    found = []
    for scan, path, why in make_thumbnails(config, output, scans, thumbnail_webp, version=VERSION):
        structures = tuple(Structure(o.target, o.qc_score, o.volume_mm3) for o in scan.outlines)
        picture = path.read_bytes() if path is not None else None
        found.append(
            ScanQuality(scan.name, scan.dataset, scan.participant, scan.session, scan.scan, structures, picture, why)
        )
    return judge_scans(found)


def _cases(config: Config, output: Path, judged: list[ScanQuality], scans: list[DelineatedScan]) -> list[Case]:
    """The scans of the viewer; their mosaics are files in `figures/` too."""
    colours = colours_of(scans)
    listed = {(scan.name, scan.scan): scan for scan in scans}
    cases = []
    for quality, reason in choose_cases(judged):
        opened, why = try_open(config, output, listed[quality.name, quality.scan], colours)
        if opened is None:  # its thumbnail is of an earlier run
            _log.warning("not in the viewer: %s: %s", quality.name, why)
            continue
        mosaic = mosaic_png(opened.image, opened.layers, spacing_mm=opened.spacing_mm)
        publish_bytes(_mosaic(output, quality), mosaic)
        cases.append(Case(quality, reason, mosaic, embed_scan(opened.image, opened.layers, opened.affine)))
    return cases


def _mosaic(output: Path, scan: ScanQuality) -> Path:
    return output / "figures" / f"{scan.name}.png"


def _remove_others(output: Path, pattern: str, current: set[Path]) -> None:
    """Remove what an earlier run made and this one did not; last, so that a run that is ended leaves no gaps."""
    for path in sorted(set((output / "figures").glob(pattern)) - current):
        path.unlink()
