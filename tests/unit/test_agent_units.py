"""Units that prompts ask for, and amounts in them."""

from __future__ import annotations

import pytest

from vp_engine.agent.units import amount, digits, units_asked

NONE = units_asked("")


@pytest.mark.parametrize(
    ("words", "unit"),
    [
        *((words, "mL") for words in ("in ml", "in mL", "(mL)", "[ml]", "/ ml", "how many ml", "in millilitres")),
        *((words, "mL") for words in ("as milliliters", "a milliliter", "how many mls", "ml?", "in ML.")),
        *((words, "cc") for words in ("in cc", "how many ccs", "(cc)")),
        *((words, "cm3") for words in ("in cm3", "cm^3", "in cm³", "cubic centimetres", "cubic centimeters")),
        *((words, "cm3") for words in ("cubic-centimetre", "cubic cm", "in ccm")),
        *((words, "mm3") for words in ("in mm3", "(mm^3)", "mm³", "cubic millimetres", "Cubic Millimeter")),
        *((words, "µL") for words in ("in microlitres", "microliters", "in µl", "in uL", "in μl")),
        *((words, "L") for words in ("in litres", "in liters", "in L", "in l, please", "half a litre")),
    ],
)
def test_units_of_volume(words: str, unit: str) -> None:
    assert [one.word for one in units_asked(f"Hippocampal volume {words}")["mm3"]] == [unit]


@pytest.mark.parametrize(
    ("prompt", "canonical", "unit"),
    [
        ("surface area in cm2", "mm2", "cm2"),
        ("surface area in square centimeters", "mm2", "cm2"),
        ("surface area (mm^2)", "mm2", "mm2"),
        ("diameter in cm", "mm", "cm"),
        ("diameter in centimetres", "mm", "cm"),
        ("thickness, millimeters", "mm", "mm"),
        ("ratio in percent", "1", "%"),
        ("ratio as a percentage", "1", "%"),
        ("asymmetry (%)", "1", "%"),
        ("asymmetry, per cent", "1", "%"),
    ],
)
def test_units_of_other_kinds(prompt: str, canonical: str, unit: str) -> None:
    assert {kind: [one.word for one in units] for kind, units in units_asked(prompt).items()} == {canonical: [unit]}


@pytest.mark.parametrize(
    "prompt",
    [
        "Volume of lesions within 5 mm of the ventricles",
        "lesions above 0.5 mL",
        "dilate by 2mm",
        "the 3-mm slices",
        "L/R amygdalae",
        "hippocampus L",
        "volume in L hippocampus",
        "command line, small mill, cmm",
        "95 % of them",
    ],
)
def test_what_is_no_unit_of_the_answer(prompt: str) -> None:
    assert not units_asked(prompt)


def test_what_is_not_wanted_is_left_out() -> None:
    for prompt in ("in mL instead of mm3", "not in mm3 but in ml", "mL rather than mm3", "convert it from mm3 to ml"):
        assert [one.word for one in units_asked(prompt)["mm3"]] == ["mL"]


def test_each_kind_has_units_of_its_own() -> None:
    asked = units_asked("Volume in mL and in mm3, thickness in cm")
    assert amount(3421.44, "mm3", measure="volume", asked=asked) == "3.42 mL (3421 mm3)"
    assert amount(2.5, "mm", measure="mean_thickness", asked=asked) == "0.250 cm"
    assert amount(2.5, "mm2", measure="surface_area", asked=asked) == "2.50 mm2"


@pytest.mark.parametrize(
    ("value", "unit", "measure", "prompt", "text"),
    [
        (3421.44, "mm3", "volume", "", "3421 mm3"),
        (1_523_456.2, "mm3", "volume", "in l.", "1.52 L"),
        (-120.5, "mm3/year", "annual_rate", "in ml", "-0.120 mL per year"),
        (-1.234, "%/year", "annual_rate", "in ml", "-1.23 % per year"),
        (0.00234, "1", "ratio", "", "0.00234"),
        (0.00234, "1", "ratio", "in percent", "0.234 %"),
        (0.5, "1", "sphericity", "in percent", "0.500"),
        (12.0, "1", "count", "in percent", "12"),
        (35.04, "a.u.", "mean_intensity", "", "35.0 a.u."),
        (0.0, "mm3", "volume", "in ml", "0 mL"),
    ],
)
def test_amounts(value: float, unit: str, measure: str, prompt: str, text: str) -> None:
    assert amount(value, unit, measure=measure, asked=units_asked(prompt)) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(1e-7, "0.000000100"), (999.6, "1000"), (9.996, "10.0"), (-0.0, "0"), (123456789.4, "123456789"), (1.0, "1.00")],
)
def test_numbers_are_never_written_with_an_exponent(value: float, text: str) -> None:
    assert digits(value) == text


def test_signs() -> None:
    assert [digits(value, signed=True) for value in (0.5, -0.5, 0.0)] == ["+0.500", "-0.500", "0"]
