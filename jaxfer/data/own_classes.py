"""A user's own folder of images as a character set: few-shot learning on any kind of class."""

from collections import Counter
from pathlib import Path

import numpy as np

from jaxfer.data.characters import CharacterSet
from jaxfer.data.folders import read_image_folder
from jaxfer.typing import UserError


def read_own_classes(folder: str | Path, *, image_size: int, examples: int = 2) -> CharacterSet:
    """Reads ``CLASS/IMAGE`` or ``GROUP/CLASS/IMAGE`` as classes to tell apart.

    A class is the folder that an image lies in; the folder above it is what an alphabet is to
    Omniglot, so that ``CLASS/IMAGE`` is one alphabet, named ``"."``. Classes may be of different
    sizes: as many images are kept of each, the first by name, as the smallest has, and classes of
    fewer than ``examples`` are left out. Images become grey; light ones (whose border is lighter
    than half) are inverted, as ink on paper.

    Args:
      folder: holds the classes.
      image_size: side of the images returned, in pixels.
      examples: fewest images that a class needs.

    Returns:
      The classes in the order of their names; all are of the background, so that a split by
      alphabet has none to test on.

    Raises:
      UserError: no such folder, no images in it, unreadable ones, or fewer than 3 classes.

    >>> import tempfile
    >>> from PIL import Image
    >>> with tempfile.TemporaryDirectory() as name:
    ...     for kind in ("cat", "cow", "dog"):
    ...         Path(name, kind).mkdir()
    ...         for number in range(2):
    ...             Image.new("L", (30, 20), 80).save(Path(name, kind, f"{number}.png"))
    ...     own = read_own_classes(name, image_size=8)
    >>> own.names, own.images.shape, own.source
    (('cat', 'cow', 'dog'), (3, 2, 8, 8), 'folder')
    """
    found = read_image_folder(folder, image_size=image_size)
    of = [str(Path(name).parent.as_posix()) for name in found.names]
    counts = Counter(name for name in of if name != ".")
    kept = sorted(name for name, count in counts.items() if count >= examples)
    if len(kept) < 3:
        raise UserError(
            f"{folder} holds {len(kept)} classes of at least {examples} images; few-shot learning "
            "needs at least 3: one subfolder for each class, with its images in it."
        )
    fewest = min(counts[name] for name in kept)
    of_class = np.array(of)
    images = np.stack(
        [found.images[np.flatnonzero(of_class == name)[:fewest], :, :, 0] for name in kept]
    )
    border = np.concatenate(
        [images[..., 0, :], images[..., -1, :], images[..., 0], images[..., -1]], axis=-1
    )
    light = border.mean(-1) > 127.5
    images = np.where(light[..., None, None], 255 - images, images)
    left_out = len(counts) - len(kept)
    note = f", {left_out} smaller classes left out" if left_out else ""
    return CharacterSet(
        images=images,
        names=tuple(kept),
        alphabets=tuple(Path(name).parent.as_posix() for name in kept),
        background=np.ones(len(kept), bool),
        origin=f"{len(kept)} classes of {fewest} images from {folder}{note}.",
        source="folder",
        checksum=found.checksum,
    )
