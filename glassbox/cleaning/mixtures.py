"""How often each source is drawn: shares from sizes and an exponent, and the epochs they cost.

With exponent alpha a source of n tokens gets a share proportional to n^alpha: 1 draws it as it
comes, 0 draws all alike. A source with nothing in it gets 0 whatever alpha is.
"""

from collections.abc import Mapping

import numpy as np


def shares(counts: Mapping[str, float], alpha: float) -> dict[str, float]:
    """Source -> its share of what is drawn; they add up to 1. ValueError if all counts are 0."""
    sizes = np.array(list(counts.values()), dtype=float)
    if not (sizes > 0).any() or (sizes < 0).any():
        raise ValueError("Some source must have a positive count, and none a negative one.")
    logs = np.full(len(sizes), -np.inf)
    logs[sizes > 0] = alpha * np.log(sizes[sizes > 0])  # as logarithms, so that no power overflows
    raised = np.exp(logs - logs.max())
    return dict(zip(counts, (raised / raised.sum()).tolist(), strict=True))


def epochs(
    counts: Mapping[str, float], drawn: Mapping[str, float], budget: float
) -> dict[str, float]:
    """Source -> how often it is seen when `budget` tokens are drawn with these shares."""
    return {name: budget * drawn[name] / counts[name] if counts[name] else 0.0 for name in counts}
