"""A model folder like the default one, small, with random weights."""

from __future__ import annotations

from pathlib import Path

import torch

from vp_engine.agent.language.generator import draw_example, seeded
from vp_engine.agent.model import AgentConfig, LanguageModel, save_model
from vp_engine.agent.tokenizer import build_tokenizer, frequent_pieces
from vp_engine.anatomy import PARTS, without_side
from vp_engine.cohort.weights import lock_weights
from vp_engine.measure.signs import SIGNS
from vp_engine.vision.checkpoint import save_pretrained
from vp_engine.vision.description import QUESTIONS, DescriptionModel, Question, save_description
from vp_engine.vision.network import VisionConfig, VisionNetwork
from vp_engine.vision.quality import FEATURES, QualityModel, save_quality, weights_sha256


def make_model(folder: Path, seed: int) -> Path:
    """A model folder like the default one, small, with random weights."""
    torch.manual_seed(seed)
    rng = seeded("weights test")
    pieces = frequent_pieces(draw_example("train", rng).prompt for _ in range(40))
    sizes = {"reader_hidden": 16, "reader_layers": 1, "reader_heads": 2, "reader_feedforward": 16}
    save_model(
        LanguageModel(AgentConfig(len(pieces), hidden=16, layers=1, heads=2, feedforward=16, **sizes)), folder / "agent"
    )
    (folder / "agent" / "tokenizer.json").write_text(build_tokenizer(pieces).to_str(), encoding="utf-8")
    vision = folder / "vision"
    save_pretrained(VisionNetwork(VisionConfig(PARTS, channels=(8, 8), fine_channels=4)), vision)
    sha256 = weights_sha256(vision)
    offsets = {without_side(part): 0.0 for part in PARTS}
    save_quality(QualityModel(sha256, -0.5, dict.fromkeys(FEATURES, 0.4), offsets, dict.fromkeys(PARTS, 500.0)), vision)
    numbers = len(SIGNS) + 24
    question = Question((0.0,) * numbers, (1.0,) * numbers, (0.1,) * numbers, 0.0, 0.6)
    save_description(DescriptionModel(sha256, SIGNS, dict.fromkeys(QUESTIONS, question)), vision)
    (folder / "limits.md").write_text("Not for children.\n")
    lock_weights(folder, name=f"tiny{seed}", licence="CC0-1.0")
    return folder
