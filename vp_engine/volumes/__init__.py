"""Volumes: images with their place in the world, geometry, resampling, and the intake gate for NIfTI files."""
