"""What no retry can cure is not tried again; what a signal ends leaves no lock."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from vp_engine.cli import app as cli
from vp_engine.cli.attempts import AlreadyFailed, attempting
from vp_engine.cohort.lock import LOCK_FOLDER
from vp_engine.errors import ConfigError, InfrastructureError

ROOT = Path(__file__).resolve().parents[2]


def attempt(outcome: Path, number: int, error: Exception | None = None) -> bool:
    """Whether it was tried at all."""
    tried = False
    with attempting(outcome, number, exit_for=cli.exit_for, final=frozenset({2, 70})):
        tried = True
        if error is not None:
            raise error
    return tried


@pytest.mark.parametrize(
    ("error", "code"), [(ConfigError("wrong"), 2), (KeyError("bug"), 70), (ConfigError("\ud800"), 2)]
)
def test_final_failure_is_told_again_instead(tmp_path: Path, error: Exception, code: int) -> None:
    outcome = tmp_path / "logs" / "x.failure"
    with pytest.raises(type(error)):
        attempt(outcome, 1, error)
    for number in (2, 3):
        with pytest.raises(AlreadyFailed) as again:
            attempt(outcome, number)
        assert cli.exit_for(again.value)[0] == code
        assert "not tried again: attempt 1 said:" in str(again.value)
        assert type(error).__name__ in str(again.value), "with its traceback"
    assert attempt(outcome, 1), "the next run begins anew"
    assert attempt(outcome, 2)


def test_failure_that_a_retry_may_cure_is_retried(tmp_path: Path) -> None:
    outcome = tmp_path / "x.failure"
    with pytest.raises(InfrastructureError):
        attempt(outcome, 1, InfrastructureError("disk full"))
    assert json.loads(outcome.read_text()) == {"exit": 75, "attempt": 1, "message": "disk full"}
    assert attempt(outcome, 2)
    assert not outcome.exists()
    outcome.write_text("{")
    assert attempt(outcome, 2), "a damaged file is no reason to do nothing"


def test_options_of_the_command_line(tmp_path: Path) -> None:
    outcome = tmp_path / "x.failure"
    options = ["--outcome", str(outcome), "index", "--config", str(tmp_path / "nowhere.yaml")]
    first = CliRunner().invoke(cli.app, options)
    assert isinstance(first.exception, ConfigError)
    again = CliRunner().invoke(cli.app, ["--attempt", "2", *options])
    assert isinstance(again.exception, AlreadyFailed)
    assert "nowhere.yaml" in str(again.exception)
    assert isinstance(CliRunner().invoke(cli.app, ["--attempt", "1", *options]).exception, ConfigError)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signal_gives_locks_back_and_exits_75(tmp_path: Path, number: signal.Signals) -> None:
    program = (
        "import sys, time\nfrom pathlib import Path\nfrom vp_engine.cli import app\nfrom vp_engine.cohort import lock\n"
        "def work(**_):\n"
        "    with lock.writing(Path(sys.argv[1]), 'index', alone=True):\n"
        "        print('holds', flush=True)\n        time.sleep(600)\n"
        "app.app = work\napp.main()\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path)],
        cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)}, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stdout.readline() == "holds\n"
    process.send_signal(number)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 75
    assert f"stopped by {number.name}" in said
    assert "Traceback" not in said
    assert list((tmp_path / LOCK_FOLDER).iterdir()) == []
