"""A set of hand-drawn characters in memory, and a word on where it really came from."""

import hashlib
from collections.abc import Mapping, Sequence
from typing import NamedTuple, TypeAlias

import numpy as np
from PIL import Image

SIDE = 105  # pixels, of a drawing in its original size

# For each alphabet and number, from 1, the drawings of one character: one bit a pixel, 1 for ink,
# 105 rows of 14 bytes.
Drawings: TypeAlias = Mapping[tuple[str, int], Sequence[bytes]]


class CharacterSet(NamedTuple):
    """Drawings of characters, a fixed number of each.

    Attributes:
      images: uint8 ``[classes, examples, height, width]``, ink 255 on 0.
      names: one per class, such as ``"Greek/character01"``.
      alphabets: the alphabet of each class, such as ``"Greek"``.
      background: bool ``[classes]``, True for the characters of the background alphabets, which
        Omniglot sets apart for training; the others are of its evaluation alphabets.
      origin: one sentence: which source was really used, and where it lies.
      source: ``"omniglot"``, ``"tfds"``, ``"glyphs"``, or ``"folder"`` for a user's own.
      checksum: sha256 of the drawings in their original size, in the order of ``images``.

    >>> one = CharacterSet(
    ...     np.zeros((1, 20, 28, 28), np.uint8),
    ...     ("Greek/character01",),
    ...     ("Greek",),
    ...     np.array([True]),
    ...     "Drawn here.",
    ...     "glyphs",
    ...     "",
    ... )
    >>> one.images.shape
    (1, 20, 28, 28)
    """

    images: np.ndarray
    names: tuple[str, ...]
    alphabets: tuple[str, ...]
    background: np.ndarray
    origin: str
    source: str
    checksum: str


def assemble(
    background: Drawings, evaluation: Drawings, *, image_size: int, source: str, origin: str
) -> CharacterSet:
    """Makes a character set of drawings as Omniglot has them, resizing them.

    Classes stand in the order background, evaluation; then alphabet; then character. The drawings
    of a character are to stand in the order of their bytes, because TFDS keeps no drawer: so
    Omniglot is the same arrays, with the same checksum, from every container. Images are resized
    by the antialiasing Lanczos filter, as MAML's were.

    Args:
      background: the characters to train on.
      evaluation: those to be tested on; the same number of drawings each.
      image_size: side of the images returned, in pixels.
      source: ``"omniglot"``, ``"tfds"`` or ``"glyphs"``.
      origin: where the drawings come from, one sentence.

    Returns:
      All classes; the checksum is that of the packed 105 x 105 ink.

    >>> ink = bytes(14 * 104) + bytes(13) + bytes([0x80])
    >>> both = assemble(
    ...     {("Greek", 2): [ink] * 20},
    ...     {("Angelic", 1): [ink] * 20},
    ...     image_size=28,
    ...     source="omniglot",
    ...     origin="Drawn here.",
    ... )
    >>> both.names, both.background.tolist(), both.images.shape
    (('Greek/character02', 'Angelic/character01'), [True, False], (2, 20, 28, 28))
    """
    ordered = [*sorted(background.items()), *sorted(evaluation.items())]
    digest = hashlib.sha256()
    examples = len(ordered[0][1])
    images = np.empty((len(ordered), examples, image_size, image_size), np.uint8)
    weights = _lanczos(image_size)
    for row, (_, inks) in zip(images, ordered, strict=True):
        digest.update(b"".join(inks))
        row[:] = _resize(_unpack(inks), weights)
    return CharacterSet(
        images=images,
        names=tuple(character_name(*character) for character, _ in ordered),
        alphabets=tuple(alphabet for (alphabet, _), _ in ordered),
        background=np.arange(len(ordered)) < len(background),
        origin=origin,
        source=source,
        checksum=digest.hexdigest(),
    )


def resize_ink(inks: Sequence[bytes], image_size: int) -> np.ndarray:
    """Resizes packed drawings as `assemble` does.

    Args:
      inks: of each drawing one bit a pixel, 105 rows of 14 bytes.
      image_size: side of the images returned, in pixels.

    Returns:
      uint8 ``[drawings, image_size, image_size]``, ink 255 on 0.

    >>> int(resize_ink([bytes([255]) * 14 * 105], 28).min())
    255
    """
    return _resize(_unpack(inks), _lanczos(image_size))


def character_name(alphabet: str, number: int) -> str:
    """Names a character as Omniglot's folders do.

    >>> character_name("Greek", 1)
    'Greek/character01'
    """
    return f"{alphabet}/character{number:02d}"


def _unpack(inks: Sequence[bytes]) -> np.ndarray:
    bits = np.frombuffer(b"".join(inks), np.uint8).reshape(len(inks), SIDE, -1)
    return np.unpackbits(bits, axis=-1, count=SIDE)


def _lanczos(image_size: int) -> np.ndarray:
    """``[image_size, 105]``, Pillow's filter as a matrix of whole numbers, in units of 1/4096.

    Whole, so that the products below are exact and the pixels the same on every machine.
    """
    identity = Image.fromarray(np.eye(SIDE, dtype=np.float32))
    columns = identity.resize((image_size, SIDE), Image.Resampling.LANCZOS)
    return np.round(np.asarray(columns).T * 4096).astype(np.float32)


def _resize(ink: np.ndarray, weights: np.ndarray) -> np.ndarray:
    rows = weights @ ink.astype(np.float32)
    both = rows.astype(np.float64) @ weights.T.astype(np.float64)
    return np.clip(np.round(both * (255 / 4096**2)), 0, 255).astype(np.uint8)
