"""Omniglot from wherever it can be had, or else glyphs that say that they are not Omniglot."""

import os
from pathlib import Path

from jaxfer.data.characters import SIDE, CharacterSet, assemble
from jaxfer.data.download import download
from jaxfer.data.glyphs import draw_glyphs
from jaxfer.data.omniglot_files import BACKGROUND, EVALUATION, URL, find_files, read_files
from jaxfer.data.omniglot_tfds import find_tfds, how_to_prepare, read_tfds
from jaxfer.data.own_classes import read_own_classes
from jaxfer.typing import UserError

_FILES = f"{BACKGROUND}.zip and {EVALUATION}.zip of {URL}"


def load_omniglot(
    data: str = "auto", data_dir: str | None = None, *, image_size: int = 28
) -> CharacterSet:
    """Loads Omniglot, or whichever stand-in ``data`` allows.

    ``auto`` looks in ``data_dir``, in the folder that ``JAXFER_DATA_DIR`` names and in the cache
    (``jaxfer`` in ``$XDG_CACHE_HOME`` or ``~/.cache``), then downloads the official zips into the
    cache, and where there is no network draws glyphs. ``omniglot`` does the same with the official
    files alone, and ``tfds`` with a prepared TFDS alone, lastly in TFDS's own folder; neither draws
    glyphs. In a folder, the official ``images_background`` and ``images_evaluation``, each a zip or
    unpacked, may lie directly or in ``omniglot/``, a prepared TFDS directly or in ``tfds/``. What
    is found is used or, if it is damaged, an error: never passed over. A folder given as ``data``
    that holds no Omniglot is the user's own, with one subfolder for each class.

    Args:
      data: ``auto``, ``omniglot``, ``tfds``, ``glyphs`` or a folder that holds Omniglot, or classes
        of the user's own, see ``read_own_classes``.
      data_dir: where to look first, and if given, nowhere else.
      image_size: side of the images in pixels, 8 to 105.

    Returns:
      The characters; ``origin`` says which source it was.

    Raises:
      UserError: no such folder, no Omniglot in it, or a damaged one; what to do about it.

    Source:
      Lake, Salakhutdinov, Tenenbaum: Human-level concept learning through probabilistic program
      induction, Science 350 (2015). https://github.com/brendenlake/omniglot

    >>> load_omniglot("omniglto")
    Traceback (most recent call last):
        ...
    jaxfer.typing.UserError: --data is 'omniglto', which is no folder; give auto, omniglot, tfds, \
glyphs or a folder that holds Omniglot.
    """
    if not 8 <= image_size <= SIDE:
        raise UserError(f"--image-size is {image_size}; give 8 to {SIDE} pixels.")
    if data == "glyphs":
        return draw_glyphs(image_size=image_size)
    if data not in ("auto", "omniglot", "tfds"):
        folder = Path(data).expanduser()
        if not folder.is_dir():
            raise UserError(
                f"--data is {data!r}, which is no folder; give auto, omniglot, tfds, glyphs or a "
                "folder that holds Omniglot."
            )
        if data_dir is not None:
            raise UserError(
                f"--data {data} is a folder already; leave --data-dir out, or give --data auto."
            )
        found = _found("auto", folder, image_size)
        if found is None and any(path.is_dir() for path in folder.iterdir()):
            return read_own_classes(folder, image_size=image_size)
        return found or _required("auto", folder, image_size)
    if data_dir is not None:
        return _required(data, _folder("--data-dir", data_dir), image_size)
    if named := os.environ.get("JAXFER_DATA_DIR"):
        found = _found(data, _folder("JAXFER_DATA_DIR", named), image_size)
        if found is not None:
            return found
    if data == "tfds":
        own = os.environ.get("TFDS_DATA_DIR") or Path.home() / "tensorflow_datasets"
        return _required(data, Path(own), image_size)
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "jaxfer"
    try:
        for name in (BACKGROUND, EVALUATION):
            download(f"{URL}/{name}.zip", cache / "omniglot" / f"{name}.zip")
    except UserError as error:
        nowhere = f"no Omniglot in JAXFER_DATA_DIR or {cache}, and {str(error).rstrip('.')}"
        if data == "auto":
            glyphs = draw_glyphs(image_size=image_size)
            return glyphs._replace(origin=f"{glyphs.origin[:-1]}: {nowhere}.")
        raise UserError(
            f"There is {nowhere}; put {BACKGROUND}.zip and {EVALUATION}.zip in a folder and name "
            "it by --data-dir, or give --data glyphs."
        ) from error
    return _from_files(cache / "omniglot", image_size)


def _folder(option: str, value: str) -> Path:
    folder = Path(value).expanduser()
    if not folder.is_dir():
        raise UserError(
            f"{option} is {value}, which is no folder; name one that holds Omniglot, or leave it "
            "out."
        )
    return folder


def _found(data: str, folder: Path, image_size: int) -> CharacterSet | None:
    if data != "tfds" and (place := find_files(folder)):
        return _from_files(place, image_size)
    if data != "omniglot" and (place := find_tfds(folder)):
        return _from_tfds(place, image_size)
    return None


def _required(data: str, folder: Path, image_size: int) -> CharacterSet:
    found = _found(data, folder, image_size)
    if found is not None:
        return found
    names = sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []
    seen = ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
    expected = {
        "auto": f"{_FILES}, or an Omniglot prepared by TFDS",
        "omniglot": _FILES,
        "tfds": f"an Omniglot prepared by TFDS: {how_to_prepare(folder)}",
    }
    raise UserError(
        f"{folder} is not Omniglot: it holds {seen or 'nothing'}; expected {expected[data]}."
    )


def _from_files(folder: Path, image_size: int) -> CharacterSet:
    return assemble(
        *read_files(folder),
        image_size=image_size,
        source="omniglot",
        origin=f"Omniglot from its official files in {folder}.",
    )


def _from_tfds(folder: Path, image_size: int) -> CharacterSet:
    return assemble(
        *read_tfds(folder),
        image_size=image_size,
        source="tfds",
        origin=f"Omniglot as prepared by TFDS in {folder}.",
    )
