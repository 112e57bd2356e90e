"""Proving that nothing in an output directory changed: `manifest.sha256`, and the `done.json` of every participant."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from vp_engine.cohort.publish import is_temporary, publish_bytes, sha256_of
from vp_engine.cohort.records import derivative_folder, read_done
from vp_engine.errors import ConfigError

MANIFEST = "manifest.sha256"
PLAN = "plan.parquet"

_LISTED = (
    PLAN,
    "plan.shards.json",
    "validation/*.json",
    "tables/**/*.parquet",
    "derivatives/*/*",
    "figures/**/[!.]*",  # not the time stamp that Snakemake puts there
    "report.html",
)
"""Files of the manifest beside every `done.json`; what lies deeper in `records` and `derivatives` is in that one."""


def write_manifest(output: Path, *, known: Mapping[str, str] | None = None) -> Path:
    """List the sha256 of the tables, the report and every `done.json`, in the format of `sha256sum`.

    Every step that writes such a file calls this last.

    Parameters
    ----------
    output : Path
        Output directory.
    known : mapping of str to str, optional
        File, relative to the output directory → sha256 that was just computed; these are not read again.

    Raises
    ------
    InfrastructureError
        When the file system refuses.
    """
    known = known or {}
    lines = [f"{known.get(name) or sha256_of(output / name)}  {name}\n" for name in _files(output)]
    publish_bytes(output / MANIFEST, "".join(lines).encode())
    return output / MANIFEST


def verify(output: Path) -> list[str]:
    """Hash everything again and say what differs from what was recorded.

    Parameters
    ----------
    output : Path
        Output directory.

    Returns
    -------
    list of str
        One line per difference, sorted; empty when all is as it was.

    Raises
    ------
    ConfigError
        If it is no output directory.
    """
    refuse_other_folder(output, signs=(PLAN, MANIFEST, "records"))
    expected = _read_manifest(output / MANIFEST)
    if expected is None:
        return [f"{MANIFEST}: missing or damaged; run `vp collect`"]
    found = set(_files(output))
    differences = [f"{name}: not in {MANIFEST}" for name in sorted(found - expected.keys())]
    differences += filter(None, (_difference(output / name, sha, name) for name, sha in expected.items()))
    for path in sorted(output.glob("records/*/*/done.json")):
        differences += _record_differences(output, path)
    return sorted(differences)


def refuse_other_folder(output: Path, *, signs: Sequence[str] = (PLAN,)) -> None:
    """Refuse a folder that has none of the files by which an output directory is known.

    Raises
    ------
    ConfigError
    """
    if not any((output / name).exists() for name in signs):
        raise ConfigError(f"{output} is not an output folder of the workflow (no {PLAN})")


def _record_differences(output: Path, path: Path) -> Iterator[str]:
    shown = path.relative_to(output).as_posix()
    done = read_done(path)
    if done is None:
        yield f"{shown}: damaged"
        return
    for name, sha in done["tables"].items():
        if difference := _difference(path.parent / name, sha, f"{path.parent.relative_to(output).as_posix()}/{name}"):
            yield difference
    derivatives = derivative_folder(output, path.parent.parent.name)
    for task in done["tasks"].values():
        for name, sha in task["outputs"].items():
            shown = (derivatives / name).relative_to(output).as_posix()
            if difference := _difference(derivatives / name, sha, shown):
                yield difference


def _difference(path: Path, sha: str, shown: str) -> str | None:
    try:
        return None if sha256_of(path) == sha else f"{shown}: changed"
    except FileNotFoundError:
        return f"{shown}: missing"
    except OSError as error:
        return f"{shown}: cannot be read ({error.strerror})"


def _files(output: Path) -> list[str]:
    """Files of the manifest, relative to the output directory, in the order of folders."""
    paths = {path for pattern in _LISTED for path in output.glob(pattern) if path.is_file() and not is_temporary(path)}
    found = {path.relative_to(output).as_posix() for path in paths}
    return sorted(found.union(_done_files(output)), key=lambda name: name.split("/"))


def _done_files(output: Path) -> Iterator[str]:
    """Every `done.json`; as text, because a cohort has thousands of them."""
    for dataset in output.glob("records/*/"):
        with os.scandir(dataset) as entries:
            for entry in entries:
                if os.path.isfile(f"{entry.path}/done.json"):  # noqa: PTH113 - as above
                    yield f"records/{dataset.name}/{entry.name}/done.json"


def _read_manifest(path: Path) -> dict[str, str] | None:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
        return {name: sha for sha, name in (line.split("  ", 1) for line in lines)}
    except (OSError, ValueError):
        return None
