"""Opinions that nobody holds: sentences from templates, when there are no reviews."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from jaxfer.data.domains import Domain, make_domain, train_test_indices
from jaxfer.data.reviews import CLASSES
from jaxfer.typing import LabelledBatch

_GENERAL = (  # negative, positive: said of anything
    ("bad", "poor", "terrible", "awful", "disappointing", "annoying", "a waste", "useless"),
    ("good", "great", "excellent", "wonderful", "lovely", "impressive", "a delight", "superb"),
)
_VERDICTS = (
    ("i regret it", "never again", "avoid it", "i want my money back", "do not bother"),
    ("i love it", "any time again", "try it", "worth every penny", "highly recommended"),
)
_OPENERS = ("honestly", "in short", "to my surprise", "as always", "for the price", "after a week")


class _Subject(NamedTuple):
    """What is written about, and the words that only this is praised or blamed with."""

    nouns: tuple[str, ...]
    negative: tuple[str, ...]
    positive: tuple[str, ...]
    fillers: tuple[str, ...]


_SUBJECTS = {
    "films": _Subject(
        ("film", "plot", "cast", "ending", "script", "score", "director", "dialogue"),
        ("predictable", "wooden", "boring", "overlong", "clumsy", "cheesy", "tedious", "hollow"),
        ("gripping", "moving", "witty", "brilliant", "tense", "original", "touching", "clever"),
        ("in the cinema", "on a sunday", "with subtitles", "in the second half"),
    ),
    "phones": _Subject(
        ("phone", "battery", "screen", "charger", "camera", "case", "speaker", "headset"),
        ("flimsy", "slow", "faulty", "bulky", "blurry", "unreliable", "scratched", "dead"),
        ("sturdy", "fast", "reliable", "slim", "sharp", "durable", "handy", "responsive"),
        ("out of the box", "on the road", "in my pocket", "after the update"),
    ),
}


def write_reviews(*, count: int = 500, test_share: float = 0.2, seed: int = 0) -> dict[str, Domain]:
    """Writes sentences about films and about phones, a domain for each.

    A sentence blames or praises two parts of its subject, by words that are said of anything or,
    more often, of this subject alone; one in ten is the contrary after a "not", and some sentences
    end in a verdict. A classifier of one subject knows the general words of the other, beside which
    it can find the rest.

    Args:
      count: sentences of each domain, half of them positive; at least 4.
      test_share: part of each class that is kept for the test.
      seed: of NumPy's generator.

    Returns:
      The domains by name, ascending: ``x`` an array of strings ``[n]``.

    Raises:
      ValueError: fewer than 4 sentences.

    >>> domains = write_reviews(count=10)
    >>> list(domains), domains["films"].train.x.shape
    (['films', 'phones'], (8,))
    """
    if count < 4:
        raise ValueError(f"count must be at least 4; got {count}.")
    domains = {}
    for number, (name, subject) in enumerate(_SUBJECTS.items()):
        generator = np.random.default_rng([seed, number])
        y = np.arange(count, dtype=np.int32) % 2
        x = np.array([_sentence(subject, int(label), generator) for label in y], object)
        train, test = train_test_indices(y, test_share=test_share, seed=seed)
        domains[name] = make_domain(
            name,
            LabelledBatch(x[train], y[train]),
            LabelledBatch(x[test], y[test]),
            classes=CLASSES,
            origin=f"Sentences about {name} that jaxfer wrote from templates with seed {seed}, NOT "
            "reviews of anybody.",
        )
    return domains


def _sentence(subject: _Subject, label: int, generator: np.random.Generator) -> str:
    def some(words: Sequence[str]) -> str:
        return words[int(generator.integers(len(words)))]

    def opinion() -> str:
        denied = generator.random() < 0.1
        said = 1 - label if denied else label
        own = (subject.negative, subject.positive)[said]
        word = some(own if generator.random() < 0.7 else _GENERAL[said])
        return f"the {some(subject.nouns)} was {'not ' if denied else ''}{word}"

    parts = [opinion(), opinion()]
    if generator.random() < 0.4:
        parts[0] = f"{some(_OPENERS)}, {parts[0]}"
    if generator.random() < 0.5:
        parts[0] += f" {some(subject.fillers)}"
    text = " and ".join(parts)
    if generator.random() < 0.3:
        text += f"; {some(_VERDICTS[label])}"
    return text + "."
