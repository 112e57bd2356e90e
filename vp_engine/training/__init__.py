"""Recipes: one function is one full training run, with a seed, checkpoints and a log."""
