"""Omega: what survives a step, control flow, budgets, observations, static calls, phantom, reference."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from vp_engine.anatomy import PARTS, STRUCTURES
from vp_engine.environment.budgets import Limits, held_bytes
from vp_engine.environment.calls import ImageKey, PlannedSegmentation, SegmentCall, planned_segmentations, segment_calls
from vp_engine.environment.instruction import Instruction, Observation
from vp_engine.environment.omega import Environment
from vp_engine.environment.ops import OPS
from vp_engine.environment.phantom import PhantomWorld
from vp_engine.environment.reference import reference
from vp_engine.environment.values import Image, Mask, Number, SessionInfo, Text
from vp_engine.environment.vocabulary import REASONS
from vp_engine.errors import InputRefused


@pytest.fixture
def environment() -> Environment:
    return Environment(PhantomWorld(("T1w", "FLAIR"), sessions=3))


def ran(environment: Environment, code: str) -> Observation:
    return environment.run(Instruction(code))


def targets(environment: Environment) -> list[str | None]:
    return [row.target for row in environment.reported]


def test_every_example_of_the_architecture_page_runs(environment: Environment) -> None:
    code = """\
t1 = scan(current)                                       # comment
flair = image("FLAIR", current)
report(volume(segment(t1, "left_hippocampus")))
save(segment(t1, "ventricles"))
report(asymmetry(volume(segment(t1, "left_hippocampus")), volume(segment(t1, "right_hippocampus"))))
report(ratio(volume(segment(t1, "hippocampus")), volume(segment(t1, "intracranial_volume"))))
report(percent_change(volume(segment(scan(first), "ventricles")), volume(segment(scan(last), "ventricles"))))
for s in sessions:
    report(volume(segment(scan(s), "brainstem")))
for m in parcels(scan(first)):
    report(volume(m))
read(compare(volume(segment(t1, "left_hippocampus")), volume(segment(t1, "right_hippocampus"))))
"""
    observation = ran(environment, code)
    assert observation.status == "ok", observation.text()
    assert observation.values == (Text("less"),)
    assert ran(environment, 'answer("right", "hippocampus")').status == "done"
    # the brainstem of the first session is reported by both loops, and is one row
    assert len(environment.reported) == 4 + 3 + len(PARTS) - 1 + 1
    assert [mask.structure for mask in environment.saved] == ["ventricles"]


def test_variables_survive_a_step_and_refused_steps_leave_nothing(environment: Environment) -> None:
    assert ran(environment, 'm = segment(scan(first), "csf")').status == "done"
    before = environment.variables
    assert (
        ran(environment, 'n = segment(scan(last), "csf")\nsave(n)\nreport(volume(n))\nx = volume(n) / 0').status
        == "error"
    )
    assert (environment.variables, environment.results) == (before, ())
    assert ran(environment, "report(volume(m))").status == "done"
    assert targets(environment) == ["csf"]


def test_results_of_a_refused_world_are_rolled_back_too(environment: Environment) -> None:
    assert ran(environment, 'report(volume(segment(scan(first), "csf")))\nrefuse("ambiguous")').status == "refused"
    assert environment.results == ()


def test_faults_of_files_are_raised_and_leave_nothing() -> None:
    class Corrupt(PhantomWorld):
        def image(self, session: SessionInfo, suffix: str) -> Image:
            if suffix == "FLAIR":
                raise InputRefused("truncated", code="truncated_data")
            return super().image(session, suffix)

    environment = Environment(Corrupt(("T1w", "FLAIR")))
    with pytest.raises(InputRefused):
        ran(environment, 'x = scan(current)\nreport(volume(segment(x, "csf")))\ny = image("FLAIR", current)')
    assert environment.variables == {}
    assert environment.results == ()


def test_current_is_the_last_session(environment: Environment) -> None:
    ran(environment, 'report(volume(segment(scan(current), "csf")))')
    (row,) = environment.reported
    assert row.session == environment.world.sessions[-1]


@pytest.mark.parametrize(
    ("condition", "taken"),
    [
        ("volume(m) > 1000", True),
        ("1000 < volume(m)", True),
        ("volume(m) <= -1", False),
        ("count(m) == 1 and not volume(m) < 1", True),
        ("count(m) != 1 or volume(m) < 1", False),
        ('compare(volume(m), volume(m)) == "equal"', True),
        ('compare(volume(m), volume(m)) != "equal"', False),
        ("volume(m) >= volume(m)", True),
    ],
)
def test_branches(environment: Environment, condition: str, *, taken: bool) -> None:
    code = f'm = segment(scan(first), "brainstem")\nif {condition}:\n    answer("yes", "brainstem")\n'
    observation = ran(environment, code + 'else:\n    answer("no", "brainstem")')
    assert observation.status == "done", observation.text()
    (row,) = environment.reported
    assert isinstance(row, Text)
    assert row.word == ("yes" if taken else "no")


def test_read_in_a_branch_ends_the_step(environment: Environment) -> None:
    code = 'v = volume(segment(scan(first), "csf"))\nif v > 0:\n    read(v)\nelse:\n    answer("no", "csf")'
    observation = ran(environment, code)
    assert observation.status == "ok"
    (value,) = observation.values
    assert isinstance(value, Number)


def test_loops_in_each_other(environment: Environment) -> None:
    code = (
        'for s in [first, last]:\n    for i in [scan(s), image("FLAIR", s)]:\n        report(volume(segment(i, "csf")))'
    )
    assert ran(environment, code).status == "done"
    assert len(environment.reported) == 4


def test_world_without_sessions_is_refused() -> None:
    world = PhantomWorld()
    world.sessions = ()
    with pytest.raises(ValueError, match="at least one session"):
        Environment(world)


@pytest.mark.parametrize(
    ("limits", "code"),
    [
        (Limits(calls=5), "budget_calls"),
        (Limits(statements=5), "budget_statements"),
        (Limits(memory_bytes=2_000_000), "budget_memory"),
        (Limits(variables=4), "budget_variables"),
    ],
)
def test_budget_ends_a_step(limits: Limits, code: str) -> None:
    environment = Environment(PhantomWorld(), limits=limits)
    observation = ran(environment, "for m in parcels(scan(first)):\n    x = volume(m)\n    report(x)")
    assert (observation.status, observation.code) == ("error", code)
    assert environment.results == ()
    assert environment.variables == {}


def test_steps_and_time_of_a_prompt_are_bounded() -> None:
    environment = Environment(PhantomWorld(), limits=Limits(steps=2))
    codes = [ran(environment, "nonsense(").code for _ in range(4)]
    assert codes == ["syntax", "syntax", "budget_steps", "budget_steps"]

    seconds = iter(range(0, 1000, 10))
    environment = Environment(PhantomWorld(), limits=Limits(seconds=35.0), clock=lambda: float(next(seconds)))
    assert ran(environment, "x = scan(first)").status == "done"
    assert ran(environment, "x = scan(first)").code == "budget_seconds"


def test_held_memory_counts_each_array_once() -> None:
    world = PhantomWorld()
    image = world.image(world.sessions[0], "T1w")
    mask = world.segment(image, "csf")
    once = image.data.nbytes + mask.data.nbytes
    assert held_bytes([image, mask, [mask, mask], [image]]) == once
    assert held_bytes([mask]) == once


def test_observation_is_short_structured_and_free_of_session_labels(environment: Environment) -> None:
    ran(environment, 'v = volume(segment(scan(first), "csf"))')
    text = ran(environment, "read([" + ", ".join(["v"] * 40) + "])").text()
    assert len(text) == 300
    assert text.startswith("ok; volume(csf)=")
    assert "01" not in ran(environment, "read(v)").text().split("=")[0]
    error = ran(environment, 'x = scan(first)\ny = segment(x, "left_hipocampus")')
    assert (error.code, error.line, error.got) == ("unknown_structure", 2, "left_hipocampus")
    assert error.close[0] == "left_hippocampus"
    assert "line 2" in error.text()
    assert "left_hippocampus" in error.text()


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("wmh", "white_matter_lesion"),
        ("left_hippo", "left_hippocampus"),
        ("right caudate nucleus", "right_caudate"),
        ("caudate nucleus", "caudate"),
        ("icv", "intracranial_volume"),
    ],
)
def test_synonym_of_a_structure_is_recognised_in_the_error(environment: Environment, written: str, meant: str) -> None:
    assert ran(environment, f'x = segment(scan(first), "{written}")').close[0] == meant


def test_calls_are_found_through_variables_loops_and_branches() -> None:
    code = """\
t1 = scan(first)
m = segment(t1, "csf")
for s in sessions:
    report(volume(segment(image("FLAIR", s), "brainstem")))
if volume(m) > 1:
    t1 = image("FLAIR", last)
save(segment(t1, "brain"))
save(parcels(scan(current)))
"""
    assert segment_calls(code) == [
        SegmentCall(ImageKey(None, "first"), "csf", 0),
        SegmentCall(ImageKey("FLAIR", "each"), "brainstem", 1),
        SegmentCall(ImageKey("FLAIR", "last"), "brain", 2),
        SegmentCall(ImageKey(None, "first"), "brain", 2),
        SegmentCall(ImageKey(None, "current"), None, None),
    ]


def test_call_in_a_loop_sees_what_the_loop_assigns_later() -> None:
    code = 'i = scan(first)\nfor s in sessions:\n    save(segment(i, "csf"))\n    i = scan(s)'
    assert [call.image.session for call in segment_calls(code)] == ["first", "each"]


def test_planned_segmentations_are_those_the_program_makes(environment: Environment) -> None:
    made: list[PlannedSegmentation] = []

    class Noting(PhantomWorld):
        def segment(self, image: Image, structure: str, *, phi: np.ndarray | None = None) -> Mask:
            order = None if phi is None else int(phi[0])
            made.append(PlannedSegmentation(image.session, image.suffix, structure, order))
            return super().segment(image, structure)

    world = Noting(("T1w", "FLAIR"), sessions=3)
    code = (
        'x = image("FLAIR", first)\nfor s in [first, last]:\n    save(segment(scan(s), "csf"))\n'
        'save(segment(x, "hippocampus"))\nsave(parcels(scan(last)))'
    )
    phi = {order: np.array([float(order)]) for order in range(2)}
    assert Environment(world).run(Instruction(code, phi)).status == "done"
    assert set(planned_segmentations(code, world)) == set(made)
    assert planned_segmentations('save(segment(image("T2w", first), "csf"))', world) == []
    few = PhantomWorld(structures=frozenset({"csf"}))
    assert planned_segmentations('save(segment(scan(first), "tumor"))', few) == []


def test_phantom_delineates_every_supported_structure_as_the_union_of_its_parts() -> None:
    world = PhantomWorld()
    image = world.image(world.sessions[0], "T1w")
    masks = {name: world.segment(image, name).data for name, s in STRUCTURES.items() if s.parts}
    for name, mask in masks.items():
        parts = np.logical_or.reduce([masks[part] for part in STRUCTURES[name].parts])
        assert mask.any(), name
        assert np.array_equal(mask, parts), name


@pytest.mark.parametrize(
    ("structure", "low_ml", "high_ml"),
    [
        ("left_hippocampus", 2.5, 5.0),
        ("right_thalamus", 4.0, 9.0),
        ("ventricles", 10.0, 40.0),
        ("brainstem", 14.0, 26.0),
        ("cerebellum", 90.0, 160.0),
        ("brain", 1000.0, 1500.0),
        ("intracranial_volume", 1300.0, 1800.0),
        ("white_matter_lesion", 0.5, 10.0),
    ],
)
def test_phantom_is_of_plausible_size(structure: str, low_ml: float, high_ml: float) -> None:
    world = PhantomWorld()
    image = world.image(world.sessions[0], "T1w")
    millilitres = world.segment(image, structure).data.sum() * abs(np.linalg.det(image.affine[:3, :3])) / 1000
    assert low_ml < millilitres < high_ml


def test_phantom_changes_from_year_to_year_and_is_the_same_every_time() -> None:
    def sizes() -> list[int]:
        world = PhantomWorld(sessions=4)
        return [int(world.segment(world.image(s, "T1w"), "ventricles").data.sum()) for s in world.sessions]

    assert sizes() == sizes()
    assert sizes() == sorted(set(sizes()))
    with pytest.raises(ValueError, match="at least one session"):
        PhantomWorld(sessions=0)


def test_phantom_sides_are_where_the_frame_says() -> None:
    environment = Environment(PhantomWorld())
    code = "\n".join(
        f'report(centroid_x(segment(scan(current), "{side}_{name}")))'
        for name in ("putamen", "hippocampus")
        for side in ("left", "right")
    )
    assert ran(environment, code).status == "done"
    numbers = [row.value for row in environment.reported if isinstance(row, Number) and row.value is not None]
    assert [value > 0 for value in numbers] == [False, True, False, True]


def test_reference_holds_every_op_word_and_reason() -> None:
    page = reference()
    for op in OPS.values():
        assert f"`{op.signature()}`" in page
        assert op.doc.splitlines()[0].replace("``", "`") in page
    for name in STRUCTURES:
        assert f"`{name}`" in page
    for sentence in REASONS.values():
        assert sentence in page
    assert "\n----" not in page


def test_environment_starts_without_heavy_libraries() -> None:
    code = (
        "import sys, vp_engine.environment.omega, vp_engine.environment.phantom, vp_engine.environment.reference;"
        "print(sorted({'torch', 'scipy', 'skimage', 'pandas', 'nibabel'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
