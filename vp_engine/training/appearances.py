"""What scans of known contrast look like to the vision network: image features that the language model learns from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file, save_file

from vp_engine.anatomy import PARTS, STRUCTURES
from vp_engine.errors import ConfigError
from vp_engine.synthesis.intensity import CONTRASTS, draw_intensity
from vp_engine.synthesis.label_maps import LabelMap, load_label_maps
from vp_engine.synthesis.ranges import SynthesisRanges
from vp_engine.synthesis.scan import draw_head, draw_scan, synthesise
from vp_engine.training.agent_batches import Appearances
from vp_engine.training.sources import HELD_OUT_MAPS
from vp_engine.vision.checkpoint import from_pretrained
from vp_engine.vision.features import scan_features
from vp_engine.vision.network import VisionNetwork
from vp_engine.volumes.volume import Volume

APPEARANCES_FILE = "appearances.safetensors"

_RANGES = SynthesisRanges(
    spacing_mm=(2.2, 3.2),
    field_of_view_mm=((140.0, 170.0, 140.0), (170.0, 205.0, 185.0)),
    prior_contrast=1.0,
    ct=0.0,
    streams=(1.0,),
)
_BRAIN = [1 + PARTS.index(part) for part in STRUCTURES["brain"].parts]


def make_appearances(
    maps_path: Path,
    vision: Path,
    out: Path,
    *,
    per_contrast: int = 32,
    held_out: bool = False,
    report: Callable[[str], None] = print,
) -> Path:
    """Synthesise scans of every known contrast and keep what the network sees of their brains.

    Parameters
    ----------
    maps_path : Path
        Archive of label maps.
    vision : Path
        Folder of the vision network.
    out : Path
        File of safetensors: contrast → (N, C) float32.
    per_contrast : int
        Scans of each contrast (N).
    held_out : bool
        From the label maps that training never uses, for tests.
    report : callable
        Takes the lines of the log.
    """
    network = from_pretrained(vision)
    maps = [one for one in load_label_maps(maps_path) if (one.name in HELD_OUT_MAPS) == held_out]
    kept: dict[str, list[np.ndarray]] = {contrast: [] for contrast in CONTRASTS}
    for number in range(per_contrast):
        for place, contrast in enumerate(CONTRASTS):
            rng = np.random.default_rng([number, place])
            kept[contrast].append(_appearance(network, maps[int(rng.integers(len(maps)))], contrast, rng))
        report(f"{number + 1} of {per_contrast} scans of each contrast")
    out.parent.mkdir(parents=True, exist_ok=True)
    # a run that is resumed believes what it finds, so there is never half of it
    partial = out.with_suffix(".partial")
    save_file({contrast: np.stack(rows) for contrast, rows in kept.items()}, partial)
    return partial.replace(out)


def load_appearances(path: Path | None) -> Appearances:
    """Read what `make_appearances` wrote; nothing for no file.

    Raises
    ------
    ConfigError
        If there is no such file.
    """
    if path is None:
        return {}
    if not path.is_file():
        raise ConfigError(f"--appearances: expected a file that `vp train agent --maps` made, got {path}")
    return load_file(path)


def appearances_in(folder: Path, maps_path: Path, vision: Path) -> Appearances:
    """Read the appearances kept in a folder, making them first where there are none."""
    path = folder / APPEARANCES_FILE
    return load_file(path if path.exists() else make_appearances(maps_path, vision, path))


def _appearance(network: VisionNetwork, label_map: LabelMap, contrast: str, rng: np.random.Generator) -> np.ndarray:
    head = draw_head(rng, _RANGES)
    scan = replace(
        draw_scan(rng, _RANGES, centre_mm=head.centre_mm),
        intensity=draw_intensity(rng, prior_contrast=1.0, sequence=contrast),
    )
    made = synthesise(label_map, head, [scan])
    volume = Volume(made.images[0].numpy(), made.affines[0].numpy())
    return scan_features(network, volume).inside(np.isin(made.targets[0].numpy(), _BRAIN))
