"""Linear models: equal to arithmetic done elsewhere, and rows that say why when there is no answer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from scipy import stats

from vp_engine.errors import ConfigError
from vp_engine.stats.covariates import join_covariates, numeric_columns
from vp_engine.stats.families import corrected
from vp_engine.stats.models import StatisticSpec, fit_statistics
from vp_engine.stats.spec import COLUMNS
from vp_engine.tables.schema import arrow_schema

GOLDEN = yaml.safe_load((Path(__file__).resolve().parents[1] / "golden" / "statistics.yaml").read_text())
ROWS = {"prompt": ("vol",), "measure": ("volume",)}


def measurement(participant: str, target: str, value: float | None, **changes: Any) -> dict[str, Any]:
    row = dict.fromkeys(arrow_schema("measurements").names) | {
        "dataset": "demo",
        "participant": participant,
        "prompt_id": "vol",
        "target": target,
        "measure": "volume",
        "value": value,
        "unit": "mm3",
        "image": "T1w",
        "flags": [],
        "model_id": "m",
    }
    return row | changes


def cohort(n: int = 40, targets: int = 3, seed: int = 0) -> tuple[pd.DataFrame, pd.DataFrame]:
    rng = np.random.default_rng(seed)
    names = [f"{number:03d}" for number in range(n)]
    group = np.array(["control", "patient"])[np.arange(n) % 2]
    age = rng.uniform(20, 80, n).round(1)
    sex = np.array(["F", "M"])[rng.integers(0, 2, n)]
    covariates = pd.DataFrame({"participant": names, "group": group, "age": age.astype(str), "sex": sex})
    rows = [
        measurement(name, f"target{t}", 3000 - 10 * a - 200 * (g == "patient") + rng.normal(0, 150))
        for t in range(targets)
        for name, a, g in zip(names, age, group, strict=True)
    ]
    return pd.DataFrame(rows), covariates


def fit(rows: pd.DataFrame, covariates: pd.DataFrame, model: str = "value ~ group + age + sex") -> pd.DataFrame:
    return fit_statistics(rows, covariates, StatisticSpec("bygroup", ROWS, model))


def test_equal_to_least_squares_by_hand() -> None:
    rows, covariates = cohort()
    table = fit(rows, covariates)
    assert list(table.columns) == list(COLUMNS) == arrow_schema("statistics").names
    age = covariates["age"].astype(float).to_numpy()
    x = np.column_stack([np.ones(40), covariates["group"] == "patient", covariates["sex"] == "M", age]).astype(float)
    assert set(table["target"]) == {"target0", "target1", "target2"}
    for target, terms in table.groupby("target"):
        y = rows.loc[rows["target"] == target, "value"].to_numpy(dtype=float)
        beta, residual, _, _ = np.linalg.lstsq(x, y, rcond=None)
        df = 40 - 4
        error = np.sqrt(np.diag(np.linalg.inv(x.T @ x)) * residual[0] / df)
        p = 2 * stats.t.sf(np.abs(beta / error), df)
        half = stats.t.ppf(0.975, df) * error
        found = terms.set_index("term").loc[["Intercept", "group[T.patient]", "sex[T.M]", "age"]]
        for column, expected in {
            "estimate": beta,
            "std_error": error,
            "statistic": beta / error,
            "p": p,
            "ci_low": beta - half,
            "ci_high": beta + half,
        }.items():
            np.testing.assert_allclose(found[column], expected, rtol=1e-9, atol=1e-12)
        assert (found["df"] == df).all()
        t_squared = (beta / error)[3] ** 2
        assert found.loc["age", "effect_size"] == pytest.approx(t_squared / (t_squared + df), rel=1e-9)
        assert list(found["effect_size_name"])[1:] == ["hedges_g", "hedges_g", "partial_r2"]


def test_hedges_g_of_two_groups_is_the_textbook_one() -> None:
    rows, covariates = cohort(targets=1)
    found = fit(rows, covariates, "value ~ group").set_index("term").loc["group[T.patient]"]
    a, b = (
        rows.loc[(covariates["group"] == level).to_numpy(), "value"].astype(float) for level in ("patient", "control")
    )
    pooled = np.sqrt((19 * a.var() + 19 * b.var()) / 38)
    assert found["effect_size"] == pytest.approx((a.mean() - b.mean()) / pooled * (1 - 3 / (4 * 38 - 1)), rel=1e-9)


def test_published_regression() -> None:
    golden = GOLDEN["anscombe"]
    names = [f"{number:02d}" for number in range(11)]
    covariates = pd.DataFrame({"participant": names, "x": [str(value) for value in golden["x"]]})
    rows = pd.DataFrame(
        [measurement(n, target, y) for target, ys in golden["y"].items() for n, y in zip(names, ys, strict=True)]
    )
    table = fit(rows, covariates, "value ~ x").set_index(["target", "term"])
    for target in golden["y"]:
        slope = table.loc[(target, "x")]
        assert slope["estimate"] == pytest.approx(golden["slope"], abs=golden["tolerance"])
        assert slope["std_error"] == pytest.approx(golden["slope_std_error"], abs=golden["tolerance"])
        assert slope["effect_size"] == pytest.approx(golden["r2"], abs=golden["tolerance"])
        assert table.loc[(target, "Intercept"), "estimate"] == pytest.approx(golden["intercept"], abs=0.005)


def test_correction_is_over_the_targets_of_one_term() -> None:
    rows, covariates = cohort(targets=6, seed=3)
    rows.loc[rows["target"] == "target5", "value"] = 1.0  # not fitted: no part of the family
    table = fit(rows, covariates)
    for term in ("group[T.patient]", "age"):
        family = table[(table["term"] == term) & table["p"].notna()]
        p = np.sort(family["p"].to_numpy())
        raw = p * 5 / np.arange(1, 6)
        expected = np.minimum.accumulate(raw[::-1])[::-1].clip(max=1)
        np.testing.assert_allclose(np.sort(family["p_fdr"]), expected, rtol=1e-12)
    assert table.loc[table["target"] == "target5", "p_fdr"].isna().all()


def test_published_correction() -> None:
    golden = GOLDEN["benjamini_hochberg"]
    table = pd.DataFrame({"analysis": "all", "term": "group", "p": golden["p"]})
    assert int((corrected(table)["p_fdr"] <= 0.05).sum()) == golden["rejected_at_0.05"]


def test_type_one_error_is_near_nominal() -> None:
    rng = np.random.default_rng(11)
    names = [f"{number:02d}" for number in range(20)]
    covariates = pd.DataFrame({"participant": names, "group": ["a", "b"] * 10})
    rows = pd.DataFrame([measurement(n, f"t{t}", rng.normal()) for t in range(200) for n in names])
    table = fit(rows, covariates, "value ~ group")
    share = (table.loc[table["term"] == "group[T.b]", "p"] < 0.05).mean()
    assert 0.02 <= share <= 0.08
    assert table.loc[table["term"] == "group[T.b]", "p_fdr"].min() > 0.05


def test_a_participant_counts_once_and_the_first_session_is_used() -> None:
    rows, covariates = cohort(targets=1)
    once = fit(rows.assign(session="2"), covariates)
    later = rows.assign(session="10", value=rows["value"] + 500)
    twice = fit(pd.concat([later, rows.assign(session="2")]), covariates)
    np.testing.assert_array_equal(once["estimate"], twice["estimate"])
    assert (twice["n"] == 40).all()
    assert (twice["n_excluded"] == 40).all()
    assert twice["method"].str.contains("excluded 40: further sessions").all()


def test_missing_values_are_counted_and_named() -> None:
    rows, covariates = cohort(targets=1)
    rows.loc[0, "value"] = None
    covariates.loc[1, "age"] = "n/a"
    covariates = covariates.drop(index=2)
    table = fit(rows, covariates)
    assert (table["n"] == 37).all()
    assert (table["n_excluded"] == 3).all()
    method = table["method"].iloc[0]
    for part in (
        "excluded 1: no value",
        "excluded 1: no group",
        "excluded 1: no age",
        "reference levels group = control",
    ):
        assert part in method


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"group": "control"}, "group is control for every participant"),
        ({"sex": ["control", "patient"] * 20}, "singular design"),
        ({"age": "n/a"}, "no participant has a value"),
    ],
)
def test_designs_that_cannot_be_fitted_say_so(change: dict[str, Any], reason: str) -> None:
    rows, covariates = cohort(targets=1)
    table = fit(rows, covariates.assign(**change))
    assert table["method"].str.startswith("not fitted: ").all()
    assert table["method"].str.contains(reason).all()
    assert table[["estimate", "p", "p_fdr", "effect_size"]].isna().all(axis=None)
    assert (table["n"] + table["n_excluded"] == 40).all()


def test_too_few_participants_keep_their_terms() -> None:
    rows, covariates = cohort(n=4, targets=1)
    table = fit(rows, covariates.assign(sex=["F", "M", "M", "F"]))
    assert list(table["term"]) == ["Intercept", "group[T.patient]", "sex[T.M]", "age"]
    assert table["method"].str.contains("4 participants are too few for 4 terms").all()


def test_two_values_in_one_session_are_not_averaged() -> None:
    rows, covariates = cohort(targets=1)
    both = pd.concat([rows, rows.assign(image="FLAIR")])
    table = fit(both, covariates)
    assert table["method"].str.contains("more than one value for participant 000").all()
    spec = StatisticSpec("bygroup", {**ROWS, "image": ("T1w",)}, "value ~ group")
    assert fit_statistics(both, covariates, spec)["estimate"].notna().all()


def test_nothing_matches() -> None:
    rows, covariates = cohort()
    spec = StatisticSpec("bygroup", {"prompt": ("other",)}, "value ~ group")
    (row,) = fit_statistics(rows, covariates, spec).to_dict("records")
    assert (row["target"], row["term"], row["n"]) == ("n/a", "n/a", 0)
    assert row["method"] == "not fitted: no number with prompt = other"


def test_values_without_residual_have_no_p_value() -> None:
    rows, covariates = cohort(targets=1)
    rows["value"] = covariates["age"].astype(float) * 2
    assert fit(rows, covariates, "value ~ age")["method"].str.contains("without any residual").all()


def test_numbers_as_categories_and_interactions() -> None:
    rows, covariates = cohort(targets=1)
    covariates["site"] = [str(number % 3 + 9) for number in range(40)]
    table = fit(rows, covariates, "value ~ C(site) + group*age").set_index("term")
    assert list(table.index) == [
        "Intercept",
        "C(site)[T.10]",
        "C(site)[T.11]",
        "group[T.patient]",
        "age",
        "group[T.patient]:age",
    ]
    assert (table["effect_size_name"].iloc[1:] == "partial_r2").all()
    means = fit(rows, covariates, "value ~ 0 + group").set_index("term")
    assert means["effect_size"].isna().all()


def test_session_values_go_before_those_of_the_participant() -> None:
    rows = pd.DataFrame([measurement("01", "t", 1.0, session=s) for s in ("1", "2")] + [measurement("02", "t", 1.0)])
    covariates = pd.DataFrame(
        [
            {"participant": "01", "session": None, "age": "50", "sex": "F"},
            {"participant": "02", "session": None, "age": "60", "sex": "M"},
            {"participant": "01", "session": "2", "age": "51", "sex": "n/a"},
        ]
    )
    joined = join_covariates(rows, covariates, ["age", "sex"])
    assert joined[["age", "sex"]].to_numpy().tolist() == [["50", "F"], ["51", "F"], ["60", "M"]]


def test_nothing_but_missing_sessions_join() -> None:
    rows, covariates = cohort(targets=1)
    expected = fit(rows, covariates)
    nothing: Any
    for nothing in (None, np.nan, pd.NA):
        found = fit(rows.astype({"session": "str"}), covariates.assign(session=nothing))
        np.testing.assert_array_equal(found["estimate"], expected["estimate"])


def test_numbers_too_large_to_hold_are_no_numbers() -> None:
    assert numeric_columns(pd.DataFrame({"x": ["1e999"]}), ["x"]) == frozenset()
    assert numeric_columns(pd.DataFrame({"x": ["1e5", "-.5", "n/a"]}), ["x"]) == {"x"}


def test_covariate_called_like_a_column_of_the_rows_is_refused() -> None:
    rows = pd.DataFrame([measurement("01", "t", 1.0)])
    with pytest.raises(ConfigError, match="column 'unit' too"):
        join_covariates(rows, pd.DataFrame([{"participant": "01", "unit": "a"}]), ["unit"])


def test_ambiguous_covariates_are_refused() -> None:
    rows, covariates = cohort(targets=1)
    with pytest.raises(ConfigError, match="participant 000, session None occurs twice"):
        fit(rows, pd.concat([covariates, covariates.iloc[:1]]))
    with pytest.raises(ConfigError, match="column `dataset`"):
        fit(pd.concat([rows, rows.assign(dataset="other")]), covariates)
    with pytest.raises(ConfigError, match="did you mean 'group'"):
        fit(rows, covariates, "value ~ grup")


def test_a_slip_in_a_column_of_numbers_is_not_a_category() -> None:
    _, covariates = cohort()
    covariates.loc[3, "age"] = "89+"
    with pytest.raises(ConfigError, match=r"column 'age' holds numbers and also '89\+'"):
        numeric_columns(covariates, ["age"])


def test_datasets_pool_on_purpose_only() -> None:
    rows, covariates = cohort(targets=1)
    other = rows.assign(dataset="other", value=rows["value"] + 100)
    everyone = pd.concat([covariates.assign(dataset="demo"), covariates.assign(dataset="other")])
    pooled = fit(pd.concat([rows, other]), everyone, "value ~ group")
    assert pooled["method"].str.contains("pooled over datasets demo, other").all()
    table = fit(pd.concat([rows, other]), everyone, "value ~ group + dataset").set_index("term")
    assert table.loc["dataset[T.other]", "estimate"] == pytest.approx(100, rel=1e-9)
    assert (table["n"] == 80).all()
