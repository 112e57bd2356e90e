"""Cells of the report's tables: columns, and numbers as people read them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from vp_engine.report.figures import unit_text


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table.

    Attributes
    ----------
    key, title : str
        Of the rows, and for the reader.
    number : bool
        Whether it holds numbers, which are aligned to the right.
    long : bool
        Whether it holds sentences, which need room.
    group : str
        Title over it and its neighbours with the same.
    """

    key: str
    title: str
    number: bool = False
    long: bool = False
    group: str = ""


MARK = "\N{DAGGER}"
"""Stands behind the name of a structure of which a number has a flag."""

_FACTORS = re.compile(r":(?![^\[]*\])")  # a level may hold a colon

ANALYSES = {"all": "All measurements", "excluded": "With exclusions"}
"""Titles of the analyses of a statistic, in the order they are shown."""

FLAGS_COLUMN = Column("flags", "Flags", long=True)
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
    FLAGS_COLUMN,
)

OUTCOME_COLUMNS = (Column("id", "Prompt"), Column("total", "Asked", number=True))
REASON_COLUMNS = (
    Column("prompt_id", "Prompt"),
    Column("outcome", "Outcome", long=True),
    Column("reason", "Reason", long=True),
    Column("count", "Times", number=True),
    Column("examples", "For example", long=True),
)
TROUBLE_COLUMNS = (
    Column("who", "Participant"),
    Column("count", "Prompts", number=True),
    Column("statuses", "Outcomes", long=True),
)
ANSWER_COLUMNS = (
    Column("prompt_id", "Prompt"),
    Column("target", "Structure"),
    Column("measure", "Asked"),
    Column("text", "Answer", long=True),
    Column("n", "Times", number=True),
    FLAGS_COLUMN,
)
FLAG_COLUMNS = (
    Column("flag", "Flag"),
    Column("meaning", "Meaning", long=True),
    Column("count", "Images", number=True),
    Column("examples", "For example", long=True),
)
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


def marked(name: str | None, mark: str) -> str:
    """A canonical name as words, with a mark behind it if there is one."""
    return f"{words(name)} {mark}".strip()


def term_columns(analyses: Sequence[str]) -> list[Column]:
    """Columns of the main table of a statistic: what was found, the analyses side by side."""
    columns = [Column("target", "Structure"), Column("term", "Term")]
    for name in analyses:
        group = ANALYSES[name] if len(analyses) > 1 else ""
        columns += [
            Column(f"{name}_estimate", "Estimate\n95 % interval", number=True, group=group),
            Column(f"{name}_effect", "Effect size\n95 % interval", number=True, group=group),
            Column(f"{name}_p_fdr", "p corrected", number=True, group=group),
            Column(f"{name}_n", "n", number=True, group=group),
        ]
    return columns


def detail_columns(analyses: Sequence[str], *, permuted: bool) -> list[Column]:
    """Columns of the table of details: everything else that the models gave."""
    columns = [Column("target", "Structure"), Column("term", "Term")]
    for name in analyses:
        group = ANALYSES[name] if len(analyses) > 1 else ""
        columns += [
            Column(f"{name}_std_error", "Standard error", number=True, group=group),
            Column(f"{name}_statistic", "t", number=True, group=group),
            Column(f"{name}_df", "df", number=True, group=group),
            Column(f"{name}_p", "p", number=True, group=group),
            Column(f"{name}_p_bonferroni", "p Bonferroni", number=True, group=group),
        ]
        columns += [Column(f"{name}_p_permutation", "p permuted", number=True, group=group)] if permuted else []
        columns += [Column(f"{name}_n_excluded", "Not used", number=True, group=group)]
    return columns


def term_text(term: str, references: Mapping[str, str]) -> str:
    """A term of a model in words.

    Parameters
    ----------
    term : str
        As patsy names it.
    references : mapping of str to str
        Column → level that the others are compared with.

    Returns
    -------
    str

    Examples
    --------
    >>> term_text("group[T.patient]", {"group": "control"}), term_text("group[T.patient]:age", {"group": "control"})
    ('group: patient against control', 'group: patient against control, by age')
    """
    parts = []
    for factor in _FACTORS.split(term):
        column, bracket, level = factor.partition("[T.")
        name = re.sub(r"^C\((.*)\)$", r"\1", column)
        against = f" against {references[name]}" if name in references else ""
        parts.append(f"{name}: {level.removesuffix(']')}{against}" if bracket else name)
    return ", by ".join(parts)


def term_rows(
    table: pd.DataFrame, analyses: Sequence[str], references: Mapping[str, str], marks: Mapping[str, str]
) -> list[dict[str, str]]:
    """Rows of both tables: one per structure and term, in the order of the table `statistics`.

    Parameters
    ----------
    table : DataFrame
        Rows of the table `statistics` of one statistic and measure.
    analyses : sequence of str
        Which of the analyses there are.
    references : mapping of str to str
        As in `term_text`.
    marks : mapping of str to str
        Structure → what stands behind its name.
    """
    rows: dict[tuple[str, str], dict[str, str]] = {}
    for row in table[table["analysis"].isin(analyses)].to_dict("records"):
        name = {
            "target": marked(row["target"], marks.get(row["target"], "")),
            "term": term_text(row["term"], references),
        }
        own = rows.setdefault((row["target"], row["term"]), name)
        own |= {f"{row['analysis']}_{key}": text for key, text in term_cells(row).items()}
    blank = {column.key: "" for column in [*term_columns(analyses), *detail_columns(analyses, permuted=True)]}
    return [blank | own for own in rows.values()]


def term_cells(row: Mapping[Any, Any]) -> dict[str, str]:
    """The numbers of a row of the table `statistics` as text."""
    fitted = not pd.isna(row["estimate"])
    interval = f"\n{number_text(row['ci_low'])} to {number_text(row['ci_high'])}" if fitted else ""
    return {
        "estimate": number_text(row["estimate"]) + interval if fitted else "not fitted",
        "effect": effect_text(row).replace(" (", "\n").removesuffix(")"),
        "n": f"{row['n']:,}",
        "n_excluded": f"{row['n_excluded']:,}",
        **{key: number_text(row[key]) for key in ("std_error", "statistic", "df")},
        **{key: p_text(row[key]) for key in ("p", "p_fdr", "p_bonferroni", "p_permutation")},
    }


def effect_text(row: Mapping[Any, Any]) -> str:
    """Effect size with its 95 % interval, where there is one; empty when there is none."""
    if pd.isna(row["effect_size"]):
        return ""
    name = {"hedges_g": "g", "partial_r2": "partial R²"}.get(row["effect_size_name"], str(row["effect_size_name"]))
    size, low, high = (hundredths_text(row[key]) for key in ("effect_size", "effect_ci_low", "effect_ci_high"))
    return f"{name} = {size}" + (f" ({low} to {high})" if low and high else "")


def number_cells(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row of `summarise_numbers` as text."""
    named = {"target": marked(row["target"], MARK if row["kinds"] else ""), "measure": words(row["measure"])}
    numbers = {key: number_text(row[key]) for key in ("mean", "sd", "min", "max")}
    return {**row, **named, **numbers, "unit": unit_text(row["unit"])}


def answer_cells(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row of `summarise_answers` as text."""
    target = marked(row["target"], MARK if row["kinds"] else "")
    return {**row, "target": target, "measure": words(row["measure"]), "text": words(row["text"])}


def hundredths_text(value: float | None) -> str:
    """A number with two digits after the point; empty when there is none.

    >>> hundredths_text(-0.001), hundredths_text(-7.7659)
    ('0.00', '\N{MINUS SIGN}7.77')
    """
    if value is None or pd.isna(value):
        return ""
    text = f"{round(value, 2) + 0.0:.2f}"
    return f"\N{MINUS SIGN}{text[1:]}" if text.startswith("-") else text


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
