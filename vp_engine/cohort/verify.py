"""Proving that nothing in an output directory changed: `manifest.sha256`, and the `done.json` of every participant."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from vp_engine.cohort.publish import is_temporary, publish_bytes, sha256_of
from vp_engine.cohort.records import derivative_folder, read_done

MANIFEST = "manifest.sha256"

_LISTED = (
    "plan.parquet",
    "plan.shards.json",
    "validation/*.json",
    "tables/**/*.parquet",
    "derivatives/*/*",
    "records/*/*/done.json",
    "figures/**/*",
    "report.html",
)
"""Files of the manifest; what lies deeper in `records` and `derivatives` is in the `done.json` of its participant."""


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
    files = {path.relative_to(output).as_posix(): path for path in _files(output)}
    lines = [f"{known.get(name) or sha256_of(path)}  {name}\n" for name, path in files.items()]
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
    """
    expected = _read_manifest(output / MANIFEST)
    if expected is None:
        return [f"{MANIFEST}: missing or damaged; run `vp collect`"]
    found = {path.relative_to(output).as_posix() for path in _files(output)}
    differences = [f"{name}: not in {MANIFEST}" for name in sorted(found - expected.keys())]
    differences += filter(None, (_difference(output / name, sha, name) for name, sha in expected.items()))
    for path in sorted(output.glob("records/*/*/done.json")):
        differences += _record_differences(output, path)
    return sorted(differences)


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


def _files(output: Path) -> list[Path]:
    found = {path for pattern in _LISTED for path in output.glob(pattern)}
    return sorted(path for path in found if path.is_file() and not is_temporary(path))


def _read_manifest(path: Path) -> dict[str, str] | None:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
        return {name: sha for sha, name in (line.split("  ", 1) for line in lines)}
    except (OSError, ValueError):
        return None
