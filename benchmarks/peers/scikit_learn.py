"""The value alone, out of scikit-learn's ``rbf_kernel`` by blocks; it has no gradient."""

from collections.abc import Callable

import numpy as np
from mmd_problem import SCALES, Size, samples
from sklearn.metrics.pairwise import rbf_kernel

from peers import Peer
from peers.fixed_samples import peer_of

BLOCK = 1024  # rows of the kernel matrix


def start(row: Size, threads: int) -> str:
    """NumPy's threads are set before the process starts."""
    del row, threads
    return "cpu"


def device_bytes() -> None:
    """It computes on the CPU alone."""


def build(size: Size) -> dict[str, Callable[[], Peer]]:
    """One way of writing it."""

    def blocks() -> Peer:
        source, target = samples(size)
        return peer_of(lambda: (value(source, target), ()))

    return {"blocks": blocks}


def value(x: np.ndarray, y: np.ndarray) -> float:
    """MMD squared; the mean squared distance without a pass over the pairs."""
    centre = np.concatenate([x, y]).mean(axis=0)
    total = np.sum((x - centre) ** 2) + np.sum((y - centre) ** 2)
    mean = 2 * float(total) / (len(x) + len(y))

    def mean_kernel(a: np.ndarray, b: np.ndarray) -> float:
        total = 0.0
        for start in range(0, len(a), BLOCK):
            for scale in SCALES:
                kernel = rbf_kernel(a[start : start + BLOCK], b, gamma=1 / (2 * scale * mean))
                total += kernel.sum(dtype=np.float64)
        return total / (len(a) * len(b))

    return mean_kernel(x, x) + mean_kernel(y, y) - 2 * mean_kernel(x, y)
