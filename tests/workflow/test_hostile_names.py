"""Names that would act in a shell, through Snakemake for real; what a dataset says of people is in no log."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import yaml

from tests.security.canaries import Cage, found_in, plant
from tests.security.tiny_model import make_model

ROOT = Path(__file__).resolve().parents[2]

pytestmark = pytest.mark.timeout(1200)

NAME = "n '\"$(touch pwned1)`touch pwned2`;touch pwned3;&|<>*?[a]#~ü%s!$HOME\\"
"""Allowed in names of files, and each part would do something, or be something else, if a shell or a glob saw it."""


def run(folder: Path, config: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [
        str(Path(sys.executable).with_name("snakemake")),
        *("--snakefile", str(ROOT / "Snakefile"), "--directory", str(folder), "--configfile", str(config)),
        *("--cores", "1", *arguments),
    ]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=1000
    )


def test_names_are_names_and_fields_stay_where_they_are(tmp_path: Path) -> None:
    study, cage = tmp_path / NAME, Cage()
    study.mkdir()
    plant(study / f"data{NAME}", cage)
    make_model(study / f"model{NAME}", 1)
    config = {
        "datasets": {"Study-1_x": {"path": f"data{NAME}", "participants": ["03"]}},
        "output": f"out{NAME}",
        "model": f"model{NAME}",
        "prompts": [{"id": "a", "text": NAME, "images": ["T2w"]}, {"id": "b", "text": f"-{NAME}", "images": ["T1w"]}],
        "statistics": [{"id": "s", "rows": {"prompt": "b"}, "model": "value ~ age"}],
    }
    (study / f"config{NAME}.yaml").write_text(yaml.safe_dump(config, allow_unicode=True))
    done = run(tmp_path, study / f"config{NAME}.yaml")
    assert done.returncode == 0, done.stdout + done.stderr
    output = study / f"out{NAME}"
    assert (output / "report.html").is_file()
    runs = pq.read_table(output / "tables" / "runs").to_pylist()
    assert {row["prompt_id"]: row["prompt"] for row in runs} == {"a": NAME, "b": f"-{NAME}"}
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([".snakemake", NAME])
    assert [path for path in [*tmp_path.rglob("*"), *ROOT.glob("*")] if path.name.startswith("pwned")] == []
    # cells of TSV files, which spreadsheets open
    cells = (output / "derivatives" / "Study-1_x" / "descriptions.tsv").read_text(encoding="utf-8").splitlines()
    assert any(cell.lstrip('"').startswith("'-n") for cell in cells[2].split("\t")), cells
    # nothing of the input in results, in logs of the steps, in what Snakemake keeps, in what it prints
    (tmp_path / ".snakemake" / "printed").write_text(done.stdout + done.stderr)
    assert list((output / "logs").rglob("*.log"))
    for folder in (output, tmp_path / ".snakemake"):
        assert {cage.planted.get(name, name): files for name, files in found_in(folder).items()} == {}


def test_a_name_of_a_dataset_that_is_a_command_starts_nothing(tmp_path: Path) -> None:
    config = {"datasets": {"a;touch pwned": {"path": "data"}}, "output": "out", "prompts": [{"id": "a", "text": "a"}]}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    done = run(tmp_path, tmp_path / "config.yaml")
    assert done.returncode != 0
    assert "datasets" in done.stdout + done.stderr
    assert sorted(path.name for path in tmp_path.iterdir() if path.name != ".snakemake") == ["config.yaml"]
