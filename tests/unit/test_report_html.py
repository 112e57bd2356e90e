"""The report: says everything once, loads nothing, and hostile text stays text."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import shutil
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from tests.unit.report_fakes import HOSTILE, META, SPEC, covariates, pictures, row_of, write_run, write_statistics
from vp_engine.errors import TableError
from vp_engine.report import html
from vp_engine.report.cells import words
from vp_engine.report.html import CHUNK, ReportExtras, write_report
from vp_engine.report.methods import Setup, citations, methods_text
from vp_engine.report.quality import judge_scans
from vp_engine.report.summary import (
    list_low_quality,
    list_troubled,
    summarise_answers,
    summarise_flags,
    summarise_numbers,
    summarise_programs,
)
from vp_engine.stats.spec import IcvOption
from vp_engine.tables.confidence import LOOK_BELOW
from vp_engine.tables.parquet import read_table, rows_to_table, write_table


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ReportExtras]:
    folder = tmp_path_factory.mktemp("run")
    return folder, write_run(folder, text=HOSTILE, patients=HOSTILE)


@pytest.fixture
def results(run: tuple[Path, ReportExtras], tmp_path: Path) -> Path:
    shutil.copytree(run[0], tmp_path / "results")
    return tmp_path / "results"


class Page(HTMLParser):
    """Tags with their attributes, and the text outside of scripts."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.inside = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self.inside = tag

    def handle_endtag(self, tag: str) -> None:
        self.inside = ""

    def handle_data(self, data: str) -> None:
        if self.inside not in ("script", "style"):
            self.text += data


def everything(extras: ReportExtras) -> ReportExtras:
    """All that a report can show, all names hostile."""
    scans, cases = pictures(CHUNK + 10)
    named = replace(scans[0], participant=HOSTILE, why=HOSTILE, thumbnail=None)
    return replace(
        extras,
        scans=(named, *scans[1:]),
        cases=(replace(cases[0], scan=named), cases[1]),
        limits="Not for children.\n\nNot for post-mortem scans.",
    )


@pytest.fixture(scope="module")
def whole(run: tuple[Path, ReportExtras]) -> tuple[Page, str]:
    text = write_report(run[0], extras=everything(run[1])).read_text(encoding="utf-8")
    return Page(text), text


def told(page: Page) -> str:
    return " ".join(page.text.split())


def test_it_says_what_happened(whole: tuple[Page, str]) -> None:
    page, _ = whole
    for expected in (
        "2 prompts on 48 participants of demo: 59 of 120 answered.",
        "How large is the liver?",
        "For 47 participants, 59 times:",
        "no_record: planned, but no result was recorded",
        "48 planned 48 with a usable image 47 answered1 lost: no result recorded 47 in the model",
        "in the model with exclusions",
        "With exclusions",
        "qc_score below the limit of the rule",
        "left hippocampus",
        "volume (mm³)",
        "fix_nan",
        "Least certain delineations",
        "default@abc",
        "ordinary least squares",
        "48 participants with 60 sessions of demo (BIDS) were analysed from their T1w images.",
        "Hoopes A, Dey N",
        "Freedman D, Lane D",
        "Apache-2.0",
        "Redistributions in binary form must reproduce the above copyright notice",
        "Not for children.",
        "Not for post-mortem scans.",
        "Research software. Not a medical device.",
    ):
        assert expected in told(page), expected


def test_both_analyses_stand_side_by_side(run: tuple[Path, ReportExtras], whole: tuple[Page, str]) -> None:
    page, text = whole
    spans = {a["colspan"] for tag, a in page.tags if tag == "th" and a.get("scope") == "colgroup"}
    assert spans == {"4", "7"}  # four columns in the table of terms, seven in that of details
    found = read_table(run[0] / "tables" / "statistics", "statistics").to_pandas()
    rows = found[(found["target"] == "left_hippocampus") & (found["term"] == "age")].set_index("analysis")
    numbers = [f"{rows.loc[name, 'n']}" for name in ("all", "excluded")]
    assert numbers[0] != numbers[1]
    start = '<tr><th scope="row">left hippocampus \N{DAGGER}</th><td>age</td>'
    line = text[text.index(start) : text.index("</tr>", text.index(start)) + 5]
    assert re.findall(r"<td class=\"number\">(\d+)</td>(?=<td|</tr>)", line) == numbers


def test_details_of_a_flag_do_not_make_it_another(results: Path) -> None:
    rows = summarise_flags(read_table(results / "tables" / "measurements", "measurements"))
    assert [(row["flag"], row["count"]) for row in rows] == [("fix_nan", 3)]


def test_numbers_with_a_flag_are_marked_and_explained_where_they_stand(results: Path) -> None:
    spec = replace(SPEC, options=replace(SPEC.options, icv=IcvOption("covariate", "head")))
    table = read_table(results / "tables" / "measurements", "measurements")
    made = {
        "participant": "01",
        "prompt_id": "head",
        "measure": "volume",
        "unit": "mm3",
        "value": 1.3e6,
        "image": "T1w",
    }
    made |= {"model_id": "default@abc", "program_sha256": "0" * 64, "record_id": "01"}
    head = row_of("measurements", **made, target="intracranial_volume", flags=["not_skull_bounded:intracranial_volume"])
    path = results / "tables" / "measurements" / "dataset=demo" / "part-0.parquet"
    write_table(path, "measurements", [*table.to_pylist(), head], metadata=META)
    meanings = {"fix_nan": "NaN were set to 0", "not_skull_bounded": "do not normalise by it"}
    extras = ReportExtras((spec,), meanings=meanings)
    text = write_report(results, extras=extras).read_text(encoding="utf-8")
    assert '<td class="long">fix_nan (3 of 59)</td>' in text
    numbers = text[text.index("<caption><span>Measurements over all") :]
    assert '<th scope="row">left hippocampus \N{DAGGER}</th><td>volume</td>' in numbers
    assert text.count("<li><code>fix_nan</code>: NaN were set to 0.</li>") == 1
    assert '<th scope="row">fix_nan</th><td class="long">NaN were set to 0.</td>' in text
    minded = text[text.index("To be minded with these models") :]
    assert (
        "<li>\N{DAGGER} fix_nan: NaN were set to 0. In measurements of: left hippocampus (3 of 59), right hippocampus "
        "(3 of 59).</li>" in minded
    )
    assert "Do not normalise by it. In measurements of: intracranial volume (1 of 1).</li>" in minded


def test_without_flags_there_is_no_column_of_them(results: Path) -> None:
    path = results / "tables" / "measurements" / "dataset=demo" / "part-0.parquet"
    table = read_table(results / "tables" / "measurements", "measurements")
    write_table(path, "measurements", [row | {"flags": []} for row in table.to_pylist()], metadata=META)
    text = write_report(results).read_text(encoding="utf-8")
    assert "Measurements over all participants" in text
    assert '<th scope="col">Flags</th>' not in text
    assert "\N{DAGGER}" not in text


def test_prompts_come_in_the_order_given(results: Path) -> None:
    def shown(prompts: tuple[str, ...]) -> list[str]:
        text = write_report(results, extras=ReportExtras(prompts=prompts)).read_text(encoding="utf-8")
        return re.findall(r"<p>Prompt <code>(\w+)</code>", text)

    assert shown(("vol", "liver")) == ["vol", "liver"]
    assert shown(("gone", "vol")) == ["vol", "liver"]
    assert shown(()) == ["liver", "vol"]  # as the plan is sorted


def test_the_methods_text_says_only_what_happened(run: tuple[Path, ReportExtras]) -> None:
    plan = read_table(run[0] / "plan.parquet", "plan")
    runs = read_table(run[0] / "tables" / "runs", "runs")
    masks = pa.table(
        {
            "target": ["left_hippocampus", "left_hippocampus", "ventricles"],
            "spacing_mm": [[1.0, 1.0, 1.0]] * 3,
            "qc_score": [0.8, 0.7, 0.9],
        }
    )
    scans, _ = pictures()
    text = " ".join(methods_text(plan, runs, masks, [], scans, Setup()))
    assert "3 masks of 2 structures (left hippocampus, ventricles) were made" in text
    marked = sum(scan.suspicious for scan in scans)
    assert (
        f"{marked} of 30 scans were marked to be looked at, for a quality score below {LOOK_BELOW} or a volume" in text
    )
    assert "[No check by a person is recorded:" in text
    assert "reviewed" not in text
    assert "Requests that could not be met were refused" in text
    answered = runs.filter(pc.not_equal(runs.column("status"), "refused"))
    few = judge_scans(scans[:3])
    text = " ".join(methods_text(plan, answered, masks, [], few, Setup()))
    assert f"for a quality score below {LOOK_BELOW}. [No check" in text  # too few for outliers
    assert "refused" not in text
    assert "marked" not in " ".join(methods_text(plan, runs, masks, [], [], Setup()))


def test_nothing_is_cited_that_was_not_used() -> None:
    everything_used = citations(["ordinary least squares"], sizes=True, outliers=True, viewer=True)
    nothing = citations(["ordinary least squares"], sizes=False, outliers=False, viewer=False)
    left = {line.partition(" ")[0] for line in set(everything_used) - set(nothing)}
    assert left == {"Hedges", "Iglewicz", "Taylor"}


def test_programs_are_counted_by_participant_and_the_common_ones_come_first() -> None:
    asked = [("1", "a\n"), ("1", "a\n"), ("2", "b\n"), ("3", "a\n"), ("4", None)]
    runs = [
        row_of("runs", participant=who, session=str(n), prompt_id="p", prompt="x", status="ok", program=program,
               vp_engine_version="0")
        for n, (who, program) in enumerate(asked)
    ]  # fmt: skip
    assert summarise_programs(rows_to_table("runs", runs, where="test")) == {
        "p": [{"program": "a", "people": 2, "runs": 3}, {"program": "b", "people": 1, "runs": 1}]
    }


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


def test_hostile_text_stays_text(whole: tuple[Page, str]) -> None:
    page, text = whole
    assert HOSTILE in page.text
    scripts = [attributes for tag, attributes in page.tags if tag == "script"]
    assert [a for a in scripts if "type" not in a] == [{}]  # one that runs: ours
    assert {a["type"] for a in scripts if "type" in a} == {"application/json", "text/plain"}
    assert not any(name.startswith("on") or name == "style" for _, attributes in page.tags for name in attributes)
    assert all(a["src"].startswith("data:image/") for tag, a in page.tags if tag == "img" and a["src"])
    data = re.search(r'<script type="application/json" id="gallery-data"[^>]*>(.*?)</script>', text, re.DOTALL)
    assert data is not None
    assert json.loads(data[1])["scans"][0][6] == HOSTILE


def test_it_can_load_nothing(whole: tuple[Page, str]) -> None:
    page, text = whole
    (policy,) = (a["content"] for tag, a in page.tags if tag == "meta" and a.get("http-equiv"))
    style = re.search(r"<style>(.*?)</style>", text, re.DOTALL)
    script = re.search(r"<script>(.*?)</script>", text, re.DOTALL)
    assert style is not None
    assert script is not None
    found = dict(part.strip().split(" ", 1) for part in str(policy).split(";"))
    allowed = found.pop("script-src").split()
    assert allowed[0] == f"'sha256-{digest(script[1])}'"
    assert len(allowed) == 2  # the other is that of the viewer, when there are cases
    assert found == {
        "default-src": "'none'",
        "img-src": "data:",
        "style-src": f"'sha256-{digest(style[1])}'",
        "connect-src": "'none'",
        "base-uri": "'none'",
        "form-action": "'none'",
    }
    assert not {tag for tag, _ in page.tags} & {"iframe", "object", "embed", "link", "base", "form"}


def digest(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def test_it_can_be_read_by_everyone(whole: tuple[Page, str]) -> None:
    page, text = whole
    assert all(attributes.get("alt") for tag, attributes in page.tags if tag == "img")
    assert all(attributes.get("scope") for tag, attributes in page.tags if tag == "th")
    targets = {a["href"].removeprefix("#") for tag, a in page.tags if tag == "a" and a["href"]}
    assert targets <= {a["id"] for _, a in page.tags if a.get("id")}
    assert ("html", {"lang": "en"}) in page.tags
    assert "prefers-color-scheme: dark" in text


def test_every_thumbnail_is_in_the_page_once_and_the_first_ones_are_seen_without_script(
    whole: tuple[Page, str],
) -> None:
    page, text = whole
    scans, _ = pictures(CHUNK + 10)
    held = re.findall(r'<script type="text/plain" id="gallery-\d+">(.*?)</script>', text, re.DOTALL)
    lines = [line for block in held for line in block.split("\n")]
    assert [len(block.split("\n")) for block in held] == [CHUNK, 10]
    assert [base64.b64decode(line) for line in lines] == [b"", *(scan.thumbnail or b"" for scan in scans[1:])]
    assert sum((a.get("src") or "").startswith("data:image/webp") for tag, a in page.tags if tag == "img") == 10
    assert "2 scans without a picture" in told(page)
    assert "demo: sub-05 ses-1: gone" in told(page)


def test_without_cases_there_is_no_viewer(results: Path) -> None:
    scans, _ = pictures()
    text = write_report(results, extras=ReportExtras(scans=scans)).read_text(encoding="utf-8")
    policy = re.search(r"script-src ([^;]*);", text)
    assert policy is not None
    assert len(policy[1].split()) == 1
    assert "niivue-packed" not in text.replace(Path(html.__file__).with_name("report.js").read_text("utf-8"), "")


def test_the_same_tables_give_the_same_bytes(run: tuple[Path, ReportExtras], whole: tuple[Page, str]) -> None:
    figures = {path.name: path.read_bytes() for path in (run[0] / "figures").iterdir()}
    assert whole[1] == write_report(run[0], extras=everything(run[1])).read_text(encoding="utf-8")
    assert figures == {path.name: path.read_bytes() for path in (run[0] / "figures").iterdir()}
    stems = [f"bygroup_volume_{kind}" for kind in ("centiles", "effects", "trajectories", "values")]
    assert sorted(figures) == sorted(f"{stem}{end}" for stem in stems for end in (".png", ".svg", "_narrow.svg"))


def test_without_statistics_and_numbers(results: Path) -> None:
    for name in ("statistics", "exclusions", "centiles", "segmentations"):
        shutil.rmtree(results / "tables" / name)
    (results / "figures").mkdir(exist_ok=True)
    old = results / "figures" / "bygroup_volume_effects_narrow.svg"
    old.write_text("of statistics that were asked for before")
    empty = rows_to_table("measurements", [], where="test")
    write_table(
        results / "tables" / "measurements" / "dataset=demo" / "part-0.parquet", "measurements", empty, metadata=META
    )
    text = write_report(results).read_text(encoding="utf-8")
    assert "No statistics are configured" in text
    assert "No numbers were measured." in text
    assert "Nothing was delineated." in text
    assert not old.exists()


def test_a_model_that_was_not_fitted_is_shown_with_its_reason(results: Path) -> None:
    same = covariates().assign(group="control")
    write_statistics(results, same)
    text = write_report(results, extras=ReportExtras((SPEC,), same)).read_text(encoding="utf-8")
    assert "not fitted: group is control for every participant" in text
    assert '<td class="number">not fitted</td>' in text
    short = text[text.index('id="short"') : text.index('id="asked"')]
    assert "not fitted for left hippocampus, right hippocampus: group is control for every participant" in short
    assert "not fitted with exclusions for left hippocampus, right hippocampus: group" in short


def test_a_statistic_of_nothing_is_shown_with_its_reason(results: Path) -> None:
    nothing = replace(SPEC, rows={"prompt": ("liver",)})
    write_statistics(results, covariates(), nothing)
    text = write_report(results, extras=ReportExtras((nothing,), covariates())).read_text(encoding="utf-8")
    assert "not fitted: no number with prompt = liver" in text[: text.index('id="asked"')]


def test_a_missing_table_is_an_error_that_names_it(results: Path) -> None:
    (results / "plan.parquet").unlink()
    with pytest.raises(TableError, match=r"plan\.parquet"):
        write_report(results)
