"""What is wrong, or odd, in a dataset."""

from __future__ import annotations

from dataclasses import dataclass
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
