"""config.yaml: what is read, and what is refused with the key named."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest

from vp_engine.cohort.config import Config, load_config
from vp_engine.errors import ConfigError

Load = Callable[[str], Config]

GOOD = """\
datasets:
  study: {path: data, participants: ["01", "1e5"]}
output: results
prompts:
  - {id: hippvol, text: Measure the hippocampus.}
  - {id: growth, text: How much did it grow, images: [T1w], scope: participant}
subjects_per_job: 8
statistics:
  - id: bygroup
    rows: {prompt: hippvol, measure: volume}
    model: value ~ group + C(site) + age*sex
"""


@pytest.fixture
def load(tmp_path: Path) -> Load:
    for participant in ("01", "02", "1e5"):
        (tmp_path / "data" / f"sub-{participant}").mkdir(parents=True)
    (tmp_path / "data" / "dataset_description.json").write_text("{}")
    (tmp_path / "data" / "participants.tsv").write_text("participant_id\tgroup\tage\tsex\nsub-01\tA\t3\tF\n")
    (tmp_path / "data" / "sub-02" / "sub-02_sessions.tsv").write_text("session_id\tsite\nses-1\tX\n")

    def write_and_load(text: str) -> Config:
        (tmp_path / "config.yaml").write_text(text)
        return load_config(tmp_path / "config.yaml")

    return write_and_load


def test_good_file_becomes_frozen_config(load: Load, tmp_path: Path) -> None:
    config = load(GOOD)
    assert config.dataset("study").path == tmp_path / "data"
    assert config.output == tmp_path / "results"
    assert [(p.id, p.images, p.scope) for p in config.prompts] == [
        ("hippvol", (), "session"),
        ("growth", ("T1w",), "participant"),
    ]
    assert config.subjects_per_job == 8
    assert config.statistics[0].rows == {"prompt": ("hippvol",), "measure": ("volume",)}
    with pytest.raises(AttributeError):
        config.model = "other"  # type: ignore[misc]  # that it is frozen is what is tested


@pytest.mark.parametrize(("line", "streams"), [("", "alone"), ("streams: together\n", "together")])
def test_images_are_read_alone_unless_asked(load: Load, line: str, streams: str) -> None:
    assert load(line + GOOD).streams == streams


@pytest.mark.parametrize("ids", ["[01, 1e5]", '["01", "1e5"]', "[sub-01, sub-1e5]"])
def test_participant_ids_stay_text(load: Load, ids: str) -> None:
    assert load(GOOD.replace('["01", "1e5"]', ids)).datasets[0].participants == ("01", "1e5")


def test_exclude(load: Load) -> None:
    dataset = load(GOOD.replace('["01", "1e5"]', "{exclude: [02, sub-01]}")).datasets[0]
    assert (dataset.participants, dataset.exclude) == (None, ("01", "02"))


def test_who_only_stands_in_the_table_may_be_excluded(load: Load, tmp_path: Path) -> None:
    (tmp_path / "data" / "participants.tsv").write_text("participant_id\tgroup\tage\tsex\nsub-77\tA\t3\tF\n")
    assert load(GOOD.replace('["01", "1e5"]', "{exclude: [77]}")).datasets[0].exclude == ("77",)
    with pytest.raises(ConfigError, match="no folder sub-78"):
        load(GOOD.replace('["01", "1e5"]', "{exclude: [78]}"))


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("prompts:", "promts:", r"unknown key 'promts'; did you mean 'prompts'"),
        ("scope: participant", "scope: participants", r"prompts\[1\]\.scope: .*did you mean 'participant'"),
        ("id: growth", "id: hippvol", r"hippvol.*(twice|unique)"),
        ("id: growth", "id: HippVol", r"prompts\[1\]\.id: 'HippVol' is given twice"),
        ("id: growth", "id: hipp-vol", r"prompts\[1\]\.id: .*letters and digits"),
        ("path: data", "path: dat", r"datasets\.study\.path: no folder .*did you mean 'data'"),
        ('"1e5"', '"03"', r"datasets\.study\.participants: no folder sub-03"),
        (
            "prompt: hippvol",
            "prompt: hipvol",
            r"statistics\[0\]\.rows\.prompt: no prompt 'hipvol'; did you mean 'hippvol'",
        ),
        ("age*sex", "agee*sex", r"statistics\[0\]\.model: no column 'agee'.*did you mean 'age'"),
        ("age*sex", "__import__('os')", r"statistics\[0\]\.model "),
        ("value ~", "volume ~", r"statistics\[0\]\.model "),
        ("subjects_per_job: 8", "subjects_per_job: 0", r"subjects_per_job"),
        ("subjects_per_job: 8", "subjects_per_job: many", r"subjects_per_job"),
        ("subjects_per_job: 8", "subjects_per_job: ²", r"subjects_per_job"),
        ("age*sex", "participant_id", r"statistics\[0\]\.model: no column 'participant_id'"),
        ("C(site)", "session_id", r"statistics\[0\]\.model: no column 'session_id'.*did you mean 'session'"),
        ("output: results", "output: [a]", r"output: expected string"),
        ("output: results", "output: results\noutput: other", r"config\.yaml:4: the key 'output' is given twice"),
        ("output: results", "output: !!python/name:os.system x", r"config\.yaml:3: YAML tags are not allowed"),
        ("images: [T1w]", "images: &a [T1w]", None),
        ("images: [T1w]", "images: [T1]", r"prompts\[1\]\.images: no anatomical image 'T1'; did you mean 'T1w'\?"),
        ("images: [T1w]", "images: [T1w, bold]", r"prompts\[1\]\.images: .*'bold'; known: .*FLAIR"),
        ("subjects_per_job: 8", "model: nowhere", r"model: no folder"),
        ("Measure the hippocampus.", r'"Measure \uD800"', r"(half of a character at position 8|invalid Unicode)"),
        ("subjects_per_job: 8", "streams: togehter", r"streams: .*did you mean 'together'"),
        ("output: results", r'output: "a\0b"', r"config\.yaml: output: .* without control characters, got U\+0000"),
        ("output: results", r'output: "a\nb"', r"output: .* without control characters, got U\+000A"),
        ("output: results", 'output: "out{dataset}"', r"output: .* without braces"),
        ("path: data", r'path: "data\e[2J"', r"datasets\.study\.path: .* got U\+001B"),
        ("subjects_per_job: 8", r'model: "\L"', r"model: .* got U\+2028"),
        ("subjects_per_job: 8", r'agent: {planner: "a\rb"}', r"agent\.planner: .* got U\+000D"),
        ("study:", "../study:", r"datasets"),
        ("study:", '"$(touch x)":', r"datasets"),
        ("id: hippvol", "id: ../hippvol", r"prompts\[0\]\.id: .*letters and digits"),
        ("id: hippvol", 'id: "hippvol\\n"', r"prompts\[0\]\.id: .*letters and digits"),
        ("id: bygroup", "id: a/b", r"statistics\[0\]\.id: .*letters and digits"),
        ('"1e5"', '"../../etc"', r"datasets\.study\.participants"),
        ('"1e5"', '"*"', r"datasets\.study\.participants"),
    ],
)
def test_mistakes_are_named(load: Load, old: str, new: str, said: str | None) -> None:
    assert old in GOOD
    text = GOOD.replace(old, new, 1)
    if said is None:
        load(text)
        return
    with pytest.raises(ConfigError, match=said):
        load(text)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "empty"),
        ("[1, 2]", "expected object"),
        ("a: [", "not valid YAML"),
        ("a: &x [1]\nb: *x\n", r"config\.yaml:2: YAML aliases are not allowed"),
        ("a: &a [x, x]\n" + "".join(f"{n}: &{n} [*{m}, *{m}]\n" for m, n in pairwise("abcdefghi")), "YAML aliases"),
        ("a: &x {b: 1}\nc: {<<: *x}\n", "YAML aliases"),
        ("a: !!python/object/apply:os.system [id]", "YAML tags are not allowed"),
        ("a: !own x", "YAML tags are not allowed"),
        ("a: 1\n---\nb: 2\n", "not valid YAML: .*single document"),
        ("a: \x01", "not valid YAML"),
        ("[" * 5000, "deeper than 16"),
        ("#" * (1 << 20) + "\n", "larger than"),
        ("? [a]\n: b\n", "a key must be a plain word"),
    ],
)
def test_hostile_yaml_is_refused(load: Load, text: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        load(text)


def test_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        load_config(tmp_path / "config.yaml")


def test_only_the_demo_may_be_absent(load: Load, tmp_path: Path) -> None:
    asked = GOOD.replace("C(site) + ", "").replace(
        'study: {path: data, participants: ["01", "1e5"]}', "demo: {path: X}"
    )
    config = load(asked.replace("X", "demo"))
    assert config.datasets[0].is_demo
    for slip in ("dmo", str(tmp_path / "demos"), "demo/demo"):
        with pytest.raises(ConfigError, match=r"datasets\.demo\.path: no folder"):
            load(asked.replace("X", slip))
    (tmp_path / "demo").mkdir()
    assert not config.datasets[0].is_demo, "a folder that is not our demo is the user's"


def test_default_configuration_is_valid() -> None:
    root = Path(__file__).resolve().parents[2]
    config = load_config(root / "config.yaml")
    assert {prompt.scope for prompt in config.prompts} == {"session", "participant"}
    assert [statistic.id for statistic in config.statistics] == ["hippocampusbygroup", "ventriclesbygroup"]
