"""containers/vp.def, as far as it can be checked without Apptainer: its parts, its files, its shell."""

from __future__ import annotations

import re
import subprocess
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "containers" / "vp.def").read_text(encoding="utf-8")
SECTIONS = dict(re.findall(r"^%(\w+)\n(.*?)(?=^%|\Z)", TEXT, flags=re.DOTALL | re.MULTILINE))
FILES = dict(line.split() for line in SECTIONS["files"].splitlines() if line.strip())
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def test_sections_are_those_of_apptainer() -> None:
    assert set(SECTIONS) == {"files", "post", "environment", "runscript", "test", "labels", "help"}
    header = TEXT.partition("%files")[0]
    fields = dict(re.findall(r"^(\w+): (\S+)$", header, flags=re.MULTILINE))
    assert fields.keys() == {"Bootstrap", "From"}
    lowest = PROJECT["project"]["requires-python"].removeprefix(">=")
    assert fields["From"].startswith(f"python:{lowest}-")


def test_files_are_there_and_are_all_that_the_installation_needs() -> None:
    for source, target in FILES.items():
        assert (ROOT / source).exists(), source
        assert target == f"/opt/vp/{source}"
    project, wheel = PROJECT["project"], PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]
    needed = {project["readme"], *project["license-files"], *wheel["packages"], *wheel["force-include"]}
    needed |= {"pyproject.toml", "constraints.txt", "Snakefile", "workflow", "profiles"}
    assert needed <= FILES.keys()
    included = re.findall(r'include: "([^"/]+)/', (ROOT / "Snakefile").read_text(encoding="utf-8"))
    assert set(included) <= FILES.keys()


@pytest.mark.parametrize("section", ["post", "environment", "runscript", "test"])
def test_shell_is_valid(section: str) -> None:
    done = subprocess.run(["sh", "-n"], input=SECTIONS[section], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("wheels", [False, True])
def test_post_installs_the_locked_versions(tmp_path: Path, *, wheels: bool) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "vp").mkdir()
    if wheels:
        (tmp_path / "vp" / "wheels").mkdir()
    python = tmp_path / "bin" / "python"
    python.write_text(f'#!/bin/sh\necho "$PWD: $*" >> {tmp_path}/calls\n')
    python.chmod(0o755)
    script = SECTIONS["post"].replace("/opt/vp", str(tmp_path / "vp"))
    done = subprocess.run(["sh", "-c", script], env={"PATH": f"{tmp_path / 'bin'}:/usr/bin:/bin"}, check=False)
    assert done.returncode == 0
    where, _, call = (tmp_path / "calls").read_text().splitlines()[0].partition(": ")
    assert where == str(tmp_path / "vp")
    assert call.startswith("-m pip install ")
    assert "--constraint constraints.txt" in call
    assert ("--no-index --find-links wheels" in call) == wheels
    assert call.endswith(" .")
    assert not (tmp_path / "vp" / "wheels").exists(), "not carried in the image"
