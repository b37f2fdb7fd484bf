"""Texts as the tokens that a published encoder was trained on."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tokenizers import Tokenizer

from jaxfer.typing import Tokens, UserError

_NAME = "tokenizer.json"


def load_tokenizer(folder: str | Path) -> Tokenizer:
    """Loads the tokenizer that belongs to a published model.

    Args:
      folder: with ``tokenizer.json``, or that file, or a file beside it.

    Returns:
      A tokenizer that neither pads nor cuts off by itself.

    Raises:
      UserError: there is none, or it cannot be read.

    >>> load_tokenizer("no/such/folder")
    Traceback (most recent call last):
        ...
    jaxfer.typing.UserError: no/such/folder/tokenizer.json does not exist; a model of texts needs \
the tokenizer that it was trained with: get it from where its weights came from.
    """
    path = Path(folder)
    if path.is_file() and path.suffix != ".json":
        path = path.parent
    path = path if path.suffix == ".json" else path / _NAME
    if not path.is_file():
        raise UserError(
            f"{path} does not exist; a model of texts needs the tokenizer that it was trained "
            "with: get it from where its weights came from."
        )
    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:  # a bare Exception is what it raises
        raise UserError(f"{path} is no tokenizer that can be read ({error}).") from error
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return tokenizer


def tokenize(texts: Sequence[str], tokenizer: Any, *, length: int) -> Tokens:
    """Numbers the tokens of texts, each cut off or padded to one length.

    Args:
      texts: ``n`` of them.
      tokenizer: from :func:`load_tokenizer`.
      length: tokens kept of each, the special ones at its ends included; at least 3.

    Returns:
      :class:`Tokens` of NumPy arrays ``[n, width]``; ``width`` is that of the longest text, at most
      ``length``.

    Raises:
      UserError: no text, or something that is no string.
      ValueError: for a length below 3.

    >>> from tokenizers import models, pre_tokenizers
    >>> words = Tokenizer(models.WordLevel({"good": 1, "bad": 2, "?": 3}, unk_token="?"))
    >>> words.pre_tokenizer = pre_tokenizers.Whitespace()
    >>> tokenize(["good", "bad and good"], words, length=3).ids.tolist()
    [[1, 0, 0], [2, 3, 1]]
    """
    if length < 3:
        raise ValueError(f"length must be at least 3; it is {length}.")
    texts = list(texts)
    if not texts:
        raise UserError("There is no text to tokenise.")
    for number, text in enumerate(texts):
        if not isinstance(text, str):
            raise UserError(f"text {number} is no string but {type(text).__name__}: {text!r:.80}.")
    tokenizer.enable_truncation(length)
    try:
        encoded = tokenizer.encode_batch(texts)
    finally:
        tokenizer.no_truncation()
    width = max(1, max(len(one.ids) for one in encoded))
    ids = np.zeros((len(texts), width), np.int32)
    mask = np.zeros((len(texts), width), bool)
    for row, one in enumerate(encoded):
        ids[row, : len(one.ids)] = one.ids
        mask[row, : len(one.ids)] = True
    return Tokens(ids, mask)
