"""The report in a real browser: hostile text runs nothing, changes nothing and fetches nothing."""

from __future__ import annotations

import re
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import replace
from html.parser import HTMLParser
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest

from tests.packages import CHROMIUM, absent
from tests.unit.report_fakes import pictures
from vp_engine.report.html import ReportExtras, write_report
from vp_engine.stats.models import StatisticSpec, fit_statistics
from vp_engine.tables.parquet import read_table, write_table
from vp_engine.tables.schema import arrow_schema

pytestmark = pytest.mark.timeout(600)

META = {"model_id": "default@abc"}
CASES = ("case-0-image", "case-0-labels", "case-1-image", "case-1-labels")
BLOCKS = [
    *(("text/plain", name, "") for name in ("gallery-0", "niivue-packed", *CASES)),
    ("application/json", "gallery-data", ' data-chunk="64"'),
    ("application/json", "viewer-data", ""),
]
FIELDS = {"gallery-filter", "viewer-x", "viewer-y", "viewer-z", "viewer-opacity"}
EVIL = "document.title='pwned';fetch('BEACON/js')"


def hostile(beacon: str) -> list[str]:
    """Texts that would act if any of them were taken for more than text."""
    act = EVIL.replace("BEACON", beacon)
    return [
        f"<script>{act}</script>",
        f"</td></tr></table><script>{act}</script>",
        f"--><script>{act}</script><!--",
        f"</style><script>{act}</script>",
        f"</title><script>{act}</script>",
        f"\"><img src=x onerror=\"{act}\">",
        f"' onmouseover='{act}' autofocus onfocus='{act}",
        f"<svg/onload=\"{act}\">",
        f"<img src={beacon}/img>",
        f"<link rel=stylesheet href={beacon}/css>",
        f"<style>@import url({beacon}/import);body{{background:url({beacon}/bg)}}</style>",
        f"<iframe srcdoc=\"<script>parent.document.title='pwned'</script>\" src=\"{beacon}/frame\"></iframe>",
        f"<meta http-equiv=refresh content=\"0;url={beacon}/refresh\">",
        f"<base href={beacon}/base/>",
        f"<form action={beacon}/form><input autofocus onfocus=\"{act}\"></form>",
        f"<object data={beacon}/object></object><embed src={beacon}/embed>",
        f"<a href=\"javascript:{act}\" id=x>x</a>",
        f"<video poster={beacon}/poster><source src={beacon}/source></video>",
        f"<math><mtext><table><mglyph><style><img src=x onerror=\"{act}\">",
        "{{ 7 * 7 }}{% for x in ().__class__.__base__.__subclasses__() %}{{ x }}{% endfor %}${7*7}#{7*7}",
        "\u202egnp.exe\u2066", "&lt;script&gt;", "]]>", "%3Cscript%3E", "$x^{2}$ \\frac{", "\x1b[31m\x07\x08",
        "x" * 5000, "=HYPERLINK(\"http://x\")",
    ]  # fmt: skip


class Beacon:
    """A server on this machine that notes what is asked of it."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        asked = self.asked

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                asked.append(self.path)
                self.send_response(200)
                self.end_headers()

            def log_message(self, format: str, *arguments: Any) -> None:  # noqa: A002  # the name of the base class
                return

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


@pytest.fixture
def beacon() -> Iterator[Beacon]:
    server = Beacon()
    yield server
    server.server.shutdown()
    server.server.server_close()


@pytest.fixture
def browse(tmp_path: Path) -> Any:
    if CHROMIUM is None:
        absent("Chromium")

    def load(page: Path) -> str:
        """The page as the browser has it, after whatever ran in it."""
        command = [
            CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
            "--disable-background-networking", "--disable-component-update", "--disable-extensions", "--disable-sync",
            f"--user-data-dir={tmp_path / 'profile'}", "--virtual-time-budget=3000", "--dump-dom", page.as_uri(),
        ]  # fmt: skip
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
        assert done.returncode == 0, done.stderr[-2000:]
        assert "</html>" in done.stdout
        return done.stdout

    return load


def row_of(table: str, **values: Any) -> dict[str, Any]:
    return dict.fromkeys(arrow_schema(table).names) | {"dataset": "demo", "session": "1"} | values


def hostile_report(folder: Path, texts: list[str]) -> Path:
    """Every text of the tables, of the statistics and of the pictures is hostile: prompts, ids, reasons, levels."""
    plan, runs, numbers = [], [], []
    for n, text in enumerate(texts * 2):
        own = {"participant": f"{n}{text}", "prompt_id": f"p{n % 3}{text}", "prompt": text, "session": text}
        plan.append(row_of("plan", **own, scope="session", images=[text], scans=[], streams=[], left_out=[], shard=0))
        runs.append(
            row_of("runs", **own, status="failed" if n % 2 else "ok", reason=f"{text}: {text}", vp_engine_version=text)
        )
        made = {key: own[key] for key in ("participant", "prompt_id", "session")}
        made |= {"model_id": text, "program_sha256": "0" * 64, "record_id": str(n), "image": text, "flags": [text]}
        made |= {"prompt_id": "asked", "session": None}
        volume = {"measure": "volume", "value": 1000.0 + 17 * (n * n % 11), "unit": "mm3", "qc_score": 0.1}
        numbers.append(row_of("measurements", **made, target="a", **volume))
        numbers.append(row_of("measurements", **made, target=text, measure=text, text=text, unit=text))
    write_table(folder / "plan.parquet", "plan", plan, metadata={})
    tables = folder / "tables"
    write_table(tables / "runs" / "dataset=demo" / "part-0.parquet", "runs", runs, metadata=META)
    write_table(tables / "measurements" / "dataset=demo" / "part-0.parquet", "measurements", numbers, metadata=META)
    spec = StatisticSpec("bygroup", {"prompt": ("asked",), "measure": ("volume",)}, "value ~ group")
    covariates = pd.DataFrame(
        {
            "dataset": "demo",
            "participant": [f"{n}{text}" for n, text in enumerate(texts * 2)],
            "group": [texts[0], texts[5]] * len(texts),
        }
    )
    frame = fit_statistics(read_table(tables / "measurements", "measurements").to_pandas(), covariates, spec)
    assert frame["estimate"].notna().any()
    found = pa.Table.from_pandas(frame, preserve_index=False)
    write_table(tables / "statistics" / "part-0.parquet", "statistics", found, metadata=META)
    scans, cases = pictures(len(texts))
    named = tuple(
        replace(scan, participant=text, session=text, structures=(replace(scan.structures[0], target=text),), why=text,
                thumbnail=None if n % 2 else scan.thumbnail)
        for n, (scan, text) in enumerate(zip(scans, texts, strict=True))
    )  # fmt: skip
    shown = tuple(replace(case, scan=scan, reason=scan.participant) for case, scan in zip(cases, named, strict=False))
    extras = ReportExtras((spec,), covariates, scans=named, cases=shown, limits="\n\n".join(texts))
    return write_report(folder, extras=extras)


def attributes_of(dom: str) -> set[str]:
    """Names of all attributes of all elements."""
    found: set[str] = set()

    class Parser(HTMLParser):
        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            found.update(name for name, _ in attrs)

    Parser().feed(dom)
    return found


def test_hostile_text_stays_text_in_a_browser(tmp_path: Path, browse: Any, beacon: Beacon) -> None:
    texts = hostile(beacon.address)
    page = hostile_report(tmp_path, texts)
    dom = browse(page)
    assert "<title>Cohort report</title>" in dom, "a script has run"
    assert beacon.asked == []
    inert = re.sub(r"<style>.*?</style>|<script[^>]*>.*?</script>", "", dom, flags=re.DOTALL)
    tags = set(re.findall(r"<([a-z0-9]+)[\s>]", inert))
    assert not tags & {"script", "iframe", "object", "embed", "form", "link", "base", "svg", "video", "math"}
    assert set(re.findall(r"<script([^>]*)>", dom)) == {""} | {
        f' type="{kind}" id="{name}"{rest}' for kind, name, rest in BLOCKS
    }
    assert set(re.findall(r"<input[^>]*id=\"([^\"]*)\"", dom)) == FIELDS
    assert not [name for name in attributes_of(dom) if name.startswith("on") or name in ("style", "srcdoc")]
    assert "&lt;script&gt;" in dom
    assert "{{ 7 * 7 }}" in dom


def test_the_policy_of_the_page_alone_stops_what_would_get_in(tmp_path: Path, browse: Any, beacon: Beacon) -> None:
    """The second wall: the same texts put into the page as they are, with its Content-Security-Policy."""
    texts = [text for text in hostile(beacon.address) if "http-equiv=refresh" not in text]
    page = hostile_report(tmp_path, [f"plain{n}" for n in range(28)])
    broken = page.read_text(encoding="utf-8").replace('<main id="main">', '<main id="main">' + "\n".join(texts))
    page.write_text(broken, encoding="utf-8")
    dom = browse(page)
    assert "<title>Cohort report</title>" in dom, "a script has run"
    assert beacon.asked == []


def test_this_browser_and_beacon_would_tell(tmp_path: Path, browse: Any, beacon: Beacon) -> None:
    """Without escaping and without a policy the same texts do act: the tests before would see it."""
    page = hostile_report(tmp_path, [f"plain{n}" for n in range(28)])
    without = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", page.read_text(encoding="utf-8"))
    script, *_ = hostile(beacon.address)
    texts = [f'<img src="{beacon.address}/img">', f'<link rel="stylesheet" href="{beacon.address}/css">', script]
    page.write_text(without.replace('<main id="main">', '<main id="main">' + "\n".join(texts)), encoding="utf-8")
    assert "<title>pwned</title>" in browse(page)
    assert {"/img", "/js", "/css"} <= set(beacon.asked)
