"""From masks and images to numbers, as pure functions of arrays and an affine.

`voxels` counts and averages voxels, `shape` measures surfaces and distances (it loads scipy and scikit-image),
`arithmetic` combines measured numbers.
"""
