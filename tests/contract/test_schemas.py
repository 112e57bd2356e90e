"""The files in schemas/ say what the contract says, and the tables follow them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from vp_engine.errors import ConfigError
from vp_engine.tables import schema as schema_module
from vp_engine.tables.schema import SCHEMAS, allowed_values, arrow_schema, key_columns, load_schema, validate

ROOT = Path(__file__).resolve().parents[2]

# what users' scripts rely on; a change needs a new schema_version
COLUMNS = {
    "plan": "dataset participant session prompt_id prompt scope images scans streams left_out status reason_code "
    "reason shard acquired days",
    "measurements": "dataset participant session prompt_id target measure value text unit image reference_session "
    "qc_score flags model_id program_sha256 record_id",
    "segmentations": "dataset participant session prompt_id target label path voxels volume_mm3 spacing_mm space "
    "sha256 qc_score record_id",
    "runs": "dataset participant session prompt_id prompt status reason steps program seconds device input_sha256 "
    "model_id vp_engine_version record_id",
    "statistics": "statistic_id target measure model term estimate std_error ci_low ci_high statistic df p p_fdr "
    "effect_size effect_size_name n n_excluded method analysis unit estimator p_bonferroni p_permutation "
    "effect_ci_low effect_ci_high flags",
    "exclusions": "statistic_id target measure analysis dataset participant session reason",
    "centiles": "statistic_id target measure dataset participant session age value unit expected z centile "
    "in_reference reason",
}
KEYS = {
    "plan": "dataset participant session prompt_id",
    "runs": "dataset participant session prompt_id",
    "measurements": "dataset participant session prompt_id target measure image reference_session",
    "segmentations": "dataset participant session prompt_id target path",
    "statistics": "statistic_id target measure analysis term",
    "exclusions": "statistic_id target measure analysis dataset participant session reason",
    "centiles": "statistic_id target measure dataset participant session",
}
STATUSES = {"ok", "refused", "refused_input", "no_input", "failed", "timeout", "interrupted", "no_record"}


def test_every_file_is_a_schema_of_ours() -> None:
    files = sorted((ROOT / "schemas").glob("*.schema.json"))
    assert [path.name.removesuffix(".schema.json") for path in files] == sorted([*SCHEMAS, "config"])
    for path in files:
        content = json.loads(path.read_text(encoding="utf-8"))
        jsonschema.Draft202012Validator.check_schema(content)
        assert content["$schema"] == "https://json-schema.org/draft/2020-12/schema"
        assert content["additionalProperties"] is False


@pytest.mark.parametrize("name", SCHEMAS)
def test_columns_and_keys_are_those_of_the_contract(name: str) -> None:
    assert arrow_schema(name).names == COLUMNS[name].split()
    assert list(key_columns(name)) == KEYS[name].split()
    assert load_schema(name)["required"] == COLUMNS[name].split()
    assert all(field.metadata[b"description"] for field in arrow_schema(name))


def test_statuses_are_those_of_the_contract() -> None:
    assert allowed_values("runs")["status"] == STATUSES


@pytest.mark.parametrize(
    ("table", "nullable"),
    [
        ("measurements", "session target value text unit image reference_session qc_score"),
        ("segmentations", "session qc_score"),
    ],
)
def test_what_may_be_null(table: str, nullable: str) -> None:
    assert [field.name for field in arrow_schema(table) if field.nullable] == nullable.split()


def test_unknown_names_are_refused() -> None:
    for ask in (load_schema, arrow_schema, key_columns):
        with pytest.raises(KeyError, match="measurement"):
            ask("measurement")


def test_schemas_inside_an_installed_package_go_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "site" / "vp_engine"
    monkeypatch.setattr(schema_module, "__file__", str(package / "tables" / "schema.py"))
    with pytest.raises(FileNotFoundError, match="reinstall"):
        schema_module.schema_folder()
    for folder in (tmp_path / "site" / "schemas", package / "schemas"):
        folder.mkdir(parents=True)
        (folder / "plan.schema.json").touch()
        assert schema_module.schema_folder() == folder


def config(**changes: Any) -> dict[str, Any]:
    return {
        "datasets": {"demo": {"path": "demo", "participants": "all"}},
        "output": "results",
        "prompts": [{"id": "hippvol", "text": "Measure it.", "images": ["T1w"], "scope": "session"}],
        "model": "default",
        "subjects_per_job": "auto",
        "statistics": [
            {
                "id": "bygroup",
                "rows": {"prompt": "hippvol", "measure": "volume"},
                "model": "value ~ group + age + sex",
                "per": ["target"],
            }
        ],
    } | changes


def test_the_example_of_the_contract_is_valid() -> None:
    validate(config(), "config")
    validate(config(subjects_per_job=64, datasets={"a": {"path": "a", "participants": {"exclude": ["01"]}}}), "config")


def test_the_default_configuration_is_valid() -> None:
    path = ROOT / "config.yaml"
    validate(yaml.safe_load(path.read_text(encoding="utf-8")), "config")


PROMPT = {"id": "hippvol", "text": "Measure it."}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"promts": []}, "top level: unknown key 'promts'; did you mean 'prompts'?"),
        ({"prompts": [PROMPT, PROMPT]}, r"prompts\[1\].id: 'hippvol' is used twice"),
        ({"prompts": [PROMPT | {"scope": "sesion"}]}, r"prompts\[0\].scope: expected .* did you mean 'session'?"),
        ({"prompts": [PROMPT | {"id": "hipp-vol"}]}, r"prompts\[0\].id: expected letters and digits only"),
        ({"prompts": [PROMPT | {"id": "hippvol\n"}]}, r"prompts\[0\].id: expected letters and digits only"),
        ({"prompts": [PROMPT | {"id": 1}]}, r"prompts\[0\].id: expected string, got 1; put it in quotes"),
        ({"prompts": [{"id": "hippvol"}]}, r"prompts\[0\]: missing key 'text'"),
        ({"prompts": []}, "prompts: "),
        ({"datasets": {"01": {"path": "x"}}}, "datasets: expected text like .*, got '01'"),
        ({"datasets": {"../up": {"path": "x"}}}, "datasets: expected text like"),
        (
            {"datasets": {"a": {"path": "x", "participants": ["01", 2]}}},
            r"datasets.a.participants\[1\]: expected string, got 2",
        ),
        ({"datasets": {"a": {"path": "x", "participants": "al"}}}, "datasets.a.participants: got 'al'; expected: Who"),
        (
            {"datasets": {"a": {"path": "x", "participants": {"exclud": []}}}},
            "unknown key 'exclud'; did you mean 'exclude'?",
        ),
        ({"subjects_per_job": 0}, "subjects_per_job: 0 is less"),
        (
            {"statistics": [{"id": "x", "rows": {"prompt": "a", "mesure": "b"}, "model": "m"}]},
            "did you mean 'measure'?",
        ),
        ({"gpus": 4}, "unknown key 'gpus'; known are datasets, output"),
    ],
)
def test_mistakes_are_named_with_the_nearest_valid_key(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        validate(config(**changes), "config")


def test_several_mistakes_are_told_at_once() -> None:
    with pytest.raises(ConfigError) as caught:
        validate(config(output=None, model=1, promts=[]), "config")
    assert len(caught.value.message.splitlines()) == 3
