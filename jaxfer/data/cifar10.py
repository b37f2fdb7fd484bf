"""CIFAR-10 from its official binary files, from a part of it, or as prepared by TFDS."""

import tarfile
import zlib
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from jaxfer.data.domains import Domain, make_domain
from jaxfer.data.places import cache_folder, look_for
from jaxfer.data.prepared_tfds import find_prepared
from jaxfer.data.tfds_images import load_tfds_images
from jaxfer.typing import LabelledBatch, UserError

CLASSES = (
    "airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck",
)  # fmt: skip
SIDE = 32
ARCHIVE = "cifar-10-binary.tar.gz"
PART = "cifar10_png_exact_4k1k.npz"
URL = f"https://www.cs.toronto.edu/~kriz/{ARCHIVE}"

_PICKLED = ("cifar-10-python.tar.gz", "cifar-10-batches-py")
_FILES = {
    "train": tuple(f"data_batch_{number}.bin" for number in range(1, 6)),
    "test": ("test_batch.bin",),
}
_ROW = 1 + 3 * SIDE * SIDE


def load_cifar10(
    data_dir: str | Path | None = None, *, image_size: int = SIDE, color: bool = True
) -> Domain:
    """Loads CIFAR-10, 50000 photographs to train on and 10000 to be judged by, of ten classes.

    It is looked for in ``data_dir``, and if that is not given in the folder that
    ``JAXFER_DATA_DIR`` names and in the cache. In a folder it may be, in this order: the official
    binary version, as ``cifar-10-binary.tar.gz`` or unpacked, directly or in ``cifar10/`` or
    ``cifar-10-batches-bin/``; a part of it, ``cifar10_png_exact_4k1k.npz``, directly or in
    ``cifar10_part/``; a prepared TFDS, directly or in ``tfds/``. The official Python version is
    never opened: it is a pickle, which can run any code.

    Args:
      data_dir: where to look first, and if given, nowhere else.
      image_size: side of the images returned, in pixels; they have 32.
      color: three channels instead of grey.

    Returns:
      The domain, images uint8 ``[n, image_size, image_size, 3 or 1]``.

    Raises:
      UserError: there is none, which says what to put where; or a damaged one.

    Source:
      Krizhevsky: Learning multiple layers of features from tiny images, University of Toronto
      (2009).

    >>> import tempfile
    >>> load_cifar10(tempfile.mkdtemp())
    Traceback (most recent call last):
        ...
    jaxfer.typing.UserError: There is no CIFAR-10 in ...; put cifar-10-binary.tar.gz of https://...
    """
    found = look_for(_find, title="CIFAR-10", data_dir=data_dir)
    if found is None:
        where = data_dir or f"JAXFER_DATA_DIR or {cache_folder()}"
        pickled = look_for(_find_pickle, title="CIFAR-10", data_dir=data_dir)
        note = f" ({pickled} is a pickle, which can run any code and is not opened)"
        raise UserError(
            f"There is no CIFAR-10 in {where}{note if pickled else ''}; put {ARCHIVE} of {URL} "
            f"there, or what it holds, cifar10_part/{PART}, or TFDS's cifar10, prepared, in tfds/."
        )
    kind, path = found
    if kind == "tfds":
        return load_tfds_images("cifar10", path, image_size=image_size, color=color)
    if kind == "part":
        train, test, classes = _read_part(path)
    else:
        train, test = (_read_official(path, names) for names in _FILES.values())
        classes = CLASSES
    train, test = (
        batch._replace(x=_brought_to_size(batch.x, image_size=image_size, color=color))
        for batch in (train, test)
    )
    origin = f"{len(train.y)} training and {len(test.y)} test images of CIFAR-10 in {path}."
    return make_domain("cifar10", train, test, classes=classes, origin=origin)


def _find(folder: Path) -> tuple[str, Path] | None:
    """What kind of CIFAR-10 lies in a folder, and where."""
    names = [name for part in _FILES.values() for name in part]
    for place in (folder, folder / "cifar10", folder / "cifar-10-batches-bin",
                  folder / "cifar10" / "cifar-10-batches-bin"):  # fmt: skip
        if any((place / name).is_file() for name in names):
            return "official", place
        if (place / ARCHIVE).is_file():
            return "official", place / ARCHIVE
    for path in (folder / "cifar10_part" / PART, folder / PART):
        if path.is_file():
            return "part", path
    prepared = find_prepared(folder, "cifar10")
    return None if prepared is None else ("tfds", prepared)


def _find_pickle(folder: Path) -> Path | None:
    paths = (place / name for place in (folder, folder / "cifar10") for name in _PICKLED)
    return next((path for path in paths if path.exists()), None)


def _read_official(path: Path, names: tuple[str, ...]) -> LabelledBatch:
    """Rows of a label and 1024 red, green and blue values each, of a folder or the archive."""
    remedy = f"replace it by {URL}"
    try:
        if path.is_dir():
            contents = [(path / name).read_bytes() for name in names]
        else:
            with tarfile.open(path, "r:gz") as archive:
                members = {Path(member.name).name: member for member in archive if member.isfile()}
                missing = [name for name in names if name not in members]
                if missing:
                    raise UserError(f"{path} holds no {missing[0]}; {remedy}.")
                files = [archive.extractfile(members[name]) for name in names]
                contents = [file.read() for file in files if file is not None]
    except FileNotFoundError as error:
        raise UserError(
            f"{path} holds no {Path(error.filename).name}; put it beside the others."
        ) from error
    except (OSError, EOFError, zlib.error, tarfile.TarError) as error:
        raise UserError(f"{path}: is truncated or damaged ({error}); {remedy}.") from error
    for name, content in zip(names, contents, strict=True):
        if not content or len(content) % _ROW:
            raise UserError(
                f"{path}: {name} has {len(content)} bytes, and {_ROW} are an image; {remedy}."
            )
    rows = np.frombuffer(b"".join(contents), np.uint8).reshape(-1, _ROW)
    x = rows[:, 1:].reshape(-1, 3, SIDE, SIDE).transpose(0, 2, 3, 1)
    return LabelledBatch(np.ascontiguousarray(x), rows[:, 0].astype(np.int32))


def _read_part(path: Path) -> tuple[LabelledBatch, LabelledBatch, tuple[str, ...]]:
    try:
        with np.load(path, allow_pickle=False) as file:
            train, test = (
                LabelledBatch(file[f"x_{part}"], file[f"y_{part}"].astype(np.int32).ravel())
                for part in ("train", "test")
            )
            return train, test, tuple(map(str, file["class_names"]))
    except (OSError, ValueError, KeyError) as error:
        raise UserError(f"{path} is not the part of CIFAR-10 ({error}); replace it.") from error


def _brought_to_size(x: np.ndarray, *, image_size: int, color: bool) -> np.ndarray:
    if color and x.shape[1:3] == (image_size, image_size):
        return x
    mode, side = ("RGB" if color else "L"), (image_size, image_size)
    images = (Image.fromarray(image).convert(mode) for image in x)
    fitted = [ImageOps.fit(image, side, Image.Resampling.LANCZOS) for image in images]
    return np.stack([np.asarray(image) for image in fitted]).reshape(len(x), *side, -1)
