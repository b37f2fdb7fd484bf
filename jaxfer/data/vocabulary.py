"""Words as numbers, by a vocabulary of what training may see."""

import re
from collections import Counter
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from jaxfer.data.domains import Domain, make_domain
from jaxfer.typing import LabelledBatch, UserError

PADDING, UNKNOWN = 0, 1

_FIRST = 2  # the number of the first word
_WORD = re.compile(r"[^\W_]+(?:['’][^\W_]+)*|[!?]")


class Vocabulary(NamedTuple):
    """The words that have a number: 2 and up, in this order; 0 is padding and 1 all other words.

    Attributes:
      words: the most frequent first.

    >>> Vocabulary(("the", "and")).size
    4
    """

    words: tuple[str, ...]

    @property
    def size(self) -> int:
        """How many numbers there are, padding and unknown words included."""
        return len(self.words) + _FIRST


def split_words(text: str) -> list[str]:
    """Splits a text into words in lower case; ``!`` and ``?`` count as words.

    Args:
      text: any.

    Returns:
      The words; an apostrophe within one is part of it, and all other punctuation is left out.

    >>> split_words("It's NOT good... is it?!")
    ["it's", 'not', 'good', 'is', 'it', '?', '!']
    """
    return [word.replace("’", "'") for word in _WORD.findall(text.lower())]


def build_vocabulary(texts: Iterable[str], *, size: int = 20_000, min_count: int = 2) -> Vocabulary:
    """Counts words, and numbers the most frequent ones.

    Args:
      texts: those that training may see: of the source, and unlabelled of the target; never those
        of the test.
      size: numbers at most, padding and unknown words included; at least 3.
      min_count: how often a word must occur.

    Returns:
      The vocabulary; words that occur as often as each other stand in alphabetical order.

    Raises:
      UserError: no word occurs so often.
      ValueError: ``size`` is too small.

    >>> build_vocabulary(["a b", "b c", "b a"]).words
    ('b', 'a')
    """
    if size <= _FIRST:
        raise ValueError(f"size must be at least {_FIRST + 1}; got {size}.")
    counts = Counter(word for text in texts for word in split_words(text))
    frequent = [(-count, word) for word, count in counts.items() if count >= min_count]
    if not frequent:
        raise UserError(
            f"No word occurs {min_count} times in the texts; give more, or a smaller min_count."
        )
    return Vocabulary(tuple(word for _, word in sorted(frequent)[: size - _FIRST]))


def encode_texts(texts: Iterable[str], vocabulary: Vocabulary, *, length: int) -> np.ndarray:
    """Numbers the words of texts, each cut off or padded to one length.

    Args:
      texts: ``n`` of them.
      vocabulary: which words have a number.
      length: words kept of each, from its beginning; at least 1.

    Returns:
      int32 ``[n, length]``: 0 padding at the end, 1 an unknown word.

    Raises:
      ValueError: a length below 1.

    >>> encode_texts(["b a z", "a"], Vocabulary(("a", "b")), length=4).tolist()
    [[3, 2, 1, 0], [2, 0, 0, 0]]
    """
    if length < 1:
        raise ValueError(f"length must be at least 1; got {length}.")
    numbers = {word: number for number, word in enumerate(vocabulary.words, _FIRST)}
    rows = [[numbers.get(word, UNKNOWN) for word in split_words(text)[:length]] for text in texts]
    tokens = np.full((len(rows), length), PADDING, np.int32)
    for tokens_row, row in zip(tokens, rows, strict=True):
        tokens_row[: len(row)] = row
    return tokens


def token_pair(
    source: Domain, target: Domain, *, length: int, size: int = 20_000, min_count: int = 2
) -> tuple[Domain, Domain, Vocabulary]:
    """Turns two domains of texts into tokens, by a vocabulary of the training parts of both.

    Args:
      source, target: domains of strings ``[n]``.
      length, size, min_count: see `encode_texts` and `build_vocabulary`.

    Returns:
      Source and target with ``x`` int32 ``[n, length]``, and the vocabulary.

    Raises:
      UserError: no word occurs often enough.

    >>> def domain(*texts):
    ...     batch = LabelledBatch(np.array(texts, object), None)
    ...     return make_domain("toy", batch, batch, classes=(), origin="Words.")
    >>> source, target, vocabulary = token_pair(domain("a b"), domain("b a a"), length=3)
    >>> vocabulary.words, target.train.x.tolist()
    (('a', 'b'), [[3, 2, 2]])
    """
    training = [text for domain in (source, target) for text in domain.train.x]
    vocabulary = build_vocabulary(training, size=size, min_count=min_count)
    source, target = (
        make_domain(
            domain.name,
            *(
                LabelledBatch(encode_texts(part.x, vocabulary, length=length), part.y)
                for part in (domain.train, domain.test)
            ),
            classes=domain.classes,
            origin=f"{domain.origin.rstrip('.')}, the first {length} words of each by a vocabulary "
            f"of {vocabulary.size}.",
        )
        for domain in (source, target)
    )
    return source, target, vocabulary
