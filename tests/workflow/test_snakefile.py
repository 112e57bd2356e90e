"""The workflow as a whole, without running its jobs: it plans, it refuses wrong configurations, profiles are found."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.unit.results_fakes import META, term
from vp_engine.tables.parquet import write_table

ROOT = Path(__file__).resolve().parents[2]


def snakemake(*arguments: str) -> subprocess.CompletedProcess[str]:
    program = Path(sys.executable).with_name("snakemake")
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [program, *arguments], cwd=ROOT, env=environment, capture_output=True, text=True, check=False, timeout=120
    )


def test_dry_run_plans_every_step(tmp_path: Path) -> None:
    done = snakemake("-n", "--config", f"output={tmp_path / 'results'}")
    assert done.returncode == 0, done.stderr
    for rule in ("index", "collect", "statistics", "report"):
        assert f"rule {rule}:" in done.stdout + done.stderr or f"checkpoint {rule}:" in done.stdout + done.stderr
    assert "profiles/default" in done.stderr + done.stdout


def test_slurm_profile_works_by_name() -> None:
    assert (ROOT / "slurm").is_symlink()
    done = snakemake("-n", "--profile", "slurm")
    assert done.returncode == 0, done.stderr


def test_output_can_be_moved_and_nothing_else(tmp_path: Path) -> None:
    done = snakemake("-n", "--config", f"output={tmp_path / 'elsewhere'}")
    assert done.returncode == 0, done.stderr
    assert f"{tmp_path / 'elsewhere'}" in done.stdout + done.stderr
    refused = snakemake("-n", "--config", "model=other")
    assert refused.returncode != 0
    assert "edit the file instead" in refused.stdout + refused.stderr


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"promts": []}, "unknown key 'promts'; did you mean 'prompts'"),
        ({"datasets": {"study": {"path": "nowhere"}}}, "datasets.study.path: no folder"),
        ({"datasets": {"demo": {"path": "nowhere"}}}, "datasets.demo.path: no folder"),
        ({"statistics": [{"id": "s", "rows": {"prompt": "x"}, "model": "value ~ group"}]}, "no prompt 'x'"),
    ],
)
def test_wrong_configuration_starts_nothing(tmp_path: Path, change: dict[str, object], said: str) -> None:
    config = {
        "datasets": {"demo": {"path": "demo"}},
        "output": "results",
        "prompts": [{"id": "hippvol", "text": "Measure the hippocampus."}],
    }
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config | change))
    done = snakemake("--cores", "1", "--configfile", str(tmp_path / "config.yaml"))
    assert done.returncode != 0
    assert said in done.stdout + done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["config.yaml"]


def test_user_file_replaces_the_default(tmp_path: Path) -> None:
    config = {
        "datasets": {"demo": {"path": "demo"}},
        "output": "out",
        "prompts": [{"id": "brainvol", "text": "Measure the brain."}],
    }
    (tmp_path / "my.yaml").write_text(yaml.safe_dump(config))
    done = snakemake("-n", "--configfile", str(tmp_path / "my.yaml"))
    assert done.returncode == 0, done.stderr
    assert f"{tmp_path.name}/demo/sourcedata" in done.stdout + done.stderr
    assert "hippvol" not in done.stdout + done.stderr


def test_end_tells_which_models_were_not_fitted(tmp_path: Path) -> None:
    (tmp_path / "data" / "sub-01").mkdir(parents=True)
    (tmp_path / "data" / "dataset_description.json").write_text("{}")
    prompts = [{"id": "brainvol", "text": "Measure the brain."}]
    config = {"datasets": {"tiny": {"path": "data"}}, "output": "out", "prompts": prompts}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    rows = [term("bygroup", "brain", "n/a", "not fitted: group is A for every participant")]
    write_table(tmp_path / "out/tables/statistics/part-0.parquet", "statistics", rows, metadata=META)
    done = snakemake("--cores", "1", "--configfile", str(tmp_path / "config.yaml"), "--until", "index")
    assert done.returncode == 0, done.stderr
    assert "bygroup: 1 model not fitted: group is A for every participant" in done.stdout


def test_other_weights_in_the_same_folder_are_noticed(tmp_path: Path) -> None:
    (tmp_path / "data" / "sub-01").mkdir(parents=True)
    (tmp_path / "data" / "dataset_description.json").write_text("{}")
    (tmp_path / "model").mkdir()
    config = {
        "datasets": {"tiny": {"path": "data"}},
        "output": "out",
        "model": "model",
        "prompts": [{"id": "brainvol", "text": "Measure the brain."}],
    }
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "plan.parquet").touch()
    receipt = tmp_path / "out" / "records" / "tiny" / "shard-00000.json"
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "vp").write_text(f"#!/bin/sh\ntouch {receipt}\n")
    (tmp_path / "bin" / "vp").chmod(0o755)
    arguments = [*_analyse_alone(tmp_path), str(receipt)]

    def state() -> str:
        done = snakemake(*arguments, "-n")
        assert done.returncode == 0, done.stderr
        return done.stdout + done.stderr

    (tmp_path / "model" / "weights.lock.json").write_text('{"name": "a", "files": {}}')
    done = snakemake(*arguments)
    assert done.returncode == 0, done.stderr
    assert "Nothing to be done" in state()
    (tmp_path / "model" / "weights.lock.json").write_text('{"name": "a", "files": {"other": 1}}')
    assert "Params have changed" in state()


def test_what_no_retry_can_cure_is_tried_once(tmp_path: Path) -> None:
    (tmp_path / "data" / "sub-01").mkdir(parents=True)
    (tmp_path / "data" / "dataset_description.json").write_text("{}")
    prompts = [{"id": "brainvol", "text": "Measure the brain."}]
    config = {"datasets": {"tiny": {"path": "data"}}, "output": "out", "prompts": prompts}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "plan.parquet").write_text("no table")
    (tmp_path / "bin").mkdir()
    # the command itself, and a line for each time it is called
    program = f'#!/bin/sh\necho called >> {tmp_path / "calls"}\nexec {sys.executable} -m vp_engine.cli.app "$@"\n'
    (tmp_path / "bin" / "vp").write_text(program)
    (tmp_path / "bin" / "vp").chmod(0o755)
    done = snakemake(*_analyse_alone(tmp_path), "--retries", "1", str(tmp_path / "out/records/tiny/shard-00000.json"))
    assert done.returncode != 0
    assert (tmp_path / "calls").read_text() == "called\n" * 2
    (log,) = (tmp_path / "out" / "logs" / "analyse").glob("*.log")
    said = log.read_text()
    assert "not tried again: attempt 1 said:" in said
    assert "plan.parquet: damaged" in said


def _analyse_alone(folder: Path) -> list[str]:
    """The rule as it is, with the command `vp` of the folder ``bin``."""
    lines = (ROOT / "Snakefile").read_text(encoding="utf-8").splitlines()
    names = [line for line in lines if line.startswith("from vp_engine")]
    head = [*names, "from pathlib import Path", f"CONFIG_FILE = {str(folder / 'config.yaml')!r}"]
    head += ["CONFIG = load_config(Path(CONFIG_FILE))", "OUTPUT = CONFIG.output"]
    head += [f"shell.prefix('export PATH={folder / 'bin'}:$PATH; ')"]
    snakefile = folder / "Snakefile"
    snakefile.write_text("\n".join([*head, f"include: {str(ROOT / 'workflow' / 'rules' / 'analyse.smk')!r}\n"]))
    return ["--snakefile", str(snakefile), "--directory", str(folder), "--cores", "1"]


def test_rules_quote_every_value() -> None:
    import re

    for path in [ROOT / "Snakefile", *sorted((ROOT / "workflow" / "rules").glob("*.smk"))]:
        for command in re.findall(r'shell:\n((?:\s+"[^\n]*"\n?)+)', path.read_text(encoding="utf-8")):
            fields = re.findall(r"{[^}]+}", command)
            assert fields, path
            assert all(field.endswith(":q}") for field in fields), (path, fields)
    assert len((ROOT / "Snakefile").read_text(encoding="utf-8").splitlines()) <= 60
