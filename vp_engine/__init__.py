"""VoxelPrompt as a batch cohort-analysis pipeline: questions in plain words in, tables out."""

__version__ = "0.1.0"
