"""BIDS file names: entities in the order of the schema, strictly alphanumeric labels.

References
----------
BIDS schema, objects and rules of entities, as shipped in bidsschematools.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from typing import Any

from vp_engine.errors import InputRefused

LABEL = re.compile(r"[0-9A-Za-z]+")
"""What the value of an entity may be; always with ``fullmatch``, ASCII only."""

EXTENSIONS = (".nii.gz", ".nii")
_SCHEMA_GROUPS = ("nonparametric",)
_MORE_SUFFIXES = ("UNIT1",)  # the uniform image of MP2RAGE, a T1-weighted contrast in all but name


@cache
def _schema() -> Any:
    from bidsschematools.schema import load_schema

    return load_schema()


@cache
def entity_order() -> tuple[str, ...]:
    """Every entity of BIDS by its short key (``sub``, ``ses``, ``run`` ...), in the order of file names."""
    schema = _schema()
    return tuple(schema.objects.entities[name]["name"] for name in schema.rules.entities)


@cache
def anatomical_suffixes() -> tuple[str, ...]:
    """Suffixes of single anatomical images: T1w, T2w, FLAIR ...; no parametric maps, no raw multi-volume series."""
    groups = _schema().rules.files.raw.anat
    return (*(suffix for group in _SCHEMA_GROUPS for suffix in groups[group].suffixes), *_MORE_SUFFIXES)


@cache
def field_names() -> frozenset[str]:
    """Keys of sidecars and names of columns that BIDS knows: whatever else is called so comes from the user."""
    objects = _schema().objects
    return frozenset(entry["name"] for group in (objects.metadata, objects.columns) for entry in group.values())


def check_label(value: str, what: str) -> str:
    """Return a label unchanged when it may stand in a BIDS name.

    Raises
    ------
    InputRefused
        ``invalid_entity``.
    """
    if LABEL.fullmatch(value) is None:
        message = f"expected {what} of letters A-Z, a-z and digits only, got {value!r}; rename it"
        raise InputRefused(message, code="invalid_entity")
    return value


def parse_name(name: str) -> tuple[dict[str, str], str]:
    """Split the name of an image file.

    Parameters
    ----------
    name : str
        Such as ``sub-01_ses-02_run-1_T1w.nii.gz``; ends in one of `EXTENSIONS`.

    Returns
    -------
    dict of str
        Entities by short key, values as they stand.
    str
        Suffix.

    Raises
    ------
    InputRefused
        ``invalid_entity``, for anything that is not ``key-label`` with a key of BIDS, each key once.

    Examples
    --------
    >>> parse_name("sub-01_ce-gadolinium_T1w.nii.gz")
    ({'sub': '01', 'ce': 'gadolinium'}, 'T1w')
    """
    *parts, suffix = _stem(name).split("_")
    entities: dict[str, str] = {}
    for part in parts:
        key, _, value = part.partition("-")
        if key not in entity_order():
            message = f"{name}: expected entities of BIDS, got {part!r}; rename the file"
            raise InputRefused(message, code="invalid_entity")
        if key in entities:
            message = f"{name}: expected each entity once, got {key!r} twice; rename the file"
            raise InputRefused(message, code="invalid_entity")
        entities[key] = check_label(value, f"{name}: a label for {key!r}")
    return entities, check_label(suffix, f"{name}: a suffix")


def suffix_of(name: str) -> str:
    """Suffix of an image file, also when the rest of its name is broken."""
    return _stem(name).rpartition("_")[2]


def build_name(entities: Mapping[str, str], suffix: str, extension: str) -> str:
    """Join a file name, entities in the order of the schema.

    Parameters
    ----------
    entities : mapping of str
        By short key.
    suffix, extension : str

    Returns
    -------
    str

    Raises
    ------
    InputRefused
        ``invalid_entity``, so that no part of a path can come from a label.

    Examples
    --------
    >>> build_name({"seg": "hippvol", "sub": "01", "space": "orig"}, "dseg", ".nii.gz")
    'sub-01_space-orig_seg-hippvol_dseg.nii.gz'
    """
    unknown = sorted(set(entities) - set(entity_order()))
    if unknown:
        raise InputRefused(f"expected entities of BIDS, got {unknown}; rename the file", code="invalid_entity")
    parts = [f"{key}-{check_label(entities[key], f'a label for {key!r}')}" for key in entity_order() if key in entities]
    return "_".join([*parts, check_label(suffix, "a suffix")]) + extension


def _stem(name: str) -> str:
    for extension in EXTENSIONS:
        if name.endswith(extension):
            return name.removesuffix(extension)
    raise InputRefused(f"{name}: expected a name ending in {' or '.join(EXTENSIONS)}; rename it", code="invalid_entity")
