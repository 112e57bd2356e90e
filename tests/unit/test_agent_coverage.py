"""What the prompt names must be in the program."""

from __future__ import annotations

import pytest

from vp_engine.agent.coverage import all_known, left_out


@pytest.mark.parametrize(
    ("prompt", "structures", "missing"),
    [
        ("Outline the caudate and the putamen.", ["caudate"], ("putamen",)),
        ("Outline the caudate and the putamen.", ["left_caudate", "right_caudate", "putamen"], ()),
        ("Volumes of the L/R amygdalae", ["left_amygdala", "right_amygdala"], ()),
        ("ratio of ventricles to ICV", ["fourth_ventricle", "intracranial_volume"], ("ventricles",)),
        ("ratio of ventricle volume to brain volume", ["fourth_ventricle", "brain"], ("ventricles",)),
        ("third ventricle volume", ["third_ventricle"], ()),
        ("WMH volume", ["white_matter_lesion"], ()),
        ("lesion load", ["lesion"], ()),
        ("white matter lesions in the brain scan", ["lesion"], ()),
        ("volume of cerebral_cortex", ["cerebral_cortex"], ()),
        ("Put the volume here", ["brainstem"], ()),
        ("cerebellar wihte matter", ["cerebellum_white_matter"], ()),
        ("ceeebellar  cortex and putamen", ["cerebellum_cortex"], ("putamen",)),
        ("inferior laetral ventricle", ["inferior_lateral_ventricle"], ()),
        ("tumor coee", ["tumor"], ("tumor_core",)),
        ("save the brain mask of their ventricle 4", ["brain", "fourth_ventricle"], ()),
        ("entire cerebellum cortex", ["cerebellum_cortex"], ()),
        ("white-matter lesions", ["white_matter_lesion"], ()),
        ("lateral and third ventricles", ["lateral_ventricle", "third_ventricle"], ()),
        ("lateral and third ventricles", ["third_ventricle"], ("lateral_ventricle",)),
        ("Tumour patient with known stroke: thalamus", ["thalamus"], ()),
        ("She had a stroke in 2018 and was treated for a glioma. Thalamus volume", ["thalamus"], ()),
        ("Lesions in the left hemisphere", ["lesion", "left_hemisphere", "right_hemisphere"], ()),
        ("volume of the tumour and the infarct", ["tumor"], ("stroke_lesion",)),
    ],
)
def test_structures_named_and_not_used_are_found(prompt: str, structures: list[str], missing: tuple[str, ...]) -> None:
    code = "\n".join(f'report(volume(segment(scan(current), "{name}")))' for name in structures)
    assert left_out(prompt, code) == missing


def test_a_program_over_all_parts_leaves_nothing_out() -> None:
    assert left_out("all structures, the thalamus too", "for m in parcels(scan(current)):\n    save(m)\n") == ()


@pytest.mark.parametrize(
    ("prompt", "known"),
    [
        ("What is the volume of the left hippocampus?", True),
        ("Volume of the left hippocampus and the claustrum", False),
        ("How large is it?", False),  # names nothing
        ("Measure the hepatic volume near the hippocampus", False),
    ],
)
def test_prompts_of_known_words_alone(prompt: str, *, known: bool) -> None:
    assert all_known(prompt) is known
