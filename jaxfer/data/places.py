"""Where a data set is looked for: the folder given, JAXFER_DATA_DIR, the cache."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from jaxfer.typing import UserError

Found = TypeVar("Found")


def cache_folder() -> Path:
    """The folder that downloads are kept in: ``jaxfer`` in ``$XDG_CACHE_HOME`` or ``~/.cache``.

    >>> cache_folder().name
    'jaxfer'
    """
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "jaxfer"


def look_for(
    find: Callable[[Path], Found | None], *, title: str, data_dir: str | Path | None
) -> Found | None:
    """Asks the folders in their order whether they hold a data set, and takes the first answer.

    Args:
      find: looks into one folder.
      title: what error messages call the data set.
      data_dir: where to look first, and if given, nowhere else.

    Returns:
      What ``find`` found in ``data_dir``; without it in the folder that ``JAXFER_DATA_DIR`` names
      or else in the cache; ``None`` if there is none.

    Raises:
      UserError: a folder that was named is none.

    >>> look_for(lambda folder: None, title="MNIST", data_dir=".") is None
    True
    """
    named = os.environ.get("JAXFER_DATA_DIR")
    if data_dir is not None:
        return find(_folder("--data-dir", data_dir, title))
    found = find(_folder("JAXFER_DATA_DIR", named, title)) if named else None
    return find(cache_folder()) if found is None else found


def _folder(option: str, value: str | Path, title: str) -> Path:
    folder = Path(value).expanduser()
    if not folder.is_dir():
        raise UserError(
            f"{option} is {value}, which is no folder; name one that holds {title}, or leave it "
            "out."
        )
    return folder
