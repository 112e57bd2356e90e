"""Statistics are those of R: `statistics.R` beside this file made the numbers, on cohorts that are beside it too."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from tests.unit.results_fakes import number
from vp_engine.stats.checks import breusch_pagan_p, cooks_distance, normality_p, variance_inflation
from vp_engine.stats.design import make_design
from vp_engine.stats.effects import noncentral_f_interval, noncentral_t_interval
from vp_engine.stats.harmonisation import combat
from vp_engine.stats.linear import fit_linear, leverages
from vp_engine.stats.models import StatisticSpec, analyse_statistic, fit_statistics, model_samples, read_model
from vp_engine.stats.spec import CentilesOption, IcvOption, Options

FOLDER = Path(__file__).resolve().parent
GOLDEN = json.loads((FOLDER / "statistics_r.json").read_text())
ROWS = {"prompt": ("vol",)}
FULL = "value ~ group + age + sex"
TERM_COLUMNS = ("estimate", "std_error", "statistic", "df", "p", "ci_low", "ci_high")
EFFECT_COLUMNS = ("effect_size", "effect_ci_low", "effect_ci_high")


def read(name: str) -> pd.DataFrame:
    return pd.read_csv(FOLDER / "statistics_data" / f"{name}.csv", dtype={"participant": str, "session": str})


def cohort(name: str, targets: tuple[str, ...]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Measurements, with head sizes, and covariates."""
    table = read(name)
    table["session"] = table.get("session", None)
    rows = []
    for person in table.to_dict("records"):
        who = ("d", person["participant"], person["session"])
        rows += [number(*who, "vol", target, person[target]) for target in targets]
        rows.append(number(*who, "head", "intracranial_volume", person["icv"]))
    covariates = table[["participant", "session"]].copy()
    for column in ("group", "age", "sex", "site", "years"):
        if column in table:
            covariates[column] = table[column].astype(str)
    return pd.DataFrame(rows), covariates


def agree(found: pd.DataFrame, expected: dict[str, list[dict[str, Any]]], *, rtol: float = 1e-6) -> None:
    """Every term of every target has the numbers of R."""
    found = found.set_index(["target", "term"])
    assert set(found.index) == {(target, row["term"]) for target, rows in expected.items() for row in rows}
    for target, rows in expected.items():
        for row in rows:
            own = found.loc[(target, row["term"])]
            for column in (*TERM_COLUMNS, *EFFECT_COLUMNS):
                wanted = np.nan if row[column] is None else row[column]
                # an end of an interval may be next to 0: then to a millionth of the standard error
                close = rtol * (row["std_error"] if column in ("estimate", "ci_low", "ci_high") else 1e-3)
                np.testing.assert_allclose(
                    own[column], wanted, rtol=rtol, atol=close, err_msg=f"{target} {row['term']} {column}"
                )


ALL_TARGETS = ("t0", "t1", "t2", "t3", "t4")


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("ols", Options()),
        ("hc3", Options(standard_errors="HC3")),
        ("covariate", Options(icv=IcvOption("covariate", "head"))),
        ("proportion", Options(icv=IcvOption("proportion", "head"))),
        ("residual", Options(icv=IcvOption("residual", "head"))),
    ],
)
def test_linear_models(name: str, options: Options) -> None:
    rows, covariates = cohort("cross", ALL_TARGETS)
    agree(fit_statistics(rows, covariates, StatisticSpec("s", ROWS, FULL, options)), GOLDEN[name])


def test_mixed_models() -> None:
    rows, covariates = cohort("visits", ("t0", "t1", "t2", "t3"))
    spec = StatisticSpec("s", ROWS, "value ~ group + years + age", Options(sessions="mixed"))
    found = fit_statistics(rows, covariates, spec)
    agree(found, {target: one["terms"] for target, one in GOLDEN["mixed"].items()})
    zero = {target for target, one in GOLDEN["mixed"].items() if one["between"] < 1e-6 * one["within"]}
    flagged = found[found["flags"].map(lambda flags: "random_intercept_zero" in flags)]
    assert set(flagged["target"]) == zero == {"t3"}


@pytest.mark.parametrize("family", ["term", "statistic"])
def test_corrected_p_values(family: Any) -> None:
    rows, covariates = cohort("cross", ALL_TARGETS)
    found = fit_statistics(rows, covariates, StatisticSpec("s", ROWS, FULL, Options(family=family)))
    found = found.set_index(["target", "term"])
    for term in ("group[T.patient]", "sex[T.M]", "age"):
        for target in ALL_TARGETS:
            golden = GOLDEN["adjusted"][family]
            golden, key = (golden[term], target) if family == "term" else (golden, f"{target} {term}")
            own = found.loc[(target, term)]
            assert own["p_fdr"] == pytest.approx(golden["fdr"][key], rel=1e-6)
            assert own["p_bonferroni"] == pytest.approx(golden["bonferroni"][key], rel=1e-6)
    intercepts = found.xs("Intercept", level="term")
    assert intercepts["p_fdr"].isna().all() == (family == "statistic")


def test_standardised_difference_of_two_groups() -> None:
    rows, covariates = cohort("cross", ("t0",))
    found = fit_statistics(rows, covariates, StatisticSpec("s", ROWS, "value ~ group")).set_index("term")
    own = found.loc["group[T.patient]"]
    correction = 1 - 3 / (4 * own["df"] - 1)
    golden = GOLDEN["cohens_d"]
    assert own["effect_size"] / correction == pytest.approx(golden["d"], rel=1e-6)
    # effectsize finds the ends by minimising, to about four digits
    assert own["effect_ci_low"] / correction == pytest.approx(golden["low"], abs=2e-4)
    assert own["effect_ci_high"] / correction == pytest.approx(golden["high"], abs=2e-4)


@pytest.mark.parametrize("golden", GOLDEN["noncentral"], ids=lambda one: f"{one['t']}-{one['df']}")
def test_intervals_of_noncentral_distributions(golden: dict[str, float]) -> None:
    t, f = (noncentral_t_interval(golden["t"], golden["df"]), noncentral_f_interval(golden["t"] ** 2, golden["df"]))
    assert t == pytest.approx((golden["t_low"], golden["t_high"]), rel=1e-6, abs=1e-6)
    assert f == pytest.approx((golden["f_low"], golden["f_high"]), rel=1e-6, abs=1e-6)


def test_checks_of_assumptions() -> None:
    rows, covariates = cohort("cross", ("t0",))
    spec = StatisticSpec("s", ROWS, FULL)
    formula, numeric = read_model(covariates, spec)
    design = make_design(model_samples(rows, covariates, spec), formula, numeric)
    residuals = fit_linear(design).residuals
    golden = GOLDEN["checks"]
    leverage = leverages(design.x)
    np.testing.assert_allclose(leverage, golden["leverage"], rtol=1e-6)
    np.testing.assert_allclose(cooks_distance(design, residuals, leverage), golden["cooks_distance"], rtol=1e-6)
    assert variance_inflation(design) == pytest.approx(golden["vif"], rel=1e-6)
    assert breusch_pagan_p(design, residuals) == pytest.approx(golden["breusch_pagan"], rel=1e-6)
    assert normality_p(residuals) == pytest.approx(golden["shapiro"], rel=1e-6)


def test_centiles_leave_each_one_out_of_his_reference() -> None:
    rows, covariates = cohort("cross", ("t0",))
    centiles = CentilesOption("age", {"group": ("control",)})
    spec = StatisticSpec("s", ROWS, "value ~ group", Options(centiles=centiles))
    found = analyse_statistic(rows, covariates, spec).centiles.set_index("participant")
    ages = found.loc[found["in_reference"], "age"]
    inside = found["age"].between(ages.min(), ages.max())
    assert 20 <= len(ages) < inside.sum() < len(found)
    for participant, row in found.iterrows():
        golden = GOLDEN["centiles"][str(participant)]
        if inside[participant]:
            assert row["expected"] == pytest.approx(golden["expected"], rel=1e-6)
            assert row["centile"] == pytest.approx(golden["centile"], rel=1e-6)
        else:
            assert row["reason"] == "outside_reference_age"
            assert np.isnan(row["centile"])


def test_combat_and_the_models_after_it() -> None:
    targets = ("t0", "t1", "t2", "t4")
    rows, covariates = cohort("cross", targets)
    spec = StatisticSpec("s", ROWS, FULL, Options(site="site"))
    seen = model_samples(rows, covariates, spec).pivot(index="participant", columns="target", values="value")
    for target in targets:
        np.testing.assert_allclose(seen[target], GOLDEN["combat"][target], rtol=1e-6)
    agree(fit_statistics(rows, covariates, spec), GOLDEN["after_combat"])


def test_combat_without_one_value_leaves_the_other_structures_alone() -> None:
    table = read("cross")
    values = table[["t0", "t1", "t2", "t4"]].to_numpy(dtype=float)
    site = table["site"].map({"a": 0, "b": 1, "c": 2}).to_numpy(dtype=np.intp)
    age = table[["age"]].to_numpy(dtype=float)
    with_gap = np.column_stack([values, table["t3"]])
    whole = combat(values, site, age).cleaned
    gap = combat(with_gap, site, age).cleaned
    assert np.isnan(gap[7, 4])
    assert np.isfinite(np.delete(gap, 7, axis=0)).all()
    # a fifth structure changes only what the sites' estimates are drawn towards
    assert np.abs(gap[:, :4] - whole).max() < 0.2 * np.abs(whole - values).max()
