"""φ: the conditioning vectors that say what a vision call looks for."""

from __future__ import annotations

import numpy as np

PHI_DIM = 32
"""Length of φ (Hoopes et al. 2024, section 3)."""

_CODEBOOK_SEED = 2410_08397


def structure_codes(n: int, dim: int = PHI_DIM, seed: int = _CODEBOOK_SEED) -> np.ndarray:
    """Codes of the first `n` parts: what the agent's `<MOD>` positions are trained to say.

    The codes are fixed random points in the range of the SiLU that ends the agent's φ layer, so that
    network and agent can be trained apart and still mean the same. More parts append codes; the first
    ones stay what they were. The zero vector is the code of the background.

    Returns
    -------
    numpy.ndarray of float32, shape (n, dim)

    Examples
    --------
    >>> bool((structure_codes(3) == structure_codes(5)[:3]).all())
    True
    """
    z = 1.5 * np.random.default_rng(seed).standard_normal((n, dim))
    codes: np.ndarray = (z / (1 + np.exp(-z))).astype(np.float32)
    return codes
