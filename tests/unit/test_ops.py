"""What each op gives, refuses and hands on: units, targets, sessions, confidence, flags."""

from __future__ import annotations

from dataclasses import replace
from datetime import date

import numpy as np
import pytest

from vp_engine.anatomy import ANATOMICAL_PARTS, PARTS, PATHOLOGICAL_PARTS, STRUCTURES
from vp_engine.environment.budgets import BYTES_PER_VOXEL
from vp_engine.environment.instruction import Instruction, Observation
from vp_engine.environment.omega import Environment
from vp_engine.environment.ops import OPS
from vp_engine.environment.phantom import PhantomWorld
from vp_engine.environment.registry import op_of
from vp_engine.environment.values import Image, Mask, Number, SessionInfo, Text
from vp_engine.environment.vocabulary import REASONS, TEXT_TYPES

YEAR_APART = (
    SessionInfo("a", date(2020, 1, 1), ("T1w", "FLAIR")),
    SessionInfo("b", date(2022, 1, 1), ("FLAIR", "T1w")),
)


class BoxWorld:
    """Boxes whose sizes are given, on a 1 mm grid for T1w and a 2 mm grid for FLAIR."""

    def __init__(
        self,
        sizes: dict[str, tuple[int, int]],
        *,
        sessions: tuple[SessionInfo, ...] = YEAR_APART,
        lateralised: bool = True,
    ) -> None:
        self.sizes = sizes
        self.sessions = sessions
        self.structures = frozenset(PARTS)
        self.lateralised = lateralised
        self.phis: list[np.ndarray | None] = []

    def image(self, session: SessionInfo, suffix: str) -> Image:
        flags = ("fix_negative_zooms",) if session is self.sessions[-1] else ()
        if suffix == "FLAIR":
            data = np.full((10, 10, 10), 7.0, np.float32)
            return Image(session, suffix, data, np.diag([2.0, 2, 2, 1]), self.lateralised, flags=flags)
        data = np.arange(8000, dtype=np.float32).reshape(20, 20, 20)
        return Image(session, suffix, data, np.eye(4), self.lateralised, flags=flags)

    def segment(self, image: Image, structure: str, *, phi: np.ndarray | None = None) -> Mask:
        self.phis.append(phi)
        length = self.sizes[structure][self.sessions.index(image.session)]
        mask = np.zeros(image.data.shape, bool)
        mask[:length, :1, :1] = True
        return Mask(image, structure, mask, qc_score=0.5 + 0.01 * length, flags=("flag_low_contrast",))


SIZES = {
    "left_hippocampus": (6, 3),
    "right_hippocampus": (4, 4),
    "brainstem": (10, 10),
    "csf": (0, 0),
    "lesion": (0, 0),
    "left_hemisphere": (3, 3),
    "right_hemisphere": (1, 1),
    "amygdala": (2, 2),
}


def run(code: str, *, world: BoxWorld | None = None) -> tuple[Observation, Environment]:
    environment = Environment(world or BoxWorld(SIZES))
    return environment.run(Instruction(code)), environment


def number(expression: str, *, world: BoxWorld | None = None) -> Number:
    observation, environment = run(f"report({expression})", world=world)
    assert observation.status == "done", observation.text()
    (row,) = environment.reported
    assert isinstance(row, Number)
    return row


def refused(expression: str, *, world: BoxWorld | None = None) -> Observation:
    observation, environment = run(f"report({expression})", world=world)
    assert observation.status in ("error", "refused")
    assert environment.results == ()
    return observation


def vol(structure: str, session: str = "first") -> str:
    return f'volume(segment(image("T1w", {session}), "{structure}"))'


def test_registry_describes_every_op() -> None:
    known = {"Session", "Image", "Mask", "Number", "Text", "List[Mask]", "List[Number]", "Cutout", "Features"}
    known |= set(TEXT_TYPES)
    for name, op in OPS.items():
        assert op.name == name
        assert len(op.doc.splitlines()[0]) > 20
        assert {kind for p in op.parameters for kind in p.accepts} <= known
        assert op.returns is None or op.returns in known
    assert OPS["segment"].signature() == "segment(image: Image, structure: Structure) -> Mask"
    assert OPS["report"].signature() == "report(value: Number | Text | List[Number])"
    assert TEXT_TYPES["Structure"] == tuple(STRUCTURES)


def test_op_without_docstring_or_with_a_foreign_type_cannot_be_registered() -> None:
    def silent(mask: Mask) -> Number:
        raise NotImplementedError

    def foreign(mask: Mask, size: int) -> Number:
        """Take a number that no program can write."""
        raise NotImplementedError

    with pytest.raises(TypeError, match="docstring"):
        op_of(silent)
    with pytest.raises(TypeError, match="int"):
        op_of(foreign)


def test_memory_of_every_op_on_arrays_is_predicted() -> None:
    on_arrays = {
        name
        for name, op in OPS.items()
        if op.returns and any({"Image", "Mask"} & set(p.accepts) for p in op.parameters)
    }
    assert set(BYTES_PER_VOXEL) == on_arrays | {"follow"}  # a statement that measures


@pytest.mark.parametrize(
    ("expression", "value", "unit"),
    [
        ('volume(segment(image("FLAIR", first), "brainstem"))', 80.0, "mm3"),
        ('count(segment(scan(first), "brainstem"))', 1.0, "1"),
        ('max_diameter(segment(scan(first), "brainstem"))', 9.0, "mm"),
        ('mean_thickness(segment(scan(first), "brainstem"))', 1.0, "mm"),
        ('centroid_x(segment(scan(first), "brainstem"))', 4.5, "mm"),
        ('centroid_y(segment(scan(first), "brainstem"))', 0.0, "mm"),
        ('centroid_z(segment(scan(first), "brainstem"))', 0.0, "mm"),
        ('mean_intensity(scan(first), segment(scan(first), "brainstem"))', 1800.0, "a.u."),
        ('median_intensity(scan(first), segment(scan(first), "brainstem"))', 1800.0, "a.u."),
        ('std_intensity(scan(first), segment(scan(first), "brainstem"))', 400 * np.std(np.arange(10)), "a.u."),
        ('distance(segment(scan(first), "amygdala"), segment(scan(first), "brainstem"))', 0.0, "mm"),
        (f"ratio({vol('left_hippocampus')}, {vol('brainstem')})", 0.6, "1"),
        (f"asymmetry({vol('left_hippocampus')}, {vol('right_hippocampus')})", 0.4, "1"),
        (f"change({vol('left_hippocampus')}, {vol('left_hippocampus', 'last')})", -3.0, "mm3"),
        (f"percent_change({vol('left_hippocampus')}, {vol('left_hippocampus', 'last')})", -50.0, "%"),
        (f"annual_rate({vol('left_hippocampus')}, {vol('left_hippocampus', 'last')})", -3 * 365.25 / 731, "mm3/year"),
        (
            f"annual_percent_rate({vol('left_hippocampus')}, {vol('left_hippocampus', 'last')})",
            -50 * 365.25 / 731,
            "%/year",
        ),
        (f"{vol('brainstem')} + {vol('amygdala')}", 12.0, "mm3"),
        (f"{vol('brainstem')} - {vol('amygdala')}", 8.0, "mm3"),
        (f"{vol('brainstem')} / {vol('amygdala')}", 5.0, "1"),
        (f"{vol('brainstem')} * ratio({vol('amygdala')}, {vol('brainstem')})", 2.0, "mm3"),
        (f"{vol('brainstem')} / ratio({vol('amygdala')}, {vol('brainstem')})", 50.0, "mm3"),
        (f"2 * {vol('brainstem')}", 20.0, "mm3"),
        (f"{vol('brainstem')} / 4", 2.5, "mm3"),
    ],
)
def test_value_and_unit(expression: str, value: float, unit: str) -> None:
    row = number(expression)
    assert row.value == pytest.approx(value)
    assert row.unit == unit


@pytest.mark.parametrize(
    ("expression", "target", "measure"),
    [
        (vol("left_hippocampus"), "left_hippocampus", "volume"),
        (f"asymmetry({vol('left_hippocampus')}, {vol('right_hippocampus')})", "hippocampus", "asymmetry"),
        (f"asymmetry({vol('left_hemisphere')}, {vol('right_hemisphere')})", "cerebrum", "asymmetry"),
        (f"ratio({vol('amygdala')}, {vol('brainstem')})", "amygdala", "ratio"),
        ('distance(segment(scan(first), "amygdala"), segment(scan(first), "brainstem"))', "amygdala", "distance"),
        (f"change({vol('brainstem')}, {vol('brainstem', 'last')})", "brainstem", "change"),
        (f"annual_percent_rate({vol('brainstem')}, {vol('brainstem', 'last')})", "brainstem", "annual_rate"),
        (f"{vol('left_hippocampus')} + {vol('right_hippocampus')}", "hippocampus", "sum"),
        (f"{vol('left_hippocampus')} - {vol('brainstem')}", "left_hippocampus", "difference"),
        (f"{vol('amygdala')} / {vol('brainstem')}", "amygdala", "ratio"),
        (f"{vol('amygdala')} / 2", "amygdala", "scaled"),
        ('sphericity(segment(scan(first), "brainstem"))', "brainstem", "sphericity"),
        ('surface_area(segment(scan(first), "brainstem"))', "brainstem", "surface_area"),
    ],
)
def test_target_and_measure(expression: str, target: str, measure: str) -> None:
    row = number(expression)
    assert (row.target, row.measure) == (target, measure)


def test_change_belongs_to_the_later_session_and_refers_to_the_earlier() -> None:
    row = number(f"change({vol('brainstem')}, {vol('brainstem', 'last')})")
    assert (row.session, row.reference_session) == (YEAR_APART[1], YEAR_APART[0])
    assert number(vol("brainstem", "last")).reference_session is None


def test_confidence_is_the_lowest_and_flags_are_joined_and_sorted() -> None:
    row = number(f"ratio({vol('brainstem')}, {vol('amygdala', 'last')})")
    assert row.qc_score == pytest.approx(0.52)
    assert row.flags == ("fix_negative_zooms", "flag_low_contrast")
    assert row.image == "T1w"


def test_scan_takes_the_preferred_image_and_image_the_named_one() -> None:
    assert number('volume(segment(scan(last), "brainstem"))').image == "FLAIR"
    assert number('volume(segment(image("T1w", last), "brainstem"))').image == "T1w"


def test_intensity_belongs_to_the_image_and_masks_travel_between_grids() -> None:
    row = number('mean_intensity(image("FLAIR", first), segment(image("T1w", first), "brainstem"))')
    assert row.value == pytest.approx(7.0)
    assert row.image == "FLAIR"
    assert "mask_resampled" in row.flags
    same = number('mean_intensity(scan(first), segment(scan(first), "brainstem"))')
    assert "mask_resampled" not in same.flags


def test_numbers_of_different_images_are_flagged() -> None:
    row = number(f'ratio({vol("brainstem")}, volume(segment(image("FLAIR", first), "brainstem")))')
    assert "different_images" in row.flags


@pytest.mark.parametrize(
    "expression",
    [
        'surface_area(segment(scan(first), "csf"))',
        'centroid_z(segment(scan(first), "csf"))',
        'mean_intensity(scan(first), segment(scan(first), "csf"))',
        'distance(segment(scan(first), "amygdala"), segment(scan(first), "csf"))',
        'ratio(surface_area(segment(scan(first), "csf")), surface_area(segment(scan(first), "brainstem")))',
    ],
)
def test_empty_mask_gives_a_missing_value_with_its_flag(expression: str) -> None:
    row = number(expression)
    assert row.value is None
    assert "empty_mask" in row.flags


def test_no_lesion_is_a_volume_of_zero_and_no_anatomy_is_none() -> None:
    assert number(vol("lesion")).value == 0.0
    assert number('count(segment(scan(first), "lesion"))').value == 0.0
    missing = number(vol("csf"))
    assert missing.value is None
    assert "empty_mask" in missing.flags


@pytest.mark.parametrize(
    "expression",
    [
        f"ratio({vol('brainstem')}, {vol('lesion')})",
        f"percent_change({vol('lesion')}, {vol('lesion', 'last')})",
        f"annual_percent_rate({vol('lesion')}, {vol('lesion', 'last')})",
        f"{vol('brainstem')} / {vol('lesion')}",
    ],
)
def test_zero_denominator_gives_a_missing_value_with_its_flag(expression: str) -> None:
    row = number(expression)
    assert row.value is None
    assert "zero_denominator" in row.flags


@pytest.mark.parametrize(
    ("expression", "code"),
    [
        (f"asymmetry({vol('right_hippocampus')}, {vol('left_hippocampus')})", "not_two_sides"),
        (f"asymmetry({vol('left_hippocampus')}, {vol('brainstem')})", "not_two_sides"),
        (f"asymmetry({vol('left_hippocampus')}, {vol('right_hippocampus', 'last')})", "different_sessions"),
        (f"asymmetry({vol('left_hippocampus')}, {vol('right_hippocampus')} * 2)", "measure_mismatch"),
        (f"change({vol('brainstem', 'last')}, {vol('brainstem')})", "session_order"),
        (f"change({vol('brainstem')}, {vol('brainstem')})", "session_order"),
        (f"change({vol('brainstem')}, {vol('amygdala', 'last')})", "target_mismatch"),
        (f'change({vol("brainstem")}, max_diameter(segment(scan(last), "brainstem")))', "unit_mismatch"),
        ('distance(segment(scan(first), "csf"), segment(scan(last), "csf"))', "different_sessions"),
        ('mean_intensity(scan(last), segment(scan(first), "csf"))', "different_sessions"),
    ],
)
def test_misuse_is_an_error_of_the_program(expression: str, code: str) -> None:
    observation = refused(expression)
    assert (observation.status, observation.code, observation.line) == ("error", code, 1)


def test_change_of_a_change_is_refused() -> None:
    inner = f"change({vol('brainstem')}, {vol('brainstem', 'last')})"
    assert refused(f"change({inner}, {inner})").code == "nested_change"


def test_absent_image_is_refused_naming_what_is_there() -> None:
    observation = refused('volume(segment(image("T2w", first), "brainstem"))')
    assert observation.status == "refused"
    assert observation.code == "missing_image"
    assert observation.message == (
        "this session has no T2w image; it has T1w, FLAIR: name one of these, or leave the contrast out"
    )


def test_session_without_images_is_refused() -> None:
    world = BoxWorld(SIZES, sessions=(SessionInfo(None, None, ()),))
    assert refused(vol("brainstem"), world=world).code == "missing_image"
    assert refused('volume(segment(scan(first), "brainstem"))', world=world).code == "missing_image"


@pytest.mark.parametrize("structure", [name for name in PATHOLOGICAL_PARTS if name != "white_matter_lesion"])
def test_lesions_that_older_weights_lack_are_refused_naming_those_they_know(structure: str) -> None:
    world = BoxWorld(SIZES)
    world.structures = frozenset({*ANATOMICAL_PARTS, "white_matter_lesion"})
    observation = refused(vol(structure), world=world)
    assert (observation.status, observation.code) == ("refused", "unsupported_structure")
    assert "white_matter_lesion" in observation.message


def test_part_the_weights_lack_is_refused_and_so_is_a_union_with_it() -> None:
    world = BoxWorld(SIZES)
    world.structures = frozenset({"left_hippocampus", "brainstem", "amygdala"})
    assert refused(vol("hippocampus"), world=world).code == "unsupported_structure"
    assert "left_hippocampus" in refused(vol("right_hippocampus"), world=world).message
    assert number(vol("amygdala"), world=world).value == 2.0  # listed as a union by itself


@pytest.mark.parametrize("measure", ["change", "percent_change", "annual_rate", "annual_percent_rate"])
def test_change_with_one_session_is_refused_with_that_reason(measure: str) -> None:
    world = BoxWorld(SIZES, sessions=YEAR_APART[:1])
    observation = refused(f"{measure}({vol('brainstem')}, {vol('brainstem', 'last')})", world=world)
    assert (observation.status, observation.code) == ("refused", "one_session")
    assert "needs two sessions" in observation.message


@pytest.mark.parametrize("acquired", [None, date(2020, 1, 1), date(2019, 1, 1)])
def test_rate_without_usable_dates_is_refused(acquired: date | None) -> None:
    world = BoxWorld(SIZES, sessions=(YEAR_APART[0], replace(YEAR_APART[1], acquired=acquired)))
    for measure in ("annual_rate", "annual_percent_rate"):
        observation = refused(f"{measure}({vol('brainstem')}, {vol('brainstem', 'last')})", world=world)
        assert (observation.status, observation.code) == ("refused", "no_dates")
    assert number(f"change({vol('brainstem')}, {vol('brainstem', 'last')})", world=world).value == 0.0


@pytest.mark.parametrize(
    "expression",
    [
        vol("left_hippocampus"),
        vol("right_hemisphere"),
        'centroid_x(segment(scan(first), "brainstem"))',
        "[volume(m) for m in parcels]",
    ],
)
def test_sides_of_an_image_without_sides_are_refused(expression: str) -> None:
    world = BoxWorld(SIZES, lateralised=False)
    if "for" in expression:
        observation, _ = run("for m in parcels(scan(first)):\n    report(volume(m))", world=world)
    else:
        observation = refused(expression, world=world)
    assert (observation.status, observation.code) == ("refused", "not_lateralised")
    assert "left" in observation.message


def test_unsided_measures_of_an_image_without_sides_are_given() -> None:
    world = BoxWorld(SIZES, lateralised=False)
    assert number('centroid_y(segment(scan(first), "brainstem"))', world=world).value == 0.0
    assert number(vol("amygdala"), world=world).value == 2.0


@pytest.mark.parametrize(
    ("a", "b", "word"), [(1.0, 1.009, "equal"), (1.0, 1.02, "less"), (1.02, 1.0, "greater"), (0.0, 0.0, "equal")]
)
def test_compare_with_its_tolerance(a: float, b: float, word: str) -> None:
    observation, _ = run(f"read(compare({vol('brainstem')} * {a}, {vol('brainstem')} * {b}))")
    assert observation.values == (Text(word),)


def test_comparing_one_visit_with_itself_is_refused() -> None:
    observation, _ = run(
        f"read(compare({vol('brainstem')}, {vol('brainstem')}))", world=BoxWorld(SIZES, sessions=YEAR_APART[:1])
    )
    assert (observation.status, observation.code) == ("refused", "one_session")


def test_comparing_an_undefined_number_is_refused() -> None:
    area = 'surface_area(segment(scan(first), "csf"))'
    for code in (f"read(compare({area}, {area}))", f"if {area} > 1:\n    read({area})"):
        observation, _ = run(code)
        assert (observation.status, observation.code) == ("refused", "undefined_value")
        assert "empty_mask" in observation.message


def test_answer_has_a_target_and_its_session_only_when_there_is_one() -> None:
    _, environment = run('answer("left", "hippocampus")', world=BoxWorld(SIZES, sessions=YEAR_APART[:1]))
    assert environment.reported == (Text("left", "hippocampus", YEAR_APART[0]),)
    _, environment = run('answer("increased", "csf")')
    assert environment.reported == (Text("increased", "csf", None),)


@pytest.mark.parametrize("reason", REASONS)
def test_refusal_says_its_sentence(reason: str) -> None:
    observation, environment = run(f'answer("yes", "csf")\nrefuse("{reason}")')
    assert (observation.status, observation.code, observation.message) == ("refused", reason, REASONS[reason])
    assert environment.results == ()
    assert len(REASONS[reason]) < 200


def test_same_number_twice_is_one_row_and_two_numbers_for_one_row_are_refused() -> None:
    _, environment = run(f"report({vol('brainstem')})\nreport({vol('brainstem')})")
    assert len(environment.reported) == 1
    observation, environment = run(f"report({vol('brainstem')} * 2)\nreport({vol('brainstem')} * 3)")
    assert observation.code == "duplicate_row"
    observation, _ = run('answer("yes", "csf")\nanswer("no", "csf")')
    assert observation.code == "duplicate_row"


def test_lists_are_reported_and_saved_one_by_one() -> None:
    _, environment = run(
        'm = segment(scan(first), "brainstem")\n'
        'ms = [m, segment(scan(first), "amygdala")]\n'
        "save(ms)\nsave(m)\nreport([volume(m), count(m)])"
    )
    assert [mask.structure for mask in environment.saved] == ["brainstem", "amygdala"]
    assert [row.measure for row in environment.reported if isinstance(row, Number)] == ["volume", "count"]


def test_parcels_are_all_parts_in_order() -> None:
    environment = Environment(PhantomWorld())
    environment.run(Instruction("for m in parcels(scan(current)):\n    report(volume(m))"))
    assert [row.target for row in environment.reported] == list(PARTS)


def test_embedding_reaches_its_segment_call_in_the_order_of_the_text() -> None:
    world = BoxWorld(SIZES)
    code = f'report(ratio({vol("brainstem")}, {vol("amygdala")}))\nsave(segment(scan(last), "csf"))'
    phi = {0: np.full(32, 1.0), 2: np.full(32, 3.0)}
    assert Environment(world).run(Instruction(code, phi)).status == "done"
    assert [None if p is None else p[0] for p in world.phis] == [1.0, None, 3.0]


@pytest.mark.parametrize("phi", [{3: np.ones(32)}, {-1: np.ones(32)}, {0: np.ones((2, 2))}, {0: np.array([np.nan])}])
def test_embedding_that_fits_no_call_is_refused(phi: dict[int, np.ndarray]) -> None:
    world = BoxWorld(SIZES)
    observation = Environment(world).run(Instruction('save(segment(scan(last), "csf"))', phi))
    assert observation.code == "embedding"
    assert world.phis == []
