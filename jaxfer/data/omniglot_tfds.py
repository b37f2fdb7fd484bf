"""Omniglot as TensorFlow Datasets has prepared it, read without TensorFlow."""

from collections.abc import Iterator
from pathlib import Path

from jaxfer.data import prepared_tfds
from jaxfer.data.characters import Drawings
from jaxfer.data.omniglot_drawings import (
    BACKGROUND_CHARACTERS,
    EVALUATION_CHARACTERS,
    Entry,
    collect,
)
from jaxfer.data.prepared_tfds import find_prepared, read_records
from jaxfer.typing import UserError

# TFDS numbers the alphabets of both halves by name, but a prepared folder may have lost the names.
ALPHABETS = tuple(
    """
    Alphabet_of_the_Magi Angelic Anglo-Saxon_Futhorc Arcadian Armenian Asomtavruli_(Georgian)
    Atemayar_Qelisayer Atlantean Aurek-Besh Avesta Balinese Bengali
    Blackfoot_(Canadian_Aboriginal_Syllabics) Braille Burmese_(Myanmar) Cyrillic Early_Aramaic
    Futurama Ge_ez Glagolitic Grantha Greek Gujarati Gurmukhi Hebrew
    Inuktitut_(Canadian_Aboriginal_Syllabics) Japanese_(hiragana) Japanese_(katakana) Kannada Keble
    Korean Latin Malay_(Jawi_-_Arabic) Malayalam Manipuri Mkhedruli_(Georgian) Mongolian N_Ko
    Ojibwe_(Canadian_Aboriginal_Syllabics) Old_Church_Slavonic_(Cyrillic) Oriya Sanskrit Sylheti
    Syriac_(Estrangelo) Syriac_(Serto) Tagalog Tengwar Tibetan Tifinagh ULOG
    """.split()
)


def find_tfds(folder: Path) -> Path | None:
    """Finds where a folder keeps a prepared TFDS Omniglot: in ``tfds/`` or directly.

    >>> import tempfile
    >>> find_tfds(Path(tempfile.mkdtemp())) is None
    True
    """
    return find_prepared(folder, "omniglot")


def read_tfds(folder: Path) -> tuple[Drawings, Drawings]:
    """Reads and checks the background and the evaluation half: TFDS's ``train`` and ``test``.

    Args:
      folder: TFDS's ``data_dir``, in which ``find_tfds`` found Omniglot.

    Returns:
      The drawings of both halves.

    Raises:
      UserError: it cannot be opened, or is damaged or not whole.

    >>> import tempfile
    >>> read_tfds(Path(tempfile.mkdtemp()))  # doctest: +ELLIPSIS
    Traceback (most recent call last):
        ...
    jaxfer.typing.UserError: ...: TFDS cannot open its Omniglot (...
    """
    background = _read_split(folder, "train", BACKGROUND_CHARACTERS)
    return background, _read_split(folder, "test", EVALUATION_CHARACTERS)


def how_to_prepare(folder: Path) -> str:
    """Says how TFDS is made to prepare Omniglot in a folder.

    >>> "tfds.data_source('omniglot', data_dir='/data')" in how_to_prepare(Path("/data"))
    True
    """
    return prepared_tfds.how_to_prepare(folder, "omniglot")


def _read_split(folder: Path, split: str, characters: int) -> Drawings:
    return collect(
        _entries(folder, split),
        characters=characters,
        place=f"{folder}, split {split}",
        remedy=f"delete its omniglot folder and {how_to_prepare(folder)}",
    )


def _entries(folder: Path, split: str) -> Iterator[Entry]:
    for index, record in enumerate(read_records(folder, "omniglot", split, title="Omniglot")):
        try:
            number = int(record["alphabet_char_id"]) + 1
            alphabet = ALPHABETS[int(record["alphabet"])]
            yield Entry(alphabet, number, f"record {index}", record["image"])
        except (KeyError, IndexError, TypeError) as error:
            raise UserError(
                f"{folder}, split {split}: is truncated or damaged ({type(error).__name__}: "
                f"{error}); delete its omniglot folder and {how_to_prepare(folder)}."
            ) from error
