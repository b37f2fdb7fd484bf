"""What is timed: a step of prototypical networks, and an online pass with its meta-gradient."""

from typing import NamedTuple

import numpy as np


class Row(NamedTuple):
    """The size of an episode of prototypical networks."""

    way: int = 60
    shot: int = 1
    queries: int = 5
    width: int = 64
    image_size: int = 28

    def __str__(self) -> str:
        return (
            f"prototypical networks, {self.way}-way {self.shot}-shot, {self.queries} queries a "
            f"class, {self.image_size} x {self.image_size}, {self.width} channels"
        )


class OnlineRow(NamedTuple):
    """The size of a trajectory and of the network that learns along it."""

    examples: int = 20
    features: int = 256
    hidden: int = 256
    classes: int = 964

    def __str__(self) -> str:
        return (
            f"{self.examples} online steps, and the gradient through them, of a network of "
            f"{self.features}, {self.hidden} and {self.classes} units"
        )


BLOCKS = 4
RATE = 1e-3
INNER_RATE = 0.03
FIRST_MOMENT_DECAY = 0.9  # Adam's: after one step its first moment is a tenth of the gradient
ROWS = {
    "prototypes-60way": Row(),
    "prototypes-20way-5shot": Row(way=20, shot=5),
    "online-cpu": OnlineRow(),
    "online-published": OnlineRow(features=2304, hidden=1024),
}
SMOKE = {
    "prototypes-60way": Row(way=3, queries=2, width=4),
    "prototypes-20way-5shot": Row(way=3, shot=2, queries=2, width=4),
    "online-cpu": OnlineRow(examples=3, features=5, hidden=4, classes=6),
    "online-published": OnlineRow(examples=3, features=6, hidden=4, classes=6),
}


class Problem(NamedTuple):
    """A row with everything that is random.

    Attributes:
      row: the size.
      x: images ``[way * (shot + queries), size, size, 1]`` in [0, 1], support first and class by
        class; or features ``[examples, features]``.
      y: of the queries, or of the examples.
      weights: by name; jaxfer says which.
    """

    row: Row | OnlineRow
    x: np.ndarray
    y: np.ndarray
    weights: dict[str, np.ndarray]


def make_problem(row: Row | OnlineRow) -> Problem:
    """Inputs of noise: the time does not depend on them.

    No two pixels are alike. Where four neighbours tie, each library has a gradient of its own.
    """
    draw = np.random.default_rng(1)
    if isinstance(row, OnlineRow):
        x = draw.normal(size=(row.examples, row.features)).astype(np.float32) / row.features**0.5
        return Problem(row, x, draw.integers(0, row.classes, row.examples), {})
    shape = (row.way * (row.shot + row.queries), row.image_size, row.image_size, 1)
    x = draw.random(shape).astype(np.float32)
    return Problem(row, x, np.repeat(np.arange(row.way), row.queries), {})
