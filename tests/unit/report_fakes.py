"""A small run for tests of the report: its tables, its statistics with all they can show, and its pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from vp_engine.report.html import ReportExtras
from vp_engine.report.mosaic import mosaic_png
from vp_engine.report.quality import ScanQuality, Structure, choose_cases, judge_scans
from vp_engine.report.thumbnails import thumbnail_webp
from vp_engine.report.viewer import Case, embed_scan
from vp_engine.stats.models import analyse_statistic
from vp_engine.stats.spec import CentilesOption, ExcludeOption, Options, StatisticSpec
from vp_engine.tables.parquet import read_table, write_table
from vp_engine.tables.schema import arrow_schema

META = {"model_id": "default@abc"}
HOSTILE = "\"><img src=x onerror=alert(1)><script>alert('$x^2$')</script>{{ 7 * 7 }}"
OPTIONS = Options(
    exclude=ExcludeOption(qc_below=0.4), permutations=20, centiles=CentilesOption("age", {"group": ("control",)})
)
SPEC = StatisticSpec("bygroup", {"prompt": ("vol",), "measure": ("volume",)}, "value ~ group + age", OPTIONS)
TARGETS = ("left_hippocampus", "right_hippocampus")
COUNT = 48


def covariates(patients: str = "patient") -> pd.DataFrame:
    """Every second one is a patient."""
    return pd.DataFrame(
        {
            "participant": [f"{n:02d}" for n in range(COUNT)],
            "group": ["control", patients] * (COUNT // 2),
            "age": [str(20 + (7 * n) % 31) for n in range(COUNT)],
        }
    )


def row_of(table: str, **values: Any) -> dict[str, Any]:
    """A row with nothing but what is given; first session of the dataset `demo`."""
    return dict.fromkeys(arrow_schema(table).names) | {"dataset": "demo", "session": "1"} | values


def write_run(folder: Path, *, text: str = "Measure both hippocampi.", patients: str = "patient") -> ReportExtras:
    """Two prompts, one refused; every fourth participant came twice; the last one has no record.

    Returns
    -------
    ReportExtras
        Statistics and covariates; without pictures.
    """
    plan, runs, numbers = [], [], []
    for n in range(COUNT):
        for visit in ("1", "2") if n % 4 == 0 else ("1",):
            for prompt, words in (("vol", text), ("liver", "How large is the liver?")):
                own = {"participant": f"{n:02d}", "session": visit, "prompt_id": prompt, "prompt": words}
                days = 400.0 * (visit == "2")
                plan.append(
                    row_of("plan", **own, scope="session", images=["T1w"], scans=[], streams=[], left_out=[], shard=0,
                           days=days)
                )  # fmt: skip
                if n == COUNT - 1:
                    outcome = {"status": "no_record", "reason": "no_record: planned, but no result was recorded"}
                elif prompt == "liver":
                    outcome = {"status": "refused", "reason": f"no_target: {text}", "program": 'refuse("x")\n'}
                else:
                    outcome = {"status": "ok", "program": f"report(volume(m))  # {text}\n"}
                runs.append(row_of("runs", **own, **outcome, vp_engine_version="0.1.0", record_id=f"{n:02d}"))
            if n < COUNT - 1:
                numbers += _numbers(n, visit)
    write_table(folder / "plan.parquet", "plan", plan, metadata={})
    tables = folder / "tables"
    for name, rows in (("runs", runs), ("measurements", numbers), ("segmentations", [])):
        write_table(tables / name / "dataset=demo" / "part-0.parquet", name, rows, metadata=META)
    people = covariates(patients)
    write_statistics(folder, people)
    return ReportExtras((SPEC,), people)


def write_statistics(folder: Path, people: pd.DataFrame, spec: StatisticSpec = SPEC) -> None:
    """The three tables of a statistic, from the measurements that are there."""
    tables = folder / "tables"
    measured = read_table(tables / "measurements", "measurements").to_pandas()
    result = analyse_statistic(measured, people, spec, runs=read_table(tables / "runs", "runs").to_pandas())
    frames = {"statistics": result.terms, "exclusions": result.exclusions, "centiles": result.centiles}
    for name, frame in frames.items():
        table = pa.Table.from_pandas(frame, preserve_index=False)
        write_table(tables / name / "part-0.parquet", name, table, metadata=META)


def pictures(count: int = 30) -> tuple[tuple[ScanQuality, ...], tuple[Case, ...]]:
    """Scans with thumbnails, one without, and the cases of the viewer."""
    image, layers = head()
    picture = thumbnail_webp(image, layers, spacing_mm=(4.0, 4.0, 4.0))
    scans = []
    for n in range(count):
        structures = tuple(Structure(target, 0.3 + n / 50, 3000.0 + (n * n) % 17) for target in TARGETS)
        shown = n != 5
        scans.append(
            ScanQuality(
                f"demo_sub-{n:02d}", "demo", f"{n:02d}", "1", "T1w.nii.gz", structures,
                picture if shown else None, "" if shown else "gone",
            )
        )  # fmt: skip
    judged = judge_scans(scans)
    affine = np.diag([4.0, 4.0, 4.0, 1.0])
    mosaic = mosaic_png(image, layers, spacing_mm=(4.0, 4.0, 4.0))
    cases = [Case(scan, reason, mosaic, embed_scan(image, layers, affine)) for scan, reason in choose_cases(judged)[:2]]
    return tuple(judged), tuple(cases)


def head() -> tuple[np.ndarray, list[tuple[np.ndarray, dict[int, int]]]]:
    """A ball with a left and a right structure in it."""
    grid = np.stack(np.meshgrid(*(np.linspace(-1, 1, n) for n in (32, 40, 30)), indexing="ij"), axis=-1)
    image = np.where(np.linalg.norm(grid, axis=-1) < 0.9, 100 + 20 * grid[..., 0], 0).astype(np.float32)
    labels = np.zeros(image.shape, dtype=np.int32)
    labels[np.linalg.norm(grid - (-0.4, 0, 0), axis=-1) < 0.25] = 17
    labels[np.linalg.norm(grid - (0.4, 0, 0), axis=-1) < 0.25] = 53
    return image, [(labels, {17: 0, 53: 1})]


def _numbers(n: int, visit: str) -> list[dict[str, Any]]:
    made = {"participant": f"{n:02d}", "session": visit, "prompt_id": "vol", "model_id": "default@abc"}
    made |= {"program_sha256": "0" * 64, "record_id": f"{n:02d}", "image": "T1w"}
    value = 3000.0 + 37 * ((n * n) % 7) - 200 * (n % 2) - 50 * (visit == "2")
    rows = [
        row_of("measurements", **made, flags=[f"fix_nan:{n}"] if n in (3, 4) else [], target=target,
               measure="volume", value=value + 100 * k + (n % 5), unit="mm3", qc_score=0.3 + n / 30)
        for k, target in enumerate(TARGETS)
    ]  # fmt: skip
    return [*rows, row_of("measurements", **made, flags=[], measure="answer", text="left")]
