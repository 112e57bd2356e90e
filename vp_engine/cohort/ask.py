"""One prompt on image files, without BIDS: the shortest way to an answer."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from vp_engine.agent.loop import context_of, run_prompt
from vp_engine.agent.transcript import Transcript
from vp_engine.anatomy import abbreviation
from vp_engine.cohort.answers import answer
from vp_engine.cohort.choice import PlannedScan, choose
from vp_engine.cohort.config import require_text
from vp_engine.cohort.drawn import cutout_volume
from vp_engine.cohort.engine import Engine, device_failures
from vp_engine.cohort.publish import publish_json, publishing
from vp_engine.cohort.results import announce_program
from vp_engine.cohort.scans import Scans
from vp_engine.cohort.segment import Segmented, stem, write_masks
from vp_engine.cohort.world import CohortEnvironment, CohortWorld
from vp_engine.environment.values import Number, Text
from vp_engine.environment.vocabulary import SUFFIXES
from vp_engine.errors import ConfigError
from vp_engine.volumes.nifti import write_image

_HINTS = (
    ("flair", "FLAIR"),
    ("t2star", "T2starw"),
    ("t1", "T1w"),
    ("mprage", "T1w"),
    ("t2", "T2w"),
    ("pd", "PDw"),
)


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of a prompt.

    Attributes
    ----------
    transcript : Transcript
        Program, status and reason.
    text : str
        What came of it in one or more sentences.
    results : tuple of Number or Text
        Numbers and answers, in order.
    masks : tuple of Segmented
        Where every structure lies that was delineated, and every region that was saved.
    images : tuple of Path
        What was cut out of the scans and saved.
    """

    transcript: Transcript
    text: str
    results: tuple[Number | Text, ...]
    masks: tuple[Segmented, ...]
    images: tuple[Path, ...] = ()


def ask(paths: Sequence[Path], prompt: str, output: Path, *, engine: Engine) -> Answer:
    """Answer a prompt about the images of one session, and write masks, volumes and the transcript.

    Parameters
    ----------
    paths : sequence of Path
        One image per contrast; the contrast is read from the file name, T1w when it says nothing.
    prompt : str
        The user's words.
    output : Path
        Folder, made when absent: `<name>_dseg.nii.gz` and its tables for each image used,
        `<name>_label-<region>_mask.nii.gz` and `<name>_desc-<structure>.nii.gz` for what is saved beyond, and
        `transcript.json`.
    engine : Engine

    Raises
    ------
    ConfigError
        If two files look like the same contrast, or the prompt is no text.
    InputRefused
        If an image cannot be used.
    InfrastructureError
        If the disk or the device fails.
    """
    require_text(prompt, "the question")
    by_suffix: dict[str, Path] = {}
    for path in paths:
        suffix = suffix_of_file(path)
        if suffix in by_suffix:
            raise ConfigError(
                f"Expected one file per contrast, got {by_suffix[suffix].name} and {path.name}, both taken for "
                f"{suffix}; end their names in _T1w, _T2w, _FLAIR ..., or ask about one of them. Sessions of one "
                "person are compared by the workflow, with `scope: participant` in config.yaml"
            )
        by_suffix[suffix] = path
    models = engine.load()
    choices = choose(PlannedScan(None, suffix, str(path)) for suffix, path in by_suffix.items())
    scans = Scans(None, models.segmenter)
    for path in by_suffix.values():
        scans.volume(str(path))  # what is wrong with a file comes before what is wrong with the question
    world = CohortWorld(choices, scans, agrees=models.agrees)
    environment = CohortEnvironment(world, clock=engine.clock)
    with device_failures():
        announce_program(models.planner.next_instruction(context_of(prompt, "session", world), []).code, world, scans)
        transcript = run_prompt(models.planner, prompt, environment, clock=engine.clock)
    masks: list[Segmented] = []
    images: list[Path] = []
    if transcript.status == "ok":
        regions = world.regions(environment.saved)
        for file in sorted({file for file, _ in world.delineated}):
            found = {name: scans.delineation(file, name) for scan, name in sorted(world.delineated) if scan == file}
            found |= {name: mask for (scan, name), mask in regions.items() if scan == file}
            masks += write_masks(output, stem(Path(file)), found, like=scans.volume(file))
        for cutout in environment.cutouts:
            file = world.choice(cutout.image.session, cutout.image.suffix).scan.path
            images.append(output / f"{stem(Path(file))}_desc-{abbreviation(cutout.structure)}.nii.gz")
            with publishing(images[-1]) as temporary:
                write_image(temporary, cutout_volume(cutout, scans.volume(file)))
    text = answer(transcript, environment.results)
    publish_json(output / "transcript.json", transcript.as_json() | {"answer": text, "model_id": engine.model_id})
    results = environment.reported if transcript.status == "ok" else ()
    return Answer(transcript, text, results, tuple(masks), tuple(images))


def suffix_of_file(path: Path) -> str:
    """Contrast of an image from its file name.

    >>> [suffix_of_file(Path(name)) for name in ("sub-01_FLAIR.nii.gz", "my-t2-tse.nii", "anat.nii.gz")]
    ['FLAIR', 'T2w', 'T1w']
    """
    name = stem(path)
    last = name.rpartition("_")[2]
    for suffix in SUFFIXES:
        if last.lower() == suffix.lower():
            return suffix
    words = re.split(r"[^a-z0-9]+", name.lower())
    return next((suffix for hint, suffix in _HINTS if any(word.startswith(hint) for word in words)), "T1w")
