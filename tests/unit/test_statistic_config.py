"""Options of a statistic in config.yaml: what is read, and what is refused with the key named."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from vp_engine.cohort.config import Config, load_config
from vp_engine.cohort.statistic_config import MEASURES
from vp_engine.cohort.statistics import spec_of
from vp_engine.environment.instruction import Instruction
from vp_engine.environment.omega import Environment
from vp_engine.environment.phantom import PhantomWorld
from vp_engine.environment.values import Number
from vp_engine.errors import ConfigError
from vp_engine.stats.spec import CentilesOption, ExcludeOption, IcvOption, Options

Load = Callable[[str], Config]

GOOD = """\
datasets: {study: {path: data}}
output: results
prompts:
  - {id: hippvol, text: Measure the hippocampus.}
  - {id: head, text: Measure the intracranial volume.}
statistics:
  - id: bygroup
    rows: {prompt: hippvol, measure: volume}
    model: value ~ group + age
"""
EVERYTHING = """\
    icv: {method: residual, prompt: head}
    standard_errors: HC3
    family: statistic
    permutations: 999
    harmonise: {site: scanner}
    exclude: {qc_below: 0.5, outliers: 3}
    centiles: {age: age, reference: {group: control, sex: [F, M]}}
"""


@pytest.fixture
def load(tmp_path: Path) -> Load:
    (tmp_path / "data" / "sub-01").mkdir(parents=True)
    (tmp_path / "data" / "dataset_description.json").write_text("{}")
    header = "participant_id\tgroup\tage\tsex\tscanner\ticv\n"
    (tmp_path / "data" / "participants.tsv").write_text(f"{header}sub-01\tcontrol\t3\tF\tx\t1\n")

    def write_and_load(more: str) -> Config:
        (tmp_path / "config.yaml").write_text(GOOD + more)
        return load_config(tmp_path / "config.yaml")

    return write_and_load


def test_without_options_nothing_is_different(load: Load) -> None:
    assert spec_of(load("").statistics[0]).options == Options()


def test_every_option_reaches_the_models(load: Load) -> None:
    found = spec_of(load(EVERYTHING).statistics[0])
    assert found.options == Options(
        icv=IcvOption("residual", "head"),
        standard_errors="HC3",
        family="statistic",
        permutations=999,
        site="scanner",
        exclude=ExcludeOption(0.5, 3.0),
        centiles=CentilesOption("age", {"group": ("control",), "sex": ("F", "M")}),
    )
    assert found.prompts == ("hippvol", "head")
    assert spec_of(load("    sessions: mixed\n").statistics[0]).options == Options(sessions="mixed")


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ("icv: {method: ratio, prompt: head}", r"icv\.method: expected one of covariate, proportion, residual"),
        ("icv: {method: residual}", r"icv: missing key 'prompt'"),
        ("icv: {method: residual, prompt: hed}", r"icv\.prompt: no prompt 'hed'; did you mean 'head'"),
        ("sessions: all", r"sessions: expected one of first, mixed"),
        ("standard_errors: hc3", r"standard_errors: expected one of classical, HC3, got 'hc3'; did you mean 'HC3'"),
        ("family: targets", r"family: expected one of term, statistic"),
        ("permutations: -1", r"permutations: expected integer"),
        ("permutations: ²", r"permutations: "),
        ("permutations: 10", r"permutations: expected 0 or at least 99, got 10"),
        ("permutations: 10000000", r"permutations: "),
        ("permutations: 999\n    sessions: mixed", r"permutations: not together with `sessions: mixed`"),
        ("standard_errors: HC3\n    sessions: mixed", r"standard_errors: not together with `sessions: mixed`"),
        ("harmonise: {site: scanner}\n    sessions: mixed", r"harmonise: not together with `sessions: mixed`"),
        ("harmonise: {site: scaner}", r"harmonise\.site: no column 'scaner'.*did you mean 'scanner'"),
        ("harmonise: {site: group}", r"harmonise\.site: 'group' is a column of the model too"),
        ("harmonise: {site: session}", r"harmonise\.site: expected a column of participants\.tsv or `dataset`"),
        ("exclude: {}", r"exclude: "),
        ("exclude: {qc_below: 2}", r"exclude\.qc_below: "),
        ("exclude: {qc_below: low}", r"exclude\.qc_below: expected number"),
        (
            "icv: {method: proportion, prompt: head}\n    harmonise: {site: icv}",
            r"icv: there is a column 'icv' already",
        ),
        ("exclude: {outliers: 1}", r"exclude\.outliers: "),
        ("exclude: {outlier: 3}", r"exclude: unknown key 'outlier'; did you mean 'outliers'"),
        ("centiles: {age: age}", r"centiles: missing key 'reference'"),
        ("centiles: {age: ag, reference: {group: control}}", r"centiles\.age: no column 'ag'"),
        ("centiles: {age: age, reference: {gruop: control}}", r"centiles\.reference: no column 'gruop'"),
        ("centiles: {age: age, reference: {age: '20'}}", r"centiles\.reference: 'age' is the age"),
        ("centiles: {age: session, reference: {group: control}}", r"centiles\.age: expected a column of numbers"),
    ],
)
def test_mistakes_are_named(load: Load, more: str, said: str) -> None:
    with pytest.raises(ConfigError, match=rf"statistics\[0\]\.{said}"):
        load(f"    {more}\n")


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ("measure: volum", r"measure: no number is called 'volum'; did you mean 'volume'"),
        ("measure: [volume, side]", r"measure: no number is called 'side'"),
        ("target: left_hipocampus", r"target: no structure 'left_hipocampus'; did you mean 'left_hippocampus'"),
        ("target: left hippocampus", r"target: no structure 'left hippocampus'; did you mean 'left_hippocampus'"),
        ("target: [brain, lesions_001]", r"target: no structure 'lesions_001'"),
    ],
)
def test_rows_that_nothing_can_be_are_refused(load: Load, rows: str, said: str) -> None:
    config = load("")
    config.file.write_text(GOOD.replace("measure: volume", rows))
    with pytest.raises(ConfigError, match=rf"statistics\[0\]\.rows\.{said}"):
        load_config(config.file)


@pytest.mark.parametrize(
    "code",
    [
        'report(volume(intersection(part(a, "anterior"), dilate(b, "2mm"))))',
        'for piece in pieces(segment(img, "lesion")):\n    report(volume(piece))',
        'report(asymmetry(volume(part(a, "left")), volume(part(b, "right"))))',
        'report(asymmetry(volume(dilate(left, "2mm")), volume(dilate(right, "2mm"))))',
        "report(volume(a) + volume(b))\nreport(volume(a) - volume(b))\nreport(2 * volume(a))",
        "report(volume(a) / volume(b) * volume(a))\nreport(volume(a) / asymmetry(volume(a), volume(b)))",
        "report(annual_percent_rate(volume(before), volume(after)))\nfollow(before, after)",
    ],
)
def test_rows_that_a_program_can_give_are_accepted(load: Load, code: str) -> None:
    environment = Environment(PhantomWorld(sessions=2))
    head = 'img = scan(last)\na = segment(img, "left_hippocampus")\nb = segment(img, "right_hippocampus")\n'
    head += 'left = segment(img, "left_hemisphere")\nright = segment(img, "right_hemisphere")\n'
    head += 'before = segment(scan(first), "lesion")\nafter = segment(img, "lesion")\n'
    observation = environment.run(Instruction(f"{head}{code}\n"))
    assert observation.status == "done", observation.message
    rows = [row for row in environment.results if isinstance(row, Number)]
    assert rows
    assert {row.measure for row in rows} <= MEASURES
    config = load("")
    targets = sorted({row.target for row in rows})
    config.file.write_text(GOOD.replace("measure: volume", f"target: [{', '.join(targets)}]"))
    assert load_config(config.file).statistics[0].rows["target"] == tuple(targets)


def test_the_head_size_cannot_be_in_the_model_twice(load: Load) -> None:
    config = load("    icv: {method: covariate, prompt: head}\n")
    config.file.write_text(config.file.read_text().replace("group + age", "group + icv"))
    with pytest.raises(ConfigError, match=r"statistics\[0\]\.icv: there is a column 'icv' already"):
        load_config(config.file)
