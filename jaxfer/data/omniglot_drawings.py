"""Omniglot's PNGs, whichever container they lie in: decoded, and checked to be all there."""

import io
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from PIL import Image

from jaxfer.data.characters import SIDE, Drawings, character_name
from jaxfer.typing import UserError

DRAWINGS = 20  # of each character, one per drawer
BACKGROUND_CHARACTERS = 964
EVALUATION_CHARACTERS = 659


class Entry(NamedTuple):
    """One drawing as a container holds it.

    Attributes:
      alphabet: such as ``"Greek"``.
      number: of the character in its alphabet, from 1.
      name: what the container calls the drawing.
      png: black ink on white, 105 x 105.

    >>> Entry("Greek", 1, "Greek/character01/0394_01.png", b"").number
    1
    """

    alphabet: str
    number: int
    name: str
    png: bytes


def packed_ink(png: bytes) -> bytes:
    """Decodes a drawing to one bit a pixel, 1 for ink, each row padded to whole bytes.

    Args:
      png: a file's bytes: black ink on white, 105 x 105.

    Returns:
      105 rows of 14 bytes.

    Raises:
      UserError: not a readable PNG, not 105 x 105, or without ink.

    >>> white = io.BytesIO()
    >>> Image.new("1", (105, 105), 1).save(white, "PNG")
    >>> packed_ink(white.getvalue())
    Traceback (most recent call last):
        ...
    jaxfer.typing.UserError: is blank
    """
    try:
        with Image.open(io.BytesIO(png), formats=["PNG"]) as image:
            size = image.size
            ink = np.asarray(image.convert("L")) < 128
    except (OSError, ValueError, SyntaxError) as error:  # Pillow raises all three on a broken PNG
        raise UserError("is not a readable PNG") from error
    if size != (SIDE, SIDE):
        raise UserError(f"is {size[0]} x {size[1]} pixels instead of {SIDE} x {SIDE}")
    if not ink.any():
        raise UserError("is blank")
    return np.packbits(ink, axis=-1).tobytes()


def collect(entries: Iterable[Entry], *, characters: int, place: str, remedy: str) -> Drawings:
    """Decodes all drawings of one half of Omniglot and checks that none is missing.

    Args:
      entries: the drawings in any order.
      characters: how many characters there must be.
      place: the container, at the head of an error message.
      remedy: what to do about a bad one, at its end.

    Returns:
      For each alphabet and number the packed ink of its 20 drawings, sorted.

    Raises:
      UserError: a bad drawing, or not ``characters`` characters of 20 drawings.

    >>> collect([], characters=964, place="here.zip", remedy="download it again")
    Traceback (most recent call last):
        ...
    jaxfer.typing.UserError: here.zip: holds 0 characters instead of 964; download it again.
    """
    drawings: dict[tuple[str, int], list[bytes]] = {}
    for entry in entries:
        try:
            ink = packed_ink(entry.png)
        except UserError as error:
            raise UserError(f"{place}: {entry.name} {error}; {remedy}.") from error
        drawings.setdefault((entry.alphabet, entry.number), []).append(ink)
    if len(drawings) != characters:
        raise UserError(
            f"{place}: holds {len(drawings)} characters instead of {characters}; {remedy}."
        )
    for (alphabet, number), inks in drawings.items():
        if len(inks) != DRAWINGS:
            name = character_name(alphabet, number)
            raise UserError(
                f"{place}: {name} has {len(inks)} drawings instead of {DRAWINGS}; {remedy}."
            )
        inks.sort()
    return drawings
