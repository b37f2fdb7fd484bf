"""What is timed: MMD squared of two samples and its gradient by both, the same number for all.

The sum of five Gaussians ``exp(-d2 / (2 a b))``, ``b`` the mean squared distance of all pairs of
the pooled sample, without a gradient; all pairs, a point with itself included.
"""

import time
from typing import NamedTuple

import numpy as np

SCALES = (0.125, 0.25, 0.5, 1.0, 2.0)  # a; each twice the one before
PRECISION = 1e-5  # that is wanted of float32
BLOCK = 1024  # points, of the reference
ROWS_CHECKED = 256  # of the gradient, and all of them up to that


class Size(NamedTuple):
    """Points of source and target, and their features."""

    n: int
    m: int
    d: int

    def __str__(self) -> str:
        return f"{self.n}x{self.m}x{self.d}"

    @property
    def pairs(self) -> int:
        """Entries of the three kernel matrices: source, target, and one with the other."""
        return self.n**2 + self.m**2 + self.n * self.m

    @property
    def gram_flops(self) -> int:
        """Arithmetic of the product of the pooled sample with itself, all of it."""
        return 2 * (self.n + self.m) ** 2 * self.d

    @property
    def input_bytes(self) -> int:
        """Of both samples in float32."""
        return 4 * (self.n + self.m) * self.d


def parse_size(text: str) -> Size:
    """``"256x1024x64"`` is 256 points of source, 1024 of target, 64 features each."""
    parts = text.split("x")
    if len(parts) != 3 or not all(part.isdecimal() and int(part) > 0 for part in parts):
        raise ValueError(f"a row is written as 256x1024x64: source x target x features, not {text}")
    return Size(*map(int, parts))


def samples(size: Size, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """``[n, d]`` and ``[m, d]`` in float32: a normal distribution, and one moved and wider."""
    draw = np.random.default_rng(seed)
    source = draw.standard_normal((size.n, size.d), np.float32)
    target = draw.standard_normal((size.m, size.d), np.float32)
    target *= np.float32(1.1)
    target += np.float32(0.1)
    return source, target


class Reference(NamedTuple):
    """The exact numbers.

    Attributes:
      value: MMD squared; None where it would have taken too long.
      rows: of the pooled sample ``[n + m, d]``, source first.
      gradient: in those rows.
    """

    value: float | None
    rows: np.ndarray
    gradient: np.ndarray


def reference(size: Size, patience: float) -> Reference:
    """Value and rows of the gradient in float64, by blocks; the value in so many seconds or not."""
    points = np.concatenate(samples(size)).astype(np.float64)
    points -= points.mean(axis=0)
    weights = np.concatenate([np.full(size.n, 1 / size.n), np.full(size.m, -1 / size.m)])
    bandwidth = 2 * np.mean(np.sum(points**2, axis=1))
    rows = np.random.default_rng(1).permutation(len(points))[:ROWS_CHECKED]
    return Reference(
        exact_value(points, weights, bandwidth, patience),
        rows,
        exact_gradient(points, weights, bandwidth, rows),
    )


def exact_value(
    points: np.ndarray, weights: np.ndarray, bandwidth: float, patience: float
) -> float | None:
    """The quadratic form of the kernel matrix, half of which is visited; None if out of patience.

    Every Gaussian is the square of the next wider one.
    """
    blocks = [slice(start, start + BLOCK) for start in range(0, len(points), BLOCK)]
    began = time.perf_counter()
    total = 0.0
    for number, here in enumerate(blocks):
        for there in blocks[number:]:
            power = squared_distances(points[here], points[there])
            power *= -0.5 / (max(SCALES) * bandwidth)
            np.exp(power, out=power)
            kernel = power.copy()
            for _ in SCALES[1:]:
                power *= power
                kernel += power
            form = float(weights[here] @ kernel @ weights[there])
            total += form if here is there else 2 * form
        left = (1 - (number + 1) / len(blocks)) ** 2
        if (time.perf_counter() - began) > patience * (1 - left):
            return None
    return total


def exact_gradient(
    points: np.ndarray, weights: np.ndarray, bandwidth: float, rows: np.ndarray
) -> np.ndarray:
    """Some rows of the derivative by the points; the bandwidth stays where it is."""
    found = []
    for chosen in np.array_split(rows, -(-len(rows) // 32)):
        squares = squared_distances(points[chosen], points)
        slopes = sum(
            np.exp(squares * (-0.5 / (a * bandwidth))) * (-0.5 / (a * bandwidth)) for a in SCALES
        )
        slopes *= weights[chosen, None] * weights
        found.append(4 * (slopes.sum(axis=1)[:, None] * points[chosen] - slopes @ points))
    return np.concatenate(found)


def squared_distances(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """``[a, d]`` and ``[b, d]`` to ``[a, b]``."""
    products = x @ y.T
    products *= -2
    products += np.sum(x * x, axis=1)[:, None]
    products += np.sum(y * y, axis=1)
    return products


def allowed_error(size: Size, value: float) -> float:
    """Of the value, in float32.

    On samples of one distribution MMD squared is about the second term: a smaller value is rounding
    to anyone who asks whether two samples differ.
    """
    return PRECISION * max(value, len(SCALES) * (1 / size.n + 1 / size.m))


def errors(
    size: Size, value: float, gradient: dict[str, np.ndarray], exact: Reference
) -> dict[str, float | None]:
    """What value and gradient err by, as multiples of what is allowed; None where not checked.

    Of the gradient the relative error (Euclidean, over the rows that are checked) may be as large
    as that of the value.
    """
    scale = abs(value) if exact.value is None else exact.value
    allowed = allowed_error(size, scale)
    found: dict[str, float | None] = {
        "value_error": None if exact.value is None else abs(value - exact.value) / allowed,
        "gradient_error": None,
    }
    if gradient:
        pooled = np.concatenate([gradient["source"], gradient["target"]])[exact.rows]
        relative = np.linalg.norm(pooled - exact.gradient) / np.linalg.norm(exact.gradient)
        found["gradient_error"] = float(relative * scale / allowed)
    return found
