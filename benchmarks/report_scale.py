"""How a report of thousands of participants behaves: size, time to write, and what Chromium makes of it.

    python benchmarks/report_scale.py [PARTICIPANTS]      (default 5000; needs Chromium and the extra `dev`)

Tables and thumbnails are simulated; each thumbnail is a picture of its own of the usual size (about 7 kB).
"""

from __future__ import annotations

import json
import resource
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from playwright.sync_api import Page, sync_playwright

from vp_engine.report.html import ReportExtras, write_report
from vp_engine.report.quality import ScanQuality, Structure, judge_scans
from vp_engine.report.thumbnails import thumbnail_webp
from vp_engine.stats.models import fit_statistics
from vp_engine.stats.spec import StatisticSpec
from vp_engine.tables.parquet import read_table, write_table
from vp_engine.tables.schema import arrow_schema

TARGETS = ("caudate", "left_hippocampus", "putamen", "right_hippocampus", "ventricles")
SPEC = StatisticSpec("bygroup", {"prompt": ("vol",)}, "value ~ group + age")
META = {"model_id": "default-simulated"}
ARGUMENTS = ["--no-sandbox", "--enable-precise-memory-info"]


def write_tables(folder: Path, count: int, rng: np.random.Generator) -> pd.DataFrame:
    """Plan, runs, measurements and statistics of `count` participants; returns their covariates."""
    people = [f"{n:05d}" for n in range(count)]
    base: dict[str, Any] = {"dataset": "simulated", "session": "1", "prompt_id": "vol", "prompt": "Measure them."}
    plan = [_row("plan", **base, participant=who, scope="session", images=["T1w"], scans=[], streams=[], left_out=[],
                 shard=0) for who in people]  # fmt: skip
    runs = [_row("runs", **base, participant=who, status="ok", program="report(...)\n", vp_engine_version="0.1.0",
                 model_id="default-simulated", record_id=who) for who in people]  # fmt: skip
    del base["prompt"]
    numbers = [
        _row("measurements", **base, participant=who, target=target, measure="volume", unit="mm3", image="T1w",
             value=float(rng.normal(4000 + 500 * k, 400)), qc_score=float(rng.beta(8, 3)), flags=[], record_id=who,
             model_id="default-simulated", program_sha256="0" * 64)
        for who in people
        for k, target in enumerate(TARGETS)
    ]  # fmt: skip
    write_table(folder / "plan.parquet", "plan", plan, metadata={})
    tables = folder / "tables"
    write_table(tables / "runs" / "dataset=simulated" / "part-0.parquet", "runs", runs, metadata=META)
    path = tables / "measurements" / "dataset=simulated" / "part-0.parquet"
    write_table(path, "measurements", numbers, metadata=META)
    covariates = pd.DataFrame(
        {
            "dataset": "simulated",
            "participant": people,
            "group": ["control", "patient"] * (count // 2) + ["control"] * (count % 2),
            "age": rng.integers(20, 90, count).astype(str),
        }
    )
    frame = fit_statistics(read_table(tables / "measurements", "measurements").to_pandas(), covariates, SPEC)
    found = pa.Table.from_pandas(frame, preserve_index=False)
    write_table(tables / "statistics" / "part-0.parquet", "statistics", found, metadata=META)
    return covariates


def simulated_scans(count: int, rng: np.random.Generator) -> list[ScanQuality]:
    """Scans with thumbnails that differ, of the size that those of real scans have."""
    scans = []
    grid = np.stack(np.meshgrid(*(np.linspace(-1, 1, n) for n in (48, 60, 48)), indexing="ij"))
    head = np.linalg.norm(grid, axis=0) < 0.95
    labels = np.where(np.linalg.norm(grid - 0.3, axis=0) < 0.2, 1, 0)
    for n in range(count):
        image = np.where(head, 100 + rng.normal(0, 12, head.shape), 0).astype(np.float32)
        picture = thumbnail_webp(image, [(labels, {1: n % 7})], spacing_mm=(3.0, 3.0, 3.0))
        structures = tuple(Structure(target, float(rng.beta(8, 3)), float(rng.normal(4000, 400))) for target in TARGETS)
        scans.append(ScanQuality(f"s{n}", "simulated", f"{n:05d}", "1", "T1w", structures, picture))
    return judge_scans(scans)


def look(page: Page, path: Path) -> dict[str, Any]:
    """What the browser measures."""
    start = time.perf_counter()
    page.goto(path.as_uri(), wait_until="commit")
    page.locator("#gallery li img[src^='data:']").first.wait_for(state="attached", timeout=120_000)
    first = time.perf_counter() - start
    page.locator("#gallery-controls").wait_for(state="visible", timeout=120_000)
    ready = time.perf_counter() - start
    sorts = {}
    for key in ("low", "far", "who", "order"):
        sorts[key] = page.evaluate(
            """(key) => { const select = document.getElementById("gallery-sort"); select.value = key;
            const start = performance.now(); select.dispatchEvent(new Event("change"));
            document.getElementById("gallery").getBoundingClientRect(); return performance.now() - start; }""",
            key,
        )
    paint = page.evaluate("performance.getEntriesByName('first-contentful-paint')[0]?.startTime ?? null")
    return {
        "first_contentful_paint_ms": paint,
        "first_pictures_s": round(first, 2),
        "can_be_sorted_s": round(ready, 2),
        "sort_ms": {key: round(value, 1) for key, value in sorts.items()},
        "filter_ms": round(
            page.evaluate(
                """() => { const field = document.getElementById("gallery-filter"); field.value = "sub-0012";
                const start = performance.now(); field.dispatchEvent(new Event("input"));
                document.body.getBoundingClientRect(); return performance.now() - start; }"""
            ),
            1,
        ),
        "js_heap_mb": round(page.evaluate("performance.memory.usedJSHeapSize") / 1e6, 1),
        "list_items": page.locator("#gallery li").count(),
    }


def _row(table: str, **values: Any) -> dict[str, Any]:
    return dict.fromkeys(arrow_schema(table).names) | values


def main(count: int) -> None:
    """Measure and print one JSON object."""
    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        covariates = write_tables(folder, count, rng)
        start = time.perf_counter()
        scans = simulated_scans(count, rng)
        drawn = time.perf_counter() - start
        start = time.perf_counter()
        report = write_report(folder, extras=ReportExtras((SPEC,), covariates, tuple(scans)))
        found: dict[str, Any] = {
            "participants": count,
            "draw_ms_each": round(1000 * drawn / count, 1),
            "thumbnail_bytes_mean": round(sum(len(scan.thumbnail or b"") for scan in scans) / count),
            "write_report_s": round(time.perf_counter() - start, 1),
            "report_mb": round(report.stat().st_size / 1e6, 1),
            "peak_memory_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000),
        }
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=ARGUMENTS)
            found |= look(browser.new_page(viewport={"width": 1280, "height": 900}), report)
            browser.close()
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 5000)
