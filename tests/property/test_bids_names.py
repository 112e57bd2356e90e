"""BIDS names: what is built can be read back, and nothing else gets through."""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vp_engine.bids.derivatives import dseg_name, mask_name, output_path, transcript_name
from vp_engine.bids.names import anatomical_suffixes, build_name, entity_order, parse_name
from vp_engine.errors import InputRefused

labels = st.from_regex(r"[0-9A-Za-z]{1,12}", fullmatch=True)
entities = st.dictionaries(st.sampled_from(entity_order()), labels, max_size=8).map(
    lambda found: {"sub": "01", **found}
)
hostile = st.one_of(
    st.text(max_size=8).filter(lambda text: re.fullmatch(r"[0-9A-Za-z]+", text) is None),
    st.sampled_from(["..", "a/b", "a\\b", "01\n", "\x00", "é", "\u0663", "\uff10\uff11", "a_b", "a-b", "$(x)", "*"]),
)


@given(entities=entities, suffix=st.sampled_from(anatomical_suffixes()), extension=st.sampled_from([".nii", ".nii.gz"]))
def test_build_and_parse_are_inverse(entities: dict[str, str], suffix: str, extension: str) -> None:
    name = build_name(entities, suffix, extension)
    assert parse_name(name) == (entities, suffix)
    keys = [part.partition("-")[0] for part in name.split("_")[:-1]]
    assert keys == sorted(keys, key=entity_order().index)


@given(text=hostile)
def test_labels_that_are_not_alphanumeric_are_refused_everywhere(text: str) -> None:
    for make in (
        lambda: build_name({"sub": text}, "T1w", ".nii.gz"),
        lambda: build_name({"sub": "01"}, text, ".nii.gz"),
        lambda: dseg_name(text, None, "p"),
        lambda: dseg_name("01", text, "p"),
        lambda: dseg_name("01", None, text),
        lambda: dseg_name("01", None, "p", {"run": text}),
        lambda: dseg_name("01", None, "p", space=text),
        lambda: mask_name("01", None, text, "brain"),
        lambda: mask_name("01", None, "p", f"left_{text}/"),
        lambda: transcript_name("01", None, text),
        lambda: transcript_name("01", text, "p"),
    ):
        with pytest.raises(InputRefused) as refusal:
            make()
        assert refusal.value.code == "invalid_entity"


@given(participant=labels, session=st.none() | labels, prompt_id=labels)
def test_derivatives_lie_below_their_folder(participant: str, session: str | None, prompt_id: str) -> None:
    root = Path("results/derivatives/demo")
    for name in (
        dseg_name(participant, session, prompt_id),
        mask_name(participant, session, prompt_id, "left_hippocampus"),
        transcript_name(participant, session, prompt_id),
    ):
        assert output_path(root, name).resolve().is_relative_to(root.resolve())
        assert name.parts[0] == f"sub-{participant}"


def test_paths_out_of_the_output_are_refused(tmp_path: Path) -> None:
    root = tmp_path / "derivatives"
    (tmp_path / "elsewhere").mkdir()
    root.mkdir()
    (root / "sub-01").symlink_to(tmp_path / "elsewhere")
    for name in (dseg_name("01", None, "p"), PurePosixPath("../x.json"), PurePosixPath("/etc/passwd")):
        with pytest.raises(InputRefused) as refusal:
            output_path(root, name)
        assert refusal.value.code == "outside_output"


@pytest.mark.parametrize(
    "name",
    ["sub-01_acq-0.5_T1w.nii.gz", "sub-01_run-1_run-2_T1w.nii.gz", "sub-01_foo-1_T1w.nii.gz", "sub-01_T1w.mgz", "T1w"],
)
def test_names_that_pybids_would_read_halfway_are_refused(name: str) -> None:
    with pytest.raises(InputRefused) as refusal:
        parse_name(name)
    assert refusal.value.code == "invalid_entity"
