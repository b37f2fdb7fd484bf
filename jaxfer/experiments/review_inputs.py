"""Reviews as a network gets them: what becomes of counts of words, and which are held out."""

import jax.numpy as jnp
import numpy as np

from jaxfer.experiments.spanned_dann import Side
from jaxfer.typing import UserError

HELD_OUT = 0.1  # of either domain, as in the paper


def prepare(source: np.ndarray, target: np.ndarray, *others: np.ndarray, how: str, length: float
            ) -> list[np.ndarray]:  # fmt: skip
    """Inputs of the network; document frequencies are those of source and target together."""
    if how == "counts":
        return [source, target, *others]
    weights = np.ones(source.shape[1], np.float32)
    if how == "tfidf":
        found = (source > 0).sum(0) + (target > 0).sum(0)
        weights = np.log((1 + len(source) + len(target)) / (1 + found)) + 1
    found = []
    for counts in (source, target, *others):
        x = (counts > 0) * 1.0 if how == "binary" else np.log1p(counts) * weights
        norm = np.linalg.norm(x, axis=1, keepdims=True)
        found.append((length * x / np.maximum(norm, 1e-9)).astype(np.float32))
    return found


def held_out(count: int) -> int:
    """How many of so many examples are held out.

    >>> held_out(2000), held_out(3)
    (200, 1)
    """
    return max(1, round(HELD_OUT * count))


def check_enough(name: str, count: int, *, batch: int) -> None:
    """Whether so many reviews leave a batch to train on when some of them are held out."""
    left = count - held_out(count)
    if left < 1:
        raise UserError(
            f"{name} has {count} review to train on; give at least 2, of which one is held out."
        )
    if left < batch:
        raise UserError(
            f"--batch is {batch}, but {name} has {left} reviews to train on; give a smaller one."
        )


def deal(seeds: tuple[int, ...], source: int, target: int) -> tuple[Side, Side]:
    """For each seed, places of the training and held-out examples, the source's first."""
    draws = [np.random.default_rng(seed) for seed in seeds]

    def side(first: int, count: int) -> Side:
        order = jnp.asarray(np.stack([first + draw.permutation(count) for draw in draws]))
        cut = held_out(count)
        return Side(order[:, cut:], order[:, :cut])

    return side(0, source), side(source, target)
