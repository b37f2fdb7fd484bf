"""Reviews that nobody wrote: counts of words in two domains, where some words change their tone."""

import numpy as np

from jaxfer.data.domains import Domain, make_domain
from jaxfer.typing import LabelledBatch

_TONE, _TOPIC = 0.12, 0.5  # shares of the words that have a tone, and that belong to one domain


def make_up_reviews(
    seed: int = 0,
    *,
    train: int = 400,
    test: int = 1000,
    words: int = 600,
    length: int = 40,
) -> dict[str, Domain]:
    """Makes up two domains of reviews as counts of words, to try things where no data are at hand.

    Words are drawn by Zipf's law. Some have a tone, and are three times as frequent in reviews of
    that tone; half of all belong to one domain and are rare in the other. A fifth of those with a
    tone have the opposite one in the other domain, as "long" has of a battery and of a queue.

    Args:
      seed: of NumPy's generator.
      train, test: reviews of each domain, both even.
      words: how many there are.
      length: of a review, on average.

    Returns:
      The domains ``"left"`` and ``"right"``, ``x`` float32 counts ``[n, words]``, labels 0 and 1.

    >>> domains = make_up_reviews(train=10, test=4, words=50)
    >>> domains["left"].train.x.shape, domains["right"].test.y.tolist()
    ((10, 50), [0, 1, 0, 1])
    """
    draw = np.random.default_rng(seed)
    frequency = draw.permutation(1 / (10 + np.arange(words)))
    tone = draw.choice([-1, 0, 1], words, p=[_TONE / 2, 1 - _TONE, _TONE / 2])
    home = draw.choice([0, 1, 2], words, p=[_TOPIC / 2, _TOPIC / 2, 1 - _TOPIC])
    turned = np.where(draw.random(words) < 0.2, -1, 1)
    domains = {}
    for place, name in enumerate(("left", "right")):
        at_home = frequency * np.where((home == place) | (home == 2), 1.0, 0.1)
        here = tone * (turned if place else 1)
        batches = []
        for count in (train, test):
            labels = np.arange(count, dtype=np.int32) % 2
            rates = at_home * 3.0 ** (np.where(labels[:, None] > 0, here, -here) / 2)
            rates *= draw.gamma(4, length / 4, (count, 1)) / rates.sum(1, keepdims=True)
            batches.append(LabelledBatch(draw.poisson(rates).astype(np.float32), labels))
        domains[name] = make_domain(
            name, *batches, classes=("negative", "positive"),
            origin=f"Made-up reviews, domain {name}, {words} words: no real data.",
        )  # fmt: skip
    return domains
