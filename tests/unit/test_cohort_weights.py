"""Weights are loaded only when every file is what the lock says."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from vp_engine.cohort.weights import LOCK, lock_weights, model_folder, model_id, verify_weights
from vp_engine.errors import WeightsError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("agent/model.safetensors", "vision/model.safetensors"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_bytes(name.encode())
    return tmp_path


def test_id_is_name_and_hash_and_moves_with_the_weights(folder: Path) -> None:
    first = lock_weights(folder, name="tiny", licence="Apache-2.0")
    assert first == verify_weights(folder)
    assert first.startswith("tiny-")
    assert model_id(folder) == first
    (folder / "agent" / "model.safetensors").write_bytes(b"other")
    assert lock_weights(folder, name="tiny", licence="Apache-2.0") != first


def _flip(folder: Path) -> None:
    path = folder / "vision" / "model.safetensors"
    content = bytearray(path.read_bytes())
    content[3] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("tamper", "code"),
    [
        (_flip, "weights_altered"),
        (lambda f: (f / "vision" / "model.safetensors").write_bytes(b"short"), "weights_size"),
        (lambda f: (f / "vision" / "model.safetensors").unlink(), "weights_file_missing"),
        (lambda f: (f / "agent" / "more.json").touch(), "weights_file_unlisted"),
        (lambda f: (f / LOCK).write_text("{}"), "weights_lock"),
        (lambda f: (f / LOCK).write_text("not json"), "weights_lock"),
        (lambda f: (f / LOCK).unlink(), "weights_missing"),
    ],
)
def test_tampering(folder: Path, tamper: Callable[[Path], object], code: str) -> None:
    lock_weights(folder, name="tiny", licence="Apache-2.0")
    tamper(folder)
    with pytest.raises(WeightsError) as caught:
        verify_weights(folder)
    assert caught.value.code == code


def test_default_lies_in_the_package() -> None:
    assert model_folder("default").parts[-3:] == ("vp_engine", "models", "default")
    assert model_folder("elsewhere/mine") == Path("elsewhere/mine")


@pytest.mark.parametrize("lock", [None, "not json", "[]", "{}"])
def test_id_of_what_is_no_model_is_none(folder: Path, lock: str | None) -> None:
    if lock is not None:
        (folder / LOCK).write_text(lock)
    assert model_id(folder) is None
