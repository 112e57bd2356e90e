"""Do other words for a structure lead to the same mask? The spread of φ over synonyms, and Dice through φ itself.

    python benchmarks/phi.py [--data FOLDER] [--model FOLDER] [--heads N]

For every name of every structure, the agent is asked to segment it; the φ it writes is compared with the code of the
structure, with the φ of its other names, and, on synthetic heads of maps that were never trained on, by the mask that
the network makes of this φ as it is (the product replaces φ by the code it stands for).
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from vp_engine.agent.language.lexicon import SPLITS, Split, lexicon
from vp_engine.agent.phi import agreement
from vp_engine.agent.planner import Agent, Context
from vp_engine.anatomy import PARTS, SIDES, STRUCTURES
from vp_engine.cohort.engine import phi_agrees
from vp_engine.cohort.weights import model_folder
from vp_engine.synthesis.label_maps import load_label_maps
from vp_engine.synthesis.ranges import SynthesisRanges
from vp_engine.synthesis.scan import random_head
from vp_engine.training.features import features_and_truth
from vp_engine.training.sources import HELD_OUT_MAPS
from vp_engine.vision.checkpoint import from_pretrained
from vp_engine.vision.network import VisionNetwork, voxel_rows

ROOT = Path(__file__).resolve().parents[1]
MAPS = "training/synthseg20_labels_1mm_apache2.npz"
RANGES = SynthesisRanges(spacing_mm=(2.3, 2.7), prior_contrast=1.0, ct=0.0, streams=(1.0,), skull_strip=0.0)


@dataclass(frozen=True, slots=True)
class Said:
    """φ of one name of a structure; None when the agent did not ask for that structure."""

    structure: str
    split: Split
    phi: np.ndarray | None


def said(agent: Agent) -> Iterator[Said]:
    """Ask for every structure by every noun of every split."""
    for split in SPLITS:
        names = lexicon(split).names
        for structure in STRUCTURES:
            side = STRUCTURES[structure].side if STRUCTURES[structure].side in SIDES else ""
            base = structure.removeprefix(f"{side}_") if side else structure
            if base not in names or not STRUCTURES[structure].parts:
                continue
            for noun in sorted(set(names[base].nouns)):
                context = Context(f"segment the {side} {noun}".replace("  ", " "))
                written = agent.next_instruction(context, [])
                found = f'"{structure}"' in written.code and written.embeddings
                yield Said(structure, split, written.embeddings[0] if found else None)


def dice(network: VisionNetwork, heads: Sequence[tuple[torch.Tensor, torch.Tensor]], one: Said) -> tuple[float, float]:
    """Mean Dice with the truth of the mask by the code of the structure, and of the mask by φ."""
    wanted = [1 + PARTS.index(name) for name in STRUCTURES[one.structure].parts]
    scores = []
    for rows_NC, truth_N in heads:
        logits_KN = network.part_logits(rows_NC)
        others = [k for k in range(len(logits_KN)) if k not in wanted]
        rival_N = logits_KN[others].amax(0)
        truth = torch.isin(truth_N, torch.tensor(wanted))
        if not truth.any():
            continue
        by_code = logits_KN[wanted].amax(0) > rival_N
        by_phi = network.evidence(rows_NC, torch.from_numpy(one.phi)[None])[0] > rival_N
        scores.append([2 * float((m & truth).sum()) / float(m.sum() + truth.sum()) for m in (by_code, by_phi)])
    code, phi = np.mean(scores, axis=0)
    return float(code), float(phi)


@torch.inference_mode()
def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data")
    parser.add_argument("--model", default="default")
    parser.add_argument("--heads", type=int, default=3)
    asked = parser.parse_args()
    folder = model_folder(asked.model)
    names = list(said(Agent.from_pretrained(folder / "agent")))
    network = from_pretrained(folder / "vision")
    maps = load_label_maps(asked.data / MAPS, HELD_OUT_MAPS)
    heads = []
    for number in range(asked.heads):
        head = random_head(np.random.default_rng([7, number]), [maps[number % len(maps)]], RANGES)
        features, truth = features_and_truth(network, head, "cpu")[-1]
        heads.append((voxel_rows(features), truth))
    print("words    names  right structure  agrees  cosine with code  spread (1 - cosine)  Dice by code  Dice by φ")
    for split in SPLITS:
        mine = [one for one in names if one.split == split]
        found = [one for one in mine if one.phi is not None]
        agrees = [phi_agrees(one.phi, one.structure) for one in found]
        cosines = [agreement(one.phi, one.structure) for one in found]
        parts = [one for one in found if STRUCTURES[one.structure].kind == "part"]
        scores = np.array([dice(network, heads, one) for one in parts])
        print(
            f"{split:7s} {len(mine):6d} {len(found) / len(mine):16.3f} {np.mean(agrees):7.3f} {np.mean(cosines):17.4f} "
            f"{spread(found):20.4f} {scores[:, 0].mean():13.3f} {scores[:, 1].mean():10.3f}"
        )


def spread(found: Sequence[Said]) -> float:
    """Mean distance 1 - cosine between φ of two names of one structure."""
    distances = []
    for structure in sorted({one.structure for one in found}):
        rows = np.stack([one.phi / np.linalg.norm(one.phi) for one in found if one.structure == structure])
        if len(rows) > 1:
            cosines = rows @ rows.T
            distances += list(1 - cosines[np.triu_indices(len(rows), 1)])
    return float(np.mean(distances))


if __name__ == "__main__":
    main()
