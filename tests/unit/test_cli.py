"""The command `vp`: quick to start, exit codes, log lines."""

from __future__ import annotations

import errno
import json
import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tests.unit.cohort_fakes import FixedPlanner, IntensitySegmenter, fake_engine, write_scan
from vp_engine import __version__
from vp_engine.cli import app as cli
from vp_engine.cli.logs import JsonLines
from vp_engine.cohort import engine
from vp_engine.cohort import segment as segmentation
from vp_engine.errors import (
    ConfigError,
    InfrastructureError,
    InputRefused,
    OutputInUse,
    ProgramError,
    RequestRefused,
    WeightsError,
)

ROOT = Path(__file__).resolve().parents[2]
COMMANDS = (
    *("segment", "ask", "plan", "ops"),
    *("index", "analyse", "collect", "stats", "report", "verify", "demo"),
    *("status", "export", "train", "evaluate"),
)


def vp(*arguments: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "vp_engine.cli.app", *arguments]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False)


def test_help_lists_every_command_without_heavy_imports() -> None:
    heavy = (
        "('torch', 'transformers', 'pandas', 'numpy', 'pyarrow', 'nibabel', 'bids', 'matplotlib', 'rich', 'yaml', "
        "'SimpleITK')"
    )
    program = (
        "import sys\n"
        "from vp_engine.cli import app\n"
        "sys.argv = ['vp', '--help']\n"
        "try:\n    app.main()\nexcept SystemExit as end:\n    assert end.code == 0\n"
        f"print('loaded:', [name for name in {heavy} if name in sys.modules])\n"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.endswith("loaded: []\n")
    for command in COMMANDS:
        assert f"  {command} " in done.stdout
    assert "Not a medical device" in " ".join(done.stdout.split())


def test_version() -> None:
    result = CliRunner().invoke(cli.app, ["--version"])
    assert (result.exit_code, result.output.strip()) == (0, __version__)


@pytest.mark.parametrize("arguments", [["index", "--nonsense"], ["nonsense"], ["verify"]])
def test_wrong_usage_exits_2(arguments: list[str]) -> None:
    assert CliRunner().invoke(cli.app, arguments).exit_code == 2


def test_wrong_configuration_exits_2_and_names_the_key(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("datasets: {}\noutput: r\npromts: []\n")
    done = vp("--log-json", "index", cwd=tmp_path)
    assert done.returncode == 2
    record = json.loads(done.stderr.splitlines()[-1])
    assert "unknown key 'promts'; did you mean 'prompts'" in record["message"]
    assert "traceback" not in record
    assert not (tmp_path / "r").exists()


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ConfigError("m"), 2),
        (InputRefused("m"), 2),
        (RequestRefused("m"), 2),
        (WeightsError("m"), 2),
        (InfrastructureError("m"), 75),
        (OutputInUse("m"), 75),
        (OSError(errno.ENOSPC, "no space"), 75),
        (OSError(errno.EIO, "input/output error"), 75),
        (MemoryError(), 75),
        (OSError(errno.ENOENT, "no such file"), 70),
        (ProgramError("m"), 70),
        (KeyError("k"), 70),
    ],
)
def test_errors_become_exit_codes(
    error: Exception, code: int, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(**_: object) -> None:
        raise error

    monkeypatch.setattr(cli, "app", fail)
    with pytest.raises(SystemExit) as end, caplog.at_level(logging.ERROR, logger="vp"):
        cli.main()
    assert end.value.code == code
    (record,) = caplog.records
    assert bool(record.exc_info) == (code == 70)


def test_json_log_lines_cannot_be_forged() -> None:
    record = logging.LogRecord("vp", logging.INFO, __file__, 1, 'a\n{"level": "error"}', None, None)
    line = JsonLines().format(record)
    assert "\n" not in line
    assert json.loads(line)["message"] == 'a\n{"level": "error"}'
    assert json.loads(line)["level"] == "info"


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("{", "q.jsonl:2"),
        ('{"images": ["T1w"]}', 'text under "prompt"'),
        ("[1]", 'text under "prompt"'),
        ('{"prompt": "p", "images": [1]}', "images: expected suffixes"),
        ('{"prompt": "p", "sessions": 1000}', "sessions: expected a number from 1 to 100"),
        ('{"prompt": "p", "sessions": true}', "sessions: expected a number"),
        ("[" * 100000, "q.jsonl:2"),
        ('{"prompt": "the \\ud800 brain"}', "q.jsonl:2: prompt: expected text, got half of a character at position 4"),
        ('{"prompt": "the\u2028brain", "sessions": 0.5}', "q.jsonl:2: sessions: expected a number"),
    ],
)
def test_plan_names_the_line_that_is_wrong(tmp_path: Path, line: str, said: str) -> None:
    file = tmp_path / "q.jsonl"
    file.write_text('{"prompt": "Measure the thalamus."}\n' + line + "\n")
    result = CliRunner().invoke(cli.app, ["plan", "--file", str(file)])
    assert isinstance(result.exception, ConfigError)
    assert said in result.exception.message


@pytest.mark.parametrize("arguments", [["plan"], ["plan", "p", "--file", "q"], ["ask", "only a question"]])
def test_incomplete_questions_are_refused(arguments: list[str]) -> None:
    assert isinstance(CliRunner().invoke(cli.app, arguments).exception, ConfigError)


def test_damaged_weights_are_told_not_loaded(tmp_path: Path) -> None:
    result = CliRunner().invoke(cli.app, ["plan", "Measure the thalamus.", "--model", str(tmp_path)])
    assert isinstance(result.exception, WeightsError)


@pytest.fixture
def scan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A scan for the commands on single files, and models without weights."""
    planner = FixedPlanner(
        {"growth": 'refuse("one_session")\n', "thalamus": 'save(segment(scan(current), "thalamus"))\n'}
    )
    monkeypatch.setattr(engine, "load_segmenter", lambda *_, **__: IntensitySegmenter())
    monkeypatch.setattr(engine, "load_engine", lambda *_, **__: fake_engine(planner, IntensitySegmenter()))
    monkeypatch.chdir(tmp_path)
    return write_scan(tmp_path / "x.nii.gz")


@pytest.mark.parametrize(
    ("score", "told"), [(0.21, "qc_score 0.21 (low confidence)"), (0.7, "qc_score 0.70"), (None, "no qc_score")]
)
def test_segment_says_how_far_to_trust_each_mask(
    scan: Path, monkeypatch: pytest.MonkeyPatch, score: float | None, told: str
) -> None:
    found = segmentation.Segmented("edema", 3006, Path("x_dseg.nii.gz"), 9, 27.0, score, ("touches_image_edge",))
    monkeypatch.setattr(segmentation, "segment_file", lambda *_, **__: [found])
    shown = CliRunner().invoke(cli.app, ["segment", str(scan)]).stdout
    assert shown == f"edema\t27.0 mm3\t{told}\tlabel 3006 in x_dseg.nii.gz\ttouches_image_edge\n"


def test_files_of_an_earlier_command_that_are_replaced_are_named(scan: Path) -> None:
    def told(*arguments: str) -> list[str]:
        done = CliRunner().invoke(cli.app, arguments)
        assert done.exit_code == 0, done.output
        return done.stderr.splitlines()

    assert told("segment", str(scan), "brainstem") == []
    Path("out/mine.txt").touch()
    masks = "x_dseg.nii.gz, x_dseg.tsv, x_volumes.tsv"
    assert told("segment", str(scan), "thalamus") == [f"WARNING replaced in out: {masks}"]
    assert told("ask", str(scan), "thalamus", "-o", "other") == []
    assert told("ask", str(scan), "thalamus") == [f"WARNING replaced in out: {masks}"]
    assert told("ask", str(scan), "thalamus") == [f"WARNING replaced in out: transcript.json, {masks}"]


def test_ask_says_where_sessions_are_compared(scan: Path) -> None:
    shown = CliRunner().invoke(cli.app, ["ask", str(scan), "growth"]).stdout
    assert "refused: A change needs two sessions, and `vp ask` is about one." in shown
    assert "`scope: participant`" in shown


def test_lines_of_plan_repeat_their_prompt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "load_planner", lambda *_, **__: FixedPlanner({}))
    file = tmp_path / "q.jsonl"
    file.write_text('{"prompt": "Segment the liver."}\n{"prompt": "Write a poem."}\n')
    lines = CliRunner().invoke(cli.app, ["plan", "--file", str(file)]).stdout.splitlines()
    assert [next(iter(json.loads(line).items())) for line in lines] == [
        ("prompt", "Segment the liver."),
        ("prompt", "Write a poem."),
    ]
    assert set(json.loads(lines[0])) == {"prompt", "status", "reason", "program", "outputs"}


def test_ops_prints_the_page_of_the_docs() -> None:
    result = CliRunner().invoke(cli.app, ["ops"])
    assert result.exit_code == 0
    assert "`volume(mask: Mask) -> Number`" in result.output
    assert result.output in (ROOT / "docs" / "ops.md").read_text(encoding="utf-8"), "run `make docs`"
