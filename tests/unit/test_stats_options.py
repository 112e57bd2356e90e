"""What can be asked of a statistic beside its model: who is in it, adjustments, and a second analysis."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from scipy import stats

from tests.unit.results_fakes import number, run
from tests.unit.statistics_fakes import ROWS, cohort, spec
from vp_engine.errors import ConfigError
from vp_engine.stats.checks import FLAGS
from vp_engine.stats.models import StatisticSpec, analyse_statistic, fit_statistics, model_samples, read_model
from vp_engine.stats.spec import CentilesOption, ExcludeOption, IcvOption, Options

ROOT = Path(__file__).resolve().parents[2]


def test_names_in_the_example_of_the_guide_are_those_of_the_demo_or_said_not_to_be() -> None:
    guide = (ROOT / "docs" / "statistics.md").read_text(encoding="utf-8")
    example, _, after = guide.partition("```yaml\n")[2].partition("```\n\n")
    (entry,) = yaml.safe_load(example)["statistics"]
    demo = yaml.safe_load((ROOT / "config.yaml").read_text(encoding="utf-8"))
    known = {prompt["id"] for prompt in demo["prompts"]}
    known |= {name for one in demo["statistics"] for name in re.findall(r"\w+", one["model"])}
    prompts = {entry["rows"]["prompt"], entry["icv"]["prompt"]}
    columns = {entry["harmonise"]["site"], entry["centiles"]["age"], *entry["centiles"]["reference"]}
    others = (prompts | columns | set(re.findall(r"\w+", entry["model"]))) - known
    note = after.partition("\n\n")[0]
    assert others
    assert all(f"`{name}`" in note for name in others), others


def reasons(table: pd.DataFrame, **chosen: str) -> dict[str, int]:
    """How often each reason is given, of the rows with some values."""
    for column, value in chosen.items():
        table = table[table[column] == value]
    return dict(Counter(table["reason"]))


def flags_of(table: pd.DataFrame) -> set[str]:
    return {flag for flags in table["flags"] for flag in flags}


# --- who is in a model --------------------------------------------------------------------------------------------


def test_everybody_who_is_not_in_a_model_is_named_with_the_reason() -> None:
    rows, covariates = cohort(n=20, sessions=2)
    rows.loc[(rows["participant"] == "000") & (rows["target"] == "t0"), "value"] = None
    rows = rows[~((rows["participant"] == "001") & (rows["session"] == "1"))]
    rows = rows[rows["participant"] != "002"]
    covariates.loc[3, "age"] = "n/a"
    runs = pd.DataFrame(
        [
            run("d", "001", "1", "vol", status="failed"),
            run("d", "002", "1", "vol", status="timeout"),
            run("d", "002", "2", "vol", status="no_input"),
            run("d", "002", "2", "head", status="failed"),  # of a prompt that it is not about
            run("d", "004", "1", "vol"),
        ]
    )
    result = analyse_statistic(rows.reset_index(drop=True), covariates, spec(), runs=runs)
    found = result.exclusions
    assert reasons(found, target="t0") == {
        "no_value": 2,
        "missing:age": 2,
        "further_session": 16,
        "refused:failed": 1,
        "refused:timeout": 1,
        "refused:no_input": 1,
    }
    assert reasons(found, target="t1") == {
        "missing:age": 2,
        "further_session": 17,
        "refused:failed": 1,
        "refused:timeout": 1,
        "refused:no_input": 1,
    }
    assert set(found["analysis"]) == {"all"}
    for target, own in result.terms.groupby("target"):
        left = found[(found["target"] == target) & ~found["reason"].str.startswith("refused")]
        assert set(own["n_excluded"]) == {len(left)}
        assert set(own["n"] + own["n_excluded"]) == {37}, "19 people with two sessions, one of them with one"
    # the other session of who failed once is used
    assert not ((found["participant"] == "001") & (found["session"] == "2")).any()


def test_who_came_to_nothing_is_named_even_when_nothing_was_measured() -> None:
    rows, covariates = cohort(n=4)
    runs = pd.DataFrame([run("d", "000", None, "other", status="refused")])
    result = analyse_statistic(rows, covariates, StatisticSpec("s", {"prompt": ("other",)}, "value ~ age"), runs=runs)
    assert result.exclusions.to_dict("records") == [
        {
            "statistic_id": "s", "target": "n/a", "measure": "n/a", "analysis": "all",
            "dataset": "d", "participant": "000", "session": None, "reason": "refused:refused",
        }
    ]  # fmt: skip


# --- the second analysis ------------------------------------------------------------------------------------------


def test_both_analyses_are_there_and_only_the_second_leaves_out() -> None:
    rows, covariates = cohort()
    plain = fit_statistics(rows, covariates, spec())
    bad = (rows["target"] == "t0") & rows["participant"].isin(["004", "005"])
    rows.loc[bad, "qc_score"] = 0.2
    rows.loc[(rows["target"] == "t0") & (rows["participant"] == "006"), "value"] += 2500
    rows.loc[(rows["target"] == "t0") & (rows["participant"] == "007"), "qc_score"] = None  # not known: stays
    result = analyse_statistic(rows, covariates, spec(exclude=ExcludeOption(qc_below=0.5, outliers=3.5)))
    terms = result.terms.set_index(["analysis", "target", "term"])
    assert set(terms.loc["all"]["n"]) == {40}
    assert set(terms.loc[("excluded", "t0"), "n"]) == {37}
    assert set(terms.loc[("excluded", "t1"), "n"]) == {40}
    assert set(terms.loc[("excluded", "t0"), "n_excluded"]) == {3}
    method = terms.loc[("excluded", "t0"), "method"].iloc[0]
    assert "excluded 2: qc_score below the limit; excluded 1: outliers" in method
    assert reasons(result.exclusions) == {"qc_score": 2, "outlier": 1}
    assert set(result.exclusions["analysis"]) == {"excluded"}
    same = plain.set_index(["target", "term"]).loc["t1"]["estimate"]
    np.testing.assert_array_equal(terms.loc[("all", "t1"), "estimate"], same)
    np.testing.assert_array_equal(terms.loc[("excluded", "t1"), "estimate"], same)


def test_the_second_analysis_is_the_first_of_those_who_stay() -> None:
    rows, covariates = cohort()
    rows.loc[rows["participant"].isin(["004", "005"]), "qc_score"] = 0.2
    found = fit_statistics(rows, covariates, spec(exclude=ExcludeOption(qc_below=0.5)))
    without = fit_statistics(rows[rows["qc_score"] > 0.5].reset_index(drop=True), covariates, spec())
    second = found[found["analysis"] == "excluded"]
    for column in ("estimate", "std_error", "p", "p_fdr", "p_bonferroni", "effect_ci_low"):
        np.testing.assert_array_equal(second[column], without[column])


def test_far_from_the_others_but_as_expected_is_no_outlier() -> None:
    rows, covariates = cohort(effect=-3000.0)
    old = rows["participant"].map(covariates.set_index("participant")["age"].astype(float))
    rows["value"] -= 100 * old
    result = analyse_statistic(rows, covariates, spec(exclude=ExcludeOption(outliers=5.0)))
    assert result.exclusions.empty


def test_samples_for_figures_tell_who_is_left_out() -> None:
    rows, covariates = cohort()
    rows.loc[(rows["target"] == "t0") & (rows["participant"] == "006"), "value"] += 2500
    option = {"icv": IcvOption("residual", "head"), "exclude": ExcludeOption(outliers=3.5)}
    found = model_samples(rows, covariates, spec(**option))
    assert list(found.columns) == [
        "dataset", "participant", "session", "target", "measure", "unit", "value", "group", "age", "sex", "raw_value",
        "excluded_by",
    ]  # fmt: skip
    assert len(found) == 80
    left = found[found["excluded_by"].notna()]
    assert left[["participant", "target", "excluded_by"]].to_numpy().tolist() == [["006", "t0", "outlier"]]
    measured = rows[rows["prompt_id"] == "vol"].set_index(["participant", "target"])["value"]
    own = found.set_index(["participant", "target"])
    np.testing.assert_array_equal(own["raw_value"], measured[own.index])
    assert not np.allclose(own["value"], own["raw_value"])
    assert set(model_samples(rows[:0], covariates, spec(**option)).columns) == set(found.columns)


# --- head size ----------------------------------------------------------------------------------------------------


def test_head_size_is_that_of_the_same_image_else_the_only_one() -> None:
    rows, covariates = cohort(n=20, targets=1)
    head = rows["prompt_id"] == "head"
    other = rows[head].assign(image="FLAIR", value=1.0)
    other = other[other["participant"] != "003"]
    rows.loc[head & (rows["participant"] == "003"), "image"] = "T2w"  # the only one: taken
    lost = head & (rows["participant"] == "004")
    with_other = pd.concat([rows[~lost], other[other["participant"] != "004"]], ignore_index=True)
    option = IcvOption("covariate", "head")
    result = analyse_statistic(with_other, covariates, spec(icv=option))
    plain = fit_statistics(rows[~lost].reset_index(drop=True), covariates, spec(icv=option))
    np.testing.assert_array_equal(result.terms["estimate"], plain["estimate"])
    assert list(result.terms["term"]) == ["Intercept", "group[T.patient]", "sex[T.M]", "age", "icv"]
    assert reasons(result.exclusions) == {"missing:icv": 1}
    assert "intracranial volume as covariate" in result.terms["method"].iloc[0]


def test_a_proportion_has_no_unit_and_is_of_volumes_only() -> None:
    rows, covariates = cohort(targets=1)
    option = IcvOption("proportion", "head")
    found = fit_statistics(rows, covariates, spec(icv=option))
    assert set(found["unit"]) == {"1"}
    rows.loc[rows["prompt_id"] == "vol", "unit"] = "mm2"
    found = fit_statistics(rows, covariates, spec(icv=option))
    assert (
        found["method"].str.contains("a proportion of the intracranial volume is of volumes in mm3, not of mm2").all()
    )


def test_nobody_with_a_head_size() -> None:
    rows, covariates = cohort(targets=1)
    found = analyse_statistic(rows[rows["prompt_id"] == "vol"], covariates, spec(icv=IcvOption("residual", "head")))
    assert found.terms["method"].str.contains("no participant has a value and every covariate").all()
    assert reasons(found.exclusions) == {"missing:icv": 40}


def test_equal_heads() -> None:
    rows, covariates = cohort(targets=1)
    rows.loc[rows["prompt_id"] == "head", "value"] = 1.5e6
    found = fit_statistics(rows, covariates, spec(icv=IcvOption("residual", "head")))
    assert found["method"].str.contains("intracranial volume is the same for every participant").all()


# --- sites --------------------------------------------------------------------------------------------------------


def site_effect(rows: pd.DataFrame, covariates: pd.DataFrame) -> pd.DataFrame:
    """Values of site b are 500 more."""
    site = rows["participant"].map(covariates.set_index("participant")["site"])
    return rows.assign(value=rows["value"] + 500.0 * (site == "b"))


def test_sites_differ_no_more_and_groups_still_do() -> None:
    rows, covariates = cohort(n=120)
    shifted = site_effect(rows, covariates)
    plain = fit_statistics(shifted, covariates, spec()).set_index(["target", "term"])
    found = fit_statistics(shifted, covariates, spec(site="site")).set_index(["target", "term"])
    for target in ("t0", "t1"):
        own, before = found.loc[(target, "group[T.patient]")], plain.loc[(target, "group[T.patient]")]
        assert own["ci_low"] < -200 < own["ci_high"]
        assert own["std_error"] < 0.7 * before["std_error"]
        assert own["df"] == before["df"] - 2
        assert "ComBat over 3 sites (site) and 2 structures" in own["method"]


def test_a_site_that_is_a_group_is_not_harmonised() -> None:
    rows, covariates = cohort()
    covariates["site"] = covariates["group"]
    found = fit_statistics(rows, covariates, spec(site="site"))
    assert found["estimate"].isna().all()
    assert found["method"].str.startswith("not fitted: site is confounded with the columns of the model").all()
    assert flags_of(found) == {"confounded_site"}


def test_groups_that_differ_between_sites_are_told() -> None:
    rows, covariates = cohort(n=60)
    covariates["site"] = np.where((covariates["group"] == "patient") ^ (np.arange(60) % 5 == 0), "a", "b")
    found = fit_statistics(rows, covariates, spec(site="site"))
    assert "unbalanced_site:group[T.patient]" in flags_of(found)


def test_one_site_or_one_person_at_a_site_or_one_structure() -> None:
    rows, covariates = cohort(n=30)
    found = fit_statistics(rows, covariates.assign(site="a"), spec(site="site"))
    assert found["method"].str.contains("site is a for every participant: nothing to harmonise").all()
    covariates.loc[4, "site"] = "alone"
    result = analyse_statistic(rows, covariates, spec(site="site"))
    assert reasons(result.exclusions) == {"small_site": 2}
    assert set(result.terms["n"]) == {29}
    assert "no_shrinkage" not in flags_of(result.terms)
    one = fit_statistics(rows[rows["target"] != "t1"].reset_index(drop=True), covariates, spec(site="site"))
    assert "no_shrinkage" in flags_of(one)
    assert one["estimate"].notna().all()


def test_datasets_can_be_the_sites() -> None:
    rows, covariates = cohort(n=30)
    other = rows.assign(dataset="e", value=rows["value"] + 400)
    both = pd.concat([covariates.assign(dataset="d"), covariates.assign(dataset="e")])
    found = model_samples(pd.concat([rows, other], ignore_index=True), both, spec(site="dataset"))
    means = found.groupby("dataset")["value"].mean()
    assert abs(means["d"] - means["e"]) < 40
    assert (found["raw_value"] - found["value"]).abs().max() > 100


# --- permutations -------------------------------------------------------------------------------------------------


def test_p_by_permutation_is_that_of_all_permutations() -> None:
    rows, covariates = cohort(n=8, targets=1)
    found = fit_statistics(rows, covariates, spec("value ~ group", permutations=20_000)).set_index("term")
    values = rows.loc[rows["prompt_id"] == "vol", "value"].to_numpy(dtype=float)
    patients = (covariates["group"] == "patient").to_numpy()
    exact = stats.permutation_test(
        (values[patients], values[~patients]), lambda a, b: abs(stats.ttest_ind(a, b).statistic), alternative="greater"
    ).pvalue
    assert found.loc["group[T.patient]", "p_permutation"] == pytest.approx(exact, abs=0.01)
    assert np.isnan(found.loc["Intercept", "p_permutation"])


def test_permutations_follow_from_the_configuration_alone() -> None:
    rows, covariates = cohort(effect=-80.0)
    first, again = (fit_statistics(rows, covariates, spec(permutations=199)) for _ in range(2))
    pd.testing.assert_frame_equal(first, again)
    robust = fit_statistics(rows, covariates, spec(permutations=199, standard_errors="HC3"))
    tested = first["term"] != "Intercept"
    np.testing.assert_allclose(first["p_permutation"][tested], first["p"][tested], atol=0.1)
    np.testing.assert_allclose(robust["p_permutation"][tested], robust["p"][tested], atol=0.1)
    assert first["p_permutation"].min() >= 1 / 200
    other = fit_statistics(rows, covariates, spec(permutations=198))
    assert (other["p_permutation"] != first["p_permutation"])[tested].any()


# --- flags --------------------------------------------------------------------------------------------------------


def test_what_is_doubtful_is_flagged_and_what_is_not_is_not() -> None:
    rows, covariates = cohort(n=100, targets=1)
    assert flags_of(fit_statistics(rows, covariates, spec())) == set()
    own = rows["prompt_id"] == "vol"
    rng = np.random.default_rng(0)

    def changed(values: Any, model: str = "value ~ group + age + sex", **columns: Any) -> set[str]:
        return flags_of(fit_statistics(rows.assign(value=values), covariates.assign(**columns), spec(model)))

    skewed = rows["value"].where(~own, rng.exponential(100, len(rows)))
    assert changed(skewed) == {"residuals_not_normal"}
    patient = rows["participant"].map(covariates.set_index("participant")["group"]) == "patient"
    assert "heteroscedastic" in changed(rows["value"] + patient * rng.normal(0, 600, len(rows)))
    ages = covariates["age"].astype(float)
    ages[7] = 900.0
    assert "high_leverage:sub-007" in changed(rows["value"], age=ages.astype(str))
    far = rows["value"].where(~(own & (rows["participant"] == "007")), 30_000.0)
    assert {"high_leverage:sub-007", "influential:sub-007"} <= changed(far, age=ages.astype(str))
    twin = (covariates["age"].astype(float) + rng.normal(0, 1, 100)).astype(str)
    assert changed(rows["value"], "value ~ age + twin", twin=twin) == {"collinear:age", "collinear:twin"}


def test_few_participants_and_many_far_out() -> None:
    rows, covariates = cohort(n=16, targets=1)
    found = fit_statistics(rows, covariates.assign(code=[f"{n // 2}" for n in range(16)]), spec("value ~ C(code)"))
    flags = flags_of(found)
    assert "few_participants" in flags
    rare = covariates.assign(rare=[f"{min(n, 7)}" for n in range(16)])
    flags = flags_of(fit_statistics(rows, rare, spec("value ~ C(rare)")))
    assert "high_leverage:and 2 more" in flags
    assert {flag.partition(":")[0] for flag in flags} <= FLAGS.keys()


def test_sessions_and_datasets_are_in_the_names_of_flags() -> None:
    rows, covariates = cohort(n=30, targets=1, sessions=2)
    covariates.loc[7, "age"] = "900"
    flags = flags_of(fit_statistics(rows, covariates, spec(sessions="mixed")))
    assert {"high_leverage:sub-007_ses-1", "high_leverage:sub-007_ses-2"} <= flags
    both = pd.concat([rows, rows.assign(dataset="e")], ignore_index=True)
    people = pd.concat([covariates.assign(dataset="d"), covariates.assign(dataset="e", age="50")])
    assert "high_leverage:d/sub-007" in flags_of(fit_statistics(both, people, spec("value ~ group + age")))


def test_a_participant_alone_in_a_level_has_no_robust_error() -> None:
    rows, covariates = cohort(targets=1)
    covariates["kind"] = ["x"] + ["y"] * 39
    found = fit_statistics(rows, covariates, spec("value ~ kind", standard_errors="HC3"))
    assert found["method"].str.contains("standard errors HC3 do not exist, take `classical`").all()


def test_three_people_have_an_interval_but_no_size_of_an_effect() -> None:
    rows, covariates = cohort(n=3, targets=1)
    own = fit_statistics(rows, covariates, spec("value ~ group")).set_index("term").loc["group[T.patient]"]
    assert own["ci_low"] < own["estimate"] < own["ci_high"]
    assert own[["effect_size", "effect_ci_low", "effect_ci_high"]].isna().all()
    four, covariates = cohort(n=4, targets=1)
    own = fit_statistics(four, covariates, spec("value ~ group")).set_index("term").loc["group[T.patient]"]
    assert own["effect_ci_low"] < own["effect_size"] < own["effect_ci_high"]


# --- centiles -----------------------------------------------------------------------------------------------------


def test_centiles_of_the_reference_are_spread_evenly_and_those_of_patients_low() -> None:
    rows, covariates = cohort(n=400, effect=-300.0)
    option = CentilesOption("age", {"group": ("control",)})
    found = analyse_statistic(rows, covariates, spec(centiles=option)).centiles
    own = found[found["centile"].notna()]
    reference = own[own["in_reference"]]
    assert stats.kstest(reference["centile"] / 100, "uniform").pvalue > 0.01
    assert own.loc[~own["in_reference"], "centile"].median() < 5
    np.testing.assert_allclose(stats.norm.cdf(own["z"]) * 100, own["centile"], rtol=1e-9)
    assert set(found.loc[found["centile"].isna(), "reason"]) <= {"outside_reference_age"}
    assert (own["expected"] - own["value"]).abs().max() < 1000


def test_why_there_is_no_centile() -> None:
    rows, covariates = cohort(n=80, targets=1)
    covariates.loc[1, "age"] = "95"
    covariates.loc[3, "age"] = "n/a"
    covariates["centre"] = "x"
    covariates.loc[5, "centre"] = "y"
    option = CentilesOption("age", {"group": ("control",)})
    found = analyse_statistic(rows, covariates, spec("value ~ group + sex + centre", centiles=option)).centiles
    told = found.set_index("participant")["reason"]
    assert told["001"] == "outside_reference_age"
    assert told["003"] == "missing:age"
    assert told["005"] == "not_in_reference:centre"
    assert found["centile"].notna().sum() == told.isna().sum() > 70
    few = analyse_statistic(rows[rows["participant"] < "030"], covariates, spec("value ~ group", centiles=option))
    assert set(few.centiles["reason"]) == {"reference_too_small:15"}


def test_all_sessions_are_compared_with_the_first_ones_of_others() -> None:
    rows, covariates = cohort(n=60, targets=1, sessions=2)
    option = CentilesOption("age", {"group": ("control",)})
    both = analyse_statistic(rows, covariates, spec(sessions="mixed", centiles=option)).centiles
    first = analyse_statistic(rows, covariates, spec(centiles=option)).centiles
    assert len(both) == 2 * len(first) == 120
    again = both[both["session"] == "1"].reset_index(drop=True)
    pd.testing.assert_frame_equal(again, first)
    # the second visit of a member is not compared with his own first one: an odd first one does not change it
    rows.loc[(rows["participant"] == "000") & (rows["target"] == "t0") & (rows["session"] == "1"), "value"] += 5000
    odd = analyse_statistic(rows, covariates, spec(sessions="mixed", centiles=option)).centiles
    later = (both["participant"] == "000") & (both["session"] == "2")
    np.testing.assert_allclose(odd.loc[later, "centile"], both.loc[later, "centile"], rtol=1e-6)


def test_low_quality_is_no_reference() -> None:
    rows, covariates = cohort(n=60, targets=1)
    rows.loc[rows["participant"] == "000", "qc_score"] = 0.1
    option = CentilesOption("age", {"group": ("control",)})
    found = analyse_statistic(rows, covariates, spec(centiles=option, exclude=ExcludeOption(qc_below=0.5))).centiles
    own = found.set_index("participant")
    assert not own.loc["000", "in_reference"]
    assert own["in_reference"].sum() == 29


# --- mistakes -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (Options(site="scanner"), "no column 'scanner'"),
        (Options(site="raw_value"), "'raw_value' is a name of our own; give the column another one"),
        (Options(centiles=CentilesOption("__age", {"group": ("control",)})), "'__age' is a name of our own"),
        (
            Options(centiles=CentilesOption("sex", {"group": ("control",)})),
            "centiles.age: expected a column of numbers",
        ),
        (Options(centiles=CentilesOption("age", {"group": ("well",)})), "centiles.reference.group: nobody has 'well'"),
    ],
)
def test_mistakes_are_known_before_anything_is_measured(options: Options, message: str) -> None:
    _, covariates = cohort()
    with pytest.raises(ConfigError, match=message):
        read_model(covariates, StatisticSpec("s", ROWS, "value ~ group", options))


def test_rows_of_one_unit_have_it_and_of_several_none() -> None:
    rows, covariates = cohort(targets=1)
    extra = number("d", "000", None, "vol", "t9", 1.0, unit="mm")
    found = fit_statistics(pd.DataFrame([*rows.to_dict("records"), extra]), covariates, spec("value ~ age"))
    assert found.groupby("target")["unit"].first().to_dict() == {"t0": "mm3", "t9": "mm"}
    rows.loc[0:10, "unit"] = "mm"
    assert fit_statistics(rows, covariates, spec("value ~ age"))["unit"].isna().all()
