"""Mixed models: equal to arithmetic where there is some, and to another library where there is none."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from scipy import stats

from tests.unit.statistics_fakes import cohort, spec
from vp_engine.stats.models import fit_statistics


def test_with_equal_visits_it_is_the_t_test_of_the_means() -> None:
    rows, covariates = cohort(n=20, targets=1, sessions=3)
    found = fit_statistics(rows, covariates, spec("value ~ group", sessions="mixed")).set_index("term")
    values = rows[rows["prompt_id"] == "vol"]
    means = values.groupby("participant")["value"].mean()
    patients = (covariates.set_index("participant")["group"] == "patient")[means.index]
    test = stats.ttest_ind(means[patients], means[~patients])
    own = found.loc["group[T.patient]"]
    assert own["statistic"] == pytest.approx(test.statistic, rel=1e-9)
    assert own["df"] == pytest.approx(18, rel=1e-6)
    assert own["p"] == pytest.approx(test.pvalue, rel=1e-6)
    assert own["estimator"] == "mixed"
    assert (own["n"], own["n_excluded"]) == (20, 0)
    assert "60 measurements" in own["method"]


def test_uneven_visits_are_those_of_statsmodels() -> None:
    rows, covariates = cohort(n=40, targets=1, sessions=4, seed=3)
    rng = np.random.default_rng(1)
    rows = rows[(rows["session"] == "1") | (rng.random(len(rows)) < 0.5)].reset_index(drop=True)
    own = fit_statistics(rows, covariates, spec("value ~ group + age", sessions="mixed")).set_index("term")
    table = rows[rows["prompt_id"] == "vol"].merge(covariates, on="participant")
    x = np.column_stack([np.ones(len(table)), table["group"] == "patient", table["age"].astype(float)]).astype(float)
    other = sm.MixedLM(table["value"].to_numpy(dtype=float), x, table["participant"]).fit(reml=True, gtol=1e-8)
    terms = ["Intercept", "group[T.patient]", "age"]
    # as far as its optimiser goes
    np.testing.assert_allclose(own.loc[terms, "estimate"], other.fe_params, rtol=1e-4)
    np.testing.assert_allclose(own.loc[terms, "std_error"], other.bse_fe, rtol=1e-3)


def test_size_of_an_effect_is_in_standard_deviations_of_people() -> None:
    rows, covariates = cohort(n=400, targets=1, sessions=2, effect=-256.0)
    own = fit_statistics(rows, covariates, spec(sessions="mixed")).set_index("term").loc["group[T.patient]"]
    assert own["effect_size_name"] == "hedges_g"
    assert own["effect_ci_low"] < -256 / np.hypot(100, 80) < own["effect_ci_high"]


def test_nobody_with_two_sessions() -> None:
    rows, covariates = cohort(targets=1)
    found = fit_statistics(rows, covariates, spec(sessions="mixed"))
    assert found["estimate"].isna().all()
    assert found["method"].str.startswith("not fitted: nobody has two sessions; take `sessions: first`").all()


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda rows: rows.groupby(["participant", "target"])["value"].transform("first"), "all sessions of a"),
        (lambda rows: rows["session"].astype(float), "without any residual"),
    ],
)
def test_values_without_chance_have_no_p_value(change: object, reason: str) -> None:
    rows, covariates = cohort(targets=1, sessions=2)
    rows["value"] = change(rows)  # type: ignore[operator]
    found = fit_statistics(rows, covariates, spec("value ~ group + session", sessions="mixed"))
    assert found["method"].str.contains(reason).all()


def test_fewer_people_than_terms() -> None:
    rows, covariates = cohort(n=4, targets=1, sessions=9)
    found = fit_statistics(rows, covariates.assign(sex=["F", "M", "M", "F"]), spec(sessions="mixed"))
    assert found["method"].str.contains("4 participants are too few for 4 terms and a random intercept").all()


def test_the_same_session_twice() -> None:
    rows, covariates = cohort(targets=1, sessions=2)
    both = pd.concat([rows, rows[rows["prompt_id"] == "vol"].assign(image="FLAIR")])
    found = fit_statistics(both, covariates, spec(sessions="mixed"))
    assert found["method"].str.contains("more than one value for participant 000 in one session").all()
