"""Lobes of places in the template, the map to it, and where pieces lie in heads on every kind of grid."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest

from tests.unit.test_measure import ROTATION, SHEAR
from vp_engine.anatomy import STRUCTURES
from vp_engine.environment.phantom import PhantomWorld
from vp_engine.measure.arithmetic import UndefinedMeasure
from vp_engine.measure.lesions import as_piece, pieces
from vp_engine.measure.places import Location, Surroundings, location, surroundings
from vp_engine.measure.template import CENTRES_MM, LOBES, lobes_of, template_map
from vp_engine.measure.zones import SURROUNDING_STRUCTURES

# gyri and their usual places, MNI152, right side
GYRI = {
    "frontal_lobe": [(20, 35, 48), (50, 20, 14), (45, -4, 46), (8, 50, 10), (25, 35, -16), (6, -8, 62), (10, 65, 5)],
    "parietal_lobe": [(42, -32, 54), (56, -40, 34), (6, -62, 44), (48, -60, 36), (24, -62, 58), (60, -18, 36)],
    "temporal_lobe": [(60, -20, 0), (60, -36, -10), (40, 12, -34), (36, -38, -22), (27, -20, -18), (50, -8, -32)],
    "occipital_lobe": [(15, -98, 0), (12, -76, -5), (8, -88, 18), (42, -82, -4), (28, -90, 8)],
    "insular_lobe": [(38, 5, 0), (36, 18, -4), (38, -12, 6)],
}


# lobes


@pytest.mark.parametrize("side", [-1.0, 1.0])
@pytest.mark.parametrize("lobe", LOBES)
def test_gyri_are_in_their_lobe(lobe: str, side: float) -> None:
    found = lobes_of(np.array(GYRI[lobe], dtype=float) * (side, 1, 1))
    assert [LOBES[number] for number in found] == [lobe] * len(GYRI[lobe])


def test_lobes_meet_at_their_landmarks() -> None:
    def along(start: tuple[float, ...], end: tuple[float, ...]) -> list[str]:
        places = np.linspace(start, end, 50)
        return list(dict.fromkeys(LOBES[number] for number in lobes_of(places)))

    assert along((38, -17, 56), (38, -27, 56)) == ["frontal_lobe", "parietal_lobe"]  # the hand knob between
    assert along((50, -20, 30), (50, -20, -10)) == ["parietal_lobe", "temporal_lobe"]
    assert along((56, 10, 20), (56, 0, -10)) == ["frontal_lobe", "temporal_lobe"]
    assert along((8, -60, 40), (8, -90, 10)) == ["parietal_lobe", "occipital_lobe"]
    assert along((45, -55, -10), (45, -85, -10)) == ["temporal_lobe", "occipital_lobe"]


# the map


def seen_by(affine: np.ndarray) -> dict[str, np.ndarray]:
    """Where the centres of the template lie in a world that this affine leads to from the template."""
    return {name: affine[:3, :3] @ centre + affine[:3, 3] for name, centre in CENTRES_MM.items()}


def posed(scales: tuple[float, float, float] = (0.9, 1.1, 1.05)) -> np.ndarray:
    affine = np.eye(4)
    affine[:3, :3] = ROTATION @ np.diag(scales)
    affine[:3, 3] = (30.0, -80.0, 12.0)
    return affine


@pytest.mark.parametrize("affine", [np.eye(4), posed(), posed() @ SHEAR], ids=["template", "posed", "sheared"])
def test_the_map_is_found(affine: np.ndarray) -> None:
    assert np.allclose(template_map(seen_by(affine)), np.linalg.inv(affine), atol=1e-6)


def test_one_structure_out_of_place_moves_the_map_little() -> None:
    centres = seen_by(posed())
    centres["left_thalamus"] = centres["left_thalamus"] + (0.0, 0.0, 25.0)
    del centres["right_caudate"]
    plain = np.linalg.lstsq(
        np.array([[*centres[name], 1.0] for name in sorted(centres)]),
        np.array([CENTRES_MM[name] for name in sorted(centres)]),
        rcond=None,
    )[0].T
    places = np.array([*GYRI["frontal_lobe"], *GYRI["occipital_lobe"]], dtype=float)
    there = np.column_stack([places @ posed()[:3, :3].T + posed()[:3, 3], np.ones(len(places))])
    found = there @ template_map(centres)[:3].T
    assert np.linalg.norm(found - places, axis=1).max() < 2.0
    assert np.linalg.norm(there @ plain.T - places, axis=1).max() > 4.0


@pytest.mark.parametrize("what", ["few", "flat", "mirrored", "tiny"])
def test_what_is_no_head_is_not_mapped(what: str) -> None:
    centres = seen_by(posed())
    if what == "few":
        centres = dict(list(centres.items())[:7])
    elif what == "flat":
        centres = {name: place * (1.0, 1.0, 0.0) for name, place in centres.items()}
    elif what == "mirrored":
        centres = {name: place * (-1.0, 1.0, 1.0) for name, place in centres.items()}
    else:
        centres = {name: place * 0.4 for name, place in centres.items()}
    with pytest.raises(UndefinedMeasure) as caught:
        template_map(centres)
    assert caught.value.code == "no_landmarks"


def test_structures_without_a_centre_in_the_template_are_ignored() -> None:
    centres = {**seen_by(posed()), "brainstem": np.array([500.0, 0.0, 0.0])}
    assert np.allclose(template_map(centres), np.linalg.inv(posed()), atol=1e-6)


# pieces in a head

Masks = tuple[dict[str, np.ndarray], np.ndarray, np.ndarray]


@pytest.fixture(scope="module")
def phantom() -> Masks:
    """Anatomy, lesions and affine of the phantom."""
    world = PhantomWorld()
    image = world.image(world.sessions[0], "T1w")
    masks = {name: world.segment(image, name).data for name in SURROUNDING_STRUCTURES}
    return masks, world.segment(image, "lesion").data, image.affine


def flipped(masks: Masks) -> Masks:
    anatomy, lesion, affine = masks
    back = np.diag([-1.0, 1.0, -1.0, 1.0])
    back[0, 3], back[2, 3] = lesion.shape[0] - 1, lesion.shape[2] - 1
    turn = slice(None, None, -1), slice(None), slice(None, None, -1)
    return {name: mask[turn] for name, mask in anatomy.items()}, lesion[turn], affine @ back


def swapped(masks: Masks) -> Masks:
    anatomy, lesion, affine = masks
    order = (2, 0, 1)
    moved = affine[:, [*order, 3]]
    return {name: mask.transpose(order) for name, mask in anatomy.items()}, lesion.transpose(order), moved


def tilted(masks: Masks) -> Masks:
    anatomy, lesion, affine = masks
    turned = np.eye(4)
    turned[:3, :3] = ROTATION
    turned[:3, 3] = (20.0, 5.0, -60.0)
    return anatomy, lesion, turned @ affine


def thick(masks: Masks) -> Masks:
    anatomy, lesion, affine = masks
    return {name: mask[:, :, ::2] for name, mask in anatomy.items()}, lesion[:, :, ::2], affine @ np.diag([1, 1, 2, 1])


def larger(masks: Masks) -> Masks:
    anatomy, lesion, affine = masks
    return anatomy, lesion, np.diag([1.1, 1.05, 1.1, 1.0]) @ affine


def found_in(masks: Masks) -> list[Location]:
    anatomy, lesion, affine = masks
    around = surroundings(anatomy, affine)
    return [location(piece, around) for piece in pieces(lesion)]


def test_lesions_of_the_phantom_are_where_they_were_put(phantom: Masks) -> None:
    found = found_in(phantom)
    assert [(one.place, one.zones) for one in found] == [
        ("right_frontal_lobe", ("juxtacortical",)),
        ("left_parietal_lobe", ("juxtacortical",)),
        ("left_frontal_lobe", ("juxtacortical",)),
        ("right_parietal_lobe", ("deep_white_matter",)),
        ("left_frontal_lobe", ("deep_white_matter",)),
        ("right_parietal_lobe", ("deep_white_matter",)),
        ("left_frontal_lobe", ("periventricular",)),
        ("infratentorial", ("infratentorial",)),
    ]
    assert {one.side for one in found[1:3]} == {"left"}


@pytest.mark.parametrize("change", [flipped, swapped, tilted, larger, thick])
def test_places_do_not_depend_on_grid_pose_and_size(phantom: Masks, change: object) -> None:
    expected = {(one.place, one.zones) for one in found_in(phantom)}
    assert {(one.place, one.zones) for one in found_in(change(phantom))} == expected  # type: ignore[operator]


def test_a_mirrored_head_has_its_lesions_on_the_other_side(phantom: Masks) -> None:
    anatomy, lesion, affine = phantom
    other = {"left": "right", "right": "left"}

    def named(name: str) -> str:
        side, _, rest = name.partition("_")
        return f"{other[side]}_{rest}" if side in other else name

    mirrored = {named(name): mask[::-1] for name, mask in anatomy.items()}
    before, after = found_in(phantom), found_in((mirrored, lesion[::-1], affine))
    assert sorted(named(one.place) for one in before) == sorted(one.place for one in after)


def blob(centre_mm: tuple[float, float, float], masks: Masks, *, radius_mm: float = 5.0) -> np.ndarray:
    anatomy, _, affine = masks
    shape = next(iter(anatomy.values())).shape
    index = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), axis=-1)
    near: np.ndarray = np.linalg.norm(index @ affine[:3, :3].T + affine[:3, 3] - centre_mm, axis=-1) <= radius_mm
    return near


def place_of(mask: np.ndarray, masks: Masks) -> Location:
    """Of a lesion that takes the place of the anatomy where it is, as the network has it."""
    anatomy = {name: one & ~mask for name, one in masks[0].items()}
    return location(as_piece(mask), surroundings(anatomy, masks[2]))


@pytest.mark.parametrize(
    ("centre_mm", "region"),
    [
        ((12.0, -18.0, 4.0), "deep_gray_matter"),
        ((-28.0, 4.0, 0.0), "deep_gray_matter"),
        ((0.0, -30.0, -42.0), "infratentorial"),
        ((24.0, -60.0, -36.0), "infratentorial"),
        ((27.0, -22.0, -18.0), "cerebrum"),  # the hippocampus counts as temporal lobe
        ((40.0, 10.0, 30.0), "cerebrum"),
    ],
)
def test_what_is_nearest_decides_the_region(phantom: Masks, centre_mm: tuple[float, float, float], region: str) -> None:
    found = place_of(blob(centre_mm, phantom), phantom)
    assert found.region == region
    assert found.lies_in(region) is (region != "cerebrum")
    assert any(found.lies_in(lobe) for lobe in LOBES) is (region == "cerebrum")


def test_periventricular_is_within_three_millimetres_between_centres() -> None:
    labels = np.zeros((40, 20, 20), np.uint8)
    white = SURROUNDING_STRUCTURES.index("left_cerebral_white_matter") + 1
    labels[:] = white
    labels[:10] = SURROUNDING_STRUCTURES.index("left_lateral_ventricle") + 1
    around = Surroundings(labels, np.eye(4), np.eye(4))
    for start, near in ((10, True), (12, True), (13, False)):
        mask = np.zeros(labels.shape, bool)
        mask[start : start + 3, 8:11, 8:11] = True
        assert ("periventricular" in location(as_piece(mask), around).zones) is near, start


def test_between_thick_slices_what_touches_the_ventricle_is_periventricular() -> None:
    labels = np.zeros((20, 20, 12), np.uint8)
    labels[:] = SURROUNDING_STRUCTURES.index("left_cerebral_white_matter") + 1
    labels[:, :, :4] = SURROUNDING_STRUCTURES.index("left_lateral_ventricle") + 1
    around = Surroundings(labels, np.diag([1.0, 1.0, 6.0, 1.0]), np.eye(4))
    for start, near in ((4, True), (5, False)):
        mask = np.zeros(labels.shape, bool)
        mask[8:11, 8:11, start : start + 2] = True
        assert ("periventricular" in location(as_piece(mask), around).zones) is near, start


def test_a_piece_across_the_middle_is_shared_by_the_sides(phantom: Masks) -> None:
    found = place_of(blob((0.0, 20.0, 30.0), phantom, radius_mm=9.0), phantom)
    assert found.right_share == pytest.approx(0.5, abs=0.1)
    assert place_of(blob((12.0, 20.0, 40.0), phantom), phantom).right_share == 1.0


def test_sides_go_by_structures_where_a_mass_pushes_the_middle_over(phantom: Masks) -> None:
    anatomy, _, affine = phantom
    mask = blob((-3.0, 20.0, 40.0), phantom)  # beyond the middle of the template, within the right hemisphere
    crossing = blob((-3.0, 20.0, 40.0), phantom, radius_mm=16.0)
    white, cortex = ("cerebral_white_matter", "cerebral_cortex")
    pushed: Mapping[str, np.ndarray] = {
        **anatomy,
        f"left_{white}": anatomy[f"left_{white}"] & ~crossing,
        f"left_{cortex}": anatomy[f"left_{cortex}"] & ~crossing,
        f"right_{white}": (anatomy[f"right_{white}"] | crossing) & ~mask,
        f"right_{cortex}": anatomy[f"right_{cortex}"] & ~crossing,
    }
    assert location(as_piece(mask), surroundings(pushed, affine)).side == "right"


def test_hemispheres_hold_deep_gray_matter_and_not_what_is_below_the_tentorium(phantom: Masks) -> None:
    thalamus = place_of(blob((12.0, -18.0, 4.0), phantom), phantom)
    assert thalamus.lies_in("right_hemisphere")
    assert not thalamus.lies_in("left_hemisphere")
    assert not place_of(blob((24.0, -60.0, -36.0), phantom), phantom).lies_in("right_hemisphere")


def test_far_from_a_border_the_lobe_is_sure_and_near_it_is_not(phantom: Masks) -> None:
    around = surroundings(phantom[0], phantom[2])
    centres = np.linspace((30.0, 40.0, 30.0), (30.0, -60.0, 30.0), 9)
    found = [location(as_piece(blob(tuple(centre), phantom)), around) for centre in centres]  # type: ignore[arg-type]
    agreeing = [one.moved_lobes.count(one.lobe) / len(one.moved_lobes) for one in found]
    assert agreeing[0] == 1.0
    assert 0.3 < min(agreeing) < 0.75
    assert found[0].lobe == "frontal_lobe"
    assert found[-1].lobe == "parietal_lobe"


def test_structures_cut_by_the_image_do_not_move_the_map(phantom: Masks) -> None:
    anatomy, _, affine = phantom
    whole = surroundings(anatomy, affine).to_template
    low = 22  # below it are much of the temporal lobe and the cerebellum
    cut = affine.copy()
    cut[:3, 3] += affine[:3, 2] * low
    part = surroundings({name: mask[:, :, low:] for name, mask in anatomy.items()}, cut).to_template
    places = np.array([*GYRI["frontal_lobe"], *GYRI["parietal_lobe"]], dtype=float)
    here = np.column_stack([places, np.ones(len(places))])
    assert np.linalg.norm((here @ (whole - part).T)[:, :3], axis=1).max() < 4.0


def test_without_anatomy_there_is_no_place(phantom: Masks) -> None:
    for masks in ({}, {"brainstem": phantom[0]["brainstem"]}):
        with pytest.raises(UndefinedMeasure) as caught:
            surroundings(masks, phantom[2])
        assert caught.value.code == "no_landmarks"


def test_surroundings_can_be_carried_to_another_grid(phantom: Masks) -> None:
    anatomy, lesion, affine = phantom
    around = surroundings(anatomy, affine)
    _, turned, moved = swapped(phantom)
    carried = around.on(turned.shape, moved)  # type: ignore[arg-type]
    expected = [location(piece, around).place for piece in pieces(lesion)]
    assert sorted(location(piece, carried).place for piece in pieces(turned)) == sorted(expected)


def test_every_structure_around_is_one_of_the_vocabulary() -> None:
    assert all(STRUCTURES[name].kind == "part" for name in SURROUNDING_STRUCTURES)
    assert set(CENTRES_MM) <= set(SURROUNDING_STRUCTURES)
