"""Formulas: what is read, and what never reaches a library that would evaluate it."""

from __future__ import annotations

import pytest

from vp_engine.errors import ConfigError
from vp_engine.stats.formula import parse_formula

COLUMNS = ["group", "age", "sex", "site"]


@pytest.mark.parametrize(
    ("text", "columns"),
    [
        ("value ~ group + age + sex", ("group", "age", "sex")),
        ("value~group*age", ("group", "age")),
        ("value ~ C(site) + C( sex )", ("site", "sex")),
        ("value ~ 0 + group", ("group",)),
        ("value ~ group - 1", ("group",)),
        ("value ~ 1", ()),
        ("value ~ (group + age + sex)**2 - group:age", ("group", "age", "sex")),
        ("value ~ group:(age + sex)", ("group", "age", "sex")),
    ],
)
def test_allowed(text: str, columns: tuple[str, ...]) -> None:
    assert parse_formula(text, columns=COLUMNS).columns == columns


@pytest.mark.parametrize(
    "text",
    [
        "value ~ __import__('os').system('true')",
        "value ~ Q('age')",
        "value ~ I(age**2)",
        "value ~ log(age)",
        "value ~ age.__class__",
        "value ~ age[0]",
        "value ~ [age for age in (1,)]",
        "value ~ lambda: age",
        "value ~ {age}",
        "value ~ 'age'",
        "value ~ age; group",
        "value ~ age if sex else group",
        "value ~ C(age, Treatment)",
        "value ~ C(group).max()",
        "value ~ group(age)",
        "value ~ C(C(age))",
        "value ~ age**2",
        "value ~ (age + sex)**9",
        "value ~ ((age + sex)**3)**3",
        "value ~ 2*age",
        "value ~ 1:age",
        "value ~ age +",
        "value ~ + age",
        "value ~ (age",
        "value ~ age)",
        "value ~ ()",
        "value ~ age sex",
        "value ~",
        "value ~ age ~ sex",
        "value ~ value",
        "value ~ group + C(group)",
        "log(value) ~ age",
        "age ~ value",
        "",
        "value ~ age\x00",
        "value ~ \u0430ge",
        "value ~ age # sex",
        "value ~ age | sex",
        "value ~ age / sex",
        "value ~ age @ sex",
        "value ~ " + "*".join(["age"] * 9),
        "value ~ " + "+".join(["age"] * 40),
        "value ~ " + "(" * 400 + "age" + ")" * 400,
    ],
)
def test_refused(text: str) -> None:
    with pytest.raises(ConfigError):
        parse_formula(text, columns=[*COLUMNS, "os", "C", "value", "lambda"])


def test_nearest_column_is_named() -> None:
    with pytest.raises(ConfigError, match="no column 'gruop'; did you mean 'group'"):
        parse_formula("value ~ gruop", columns=COLUMNS)
    with pytest.raises(ConfigError, match="there are age, group, sex, site"):
        parse_formula("value ~ xyzzy", columns=COLUMNS)


def test_keywords_cannot_be_columns() -> None:
    with pytest.raises(ConfigError, match="rename the column"):
        parse_formula("value ~ class", columns=["class"])
