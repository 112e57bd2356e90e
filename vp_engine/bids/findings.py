"""What is wrong, or odd, in a dataset."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

Severity = Literal["error", "warning"]


@dataclass(frozen=True, slots=True, order=True)
class Finding:
    """One observation about a dataset.

    Attributes
    ----------
    code : str
        Stable name: snake_case from this package, upper case from the BIDS validator.
    severity : str
        ``error``: the scans concerned are not used. ``warning``: nothing stops.
    message : str
        For a person.
    path : str
        File or folder concerned, relative to the dataset, with forward slashes; empty for the dataset itself.
    """

    code: str
    severity: Severity
    message: str
    path: str = ""


FINDINGS: Mapping[str, str] = MappingProxyType(
    {
        "invalid_entity": "a label that is not letters A-Z, a-z and digits, or a name that BIDS does not have",
        "labels_differ_by_case": "two participants or sessions whose labels differ by case only",
        "name_mismatch": "a file name that does not repeat the labels of its folders",
        "duplicate_scan": "several files for one image",
        "no_fitting_scan": "no image that the prompt could use",
        "bad_tsv": "a table that cannot be read; its columns are not used",
        "bad_time": "a date or a number of days that cannot be; it is not used",
        "validator_failed": "the BIDS validator gave up on the dataset",
    }
)
"""Code of what the walk through a dataset finds to meaning; validator and intake gate have codes of their own."""
