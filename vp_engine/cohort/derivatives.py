"""The files of a derivative dataset: masks, sidecars and transcripts of one task, and what describes the whole."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import numpy as np

from vp_engine import __version__
from vp_engine.anatomy import STRUCTURES
from vp_engine.bids.derivatives import (
    dseg_name,
    image_name,
    mask_name,
    output_path,
    raw_uri,
    session_image,
    sidecar,
    structure_label,
    transcript_name,
    transform_name,
    write_dataset_description,
    write_dseg_tsv,
)
from vp_engine.cohort.choice import parse_entities
from vp_engine.cohort.config import Config
from vp_engine.cohort.drawn import Drawn, DrawnImage, DrawnScan
from vp_engine.cohort.packing import pack
from vp_engine.cohort.publish import publish_json, publishing, sha256_of
from vp_engine.cohort.records import TaskRecord, derivative_folder
from vp_engine.cohort.streams import Companion, Pair, Sha256Pair
from vp_engine.cohort.tasks import Task
from vp_engine.errors import InfrastructureError
from vp_engine.tables.parquet import read_table
from vp_engine.volumes.geometry import voxel_volume_mm3
from vp_engine.volumes.nifti import write_image, write_labels
from vp_engine.volumes.volume import Grid

if TYPE_CHECKING:
    from vp_engine.volumes.registration import Registration

_TRANSFORM_SIDECAR = "_mode-image_xfm.json"
_DIRECTION = (
    "FixedToMoving maps points of the world of the fixed image to the same anatomy in the world of the moving one, in "
    "RAS+ mm. The text file holds the same in LPS+ mm, with which ITK resamples the moving image onto the fixed one."
)


@dataclass(slots=True)
class Written:
    """Files and rows of one task, growing as it is written.

    Attributes
    ----------
    outputs : dict of str to str
        File, relative to the derivative dataset → sha256.
    segmentations : list of dict
        Rows of the table.
    """

    outputs: dict[str, str] = field(default_factory=dict)
    segmentations: list[dict[str, Any]] = field(default_factory=list)


def write_masks(root: Path, task: Task, drawn: Drawn, *, record_id: str) -> Written:
    """Write every structure a task delineated, and the regions it saved, in the geometry of their scans.

    Structures that do not overlap share a dseg; the others, and regions, get a mask each. With them go the transforms
    of the images that were to be read together with the scan.

    Parameters
    ----------
    root : Path
        Derivative dataset.
    task : Task
    drawn : Drawn
    record_id : str

    Raises
    ------
    InfrastructureError
        When the file system refuses.
    """
    written = Written()
    for one in drawn.scans:
        pairs = [companion.pair for companion in one.companions if companion.pair is not None]
        written.outputs |= write_transforms(root, task.participant, pairs)
        _write_scan(root, task, one, drawn.between, into=written)
    for row in written.segmentations:
        row["record_id"] = record_id
    return written


def write_images(root: Path, task: Task, images: Sequence[DrawnImage], *, into: Written) -> None:
    """Write what a task cut out of its scans, as images in their space; into the files of `into`, as they have no rows.

    The ``desc`` is the id of the prompt, and of several images of one scan also the name of the mask.

    Parameters
    ----------
    root : Path
        Derivative dataset.
    task : Task
    images : sequence of DrawnImage
    into : Written

    Raises
    ------
    InfrastructureError
        When the file system refuses.
    """
    times = Counter(one.scan.path for one in images)
    for one in images:
        scan = one.scan
        label = structure_label(f"of_{one.structure}").removeprefix("of") if times[scan.path] > 1 else ""
        place = (task.participant, scan.session, f"{task.prompt_id}{label}")
        name = image_name(*place, scan.suffix, parse_entities(scan.entities))
        with publishing(output_path(root, name)) as temporary:
            write_image(temporary, one.image)
        into.outputs[name.as_posix()] = sha256_of(output_path(root, name))
        about = sidecar(image=scan.path) | {
            "Description": f"{scan.suffix}, {'0 outside' if one.isolated else 'the box around'} {one.structure}",
            "SkullStripped": one.isolated,
        }
        _write_sidecar(root, name, about, into=into)


def write_transforms(root: Path, participant: str, pairs: Iterable[Pair]) -> dict[str, str]:
    """Write how images of a participant lie to each other; of one that is not to be believed, the sidecar that says so.

    Returns
    -------
    dict of str to str
        File, relative to the derivative dataset → sha256.

    Raises
    ------
    InfrastructureError
        When the file system refuses.
    """
    return {name: sha256 for pair in pairs for name, sha256 in _write_transform(root, participant, pair).items()}


def read_registrations(root: Path, records: Iterable[TaskRecord]) -> dict[Sha256Pair, Registration]:
    """Registrations on record, by the hashes of their fixed and moving file.

    Parameters
    ----------
    root : Path
        Derivative dataset.
    records : iterable of TaskRecord
        Proven: their files have been compared with their hashes.
    """
    found: dict[Sha256Pair, Registration] = {}
    for name in {name for record in records for name in record.outputs if name.endswith(_TRANSFORM_SIDECAR)}:
        from vp_engine.volumes.registration import Registration

        content = json.loads((root / name).read_text(encoding="utf-8"))
        found[content["FixedSha256"], content["MovingSha256"]] = Registration(
            fixed_to_moving=np.array(content["FixedToMoving"]),
            metric_before=content["MetricBefore"],
            metric_after=content["MetricAfter"],
            peak=content["Peak"],
            overlap=content["Overlap"],
            translation_mm=content["TranslationMm"],
            rotation_deg=content["RotationDeg"],
            reasons=tuple(content["Reasons"]),
            software=content["Software"],
        )
    return found


def write_transcript(root: Path, task: Task, transcript: Mapping[str, Any]) -> tuple[str, str]:
    """Write what was asked, written, observed and when; return the name and the sha256 of the file."""
    name = transcript_name(task.participant, task.session, task.prompt_id)
    return name.as_posix(), publish_json(output_path(root, name), transcript)


def describe_dataset(config: Config, dataset: str, output: Path) -> None:
    """Write what makes a folder a BIDS derivative: its description, the prompts, and the labels of each prompt.

    Called when all tables are collected, by one process, so that the label lists cover all participants.

    Raises
    ------
    InfrastructureError
        When the file system refuses.
    """
    root = derivative_folder(output, dataset)
    prompts = {prompt.id: prompt.text for prompt in config.prompts}
    found = _structures_by_prompt(output, dataset)
    try:
        write_dataset_description(
            root, source_name=dataset, source_path=config.dataset(dataset).path, version=__version__, prompts=prompts
        )
        for stale in root.glob("seg-*_dseg.tsv"):
            if stale.name.removeprefix("seg-").removesuffix("_dseg.tsv") not in found:
                stale.unlink()
        for prompt_id, structures in sorted(found.items()):
            write_dseg_tsv(root, prompt_id, structures)
    except OSError as error:
        raise InfrastructureError(f"Expected to write into {root}, got: {error}. Make room, then run again.") from error


def _structures_by_prompt(output: Path, dataset: str) -> dict[str, list[str]]:
    """Structures in the dsegs of each prompt."""
    folder = output / "tables" / "segmentations" / f"dataset={dataset}"
    table = read_table(folder, "segmentations", columns=["prompt_id", "target", "label"])
    found: dict[str, list[str]] = {}
    for row in table.group_by(["prompt_id", "target", "label"]).aggregate([]).to_pylist():
        known = STRUCTURES.get(row["target"])  # regions are no structures and never in a dseg
        if known is not None and row["label"] == known.label:
            found.setdefault(row["prompt_id"], []).append(row["target"])
    return found


def _write_scan(root: Path, task: Task, drawn: DrawnScan, between: Sequence[Pair], *, into: Written) -> None:
    scan, found, companions = drawn.scan, drawn.found, drawn.companions
    about = _sidecar(task.participant, scan.path, companions)
    own = [pair for pair in between if scan in (pair.fixed, pair.moving)]
    about_regions = _sidecar(task.participant, scan.path, companions, own)
    # one name per grid: images other than the best of the session are told apart by the space they define
    best = next(other.scan for other in task.choices if other.scan.session == scan.session)
    space = "orig" if scan.suffix == best.suffix else scan.suffix
    place = (task.participant, scan.session, task.prompt_id)
    entities = parse_entities(scan.entities)
    packed = pack(found)

    def images() -> Iterator[tuple[PurePosixPath, np.ndarray, Sequence[str]]]:
        """One at a time: there may be hundreds of lesions, each as large as the scan."""
        if packed.labels is not None:
            yield dseg_name(*place, entities, space=space), packed.labels, packed.shared
        for name in packed.alone:
            yield mask_name(*place, name, entities, space=space), found[name].full().astype(np.uint8), (name,)

    voxel_mm3 = voxel_volume_mm3(drawn.grid.affine)
    for file, labels, names in images():
        described = about if any(name in STRUCTURES for name in names) else about_regions
        sha256 = _write_labels(root, file, labels, like=drawn.grid, about=described, into=into)
        is_dseg = labels is packed.labels
        for name in names:
            into.segmentations.append(
                {
                    "dataset": task.dataset,
                    "participant": task.participant,
                    "session": scan.session,
                    "prompt_id": task.prompt_id,
                    "target": name,
                    "label": STRUCTURES[name].label if is_dseg else 1,
                    "path": file.as_posix(),
                    "voxels": found[name].voxels,
                    "volume_mm3": found[name].voxels * voxel_mm3,
                    "spacing_mm": list(drawn.grid.spacing_mm),
                    "space": space,
                    "sha256": sha256,
                    "qc_score": found[name].qc_score,
                }
            )


def _write_labels(
    root: Path, name: PurePosixPath, labels: np.ndarray, *, like: Grid, about: Mapping[str, Any], into: Written
) -> str:
    path = output_path(root, name)
    with publishing(path) as temporary:
        write_labels(temporary, labels, like=like)
    sha256 = into.outputs[name.as_posix()] = sha256_of(path)
    _write_sidecar(root, name, about, into=into)
    return sha256


def _write_sidecar(root: Path, image: PurePosixPath, about: Mapping[str, Any], *, into: Written) -> None:
    name = image.as_posix().removesuffix(".nii.gz") + ".json"
    into.outputs[name] = publish_json(output_path(root, PurePosixPath(name)), about)


def _sidecar(
    participant: str, path: str, companions: Iterable[Companion], between: Sequence[Pair] = ()
) -> dict[str, Any]:
    read = [companion for companion in companions if companion.flag is None]
    used = [companion.pair for companion in read if companion.pair is not None]
    used += [pair for pair in between if pair.registration.accepted]
    others = [scan.path for pair in between for scan in (pair.fixed, pair.moving)]
    return sidecar(
        image=path,
        sources=[*(companion.scan.path for companion in read), *others],
        transforms=[_transform_name(participant, pair) for pair in used],
    )


def _transform_name(participant: str, pair: Pair, extension: str = ".txt") -> PurePosixPath:
    fixed, moving = pair.fixed, pair.moving
    label = moving.suffix
    if moving.session != fixed.session:
        label = session_image(str(moving.session), moving.suffix)
    return transform_name(participant, fixed.session, moving=label, fixed=fixed.suffix, extension=extension)


def _write_transform(root: Path, participant: str, pair: Pair) -> dict[str, str]:
    """File → sha256: the sidecar, which says whether to believe it, and the transform itself if so."""
    from vp_engine.volumes.registration import METHOD, METRIC, write_transform

    found, written = pair.registration, {}
    if found.accepted:
        name = _transform_name(participant, pair)
        with publishing(output_path(root, name)) as temporary:
            write_transform(temporary, found.fixed_to_moving)
        written[name.as_posix()] = sha256_of(output_path(root, name))
    content = {
        "Sources": [raw_uri(pair.fixed.path), raw_uri(pair.moving.path)],
        "FixedImage": raw_uri(pair.fixed.path),
        "FixedSha256": pair.sha256[0],
        "MovingImage": raw_uri(pair.moving.path),
        "MovingSha256": pair.sha256[1],
        "FixedToMoving": found.fixed_to_moving.tolist(),
        "Direction": _DIRECTION,
        "Method": METHOD,
        "Software": found.software,
        "Metric": METRIC,
        "MetricBefore": found.metric_before,
        "MetricAfter": found.metric_after,
        "Peak": found.peak,
        "Overlap": found.overlap,
        "TranslationMm": found.translation_mm,
        "RotationDeg": found.rotation_deg,
        "Accepted": found.accepted,
        "Reasons": list(found.reasons),
    }
    name = _transform_name(participant, pair, ".json")
    written[name.as_posix()] = publish_json(output_path(root, name), content)
    return written
