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

from vp_engine import __version__
from vp_engine.cli import app as cli
from vp_engine.cli.logs import JsonLines
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


def test_ops_prints_the_page_of_the_docs() -> None:
    result = CliRunner().invoke(cli.app, ["ops"])
    assert result.exit_code == 0
    assert "`volume(mask: Mask) -> Number`" in result.output
    assert result.output in (ROOT / "docs" / "ops.md").read_text(encoding="utf-8"), "run `make docs`"
