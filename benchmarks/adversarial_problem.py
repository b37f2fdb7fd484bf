"""What is timed: a step of DANN and one of CDAN on LeNet, a batch of each domain, Adam included."""

from typing import NamedTuple

import numpy as np


class Row(NamedTuple):
    """The size of a step."""

    method: str  # dann, cdan or cdan-random
    batch: int = 128  # of each domain
    image_size: int = 28
    features: int = 500
    hidden: tuple[int, ...] = (256, 256)
    classes: int = 10
    random: int = 1024  # dimension of the randomised product

    def __str__(self) -> str:
        return (
            f"{self.method}, {self.batch} + {self.batch} images of {self.image_size} x "
            f"{self.image_size}, {self.features} features"
        )

    @property
    def critic_inputs(self) -> int:
        """Of its first layer."""
        products = self.features * self.classes
        return {"dann": self.features, "cdan": products, "cdan-random": self.random}[self.method]


RATE = 1e-3
STRENGTH = 0.7
FIRST_MOMENT_DECAY = 0.9  # Adam's: after one step its first moment is a tenth of the gradient
ROWS = {"dann": Row("dann"), "cdan": Row("cdan"), "cdan-random": Row("cdan-random")}
SMOKE = {
    method: Row(method, batch=4, features=6, hidden=(5, 4), random=7) for method in ROWS
}  # fmt: skip


class Problem(NamedTuple):
    """A row with everything that is random.

    Attributes:
      row: the size.
      source, target: images ``[batch, size, size, 1]`` in [-1, 1].
      labels: of the source, ``[batch]``.
      weights: by name, as jaxfer has them; jaxfer says which.
    """

    row: Row
    source: np.ndarray
    target: np.ndarray
    labels: np.ndarray
    weights: dict[str, np.ndarray]


def make_problem(row: Row) -> Problem:
    """Images of noise, darker in the target: the time does not depend on them."""
    draw = np.random.default_rng(0)
    shape = (row.batch, row.image_size, row.image_size, 1)
    source, target = (
        draw.uniform(-1, top, shape).astype(np.float32) for top in (1.0, 0.5)
    )  # fmt: skip
    return Problem(row, source, target, draw.integers(0, row.classes, row.batch), {})
