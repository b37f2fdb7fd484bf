"""What is timed: one outer step of MAML, from the same weights on the same episodes for all."""

from typing import NamedTuple, TypeAlias

import numpy as np

# The time does not depend on it. At 2, the rate of training, five steps amplify rounding until two
# right implementations in float32 no longer agree.
INNER_RATE = 0.1
OUTER_RATE = 1e-3
FIRST_MOMENT_DECAY = 0.9  # Adam's: after one step its first moment is a tenth of the gradient
EPSILON = 1e-5  # of the batch normalisation
BLOCKS = 4

Weights: TypeAlias = dict[str, np.ndarray]


class Row(NamedTuple):
    """The size of an outer step; Conv4 with strides, on images of one channel."""

    way: int
    shot: int
    queries: int
    tasks: int
    inner_steps: int
    width: int = 64
    image_size: int = 28
    remat: bool = False

    def __str__(self) -> str:
        count = (self.queries, "query" if self.queries == 1 else "queries")
        steps = (self.inner_steps, "inner step" if self.inner_steps == 1 else "inner steps")
        return f"{self.way}-way {self.shot}-shot, {self.tasks} tasks, {count[0]} {count[1]}, " + (
            f"{steps[0]} {steps[1]}"
        )


ROWS = {
    "5way": Row(way=5, shot=1, queries=1, tasks=32, inner_steps=1),
    "5way-15queries": Row(way=5, shot=1, queries=15, tasks=32, inner_steps=1),
    "5way-5steps": Row(way=5, shot=1, queries=1, tasks=32, inner_steps=5),
    "5way-15queries-5steps": Row(way=5, shot=1, queries=15, tasks=32, inner_steps=5),
    "20way-5steps": Row(way=20, shot=1, queries=1, tasks=16, inner_steps=5),
}


class Episodes(NamedTuple):
    """Images ``[tasks, n, size, size, 1]`` in [0, 1] with their labels ``[tasks, n]``."""

    support_x: np.ndarray
    support_y: np.ndarray
    query_x: np.ndarray
    query_y: np.ndarray


NO_EPISODES = Episodes(*[np.zeros(0)] * 4)
"""For jaxfer, which draws them inside its step and says which they were."""


class Problem(NamedTuple):
    """A row with the weights to start from and the episodes of the first step."""

    row: Row
    weights: Weights
    episodes: Episodes


def initial_weights(row: Row, seed: int = 2) -> Weights:
    """Glorot-uniform kernels ``[3, 3, in, out]``, and norms that are not quite the identity.

    Some of the 27 million activations of ``20way-5steps`` lie so close to zero that rounding puts
    them on either side of a ReLU; the gradient jumps there by percents. With seed 0 jaxfer is on
    the other side than float64, with seed 1 PyTorch; with this seed neither.
    """
    rng = np.random.default_rng(seed)
    weights = {}
    channels = 1
    for block in range(BLOCKS):
        limit = np.sqrt(6 / (9 * (channels + row.width)))
        weights[f"conv{block}"] = rng.uniform(-limit, limit, (3, 3, channels, row.width))
        weights[f"scale{block}"] = rng.uniform(0.8, 1.2, row.width)
        weights[f"shift{block}"] = rng.uniform(-0.2, 0.2, row.width)
        channels = row.width
    limit = np.sqrt(6 / (row.width + row.way))
    weights["head"] = rng.uniform(-limit, limit, (row.width, row.way))
    weights["bias"] = rng.uniform(-0.1, 0.1, row.way)
    return {name: value.astype(np.float32) for name, value in weights.items()}


def relative_error(found: Weights, expected: Weights) -> float:
    """Euclidean distance of two gradients as a share of the second's length."""
    if found.keys() != expected.keys():
        raise ValueError(f"the gradients name other weights: {set(found) ^ set(expected)}.")
    flat = [np.concatenate([w[k].ravel() for k in sorted(w)]) for w in (found, expected)]
    return float(np.linalg.norm(flat[0] - flat[1]) / np.linalg.norm(flat[1]))
