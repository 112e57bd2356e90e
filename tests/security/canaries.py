"""Strings that must not come out: planted in every field of a dataset, looked for in every byte of an output folder."""

from __future__ import annotations

import base64
import gzip
import json
import re
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pyarrow.parquet as pq

from tests.unit.cohort_fakes import write_dataset

PREFIX = "CANARY"
FOUND = re.compile(rb"CANARY[0-9A-Z]{2,12}", re.IGNORECASE)
_DICOM, _COMMENT, _AFNI, _WORKFLOW = 2, 6, 4, 8


class Cage:
    """Hands out canaries and remembers what each was planted in."""

    def __init__(self) -> None:
        self.planted: dict[str, str] = {}

    def bird(self, where: str) -> str:
        """A new one; `where` says which field it goes into."""
        name = f"{PREFIX}{len(self.planted):03d}X"
        self.planted[name] = where
        return name


# planting


def plant(root: Path, cage: Cage) -> Path:
    """The tiny dataset with a canary in every field that a pipeline could copy from."""
    write_dataset(root)
    for path in sorted(root.rglob("*.nii.gz")):
        plant_in_image(path, cage)
        sidecar = {key: cage.bird(f"sidecar {key}") for key in _SIDECAR_KEYS}
        sidecar |= {"RepetitionTime": 2.3, "Nested": {"More": [cage.bird("sidecar, nested")]}}
        sidecar[cage.bird("sidecar key")] = 1
        path.with_name(path.name.replace(".nii.gz", ".json")).write_text(json.dumps(sidecar))
    description = {key: cage.bird(f"dataset_description {key}") for key in _DESCRIPTION_KEYS}
    description |= {key: [cage.bird(f"dataset_description {key}")] for key in ("Authors", "Funding", "Keywords")}
    document = json.loads((root / "dataset_description.json").read_text())
    (root / "dataset_description.json").write_text(json.dumps(document | description | {"License": "CC0"}))
    (root / "README").write_text(f"A dataset of {cage.bird('README')}, who is not to be named in any output of it.\n")
    (root / "CHANGES").write_text(f"1.0.0 2020-01-01\n  - {cage.bird('CHANGES')}\n")
    (root / "T1w.json").write_text(json.dumps({"InstitutionName": cage.bird("inherited sidecar")}))
    _add_column(root / "participants.tsv", "name", cage, "participants.tsv, a column nobody asked for")
    _add_column(root / "participants.tsv", cage.bird("participants.tsv, name of a column"), cage, "its cells")
    columns = json.loads((root / "participants.json").read_text())
    for column in columns.values():
        column["Description"] = cage.bird("participants.json, a description")
    columns["name"] = {"Description": cage.bird("participants.json, of a column nobody asked for")}
    (root / "participants.json").write_text(json.dumps(columns))
    for path in sorted(root.glob("sub-*/sub-*_sessions.tsv")):
        _add_column(path, "referring_physician", cage, "sessions.tsv, a column nobody asked for")
        path.with_suffix(".json").write_text(json.dumps({"acq_time": {"Description": cage.bird("sessions.json")}}))
    for folder in sorted(root.glob("sub-*/ses-*")):
        names = sorted(path.name for path in (folder / "anat").glob("*.nii.gz"))
        rows = [f"anat/{name}\t2020-01-01T00:00:00\t{cage.bird('scans.tsv, operator')}\n" for name in names]
        stem = f"{folder.parent.name}_{folder.name}"
        (folder / f"{stem}_scans.tsv").write_text("".join(["filename\tacq_time\toperator\n", *rows]))
    _plant_beside(root, cage)
    return root


_SIDECAR_KEYS = (
    "PatientName", "PatientID", "PatientBirthDate", "PatientSex", "InstitutionName", "InstitutionAddress",
    "StationName", "DeviceSerialNumber", "SeriesDescription", "ProtocolName", "ConversionSoftware", "OperatorsName",
    "ImageComments", "ProcedureStepDescription", "AccessionNumber", "StudyInstanceUID", "ContrastBolusIngredient",
)  # fmt: skip
_DESCRIPTION_KEYS = ("Name", "Acknowledgements", "HowToAcknowledge", "DatasetDOI")


def plant_in_image(path: Path, cage: Cage) -> None:
    """The same image, with text in every field of the header, in extensions, and in the header of gzip."""
    image = nib.load(path)  # type: ignore[attr-defined]  # nibabel is annotated in part
    data = np.asanyarray(image.dataobj)
    header = image.header.copy()
    planted = nib.Nifti1Image(data, image.affine, header)  # type: ignore[no-untyped-call]
    for field in ("descrip", "aux_file", "intent_name", "db_name", "data_type"):
        size = planted.header[field].dtype.itemsize
        planted.header[field] = cage.bird(f"NIfTI {field}")[:size].encode()
    dicom = b"\x10\x00\x10\x00PN" + struct.pack("<H", 12) + cage.bird("NIfTI extension, DICOM").ljust(12).encode()
    texts = [(_DICOM, dicom)]
    for code, name in ((_COMMENT, "comment"), (_AFNI, "AFNI"), (_WORKFLOW, "workflow"), (0, "unknown"), (44, "own")):
        texts.append((code, f"<name>{cage.bird(f'NIfTI extension, {name}')}</name>".encode()))
    for code, content in texts:
        planted.header.extensions.append(nib.nifti1.Nifti1Extension(code, content))  # type: ignore[no-untyped-call]
    raw = planted.to_bytes()
    named = gzip.compress(raw, mtime=0)
    # a name and a comment in the header of gzip: flags 8 and 16
    texts_gz = f"{cage.bird('name in gzip')}\0{cage.bird('comment in gzip')}\0".encode("latin-1")
    path.write_bytes(named[:3] + bytes([8 | 16]) + named[4:10] + texts_gz + named[10:])


def _add_column(path: Path, name: str, cage: Cage, where: str) -> None:
    header, *rows = path.read_text().splitlines()
    lines = [f"{header}\t{name}", *(f"{row}\t{cage.bird(where)}" for row in rows)]
    path.write_text("\n".join(lines) + "\n")


def _plant_beside(root: Path, cage: Cage) -> None:
    """Files that no step should open."""
    places = (
        "sourcedata/letter.txt", "code/run.sh", "derivatives/fsl/report.html", "phenotype/scores.tsv",
        "sub-01/ses-01/func/sub-01_ses-01_task-rest_events.tsv", "sub-01/ses-01/anat/.hidden", "stimuli/face.txt",
    )  # fmt: skip
    for place in places:
        (root / place).parent.mkdir(parents=True, exist_ok=True)
        (root / place).write_text(cage.bird(place))
    photo = b"\xff\xd8\xff\xe1\x00\x40Exif\0\0" + cage.bird("EXIF of a photo").encode() + b"\xff\xd9"
    (root / "sourcedata" / "face.jpg").write_bytes(photo)


# looking


def found_in(folder: Path) -> dict[str, set[str]]:
    """Canary → files it is in."""
    found: dict[str, set[str]] = {}
    for path in sorted(folder.rglob("*")):
        if not path.is_file():
            continue
        for content in (str(path.relative_to(folder)).encode(), *contents(path)):
            for match in FOUND.findall(content):
                found.setdefault(match.decode().upper(), set()).add(path.relative_to(folder).as_posix())
    return found


def contents(path: Path) -> Iterator[bytes]:
    """Everything a file holds: its bytes, and what is packed inside."""
    raw = path.read_bytes()
    yield from unpacked(raw)
    if path.suffix == ".parquet":
        yield parquet_text(path)


def unpacked(raw: bytes) -> Iterator[bytes]:
    """Bytes as they are and without null bytes (UTF-16), out of gzip, of PNG chunks, of base64 in text."""
    yield raw
    yield raw.replace(b"\0", b"")
    if raw.startswith(b"\x1f\x8b"):
        yield gzip.decompress(raw)
    if raw.startswith(b"\x89PNG\r\n\x1a\n"):
        yield from _png_chunks(raw)
    for encoded in re.findall(rb"base64,([0-9A-Za-z+/=]+)", raw):
        yield from unpacked(base64.b64decode(encoded))


def _png_chunks(raw: bytes) -> Iterator[bytes]:
    at = 8
    while at + 8 <= len(raw):
        (size,) = struct.unpack(">I", raw[at : at + 4])
        body = raw[at + 8 : at + 8 + size]
        yield body
        if raw[at + 4 : at + 8] in (b"zTXt", b"iTXt", b"iCCP"):
            for start in (m.start() for m in re.finditer(rb"x[\x01\x5e\x9c\xda]", body)):
                try:
                    yield zlib.decompress(body[start:])
                except zlib.error:
                    continue
        at += 12 + size


def parquet_text(path: Path) -> bytes:
    """Every value, the metadata of file and columns, and the least and largest values in the statistics."""
    file = pq.ParquetFile(path)
    parts: list[Any] = [file.read().to_pylist(), file.metadata.metadata, file.schema_arrow.metadata, str(file.schema)]
    parts += [field.metadata for field in file.schema_arrow]
    for group in range(file.metadata.num_row_groups):
        row_group = file.metadata.row_group(group)
        for column in range(row_group.num_columns):
            chunk = row_group.column(column)
            parts.append(chunk.metadata)
            if chunk.is_stats_set and chunk.statistics.has_min_max:
                parts += [chunk.statistics.min_raw, chunk.statistics.max_raw]
    return repr(parts).encode()
