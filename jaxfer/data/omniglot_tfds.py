"""Omniglot as TensorFlow Datasets has prepared it, read without TensorFlow."""

import contextlib
import logging
from collections.abc import Iterator
from pathlib import Path

from jaxfer.data.characters import Drawings
from jaxfer.data.omniglot_drawings import (
    BACKGROUND_CHARACTERS,
    EVALUATION_CHARACTERS,
    Entry,
    collect,
)
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
    for place in (folder / "tfds", folder):
        if any(place.glob("omniglot/*/dataset_info.json")):
            return place
    return None


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
    return (
        'prepare it once, which needs TensorFlow: pip install tensorflow, then python -c "import '
        f"tensorflow_datasets as tfds; tfds.data_source('omniglot', data_dir='{folder}')\""
    )


def _read_split(folder: Path, split: str, characters: int) -> Drawings:
    return collect(
        _entries(folder, split),
        characters=characters,
        place=f"{folder}, split {split}",
        remedy=f"delete its omniglot folder and {how_to_prepare(folder)}",
    )


def _entries(folder: Path, split: str) -> Iterator[Entry]:
    import tensorflow_datasets as tfds  # not at the top: it takes a while

    try:
        with _quiet_absl():
            records = tfds.data_source(
                "omniglot",
                split=split,
                data_dir=str(folder),
                # The PNGs go through the same decoder as those of the zips.
                decoders={"image": tfds.decode.SkipDecoding()},
                download=False,
            )
    except Exception as error:  # TFDS raises all kinds
        raise UserError(
            f"{folder}: TFDS cannot open its Omniglot ({_first_line(error)}); "
            f"delete its omniglot folder and {how_to_prepare(folder)}."
        ) from error
    try:
        # All at once takes half the time of one by one.
        for index, record in enumerate(records.__getitems__(range(len(records)))):
            number = int(record["alphabet_char_id"]) + 1
            alphabet = ALPHABETS[int(record["alphabet"])]
            yield Entry(alphabet, number, f"record {index}", record["image"])
    except Exception as error:
        raise UserError(
            f"{folder}, split {split}: is truncated or damaged ({_first_line(error)}); "
            f"delete its omniglot folder and {how_to_prepare(folder)}."
        ) from error


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".partition("\n")[0].rstrip(".")


@contextlib.contextmanager
def _quiet_absl() -> Iterator[None]:
    """TFDS warns of things that do not matter here."""
    logger = logging.getLogger("absl")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)
