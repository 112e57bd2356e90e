"""The official BIDS validator, run on a dataset."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from vp_engine.bids.findings import Finding, Severity
from vp_engine.errors import ConfigError, InfrastructureError

_EXECUTABLE = "bids-validator-deno"
_EXIT_CODES = (0, 16)  # without and with errors in the dataset


def validate_dataset(root: Path, *, warnings: bool = False) -> list[Finding]:
    """Check a dataset with ``bids-validator-deno``; works offline and changes nothing.

    Parameters
    ----------
    root : Path
        Dataset folder, raw or derivative.
    warnings : bool
        Report warnings too. They never make a dataset invalid.

    Returns
    -------
    list of Finding
        Sorted by severity (errors first), code and path; without errors the dataset is valid.

    Raises
    ------
    ConfigError
        ``validator_missing`` if it is not installed beside this Python, or the folder does not exist.
    InfrastructureError
        If the validator fails.
    """
    if not root.is_dir():
        raise ConfigError(f"expected a BIDS dataset folder, got {root}; correct `datasets` in the configuration")
    executable = Path(sys.executable).parent / _EXECUTABLE
    if not executable.is_file():
        message = (
            f"expected {_EXECUTABLE} beside {sys.executable}, it is not there; install it: pip install {_EXECUTABLE}"
        )
        raise ConfigError(message, code="validator_missing")
    # --max-rows: beyond the default of 1000 rows of participants.tsv it reports participants as missing
    options = ["--max-rows", "-1", "--format", "json", *([] if warnings else ["--ignoreWarnings"])]
    command = [str(executable), *options, str(root.resolve())]
    done = subprocess.run(command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)  # noqa: S603  # no shell, an absolute path
    if done.returncode not in _EXIT_CODES:
        last = (done.stderr.strip().splitlines() or ["no message"])[0]
        raise InfrastructureError(
            f"{_EXECUTABLE} ended with {done.returncode} on {root}: {last}", code="validator_failed"
        )
    findings = [_finding(issue) for issue in json.loads(done.stdout)["issues"]["issues"]]
    return sorted(findings, key=lambda finding: (finding.severity, finding.code, finding.path, finding.message))


def _finding(issue: dict[str, Any]) -> Finding:
    code = issue["code"]
    details = [issue.get("subCode"), issue.get("issueMessage")]
    message = ": ".join([code, *(str(detail).strip() for detail in details if detail)])
    severity: Severity = "error" if issue["severity"] == "error" else "warning"
    return Finding(code, severity, message, str(issue.get("location", "")).lstrip("/"))
