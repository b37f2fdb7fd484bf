"""Texts with a sentiment, as they were written: reviews of products, and sentences."""

import gzip
import json
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from jaxfer.data.domains import Domain, make_domain, train_test_indices
from jaxfer.data.places import look_for
from jaxfer.data.reviews import CLASSES
from jaxfer.typing import LabelledBatch, UserError

_REVIEWS = "reviews.jsonl.gz"


def load_review_texts(
    data_dir: str | Path | None = None, *, test_share: float = 0.2, seed: int = 0
) -> dict[str, Domain]:
    r"""Loads reviews from ``reviews.jsonl.gz``, one JSON object a line, a domain for each product.

    An object has ``domain``, ``label`` (0 negative, 1 positive), ``text`` and perhaps ``title``,
    which is put before the text. The file may lie in the folder directly or in
    ``amazon_reviews_text/``.

    Args:
      data_dir: the folder; without it the one that ``JAXFER_DATA_DIR`` names, or the cache.
      test_share: part of each class of each domain that is kept for the test.
      seed: of NumPy's generator, which deals them.

    Returns:
      The domains by name, ascending: ``x`` an array of strings ``[n]``.

    Raises:
      UserError: there is no such file, or a line that cannot be read.

    Source:
      Blitzer, Dredze, Pereira: Biographies, Bollywood, boom-boxes and blenders, ACL (2007).

    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> lines = [{"domain": "toys", "label": i % 2, "text": f"No. {i}"} for i in range(4)]
    >>> with gzip.open(folder / "reviews.jsonl.gz", "wt") as file:
    ...     _ = file.write("\n".join(map(json.dumps, lines)))
    >>> load_review_texts(folder)["toys"].train.x.shape
    (2,)
    """
    path = look_for(_find_reviews, title="reviews", data_dir=data_dir)
    if path is None:
        where = data_dir or "JAXFER_DATA_DIR or the cache"
        raise UserError(f"There is no {_REVIEWS} in {where}; put it into a folder and name it.")
    texts: dict[str, tuple[list[str], list[int]]] = {}
    try:
        lines = gzip.decompress(path.read_bytes()).decode("utf-8").split("\n")
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        raise UserError(f"{path}: is truncated or damaged ({error}); replace it.") from error
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            review = json.loads(line)
            name, label = review["domain"], _label(review["label"])
            text = "\n".join(filter(None, [review.get("title"), review["text"]]))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise UserError(
                f"{path}, line {number}: is no review with domain, label 0 or 1 and text "
                f"({type(error).__name__}: {error}); correct it."
            ) from error
        known = texts.setdefault(name, ([], []))
        known[0].append(text)
        known[1].append(label)
    return _domains(texts, f"Reviews of {{}} in {path}", test_share, seed)


def load_sentences(
    data_dir: str | Path | None = None, *, test_share: float = 0.2, seed: int = 0
) -> dict[str, Domain]:
    r"""Loads sentences from ``DOMAIN_*.txt``, one a line: the sentence, a tab, and 0 or 1.

    Lines end at a newline and nowhere else, and the label stands after the last tab. The files may
    lie in the folder directly or in ``sentiment_sentences/``.

    Args:
      data_dir: the folder; without it the one that ``JAXFER_DATA_DIR`` names, or the cache.
      test_share: part of each class of each domain that is kept for the test.
      seed: of NumPy's generator, which deals them.

    Returns:
      The domains by name, ascending: ``x`` an array of strings ``[n]``.

    Raises:
      UserError: there are none, or a line that cannot be read.

    Source:
      Kotzias et al.: From group to individual labels using deep features, KDD (2015); UCI,
      Sentiment labelled sentences.

    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> _ = (folder / "toys_labelled.txt").write_text("Good.\t1\nBad.\t0\nFine.\t1\nNo.\t0\n")
    >>> sorted(load_sentences(folder)["toys"].test.y.tolist())
    [0, 1]
    """
    folder = look_for(_find_sentences, title="sentences", data_dir=data_dir)
    if folder is None:
        where = data_dir or "JAXFER_DATA_DIR or the cache"
        raise UserError(
            f"There are no sentences in {where}; put files such as yelp_labelled.txt into a folder "
            "and name it."
        )
    texts: dict[str, tuple[list[str], list[int]]] = {}
    for path in sorted(folder.glob("*_labelled.txt")):
        try:
            lines = path.read_bytes().decode("utf-8").split("\n")
        except (OSError, UnicodeDecodeError) as error:
            raise UserError(f"{path} cannot be read as text in UTF-8 ({error}).") from error
        name = path.name.split("_")[0]
        known = texts.setdefault(name, ([], []))
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            try:
                text, label = line.rsplit("\t", 1)
                known[1].append(_label(int(label)))
            except ValueError as error:
                raise UserError(
                    f"{path}, line {number}: does not end in a tab and 0 or 1; correct it."
                ) from error
            known[0].append(text)
    return _domains(texts, f"Sentences of {{}} in {folder}", test_share, seed)


def _domains(
    texts: dict[str, tuple[list[str], list[int]]], origin: str, test_share: float, seed: int
) -> dict[str, Domain]:
    if not texts:
        raise UserError(f"{origin.format('any domain')}: there is none; give a file with texts.")
    domains = {}
    for name in sorted(texts):
        x, y = _strings(texts[name][0]), np.array(texts[name][1], np.int32)
        if len(y) < 2:
            raise UserError(
                f"{origin.format(name)}: there is 1; give at least 2, of which one is kept for the "
                "test."
            )
        train, test = train_test_indices(y, test_share=test_share, seed=seed)
        domains[name] = make_domain(
            name,
            LabelledBatch(x[train], y[train]),
            LabelledBatch(x[test], y[test]),
            classes=CLASSES,
            origin=f"{origin.format(name)}, {test_share:g} of each class for the test by seed "
            f"{seed}.",
        )
    return domains


def _strings(texts: Sequence[str]) -> np.ndarray:
    """As objects: an array of the longest text's width for each would be many times as large."""
    array = np.empty(len(texts), object)
    array[:] = texts
    return array


def _label(value: object) -> int:
    if value not in (0, 1):
        raise ValueError(f"label {value!r}")
    return int(value)


def _find_reviews(folder: Path) -> Path | None:
    for path in (folder / "amazon_reviews_text" / _REVIEWS, folder / _REVIEWS):
        if path.is_file():
            return path
    return None


def _find_sentences(folder: Path) -> Path | None:
    for place in (folder / "sentiment_sentences", folder):
        if any(place.glob("*_labelled.txt")):
            return place
    return None
