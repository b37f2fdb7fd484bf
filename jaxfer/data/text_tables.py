"""A user's own texts with labels: CSV, TSV, or one JSON object a line."""

import csv
import gzip
import io
import json
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from jaxfer.data.domains import Domain, make_domain, train_test_indices
from jaxfer.typing import LabelledBatch, UserError

_ENDINGS = {".csv": ",", ".tsv": "\t", ".jsonl": None, ".ndjson": None}


def read_text_table(
    path: str | Path,
    *,
    text: str = "text",
    label: str = "label",
    test_share: float = 0.2,
    seed: int = 0,
) -> Domain:
    r"""Reads texts and their labels, and keeps a part of each class for the test.

    Args:
      path: a file that ends in ``.csv``, ``.tsv`` (a first line with the columns' names) or
        ``.jsonl``, perhaps with ``.gz`` after it, in UTF-8.
      text, label: names of the two columns, or fields. Labels may be words or numbers: each is a
        class of that name.
      test_share: part of each class that is kept for the test.
      seed: of NumPy's generator, which deals them.

    Returns:
      A domain whose ``x`` is an array of strings ``[n]``, its classes in alphabetical order.

    Raises:
      UserError: it cannot be read, a column is missing, a text or label is empty, or a class has
        fewer than two texts.

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp(), "mine.tsv")
    >>> _ = path.write_text("label\ttext\n" + "good\tFine.\nbad\tAwful.\n" * 3)
    >>> read_text_table(path).classes
    ('bad', 'good')
    """
    path = Path(path)
    texts, labels = [], []
    for number, row in _rows(path):
        for name in (text, label):
            if row.get(name) is None:
                raise UserError(
                    f"{path}, line {number}: has no {name!r}; its columns are "
                    f"{', '.join(map(repr, row))}. Name them by --text-column and --label-column."
                )
        if not isinstance(row[text], str) or not row[text].strip():
            raise UserError(f"{path}, line {number}: its {text!r} is no text; remove the line.")
        if isinstance(row[label], (dict, list)) or not str(row[label]).strip():
            raise UserError(f"{path}, line {number}: its {label!r} is no label; correct it.")
        texts.append(row[text])
        labels.append(str(row[label]).strip())
    if not texts:
        raise UserError(f"{path} holds no text; give at least two of each class.")
    classes = tuple(sorted(set(labels)))
    y = np.array([classes.index(name) for name in labels], np.int32)
    counts = np.bincount(y)
    if len(classes) < 2:
        raise UserError(f"{path}: all texts have the label {classes[0]!r}; two classes are needed.")
    if counts.min() < 2:
        lonely = classes[int(counts.argmin())]
        raise UserError(
            f"{path}: the class {lonely!r} has one text; at least two are needed, one for the test."
        )
    x = np.empty(len(texts), object)
    x[:] = texts
    train, test = train_test_indices(y, test_share=test_share, seed=seed)
    return make_domain(
        path.name,
        LabelledBatch(x[train], y[train]),
        LabelledBatch(x[test], y[test]),
        classes=classes,
        origin=f"{len(texts)} texts of {len(classes)} classes in {path}, {test_share:g} of each "
        f"for the test by seed {seed}.",
    )


def _rows(path: Path) -> Iterator[tuple[int, Mapping[str, Any]]]:
    """Each row by its columns' names, with the number of its line."""
    endings = [suffix for suffix in path.suffixes if suffix in _ENDINGS]
    if not endings:
        raise UserError(f"{path} must end in {', '.join(_ENDINGS)}, or one of them and .gz.")
    try:
        content = path.read_bytes()
        content = gzip.decompress(content) if path.suffix == ".gz" else content
        lines = content.decode("utf-8-sig")
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        raise UserError(f"{path} cannot be read as text in UTF-8 ({error}).") from error
    separator = _ENDINGS[endings[-1]]
    if separator is not None:
        reader = csv.DictReader(io.StringIO(lines, newline=""), delimiter=separator)
        try:
            for row in reader:
                yield reader.line_num, row
        except csv.Error as error:
            raise UserError(f"{path}, line {reader.line_num}: {error}; correct it.") from error
        return
    for number, line in enumerate(lines.split("\n"), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError as error:
            raise UserError(f"{path}, line {number}: is no JSON ({error}); correct it.") from error
        if not isinstance(row, dict):
            raise UserError(f"{path}, line {number}: is no JSON object; correct it.")
        yield number, row
