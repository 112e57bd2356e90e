"""Derivatives in BIDS: names, sidecars, and the files that make a folder a derivative dataset.

Every function that writes gives the same bytes for the same arguments and replaces a file in one step, so jobs that
write the same dataset at once do not disturb each other.
"""

from __future__ import annotations

import colorsys
import csv
import io
import json
import os
import secrets
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path, PurePosixPath
from types import MappingProxyType
from typing import Any
from urllib.parse import quote

from vp_engine.anatomy import STRUCTURES, abbreviation, without_side
from vp_engine.bids.names import build_name, check_label
from vp_engine.errors import InputRefused

BIDS_VERSION = "1.10.0"
DISCLAIMER = "Research software. Not a medical device."
RAW = "raw"
"""Name of the source dataset in ``bids:`` URIs."""

_IGNORED = (
    "*_transcript.json",
    "*_xfm.txt",
    "*_xfm.json",
)  # bare names: patterns with a slash do not match below the root
_GOLDEN_RATIO = 0.618034
_FORMULA = ("=", "+", "-", "@", "\uff1d", "\uff0b", "\uff0d", "\uff20")

# BIDS standard label lookup, by name without a side
_STANDARD_LABELS: Mapping[str, int] = MappingProxyType(
    {
        "gray_matter": 1,
        **dict.fromkeys(("white_matter", "cerebral_white_matter"), 2),
        **dict.fromkeys(("csf", "ventricles", "third_ventricle", "fourth_ventricle"), 3),
        **dict.fromkeys(("lateral_ventricle", "inferior_lateral_ventricle"), 3),
        "cerebral_cortex": 8,
        **dict.fromkeys(("deep_gray_matter", "basal_ganglia", "thalamus", "caudate", "putamen", "pallidum"), 9),
        **dict.fromkeys(("hippocampus", "amygdala", "accumbens"), 9),
        "brainstem": 10,
        **dict.fromkeys(("cerebellum", "cerebellum_white_matter", "cerebellum_cortex"), 11),
    }
)
_LESION = 7


def dseg_name(
    participant: str,
    session: str | None,
    prompt_id: str,
    entities: Mapping[str, str] | None = None,
    *,
    space: str = "orig",
) -> PurePosixPath:
    """Path of the label map of a prompt.

    Parameters
    ----------
    participant : str
    session : str, optional
    prompt_id : str
    entities : mapping of str, optional
        Of the scan delineated (``run``, ``acq`` ...).
    space : str
        ``orig``; a prompt that delineates several images of a session needs one name per grid, such as ``FLAIR``.

    Returns
    -------
    PurePosixPath
        Relative to the derivative dataset.

    Raises
    ------
    InputRefused
        ``invalid_entity`` when a label is not alphanumeric.

    Examples
    --------
    >>> str(dseg_name("01", None, "hippvol", {"run": "1"}))
    'sub-01/anat/sub-01_run-1_space-orig_seg-hippvol_dseg.nii.gz'
    """
    labels = {**(entities or {}), **_subject(participant, session), "space": space, "seg": prompt_id}
    return _folder(participant, session) / "anat" / build_name(labels, "dseg", ".nii.gz")


def mask_name(
    participant: str,
    session: str | None,
    prompt_id: str,
    structure: str,
    entities: Mapping[str, str] | None = None,
    *,
    space: str = "orig",
) -> PurePosixPath:
    """Path of the mask of one structure; parameters as in :func:`dseg_name`.

    Examples
    --------
    >>> str(mask_name("01", "a", "hippvol", "left_hippocampus"))
    'sub-01/ses-a/anat/sub-01_ses-a_space-orig_label-leftHippocampus_desc-hippvol_mask.nii.gz'
    """
    labels = {
        **(entities or {}),
        **_subject(participant, session),
        "space": space,
        "label": structure_label(structure),
        "desc": prompt_id,
    }
    return _folder(participant, session) / "anat" / build_name(labels, "mask", ".nii.gz")


def image_name(
    participant: str, session: str | None, desc: str, suffix: str, entities: Mapping[str, str] | None = None
) -> PurePosixPath:
    """Path of an image made of a scan, in the space of the scan; BIDS has no ``label`` for images.

    Parameters
    ----------
    participant : str
    session : str, optional
    desc : str
        What was done: the id of the prompt, or more.
    suffix : str
        Of the scan.
    entities : mapping of str, optional
        Of the scan.

    Raises
    ------
    InputRefused
        ``invalid_entity`` when a label is not alphanumeric.

    Examples
    --------
    >>> str(image_name("01", "a", "strip", "T1w"))
    'sub-01/ses-a/anat/sub-01_ses-a_space-orig_desc-strip_T1w.nii.gz'
    """
    labels = {**(entities or {}), **_subject(participant, session), "space": "orig", "desc": desc}
    return _folder(participant, session) / "anat" / build_name(labels, suffix, ".nii.gz")


def transcript_name(participant: str, session: str | None, prompt_id: str) -> PurePosixPath:
    """Path of the transcript of a prompt; without a session for prompts about the whole participant.

    Examples
    --------
    >>> str(transcript_name("01", "a", "hippvol"))
    'sub-01/ses-a/sub-01_ses-a_hippvol_transcript.json'
    """
    check_label(prompt_id, "a prompt id")
    stem = build_name(_subject(participant, session), prompt_id, "")
    return _folder(participant, session) / f"{stem}_transcript.json"


def transform_name(
    participant: str, session: str | None, *, moving: str, fixed: str, extension: str = ".txt"
) -> PurePosixPath:
    """Path of the transform with which one image is resampled onto another.

    Parameters
    ----------
    participant : str
    session : str, optional
        Of the fixed image.
    moving, fixed : str
        Suffixes of the images; of one of another session, `session_image`.
    extension : str
        ``.txt``, or ``.json`` for its sidecar.

    Raises
    ------
    InputRefused
        ``invalid_entity`` when a label is not alphanumeric.

    References
    ----------
    BIDS extension proposal 14, which is not in the schema yet.

    Examples
    --------
    >>> str(transform_name("01", "a", moving="FLAIR", fixed="T1w"))
    'sub-01/ses-a/anat/sub-01_ses-a_from-FLAIR_to-T1w_mode-image_xfm.txt'
    """
    labels = {**_subject(participant, session), "from": moving, "to": fixed, "mode": "image"}
    parts = [f"{key}-{check_label(label, f'a label for {key!r}')}" for key, label in labels.items()]
    return _folder(participant, session) / "anat" / f"{'_'.join(parts)}_xfm{extension}"


def session_image(session: str, suffix: str) -> str:
    """The image of another session as a BIDS label.

    >>> session_image("02", "FLAIR")
    'ses02FLAIR'
    """
    return f"ses{session}{suffix}"


def structure_label(structure: str) -> str:
    """The name of a structure or region as a BIDS label.

    >>> structure_label("left_ventral_dc")
    'leftVentralDc'
    """
    first, *rest = structure.split("_")
    return first + "".join(word.capitalize() for word in rest)


def output_path(root: Path, name: PurePosixPath) -> Path:
    """Place a derivative below its dataset folder.

    Parameters
    ----------
    root : Path
        Derivative dataset.
    name : PurePosixPath
        From one of the functions of this module.

    Returns
    -------
    Path

    Raises
    ------
    InputRefused
        ``outside_output`` when links or ``..`` would lead out of `root`.
    """
    path = root / name
    if not path.resolve().is_relative_to(root.resolve()):
        message = f"{name}: expected a path inside the output folder, it leads out of it; remove the link"
        raise InputRefused(message, code="outside_output")
    return path


def raw_uri(path: str) -> str:
    """BIDS URI of a file of the raw dataset.

    >>> raw_uri("sub-01/anat/sub-01_T1w.nii.gz")
    'bids:raw:sub-01/anat/sub-01_T1w.nii.gz'
    """
    return f"bids:{RAW}:{path}"


def sidecar(*, image: str, sources: Sequence[str] = (), transforms: Sequence[PurePosixPath] = ()) -> dict[str, Any]:
    """Sidecar of a label map, a mask or an image made of a scan.

    Parameters
    ----------
    image : str
        Scan in whose world it lies, relative to the raw dataset.
    sources : sequence of str
        Other scans that were looked at.
    transforms : sequence of PurePosixPath
        Of this dataset, by which these scans were brought into place.

    Returns
    -------
    dict
        ``SpatialReference`` and ``Sources`` as BIDS URIs.
    """
    scans = [raw_uri(path) for path in dict.fromkeys((image, *sources))]
    return {"Sources": [*scans, *(f"bids::{name}" for name in transforms)], "SpatialReference": scans[0]}


def write_dataset_description(
    root: Path, *, source_name: str, source_path: Path, version: str, prompts: Mapping[str, str]
) -> None:
    """Write ``dataset_description.json``, ``descriptions.tsv`` with the prompt texts, and ``.bidsignore``.

    Parameters
    ----------
    root : Path
        Derivative dataset; made if needed.
    source_name : str
        Of the raw dataset, as in the configuration.
    source_path : Path
        Of the raw dataset; stored relative to `root`.
    version : str
        Of this package.
    prompts : mapping of str
        Id to text.

    Raises
    ------
    InputRefused
        ``invalid_entity`` when a prompt id is not alphanumeric.
    """
    root.mkdir(parents=True, exist_ok=True)
    link = quote(PurePosixPath(os.path.relpath(source_path.resolve(), root.resolve())).as_posix())
    _write_json(
        root / "dataset_description.json",
        {
            "Name": f"VoxelPrompt derivatives of {source_name}",
            "BIDSVersion": BIDS_VERSION,
            "DatasetType": "derivative",
            "DatasetLinks": {RAW: link},
            "GeneratedBy": [{"Name": "VoxelPrompt", "Version": version, "Description": DISCLAIMER}],
            "SourceDatasets": [{"URL": link}],
        },
    )
    rows = [(f"desc-{check_label(key, 'a prompt id')}", _cell(prompts[key])) for key in sorted(prompts)]
    _write_tsv(root / "descriptions.tsv", ("desc_id", "description"), rows)
    _replace(root / ".bidsignore", "".join(f"{pattern}\n" for pattern in _IGNORED))


def write_dseg_tsv(root: Path, prompt_id: str, structures: Iterable[str]) -> None:
    """Write ``seg-<id>_dseg.tsv``, which says what the labels of a prompt's label maps mean.

    Parameters
    ----------
    root : Path
        Derivative dataset.
    prompt_id : str
    structures : iterable of str
        Canonical names; labels are those of :mod:`vp_engine.anatomy`.

    Raises
    ------
    InputRefused
        ``invalid_entity`` when the prompt id is not alphanumeric.
    """
    ordered = sorted(set(structures), key=lambda name: STRUCTURES[name].label)
    rows = [
        (str(STRUCTURES[name].label), name, abbreviation(name), _color(name), _standard_label(name)) for name in ordered
    ]
    name = build_name({"seg": prompt_id}, "dseg", ".tsv")
    _write_tsv(root / name, ("index", "name", "abbreviation", "color", "mapping"), rows)


def _subject(participant: str, session: str | None) -> dict[str, str]:
    return {"sub": participant} if session is None else {"sub": participant, "ses": session}


def _folder(participant: str, session: str | None) -> PurePosixPath:
    folder = PurePosixPath(f"sub-{check_label(participant, 'a participant')}")
    return folder if session is None else folder / f"ses-{check_label(session, 'a session')}"


def _color(name: str) -> str:
    """Hues far apart for neighbouring labels; the right side darker than the left."""
    hue = STRUCTURES[name].label if STRUCTURES[name].side == "none" else STRUCTURES[without_side(name)].label
    value = 0.65 if STRUCTURES[name].side == "right" else 0.95
    red, green, blue = colorsys.hsv_to_rgb(hue * _GOLDEN_RATIO % 1, 0.7, value)
    return f"#{round(255 * red):02x}{round(255 * green):02x}{round(255 * blue):02x}"


def _standard_label(name: str) -> str:
    if STRUCTURES[name].kind == "pathology":
        return str(_LESION)
    return str(_STANDARD_LABELS.get(without_side(name), "n/a"))


def _cell(text: str) -> str:
    """Free text on one line, which no spreadsheet takes for a formula; as it was written it stands in `runs`."""
    line = " ".join("".join(" " if unicodedata.category(letter) == "Cc" else letter for letter in text).split())
    return f"'{line}" if line.startswith(_FORMULA) else line


def _write_json(path: Path, content: Mapping[str, Any]) -> None:
    _replace(path, json.dumps(content, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n")


def _write_tsv(path: Path, header: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    text = io.StringIO()
    writer = csv.writer(text, delimiter="\t", lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    _replace(path, text.getvalue())


def _replace(path: Path, text: str) -> None:
    content = text.encode()
    if path.is_file() and path.read_bytes() == content:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}.tmp")
    try:
        with temporary.open("xb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
