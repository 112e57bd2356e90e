"""Cells of the report's tables: columns, and numbers as people read them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table: key of the row, title, and whether it holds numbers (aligned to the right)."""

    key: str
    title: str
    number: bool = False


TERM_COLUMNS = (
    Column("target", "Structure"),
    Column("measure", "Measure"),
    Column("term", "Term"),
    Column("estimate", "Estimate", number=True),
    Column("interval", "95 % interval", number=True),
    Column("p", "p", number=True),
    Column("p_fdr", "p corrected", number=True),
    Column("effect", "Effect size", number=True),
    Column("n", "n", number=True),
    Column("n_excluded", "Excluded", number=True),
)
NUMBER_COLUMNS = (
    Column("target", "Structure"),
    Column("measure", "Measure"),
    Column("prompt_id", "Prompt"),
    Column("n", "n", number=True),
    Column("mean", "Mean", number=True),
    Column("sd", "SD", number=True),
    Column("min", "Least", number=True),
    Column("max", "Most", number=True),
    Column("unit", "Unit"),
)


OUTCOME_COLUMNS = (Column("id", "Prompt"), Column("total", "Asked", number=True))
REASON_COLUMNS = (
    Column("prompt_id", "Prompt"),
    Column("outcome", "Outcome"),
    Column("reason", "Reason"),
    Column("count", "Times", number=True),
    Column("examples", "For example"),
)
TROUBLE_COLUMNS = (
    Column("who", "Participant"),
    Column("count", "Prompts", number=True),
    Column("statuses", "Outcomes"),
)
ANSWER_COLUMNS = (
    Column("prompt_id", "Prompt"),
    Column("target", "Structure"),
    Column("measure", "Asked"),
    Column("text", "Answer"),
    Column("n", "Times", number=True),
)
FLAG_COLUMNS = (Column("flag", "Flag"), Column("count", "Images", number=True), Column("examples", "For example"))
LOW_COLUMNS = (
    Column("who", "Scan"),
    Column("prompt_id", "Prompt"),
    Column("target", "Structure"),
    Column("qc_score", "qc_score", number=True),
)


def words(name: str | None) -> str:
    """A canonical name as words; empty for none.

    >>> words("left_hippocampus"), words("lesion_NNN")
    ('left hippocampus', 'lesion (each)')
    """
    return re.sub("_NNN$", " (each)", name or "").replace("_", " ")


def term_cells(row: Mapping[Any, Any]) -> dict[str, str]:
    """A row of the table `statistics` as text."""
    interval = "" if pd.isna(row["estimate"]) else f"{number_text(row['ci_low'])} to {number_text(row['ci_high'])}"
    name = {"hedges_g": "g", "partial_r2": "partial R²"}.get(row["effect_size_name"], "")
    effect = "" if pd.isna(row["effect_size"]) else f"{name} = {number_text(round(row['effect_size'], 2))}"
    return {
        "target": words(row["target"]),
        "measure": words(row["measure"]),
        "term": row["term"],
        "estimate": number_text(row["estimate"]),
        "interval": interval,
        "p": p_text(row["p"]),
        "p_fdr": p_text(row["p_fdr"]),
        "effect": effect,
        "n": str(row["n"]),
        "n_excluded": str(row["n_excluded"]),
    }


def number_cells(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row of `summarise_numbers` as text."""
    named = {key: words(row[key]) for key in ("target", "measure")}
    numbers = {key: number_text(row[key]) for key in ("mean", "sd", "min", "max")}
    return {**row, **named, **numbers, "unit": row["unit"] or ""}


def number_text(value: float | None) -> str:
    """A number with four digits, or all digits before the point; empty when there is none.

    >>> number_text(1234567.8), number_text(3.14159), number_text(0.00012345), number_text(None)
    ('1,234,568', '3.142', '0.0001234', '')
    """
    if value is None or pd.isna(value):
        return ""
    text = f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"
    return f"\N{MINUS SIGN}{text[1:]}" if text.startswith("-") else text


def p_text(value: float | None) -> str:
    """A p value as papers print it.

    >>> p_text(0.00001), p_text(0.0421)
    ('< 0.001', '0.042')
    """
    if value is None or pd.isna(value):
        return ""
    return "< 0.001" if value < 0.001 else f"{value:.3f}"
