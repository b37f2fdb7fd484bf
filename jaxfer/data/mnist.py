"""MNIST from its official files or as TensorFlow Datasets has prepared it."""

import gzip
import hashlib
import io
import zlib
from pathlib import Path

import numpy as np
from PIL import Image

from jaxfer.data.domains import Domain, make_domain
from jaxfer.data.download import download
from jaxfer.data.places import cache_folder, look_for
from jaxfer.data.prepared_tfds import find_prepared, read_records
from jaxfer.typing import LabelledBatch, UserError

SIDE = 28
CLASSES = tuple("0123456789")
URL = "https://storage.googleapis.com/cvdf-datasets/mnist"
# Of the pixels with the label behind them, the examples in ascending order: one for every form.
CONTENTS = {
    "train": "386a0fff07efe9ae3f934853780556ca1fe630371d4964508a3e3256c2063b0e",
    "test": "292a2c8e9008782f6c6c94df46012a17c808c2666413d175e62502bbcf68dd61",
}

_FILES = {
    "train": ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
    "test": ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
}
_NAMES = [name for names in _FILES.values() for name in names]


def load_mnist(data_dir: str | Path | None = None) -> Domain:
    """Loads MNIST, 60000 images to train on and 10000 to be judged by, white ink on black.

    It is looked for in ``data_dir``, and if that is not given in the folder that
    ``JAXFER_DATA_DIR`` names and in the cache, and is then downloaded. In a folder, the four
    official files, packed by gzip or not, may lie directly or in ``mnist/``, a prepared TFDS
    directly or in ``tfds/``. The two forms hold the same images in a different order. What is found
    is used or, if it is not all of MNIST and nothing else, an error.

    Args:
      data_dir: where to look first, and if given, nowhere else.

    Returns:
      The domain, images uint8 ``[n, 28, 28, 1]``.

    Raises:
      UserError: no MNIST and no network, or a damaged one; what to do about it.

    Source:
      LeCun, Bottou, Bengio, Haffner: Gradient-based learning applied to document recognition,
      Proceedings of the IEEE 86 (1998).

    >>> import tempfile
    >>> load_mnist(tempfile.mkdtemp())
    Traceback (most recent call last):
        ...
    jaxfer.typing.UserError: ... holds no MNIST; put the four files train-images-idx3-ubyte.gz, ...
    """
    found = look_for(_find, title="MNIST", data_dir=data_dir)
    wanted = f"the four files {', '.join(f'{name}.gz' for name in _NAMES)} of {URL}"
    if found is None and data_dir is not None:
        raise UserError(f"{data_dir} holds no MNIST; put {wanted} there.")
    if found is None:
        place = cache_folder() / "mnist"
        try:
            for name in _NAMES:
                download(f"{URL}/{name}.gz", place / f"{name}.gz")
        except UserError as error:
            raise UserError(
                f"There is no MNIST in JAXFER_DATA_DIR or {place}, and {str(error).rstrip('.')}; "
                f"put {wanted} in a folder and name it by --data-dir."
            ) from error
        found = (place, False)
    place, prepared = found
    parts = {}
    for part in ("train", "test"):
        x, y = _from_tfds(place, part) if prepared else _from_files(place, part)
        rows = np.concatenate([x.reshape(len(x), -1), y[:, None]], 1)
        digest = hashlib.sha256(b"".join(sorted(row.tobytes() for row in rows)))
        if digest.hexdigest() != CONTENTS[part]:
            raise UserError(
                f"{place}: what it holds as MNIST, split {part}, is not MNIST ({len(x)} images, "
                f"checksum {digest.hexdigest()[:12]}); replace it by {wanted}."
            )
        parts[part] = LabelledBatch(x[..., None], y)
    form = "as prepared by TFDS" if prepared else "from its official files"
    return make_domain("mnist", **parts, classes=CLASSES, origin=f"MNIST {form} in {place}.")


def _find(folder: Path) -> tuple[Path, bool] | None:
    """Where it lies, and whether TFDS has prepared it."""
    for place in (folder / "mnist", folder):
        if any(_file(place, name) for name in _NAMES):
            return place, False
    prepared = find_prepared(folder, "mnist")
    return None if prepared is None else (prepared, True)


def _file(place: Path, name: str) -> Path | None:
    packed, plain = place / f"{name}.gz", place / name
    return packed if packed.is_file() else plain if plain.is_file() else None


def _from_files(place: Path, part: str) -> tuple[np.ndarray, np.ndarray]:
    images, labels = (_read_idx(place, name) for name in _FILES[part])
    return images.reshape(-1, SIDE, SIDE), labels


def _read_idx(place: Path, name: str) -> np.ndarray:
    path = _file(place, name)
    if path is None:
        raise UserError(f"{place} holds no {name}.gz; put {URL}/{name}.gz there.")
    try:
        content = path.read_bytes()
        content = gzip.decompress(content) if path.suffix == ".gz" else content
        axes = content[3]
        shape = np.frombuffer(content, ">i4", axes, offset=4)
        return np.frombuffer(content, np.uint8, offset=4 + 4 * axes).reshape(shape)
    except (OSError, EOFError, zlib.error, ValueError, IndexError) as error:
        raise UserError(
            f"{path}: is truncated or damaged ({error}); replace it by {URL}/{name}.gz."
        ) from error


def _from_tfds(place: Path, part: str) -> tuple[np.ndarray, np.ndarray]:
    images, labels = [], []
    for record in read_records(place, "mnist", part, title="MNIST"):
        with Image.open(io.BytesIO(record["image"])) as image:
            images.append(np.asarray(image))
        labels.append(record["label"])
    return np.stack(images), np.array(labels, np.uint8)
