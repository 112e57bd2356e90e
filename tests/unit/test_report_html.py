"""The report: says everything once, loads nothing, and hostile text stays text."""

from __future__ import annotations

import base64
import hashlib
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest

from vp_engine.errors import TableError
from vp_engine.report.cells import words
from vp_engine.report.html import Picture, ReportExtras, write_report
from vp_engine.report.summary import (
    list_low_quality,
    list_troubled,
    summarise_answers,
    summarise_flags,
    summarise_numbers,
)
from vp_engine.stats.models import StatisticSpec, fit_statistics
from vp_engine.tables.collect import parts_of, write_part
from vp_engine.tables.parquet import read_table, rows_to_table, write_table
from vp_engine.tables.schema import arrow_schema

META = {"model_id": "default@abc"}
HOSTILE = "\"><img src=x onerror=alert(1)><script>alert('$x^2$')</script>{{ 7 * 7 }}"
SPEC = StatisticSpec("bygroup", {"prompt": ("vol",), "measure": ("volume",)}, "value ~ group + age")
COVARIATES = pd.DataFrame(
    {
        "participant": [f"{n:02d}" for n in range(10)],
        "group": ["control", HOSTILE] * 5,
        "age": [str(20 + (7 * n) % 31) for n in range(10)],
    }
)


def row_of(table: str, **values: Any) -> dict[str, Any]:
    return dict.fromkeys(arrow_schema(table).names) | {"dataset": "demo", "session": "1"} | values


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """Ten participants: two prompts, one of them refused; one participant without a record."""
    plan, runs, numbers = [], [], []
    for n in range(10):
        who = f"{n:02d}"
        for prompt, text in (("vol", HOSTILE), ("liver", "How large is the liver?")):
            own = {"participant": who, "prompt_id": prompt, "prompt": text}
            plan.append(
                row_of("plan", **own, scope="session", images=["T1w"], scans=[], streams=[], left_out=[], shard=0)
            )
            refused = prompt == "liver"
            outcome = {"status": "refused" if refused else "ok", "reason": f"no_target: {HOSTILE}" if refused else None}
            if n != 9:
                runs.append(row_of("runs", **own, **outcome, vp_engine_version="0.1.0", record_id=who))
            if n != 9 and not refused:
                made: dict[str, Any] = {
                    "participant": who,
                    "prompt_id": prompt,
                    "model_id": "default@abc",
                    "program_sha256": "0" * 64,
                }
                made |= {"record_id": who, "image": "T1w", "flags": [f"fix_nan:{n}"] if n in (3, 4) else []}
                value = 3000.0 + 37 * ((n * n) % 7) - 200 * (n % 2)
                volume = {"measure": "volume", "value": value, "unit": "mm3", "qc_score": 0.3 + n / 15}
                numbers.append(row_of("measurements", **made, target="left_hippocampus", **volume))
                numbers.append(row_of("measurements", **made, measure="answer", text="left"))
    write_table(tmp_path / "plan.parquet", "plan", plan, metadata={})
    planned = read_table(tmp_path / "plan.parquet", "plan")
    records: dict[str, dict[str, bytes]] = {}
    for name, rows in (("runs", runs), ("measurements", numbers), ("segmentations", [])):
        for n in range(9):
            path = tmp_path / "record.parquet"
            write_table(path, name, [row for row in rows if row["participant"] == f"{n:02d}"], metadata=META)
            records.setdefault(f"{n:02d}", {})[name] = path.read_bytes()
    for part in parts_of(planned):
        write_part(part, records, tmp_path / "tables", META)
    frame = fit_statistics(
        read_table(tmp_path / "tables" / "measurements", "measurements").to_pandas(), COVARIATES, SPEC
    )
    table = pa.Table.from_pandas(frame, preserve_index=False)
    write_table(tmp_path / "tables" / "statistics" / "part-0.parquet", "statistics", table, metadata=META)
    return tmp_path


class Page(HTMLParser):
    """Tags with their attributes, and the text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


def page_of(results: Path, **options: Any) -> tuple[Page, str]:
    text = write_report(results, extras=ReportExtras((SPEC,), COVARIATES, **options)).read_text(encoding="utf-8")
    return Page(text), text


def test_it_says_what_happened(results: Path) -> None:
    page, _ = page_of(results, limits="Not for children.\n\nNot for post-mortem scans.")
    words = " ".join(page.text.split())
    for expected in (
        "2 prompts on 10 participants of demo: 9 of 20 answered.",
        "How large is the liver?",
        "no_record: planned, but no result was recorded",
        "left hippocampus",
        "fix_nan",
        "Least certain delineations",
        "3 measurements with a qc_score below 0.5",
        "default@abc",
        "ordinary least squares",
        "Not for children.",
        "Not for post-mortem scans.",
        "Research software. Not a medical device.",
    ):
        assert expected in words, expected


def test_details_of_a_flag_do_not_make_it_another(results: Path) -> None:
    rows = summarise_flags(read_table(results / "tables" / "measurements", "measurements"))
    assert [(row["flag"], row["count"]) for row in rows] == [("fix_nan", 2)]


def test_people_with_most_trouble_come_first_and_prompts_nobody_can_answer_do_not_count() -> None:
    outcomes = [("1", "refused"), ("2", "no_input"), ("3", "failed"), ("3", "timeout"), ("3", "ok"), ("4", "ok")]
    runs = [
        row_of("runs", participant=who, prompt_id=f"p{number}", prompt="x", status=status, vp_engine_version="0")
        for number, (who, status) in enumerate(outcomes)
    ]
    assert list_troubled(rows_to_table("runs", runs, where="test")) == (
        [
            {"who": "demo: sub-3", "count": 2, "statuses": "failed, ran out of time"},
            {"who": "demo: sub-2", "count": 1, "statuses": "no fitting scan"},
        ],
        2,
    )


def test_numbered_lesions_are_pooled_and_words_are_no_delineations() -> None:
    made = {"participant": "01", "prompt_id": "each", "flags": [], "image": "FLAIR", "record_id": "r"}
    made |= {"model_id": "default@abc", "program_sha256": "0" * 64}
    rows = []
    for number, (value, place) in enumerate([(900.0, "infratentorial"), (30.0, "unclear"), (10.0, "unclear")], start=1):
        target = f"lesion_{number:03d}"
        size = {"measure": "volume", "value": value, "unit": "mm3", "qc_score": 0.9}
        rows.append(row_of("measurements", **made, target=target, **size))
        rows.append(row_of("measurements", **made, target=target, measure="place", text=place, qc_score=0.0))
        rows.append(row_of("measurements", **made, target=target, measure="side", text="left", qc_score=0.9))
    table = rows_to_table("measurements", rows, where="here")
    (numbers,) = summarise_numbers(table)
    assert (numbers["target"], numbers["n"], numbers["min"], numbers["max"]) == ("lesion_NNN", 3, 10.0, 900.0)
    assert [(row["measure"], row["text"], row["n"]) for row in summarise_answers(table)] == [
        ("place", "unclear", 2),
        ("place", "infratentorial", 1),
        ("side", "left", 3),
    ]
    assert list_low_quality(table) == ([], 0)
    assert words("lesion_NNN") == "lesion (each)"


def test_hostile_text_stays_text(results: Path) -> None:
    page, text = page_of(results)
    assert HOSTILE in page.text
    assert "<script" not in text
    assert not any(name.startswith("on") or name == "style" for _, attributes in page.tags for name in attributes)
    assert all(a["src"].startswith("data:image/") for tag, a in page.tags if tag == "img" and a["src"])


def test_names_are_not_read_as_formulas(results: Path) -> None:
    strange = COVARIATES.assign(group=["$\\frac{$", "\\undefined $_$"] * 5)
    write_report(results, extras=ReportExtras((SPEC,), strange))


def test_it_can_load_nothing(results: Path) -> None:
    page, text = page_of(results)
    (policy,) = (a["content"] for tag, a in page.tags if tag == "meta" and a.get("http-equiv"))
    style = re.search(r"<style>(.*?)</style>", text, re.DOTALL)
    assert style is not None
    digest = base64.b64encode(hashlib.sha256(style[1].encode()).digest()).decode()
    assert policy == (
        f"default-src 'none'; img-src data:; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    )
    assert "http:" not in re.sub(r"data:[^\"]*", "", text)
    assert "https:" not in re.sub(r"data:[^\"]*", "", text)
    assert not {tag for tag, _ in page.tags} & {"script", "iframe", "object", "embed", "link", "base", "form"}


def test_it_can_be_read_by_everyone(results: Path) -> None:
    page, text = page_of(results)
    assert all(attributes.get("alt") for tag, attributes in page.tags if tag == "img")
    assert all(attributes.get("scope") for tag, attributes in page.tags if tag == "th")
    targets = {a["href"].removeprefix("#") for tag, a in page.tags if tag == "a" and a["href"]}
    assert targets <= {a["id"] for _, a in page.tags if a.get("id")}
    assert ("html", {"lang": "en"}) in page.tags
    assert "prefers-color-scheme: dark" in text


def test_the_same_tables_give_the_same_bytes(results: Path) -> None:
    first = write_report(results, extras=ReportExtras((SPEC,), COVARIATES)).read_bytes()
    figures = {path.name: path.read_bytes() for path in (results / "figures").iterdir()}
    assert first == write_report(results, extras=ReportExtras((SPEC,), COVARIATES)).read_bytes()
    assert figures == {path.name: path.read_bytes() for path in (results / "figures").iterdir()}
    stems = ("bygroup_volume_effects", "bygroup_volume_values")
    assert sorted(figures) == [f"{stem}.{kind}" for stem in stems for kind in ("png", "svg")]


def test_without_statistics_and_numbers(results: Path) -> None:
    (results / "tables" / "statistics" / "part-0.parquet").unlink()
    (results / "tables" / "statistics").rmdir()
    empty = rows_to_table("measurements", [], where="test")
    write_table(
        results / "tables" / "measurements" / "dataset=demo" / "part-0.parquet", "measurements", empty, metadata=META
    )
    words = write_report(results).read_text(encoding="utf-8")
    assert "No statistics are configured" in words
    assert "No numbers were measured." in words


def test_a_model_that_was_not_fitted_is_shown_with_its_reason(results: Path) -> None:
    path = results / "tables" / "statistics" / "part-0.parquet"
    rows = read_table(results / "tables" / "measurements", "measurements").to_pandas()
    frame = fit_statistics(rows, COVARIATES.assign(group="control"), SPEC)
    write_table(path, "statistics", pa.Table.from_pandas(frame, preserve_index=False), metadata=META)
    words = write_report(results).read_text(encoding="utf-8")
    assert "not fitted: group is control for every participant" in words


def test_a_missing_table_is_an_error_that_names_it(results: Path) -> None:
    (results / "plan.parquet").unlink()
    with pytest.raises(TableError, match=r"plan\.parquet"):
        write_report(results)


def test_only_pictures_are_embedded(results: Path) -> None:
    path = results / "secret.png"
    path.write_bytes(b"root:x:0:0")
    with pytest.raises(ValueError, match="expected a PNG"):
        write_report(results, extras=ReportExtras(pictures=(Picture(path, "sub-01"),)))
    path.write_bytes(b"\x89PNG\r\n\x1a\n")
    extras = ReportExtras(pictures=(Picture(path, HOSTILE),) * 30)
    page = Page(write_report(results, extras=extras).read_text(encoding="utf-8"))
    assert "The first 24 of 30 pictures." in page.text
    assert HOSTILE in page.text
