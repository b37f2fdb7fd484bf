"""Omniglot in its official form: two zips, or the two folders that they unpack to."""

import re
import zipfile
import zlib
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

BACKGROUND = "images_background"
EVALUATION = "images_evaluation"
URL = "https://raw.githubusercontent.com/brendenlake/omniglot/master/python"

_DRAWING = re.compile(r"(?:[^/]+/)?(?P<alphabet>[^/]+)/character(?P<number>\d+)/\d+_\d+\.png")


def find_files(folder: Path) -> Path | None:
    """Finds where a folder keeps Omniglot's official files: in ``omniglot/`` or directly.

    >>> import tempfile
    >>> find_files(Path(tempfile.mkdtemp())) is None
    True
    """
    for place in (folder / "omniglot", folder):
        if any(_half(place, name) for name in (BACKGROUND, EVALUATION)):
            return place
    return None


def read_files(folder: Path) -> tuple[Drawings, Drawings]:
    """Reads and checks the background and the evaluation half in a folder.

    Args:
      folder: holds ``images_background`` and ``images_evaluation``, each a ``.zip`` or unpacked.

    Returns:
      The drawings of both halves.

    Raises:
      UserError: a half is missing, or not the whole of it is there, readable and of the right size.

    >>> import tempfile
    >>> read_files(Path(tempfile.mkdtemp()))  # doctest: +ELLIPSIS
    Traceback (most recent call last):
        ...
    jaxfer.typing.UserError: ... holds neither images_background.zip nor a folder...
    """
    background = _read_half(folder, BACKGROUND, BACKGROUND_CHARACTERS)
    return background, _read_half(folder, EVALUATION, EVALUATION_CHARACTERS)


def _half(folder: Path, name: str) -> Path | None:
    """The zip if there is one, else the folder."""
    zipped, unpacked = folder / f"{name}.zip", folder / name
    return zipped if zipped.is_file() else unpacked if unpacked.is_dir() else None


def _read_half(folder: Path, name: str, characters: int) -> Drawings:
    half = _half(folder, name)
    if half is None:
        raise UserError(
            f"{folder} holds neither {name}.zip nor a folder {name}; put {URL}/{name}.zip there."
        )
    return collect(
        _zipped(half) if half.is_file() else _unpacked(half),
        characters=characters,
        place=str(half),
        remedy=f"replace it by {URL}/{name}.zip",
    )


def _zipped(path: Path) -> Iterator[Entry]:
    try:
        with zipfile.ZipFile(path) as archive:
            for name in archive.namelist():
                if match := _DRAWING.fullmatch(name):
                    yield _entry(match, archive.read(name))
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError) as error:
        raise UserError(
            f"{path}: is truncated or damaged ({error}); replace it by {URL}/{path.name}."
        ) from error


def _unpacked(folder: Path) -> Iterator[Entry]:
    for path in sorted(folder.glob("*/character*/*.png")):
        if match := _DRAWING.fullmatch(path.relative_to(folder).as_posix()):
            try:
                png = path.read_bytes()
            except OSError as error:
                raise UserError(f"{path}: cannot be read ({error.strerror}).") from error
            yield _entry(match, png)


def _entry(match: re.Match[str], png: bytes) -> Entry:
    return Entry(match["alphabet"], int(match["number"]), match[0], png)
