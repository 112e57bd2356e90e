"""The official BIDS validator, run on a dataset."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from vp_engine.bids.findings import Finding, Severity
from vp_engine.bids.names import field_names
from vp_engine.errors import ConfigError, InfrastructureError

_EXECUTABLE = "bids-validator-deno"
_EXIT_CODES = (0, 16)  # without and with errors in the dataset
_OF_THE_SCHEMA = ("Field description: ", "must ", "Required initial column ")
"""Beginnings of messages that say what the schema says, and quote nothing."""
_LONGEST_SECONDS = 3600


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
        Sorted by severity (errors first), code and path; without errors the dataset is valid. The error
        ``validator_failed`` alone when the validator gives up on the dataset, as on names that are not UTF-8.

    Raises
    ------
    ConfigError
        ``validator_missing`` if it is not installed beside this Python, or the folder does not exist.
    InfrastructureError
        If the validator cannot be run, or is killed.
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
    try:
        done = subprocess.run(  # noqa: S603  # no shell, an absolute path
            command,
            capture_output=True,
            check=False,
            stdin=subprocess.DEVNULL,
            timeout=_LONGEST_SECONDS,
            env=os.environ | {"DENO_NO_UPDATE_CHECK": "1"},  # it would ask dl.deno.land
        )
    except subprocess.TimeoutExpired:
        return [_gave_up(f"after {_LONGEST_SECONDS} s")]
    except OSError as error:
        raise InfrastructureError(f"{executable} cannot be run ({error.strerror}); install it again") from error
    if done.returncode < 0:
        raise InfrastructureError(f"{_EXECUTABLE} was killed by signal {-done.returncode} on {root}; try again")
    if done.returncode not in _EXIT_CODES:
        return [_gave_up(f"with exit code {done.returncode}")]
    findings = [_finding(issue) for issue in json.loads(done.stdout)["issues"]["issues"]]
    return sorted(findings, key=lambda finding: (finding.severity, finding.code, finding.path, finding.message))


def _gave_up(how: str) -> Finding:
    message = f"{_EXECUTABLE} gave up {how}; nothing is known about validity, the images are checked all the same"
    return Finding("validator_failed", "error", message)


def _finding(issue: dict[str, Any]) -> Finding:
    """An issue without what it quotes from the dataset, as findings are kept beside the results.

    Values of sidecars and cells, and names of keys and columns that BIDS does not know, may be of persons.
    """
    code = issue["code"]
    field, text = issue.get("subCode"), str(issue.get("issueMessage", "")).strip()
    details = [
        field if field in field_names() else None,
        text if text.startswith(_OF_THE_SCHEMA) else None,
        f"line {issue['line']}" if "line" in issue else None,
    ]
    message = ": ".join([code, *(str(detail) for detail in details if detail)])
    severity: Severity = "error" if issue["severity"] == "error" else "warning"
    return Finding(code, severity, message, str(issue.get("location", "")).lstrip("/"))
