"""What is timed: reverse validation of DANN on reviews, all seeds and strengths, the same for all.

Every network is trained by gradient descent from labelled to unlabelled reviews, the step of the
lowest held-out risk is kept, labels the target, and is trained back from those labels.
"""

from typing import Any, NamedTuple

import numpy as np


class Row(NamedTuple):
    """The size; the defaults are those of ``jaxfer.experiments.uda_amazon``."""

    passes: int  # over the training examples, in either direction
    seeds: int = 10
    strengths: int = 9
    examples: int = 2000  # of each domain, a tenth held out
    words: int = 5000
    length: float = 130.0  # of a review: about 100 different words
    hidden: int = 50
    batch: int = 50
    rate: float = 0.3

    def __str__(self) -> str:
        return (
            f"{self.seeds} seeds x {self.strengths} strengths, {self.passes} passes forward and "
            f"{self.passes} back, {self.examples} + {self.examples} reviews of {self.words} words"
        )

    @property
    def steps(self) -> int:
        """Of a pass."""
        return round(0.9 * self.examples) // self.batch

    @property
    def lambdas(self) -> np.ndarray:
        """From 0.01 to 1."""
        return np.geomspace(0.01, 1, self.strengths).astype(np.float32)


ROWS = {"1-pass": Row(1), "4-passes": Row(4), "16-passes": Row(16)}
SMOKE = Row(passes=2, seeds=2, strengths=2, examples=100, words=60, length=20, hidden=5, batch=15)


class Problem(NamedTuple):
    """A row with everything that is random.

    Attributes:
      row: the size.
      x: ``[2 * examples, words]``, the source first.
      labels: of the source, ``[examples]``.
      train, held_out: places ``[2, seeds, ...]`` of each domain's.
      weights: first ones of the hidden layer ``[seeds, words, hidden]``.
      params: the others by name, ``[seeds, ...]``; jaxfer says which.
      orders: places of each batch ``[2 * passes, seeds, steps, 2 * batch]``; jaxfer says which.
    """

    row: Row
    x: np.ndarray
    labels: np.ndarray
    train: np.ndarray
    held_out: np.ndarray
    weights: np.ndarray
    params: dict[str, np.ndarray]
    orders: np.ndarray


def make_problem(row: Row) -> Problem:
    """Made-up reviews as sparse as those of the DANN paper, prepared as the experiment does."""
    from jaxfer.data import make_up_reviews
    from jaxfer.experiments.spanned_dann import first_weights
    from jaxfer.experiments.uda_amazon import prepare

    domains = make_up_reviews(
        train=row.examples, test=2, words=row.words, length=row.length
    ).values()
    x = prepare(*[domain.train.x for domain in domains], how="tfidf", length=5.0)
    order = np.stack(
        [np.random.default_rng(seed).permutation(row.examples) for seed in range(row.seeds)]
    )
    order = np.stack([order, order + row.examples])
    cut = row.examples - round(0.9 * row.examples)
    return Problem(
        row=row,
        x=np.concatenate(x),
        labels=next(iter(domains)).train.y,
        train=order[:, :, cut:],
        held_out=order[:, :, :cut],
        weights=first_weights(tuple(range(row.seeds)), row.words, row.hidden),
        params={},
        orders=np.zeros(0),
    )


def results(risk: Any, reverse_risk: Any) -> dict[str, np.ndarray]:
    """What must agree: the held-out risks that were kept, ``[seeds, strengths]``."""
    return {"risk": np.asarray(risk), "reverse_risk": np.asarray(reverse_risk)}
