"""Commands on single scans and on no scan at all: `segment`, `ask`, `plan`, `ops`."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vp_engine.cli.options import Device, DeviceOption, ModelOption, PlannerOption
from vp_engine.errors import ConfigError

if TYPE_CHECKING:
    from vp_engine.cohort.preview import Preview
    from vp_engine.cohort.segment import Segmented

MAX_SESSIONS = 100

FolderOption = Annotated[Path, typer.Option("--output", "-o", help="Folder for masks and tables.")]

_ONE_SESSION = (
    "A change needs two sessions, and `vp ask` is about one. Sessions are compared by the workflow: put the question "
    "into config.yaml, with `scope: participant`."
)

_log = logging.getLogger("vp")


def segment(
    scan: Annotated[Path, typer.Argument(help="NIfTI image.")],
    structures: Annotated[
        list[str] | None, typer.Argument(help='Names such as "left hippocampus" or ventricles; none: everything.')
    ] = None,
    others: Annotated[
        list[Path] | None,
        typer.Option("--with", help="Another contrast of the same head, in register with SCAN; can be repeated."),
    ] = None,
    output: FolderOption = Path("out"),
    model: ModelOption = "default",
    device: DeviceOption = Device.AUTO,
) -> None:
    """Outline structures on one scan: a label image, a label table and volumes, without BIDS.

    Contrasts given with --with are read together with SCAN, whatever their grids; the masks are those of SCAN.
    """
    from vp_engine.cohort.engine import load_segmenter
    from vp_engine.cohort.segment import segment_file

    segmenter = load_segmenter(model, device=device)
    with _naming_replaced(output):
        rows = segment_file(scan, structures or [], output, segmenter=segmenter, others=others or [])
    for found in rows:
        where = f"label {found.label} in {found.path}"
        print("\t".join([found.structure, f"{found.volume_mm3:.1f} mm3", _trust(found), where, *found.flags]))


def ask(
    words: Annotated[
        list[str], typer.Argument(metavar="SCAN... PROMPT", help="Scans of one session, then a question.")
    ],
    output: FolderOption = Path("out"),
    model: ModelOption = "default",
    planner: PlannerOption = "builtin",
    device: DeviceOption = Device.AUTO,
) -> None:
    """Answer one question about the scans of one session; print program, answer, rows and where the masks are."""
    *scans, prompt = words
    if not scans:
        raise ConfigError(f"expected at least one scan and then the question in quotes, got only {prompt!r}")
    from vp_engine.cohort.ask import ask as answer_to
    from vp_engine.cohort.engine import load_engine
    from vp_engine.environment.values import Number

    engine = load_engine(model, planner, device=device)
    with _naming_replaced(output):
        answer = answer_to([Path(scan) for scan in scans], prompt, output, engine=engine)
    print(answer.transcript.program.rstrip())
    print()
    if answer.transcript.status != "ok":
        reason = _ONE_SESSION if answer.transcript.code == "one_session" else answer.transcript.reason
        print(f"{answer.transcript.status}: {reason}")
        return
    print(answer.text)
    print()
    for result in answer.results:
        if isinstance(result, Number):
            value = "undefined" if result.value is None else f"{result.value:.6g} {result.unit}".removesuffix(" 1")
            print("\t".join([result.target, result.measure, value, *result.flags]))
        else:
            sure = "" if result.confidence is None else f"confidence {result.confidence:.2f}"
            print("\t".join(filter(None, (result.target, result.measure, result.word, sure, *result.flags))))
    for path in dict.fromkeys(mask.path for mask in answer.masks):
        print(f"masks: {path}")
    for path in answer.images:
        print(f"image: {path}")


def _trust(found: Segmented) -> str:
    """The `qc_score` of a mask, and whether it is one that `ask` says not to trust."""
    from vp_engine.tables.confidence import LOOK_BELOW

    if found.qc_score is None:
        return "no qc_score"
    doubt = " (low confidence)" if found.qc_score < LOOK_BELOW else ""
    return f"qc_score {found.qc_score:.2f}{doubt}"


@contextmanager
def _naming_replaced(folder: Path) -> Iterator[None]:
    """Say afterwards which files of the folder are no longer those of an earlier command."""
    before = _files_of(folder)
    yield
    after = _files_of(folder)
    if replaced := [name for name in before if name in after and after[name] != before[name]]:
        _log.warning("replaced in %s: %s", folder, ", ".join(replaced))


def _files_of(folder: Path) -> dict[str, tuple[int, int]]:
    """Name of each file -> what tells it from another one of that name."""
    files = sorted(path for path in folder.iterdir() if path.is_file()) if folder.is_dir() else []
    return {path.name: (path.stat().st_ino, path.stat().st_mtime_ns) for path in files}


def plan(
    prompt: Annotated[str | None, typer.Argument(help="The question.")] = None,
    images: Annotated[str, typer.Option(help="Contrasts every session has, the preferred one first.")] = "T1w",
    sessions: Annotated[int, typer.Option(min=1, max=MAX_SESSIONS, help="Sessions at hand.")] = 1,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
    file: Annotated[
        Path | None, typer.Option(help="JSON lines {prompt, images, sessions}; prints one JSON object for each.")
    ] = None,
    *,
    model: ModelOption = "default",
    planner: PlannerOption = "builtin",
) -> None:
    """Show what a question would do, without any scan: its program is run on a built-in phantom."""
    if (prompt is None) == (file is None):
        raise ConfigError("expected either a question or --file")
    asked = list(_questions(file)) if file else [_question({"prompt": prompt, "images": images, "sessions": sessions})]

    from vp_engine.cohort.engine import load_planner
    from vp_engine.cohort.preview import plan_prompt

    writer = load_planner(model, planner)
    for text, suffixes, count in asked:
        preview = plan_prompt(text, planner=writer, images=suffixes, sessions=count)
        if file or as_json:
            print(json.dumps({"prompt": text} | preview.as_json(), ensure_ascii=False), flush=True)
        else:
            _show(preview)


def _show(preview: Preview) -> None:
    print(preview.program.rstrip())
    print()
    if preview.reason:
        print(f"{preview.status}: {preview.reason}")
    for output in preview.outputs:
        print("\t".join(filter(None, (output.target, output.measure, output.unit))))


def _questions(file: Path) -> Iterator[tuple[str, tuple[str, ...], int]]:
    try:
        # a separator of lines in Unicode may stand inside a text of JSON
        lines = file.read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"--file {file}: cannot be read as UTF-8 text: {error}") from error
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            yield _question(json.loads(line))
        except (ConfigError, ValueError, RecursionError) as error:
            raise ConfigError(f"{file}:{number}: {error}") from error


def _question(entry: Any) -> tuple[str, tuple[str, ...], int]:
    """Prompt, suffixes and number of sessions of one request."""
    from vp_engine.cohort.config import require_text

    if not isinstance(entry, dict) or not isinstance(entry.get("prompt"), str):
        raise ConfigError('expected an object with a text under "prompt"')
    require_text(entry["prompt"], "prompt")
    images = entry.get("images") or ["T1w"]
    suffixes = images.split(",") if isinstance(images, str) else images
    if not isinstance(suffixes, list) or not all(isinstance(name, str) and name.strip() for name in suffixes):
        raise ConfigError(f"images: expected suffixes such as T1w,FLAIR, got {images!r}")
    sessions = entry.get("sessions") or 1
    if not isinstance(sessions, int) or isinstance(sessions, bool) or not 1 <= sessions <= MAX_SESSIONS:
        raise ConfigError(f"sessions: expected a number from 1 to {MAX_SESSIONS}, got {sessions!r}")
    return entry["prompt"], tuple(name.strip() for name in suffixes), sessions


def ops() -> None:
    """Print the reference of the program language."""
    from vp_engine.environment.reference import reference

    print(reference(), end="")


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    for command in (segment, ask, plan, ops):
        app.command()(command)
