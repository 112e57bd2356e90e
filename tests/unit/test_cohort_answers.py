"""Answers in words: every kind of row, units, doubts and refusals."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import replace
from datetime import date
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from tests.unit.cohort_fakes import FixedPlanner, IntensitySegmenter, fake_engine, write_scan
from vp_engine.agent.calculations import Operand, calculations
from vp_engine.agent.loop import run_prompt
from vp_engine.agent.planner import Context, History
from vp_engine.agent.transcript import Transcript
from vp_engine.agent.wording import MEASURES, in_words, quantity
from vp_engine.anatomy import PARTS, STRUCTURES
from vp_engine.cli.app import app
from vp_engine.cohort.answers import answer
from vp_engine.cohort.ask import ask
from vp_engine.cohort.flags import FLAGS
from vp_engine.environment.instruction import Instruction
from vp_engine.environment.omega import Environment
from vp_engine.environment.ops import OPS
from vp_engine.environment.phantom import PhantomWorld
from vp_engine.environment.values import Cutout, Image, Mask, Number, Result, SessionInfo, Text
from vp_engine.environment.vocabulary import REASONS, WORDS
from vp_engine.tables.confidence import LOOK_BELOW

ONE = SessionInfo(None, None, ("T1w", "FLAIR"))
FIRST = SessionInfo("01", date(2020, 1, 1), ("T1w",))
LAST = SessionInfo("02", date(2021, 1, 1), ("T1w",))
IMAGE = Image(ONE, "T1w", np.zeros((2, 2, 2), np.float32), np.eye(4))
FULL, EMPTY = np.ones((2, 2, 2), bool), np.zeros((2, 2, 2), bool)


def number(target: str, value: float | None, **fields: object) -> Number:
    row = Number(value, "mm3", target, "volume", "T1w", ONE, qc_score=0.9)
    return replace(row, **fields)  # type: ignore[arg-type]  # fields of a number


def said(*results: Result, prompt: str = "", flags: Iterable[str] = ()) -> str:
    return answer(Transcript(Context(prompt), (), "ok"), results, flags=flags)


class Script:
    """Writes the given pieces in turn."""

    def __init__(self, *pieces: str) -> None:
        self.pieces = pieces

    def next_instruction(self, context: Context, history: History) -> Instruction:
        return Instruction(self.pieces[min(len(history), len(self.pieces) - 1)])


def run(*pieces: str, prompt: str = "", sessions: int = 1) -> str:
    environment = Environment(PhantomWorld(("T1w", "FLAIR"), sessions=sessions))
    transcript = run_prompt(Script(*pieces), prompt, environment)
    return answer(transcript, environment.results)


def volume_of(name: str, image: str = "scan(current)") -> str:
    return f'volume(segment({image}, "{name}"))'


# plain measures


def test_one_volume() -> None:
    assert said(number("left_hippocampus", 3421.44)) == "The volume of the left hippocampus is 3421 mm3."


def test_both_sides_in_the_unit_asked_for() -> None:
    rows = number("left_hippocampus", 3421.44), number("right_hippocampus", 3514.0)
    text = "The volume of the left hippocampus is 3.42 mL (right: 3.51 mL)."
    assert said(*rows, prompt="Volumes in ml please") == text


def test_several_structures_of_one_measure_are_one_sentence() -> None:
    rows = [number(name, 1000.0 * n) for n, name in enumerate(("caudate", "putamen", "brainstem"), start=1)]
    assert said(*rows) == (
        "The volume of the caudate is 1000 mm3, that of the putamen 2000 mm3 and that of the brainstem 3000 mm3."
    )


def test_measures_are_sentences_of_their_own_with_their_own_units() -> None:
    rows = (
        number("caudate", 4000.0),
        number("caudate", 1500.0, measure="surface_area", unit="mm2"),
        number("caudate", 35.0, measure="max_diameter", unit="mm"),
    )
    assert said(*rows, prompt="volume in cc, area in square centimetres, diameter in cm") == (
        "The volume of the caudate is 4.00 cc. The surface area of the caudate is 15.0 cm2. "
        "The largest diameter of the caudate is 3.50 cm."
    )


def test_a_length_unit_leaves_volumes_alone() -> None:
    assert said(number("caudate", 4000.0), prompt="volume in cm") == "The volume of the caudate is 4000 mm3."


def test_the_intracranial_volume_is_no_volume_of_a_volume() -> None:
    rows = number("brain", 1.2e6), number("intracranial_volume", 1.5e6)
    assert said(*rows, prompt="in litres") == "The volume of the brain is 1.20 L. The intracranial volume is 1.50 L."


def test_lesions_are_counted() -> None:
    row = number("lesion", 12.0, measure="count", unit="1")
    assert said(row) == "The number of separate lesions is 12."
    assert said(replace(row, target="lesion_within_5mm_of_ventricles")) == (
        "The number of separate pieces of the lesions within 5 mm of the ventricles is 12."
    )


def test_intensities_name_their_image() -> None:
    row = number("putamen", 35.04, measure="mean_intensity", unit="a.u.", image="FLAIR")
    assert said(row) == "On the FLAIR image, the mean intensity of the putamen is 35.0 a.u."


def test_images_are_named_when_there_are_several() -> None:
    text = said(number("putamen", 10.0), number("putamen", 12.0, image="FLAIR"))
    assert text == (
        "On the T1w image, the volume of the putamen is 10.0 mm3. "
        "On the FLAIR image, the volume of the putamen is 12.0 mm3."
    )


def test_sessions_are_named_when_there_are_several() -> None:
    rows = number("ventricles", 20000.0, session=FIRST), number("ventricles", 21000.0, session=LAST)
    assert said(*rows, prompt="ml") == (
        "In session 01, the volume of the ventricles is 20.0 mL. "
        "In session 02, the volume of the ventricles is 21.0 mL."
    )


def test_of_many_structures_the_range_is_said() -> None:
    names = [name for name, structure in STRUCTURES.items() if structure.kind == "part"][:13]
    rows = [number(name, 100.0 + n, qc_score=0.2 if n == 3 else 0.9) for n, name in enumerate(names)]
    assert said(*rows) == (
        f"The volume of 13 structures is between 100 mm3 ({in_words(names[0])}) and 112 mm3 ({in_words(names[-1])}); "
        "the confidence of 1 is low; see the rows."
    )


def test_the_centre_is_one_sentence() -> None:
    text = run("".join(f'report(centroid_{axis}(segment(scan(current), "left_thalamus")))\n' for axis in "xyz"))
    assert text.startswith("The centre of the left thalamus is at x -12.")
    assert text.count(" mm") == 3
    assert text.endswith(" (right, front and up are positive).")


def test_one_coordinate_is_told_by_itself() -> None:
    row = number("caudate", -12.04, measure="centroid_x", unit="mm")
    assert said(row) == "The x coordinate (right is positive) of the centre of the caudate is -12.0 mm."


def test_of_many_sentences_the_first_are_said() -> None:
    sessions = [SessionInfo(f"{n:02d}", None, ("T1w",)) for n in range(20)]
    text = said(*(number("caudate", 1.0, session=session) for session in sessions))
    assert text.count("In session") == 12
    assert text.endswith("The rows have 8 more such results.")


# numbers made of numbers


def test_asymmetry_says_which_side_is_larger() -> None:
    code = f"report(asymmetry({volume_of('left_thalamus')}, {volume_of('right_thalamus')}))\n"
    assert run(code, prompt="asymmetry of the thalami in percent") == (
        "The asymmetry index 2(L-R)/(L+R) of the volume of the thalamus is -2.99 %: the right side is larger."
    )


def test_asymmetry_of_an_unknown_measure() -> None:
    row = number("hippocampus", 0.031, measure="asymmetry", unit="1")
    index = "The asymmetry index 2(L-R)/(L+R) of the hippocampus is"
    assert said(row) == f"{index} 0.0310: the left side has the larger value."
    assert said(replace(row, value=0.0)) == f"{index} 0: both sides are equal."


def test_ratio_says_of_what() -> None:
    code = (
        'img = scan(current)\nicv = volume(segment(img, "intracranial_volume"))\n'
        'report(ratio(volume(segment(img, "left_hippocampus")), icv))\n'
    )
    text = run(code, prompt="hippocampus as a percentage of ICV")
    assert text.startswith("The ratio of the volume of the left hippocampus to the intracranial volume is 0.")
    assert text.endswith(" %.")


def test_what_the_program_leaves_open_is_left_open() -> None:
    row = number("caudate", 0.5, measure="ratio", unit="1")
    assert said(row) == "The ratio for the caudate is 0.500."
    code = f"report(ratio({volume_of('left_caudate')} + {volume_of('right_putamen')}, {volume_of('brain')}))\n"
    assert run(code).startswith("The ratio for the left caudate to the volume of the brain is 0.00")
    assert said(replace(row, measure="sum", unit="mm3")) == "The sum for the caudate is 0.500 mm3."


def test_distance_says_between_what() -> None:
    masks = 'segment(scan(current), "left_hippocampus"), segment(scan(current), "left_thalamus")'
    assert run(f"report(distance({masks}))\n").startswith(
        "The shortest distance between the left hippocampus and the left thalamus is "
    )
    touching = number("caudate", 0.0, measure="distance", unit="mm")
    assert said(touching) == "The shortest distance asked for from the caudate is 0 mm; they touch or overlap."


def test_changes_have_sign_sessions_and_unit() -> None:
    change = number("left_hippocampus", -120.0, measure="change", session=LAST, reference_session=FIRST)
    other = replace(change, target="right_hippocampus", value=80.0)
    assert said(change, other, prompt="in mL") == (
        "From session 01 to session 02, the volume of the left hippocampus changed by -0.120 mL (right: +0.0800 mL)."
    )
    rate = replace(change, measure="annual_rate", unit="mm3/year", value=-60.04)
    assert said(rate).endswith("the volume of the left hippocampus changed by -60.0 mm3 per year.")


def test_percent_changes_name_the_measure_that_the_program_names() -> None:
    pair = ", ".join(volume_of("ventricles", f"scan({when})") for when in ("first", "last"))
    assert run(f"report(percent_change({pair}))\n", sessions=2) == (
        "From session 01 to session 02, the volume of the ventricles changed by +8.23 %."
    )
    assert run(f"report(annual_percent_rate({pair}))\n", sessions=2).endswith("changed by +8.23 % per year.")
    alone = number("ventricles", 3.0, measure="percent_change", unit="%", session=LAST, reference_session=FIRST)
    assert said(alone) == "From session 01 to session 02, the measure asked about changed: ventricles +3.00 %."


def test_changes_of_several_structures_are_one_sentence() -> None:
    rows = [
        number(name, value, measure="change", session=LAST, reference_session=FIRST)
        for name, value in (("thalamus", -5.0), ("caudate", 6.0), ("intracranial_volume", 1.0))
    ]
    assert said(*rows) == (
        "From session 01 to session 02, the volume of the thalamus changed by -5.00 mm3 "
        "and that of the caudate by +6.00 mm3. "
        "From session 01 to session 02, the intracranial volume changed by +1.00 mm3."
    )


# what has no value, and what is doubtful


def test_undefined_values_say_why() -> None:
    row = number("left_hippocampus", None, flags=("empty_mask",), qc_score=None)
    assert said(row) == "The volume of the left hippocampus has no value: nothing was found."
    ratio = number("caudate", None, measure="ratio", unit="1", flags=("zero_denominator",))
    assert said(ratio) == "The ratio for the caudate has no value: something was divided by 0."
    change = number("caudate", None, measure="change", flags=("empty_mask",), session=LAST, reference_session=FIRST)
    assert said(change) == (
        "From session 01 to session 02, the change of the volume of the caudate has no value: nothing was found."
    )


def test_undefined_values_of_several_structures_are_one_sentence() -> None:
    rows = [number(name, None, flags=("empty_mask",), qc_score=None) for name in ("caudate", "putamen")]
    assert said(*rows) == "The volume of each of these: caudate, putamen, has no value: nothing was found."
    many = [replace(rows[0], target=f"x{n}") for n in range(20)]
    assert said(*many) == "The volume of 20 structures has no value: nothing was found."


def test_low_confidence_is_said() -> None:
    rows = number("left_hippocampus", 3000.0, qc_score=0.41), number("right_hippocampus", 3100.0)
    assert said(*rows) == (
        "The volume of the left hippocampus is 3000 mm3 (low confidence: qc_score 0.41) "
        "and that of the right hippocampus 3100 mm3."
    )
    assert "low confidence" in said(number("brain", 1.0, qc_score=LOOK_BELOW - 0.001))
    assert "low confidence" not in said(number("brain", 1.0, qc_score=LOOK_BELOW))


@pytest.mark.parametrize("flag", sorted(FLAGS))
def test_every_flag_is_said_in_words(flag: str) -> None:
    text = said(number("brain", None if "no value" in FLAGS[flag] else 1.0, flags=(flag,)))
    assert "follows a colon" not in text
    assert "`" not in text
    assert ("has no value: " in text) != (f"({flag})." in text)


def test_flags_keep_their_details_and_stand_once() -> None:
    rows = [number(name, 1.0, flags=(f"touches_image_edge:{name}",)) for name in ("brainstem", "caudate")]
    text = said(*rows, flags=["session_left_out:03"])
    assert text.count("Note:") == 2
    assert "(touches_image_edge:brainstem, touches_image_edge:caudate)." in text
    assert "(session_left_out:03)." in text


# masks and images


def test_masks_without_numbers() -> None:
    masks = Mask(IMAGE, "left_caudate", FULL), Mask(IMAGE, "ventral_dc", FULL, qc_score=0.3)
    assert said(*masks) == "Outlined and saved: left caudate, ventral DC (low confidence: qc_score 0.30)."


def test_masks_that_are_measured_are_not_said_twice() -> None:
    assert said(Mask(IMAGE, "caudate", FULL), number("caudate", 1.0)) == "The volume of the caudate is 1.00 mm3."


def test_empty_masks() -> None:
    text = said(Mask(IMAGE, "lesion", EMPTY), Mask(IMAGE, "caudate", FULL))
    assert text == "Outlined and saved: caudate. Not found, so that its mask is empty: lesions."


def test_all_masks_are_counted() -> None:
    assert run("for m in parcels(scan(current)):\n    save(m)\n").startswith(
        f"Outlined and saved: {len(PARTS)} structures;"
    )


def test_cutouts() -> None:
    cutout = Cutout(IMAGE, "left_hippocampus", IMAGE.data, IMAGE.affine)
    assert said(cutout) == "Cut out and saved: T1w image of the left hippocampus."


def test_flags_of_cutouts_are_said_as_they_have_no_row() -> None:
    image = replace(IMAGE, flags=("flag_several_scans",))
    text = said(Cutout(image, "csf", IMAGE.data, IMAGE.affine, flags=("mask_resampled",)))
    assert "(mask_resampled)." in text
    assert "(flag_several_scans)." in text


def test_nothing() -> None:
    assert said() == "Nothing was measured and nothing outlined."


# answers


def test_which_side() -> None:
    ask = f"read(compare({volume_of('left_hippocampus')}, {volume_of('right_hippocampus')}))\n"
    assert run(ask, 'answer("right", "hippocampus")\n', prompt="which hippocampus is larger?") == (
        "The right hippocampus. The volume of the left hippocampus is less than the volume of the right hippocampus."
    )


def test_did_it_grow() -> None:
    ask = (
        "after = scan(last)\nbefore = scan(first)\n"
        f"read(compare({volume_of('ventricles', 'after')}, {volume_of('ventricles', 'before')}))\n"
    )
    assert run(ask, 'answer("yes", "ventricles")\n', sessions=2) == (
        "Yes. In the last session, the volume of the ventricles is greater than that in the first session."
    )


def test_numbers_that_were_read_are_told_with_the_answer() -> None:
    ask = f"read([{volume_of('brainstem')}, {volume_of('left_caudate')}])\n"
    text = run(ask, f'report({volume_of("brainstem")})\nanswer("no", "brainstem")\n', prompt="in ml")
    assert text.startswith("No. The volume of the brainstem is 18.4 mL and that of the left caudate ")
    assert text.count("brainstem") == 1


def test_words_about_several_structures() -> None:
    assert said(Text("yes", "caudate"), Text("no", "lesion")) == "Caudate: yes. Lesions: no."
    assert said(Text("left", "cerebrum")) == "Cerebrum: left."
    assert said(Text("yes")) == "Yes."
    assert said(Text("FLAIR", "brain")) == "Contrast: FLAIR."


@pytest.mark.parametrize("word", WORDS)
def test_every_word_can_be_said(word: str) -> None:
    assert word.replace("_", " ") in said(Text(word, "hippocampus")).lower().replace("flair", "FLAIR").replace(
        "t1w", "T1w"
    ).replace("t2w", "T2w").replace("pdw", "PDw")


# what was not done


def test_refusals_give_the_reason() -> None:
    assert run('refuse("diagnosis")\n').startswith("Naming a disease is a medical judgement")
    text = run('report(volume(segment(image("ct", current), "brain")))\n')
    assert text.startswith("This session has no ct image; it has T1w, FLAIR")
    assert text.endswith(".")


def test_failures_say_that_there_is_no_answer() -> None:
    assert run("volume(3)\n") == ("There is no answer: the agent did not arrive at a program that works. Wrong type.")


# parts


def test_all_measures_of_masks_have_words() -> None:
    assert set(MEASURES) <= set(OPS)
    assert {quantity(measure, "caudate") for measure in MEASURES} == {
        f"{words} of the caudate" for words in MEASURES.values()
    }


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("csf", "CSF"),
        ("white_matter_lesion_largest", "white matter lesions (largest piece)"),
        ("lesion_within_10mm_of_left_lateral_ventricle", "lesions within 10 mm of the left lateral ventricle"),
        ("lesion_nearer_left_hemisphere", "lesions nearer to the left hemisphere"),
        ("lesion_and_white_matter", "lesions inside the white matter"),
        ("left_caudate_dilated_2mm", "left caudate grown by 2 mm"),
        ("brain_eroded_1mm_without_ventricles", "brain shrunk by 1 mm without the ventricles"),
        ("caudate_or_putamen", "caudate together with the putamen"),
        ("white_matter_lesion_part", "white matter lesions (left and right part)"),
        ("white_matter_lesion_left_part", "white matter lesions (left part)"),
        ("thalamus_medial_part", "thalamus (medial part)"),
        ("white_matter_lesion_007", "white matter lesion 7"),
        ("lesion_in_right_frontal_lobe_012", "lesions in the right frontal lobe (number 12)"),
        ("lesion_in_left_hemisphere", "lesions in the left hemisphere"),
        ("lesion_in_deep_white_matter", "lesions in the deep white matter"),
        ("lesion_in_infratentorial", "lesions (infratentorial)"),
        ("lesion_smallest", "lesions (smallest piece)"),
        ("lesion_at_least_10mm", "lesions of 10 mm and more"),
        ("lesion_touching_ventricles", "lesions touching the ventricles"),
        ("lesion_bright_on_FLAIR_largest", "lesions bright on FLAIR (largest piece)"),
        ("lesion_brightest_on_T2w", "lesions (brightest on T2w)"),
        ("lesion_similar_on_T1w", "lesions as bright as white matter on T1w"),
        ("white_matter_lesion_new", "white matter lesions (new)"),
    ],
)
def test_names_in_words(name: str, words: str) -> None:
    assert in_words(name) == words


def test_structures_in_words_are_told_apart() -> None:
    assert len({in_words(name) for name in STRUCTURES}) == len(STRUCTURES)


def test_a_variable_set_again_is_what_it_is_then() -> None:
    code = (
        'm = segment(scan(first), "caudate")\na = volume(m)\nm = segment(scan(last), "putamen")\n'
        "report(ratio(a, volume(m)))\nfor m in parcels(scan(current)):\n    report(ratio(volume(m), a))\n"
    )
    (plain, looped), *_ = calculations([code])
    assert plain.operands == (Operand("volume", "caudate", "first"), Operand("volume", "putamen", "last"))
    assert looped.operands == (Operand("volume"), Operand("volume", "caudate", "first"))


def test_text_that_is_no_program_calculates_nothing() -> None:
    assert calculations(["import os", "((((", 'm = segment(scan(current), "csf")\n']) == ((), (), ())


def test_many_variables_on_each_other_stay_cheap() -> None:
    code = "".join(f"v{n} = union(v{n - 1}, v{n - 1})\n" for n in range(1, 60))
    assert calculations([code + "report(ratio(volume(v59), volume(v59)))\n"])[0][0].operands[0] == Operand("volume")


# where the answer goes

ASK = 'm = segment(scan(current), "left_hippocampus")\nsave(m)\nsave(crop(scan(current), m))\nreport(volume(m))\n'


def test_vp_ask_prints_the_answer_above_the_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scan = write_scan(tmp_path / "x.nii.gz")
    prompt = "How many ml is the left hippocampus?"
    engine = fake_engine(FixedPlanner({prompt: ASK}), IntensitySegmenter())
    monkeypatch.setattr("vp_engine.cohort.engine.load_engine", lambda *_, **__: engine)
    done = CliRunner().invoke(app, ["ask", str(scan), prompt, "-o", str(tmp_path / "out")])
    program, text, rows, *_ = done.output.split("\n\n")
    assert program.strip() == ASK.strip()
    assert text == (
        "The volume of the left hippocampus is 0.0960 mL. Cut out and saved: T1w image of the left hippocampus."
    )
    assert rows.startswith("left_hippocampus\tvolume\t96 mm3")
    assert "x_dseg.nii.gz\nimage: " in rows
    stored = json.loads((tmp_path / "out" / "transcript.json").read_text(encoding="utf-8"))
    assert stored["answer"] == text


def test_refused_questions_have_their_reason_in_the_transcript(tmp_path: Path) -> None:
    scan = write_scan(tmp_path / "x.nii.gz")
    found = ask([scan], "poem", tmp_path / "out", engine=fake_engine(FixedPlanner({}), IntensitySegmenter()))
    stored = json.loads((tmp_path / "out" / "transcript.json").read_text(encoding="utf-8"))
    assert stored["answer"] == found.text == REASONS["out_of_domain"]
