"""Reviews as a network gets them: what becomes of counts of words, and which are held out."""

import jax.numpy as jnp
import numpy as np

from jaxfer.experiments.spanned_dann import Side

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


def deal(seeds: tuple[int, ...], source: int, target: int) -> tuple[Side, Side]:
    """For each seed, places of the training and held-out examples, the source's first."""
    draws = [np.random.default_rng(seed) for seed in seeds]

    def side(first: int, count: int) -> Side:
        order = jnp.asarray(np.stack([first + draw.permutation(count) for draw in draws]))
        cut = max(1, round(HELD_OUT * count))
        return Side(order[:, cut:], order[:, :cut])

    return side(0, source), side(source, target)
