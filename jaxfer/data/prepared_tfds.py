"""A data set that TensorFlow Datasets has prepared, read without TensorFlow."""

import contextlib
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxfer.typing import UserError

_AT_ONCE = 4096  # records that are read together: one by one takes twice as long


class Description(NamedTuple):
    """What a prepared data set says of itself.

    Attributes:
      splits: how many examples each has.
      features: of an example, in words.
      classes: names of the labels; ``None`` where its examples are no labelled images.

    >>> Description({"train": 5}, "image, label", ("cat", "dog")).splits["train"]
    5
    """

    splits: dict[str, int]
    features: str
    classes: tuple[str, ...] | None


def find_prepared(folder: Path, dataset: str) -> Path | None:
    """Finds where a folder keeps a data set prepared by TFDS: in ``tfds/`` or directly.

    The name may have a configuration and a version, as in ``NAME/CONFIG:1.0.0``.

    >>> import tempfile
    >>> find_prepared(Path(tempfile.mkdtemp()), "mnist") is None
    True
    """
    name, _, version = dataset.partition(":")
    version = version or "*"
    inside = [f"{name}/{version}"] if "/" in name else [f"{name}/{version}", f"{name}/*/{version}"]
    for place in (folder / "tfds", folder):
        if any(any(place.glob(f"{path}/dataset_info.json")) for path in inside):
            return place
    return None


def describe(folder: Path, dataset: str) -> Description:
    """Reads what a prepared data set says of itself.

    Args:
      folder: TFDS's ``data_dir``, in which ``find_prepared`` found it.
      dataset: its name in TFDS.

    Returns:
      The `Description`.

    Raises:
      UserError: it cannot be opened.

    >>> import tempfile
    >>> describe(Path(tempfile.mkdtemp()), "no_such_images")
    Traceback (most recent call last):
        ...
    jaxfer.typing.UserError: ...: TFDS cannot open its no_such_images (...
    """
    import tensorflow_datasets as tfds

    try:
        with _quiet_absl():
            info = tfds.builder(dataset, data_dir=str(folder)).info
            splits = {name: info.splits[name].num_examples for name in info.splits}
            if not splits:  # TFDS goes by the version that its own code has
                raise ValueError(f"it reads version {info.version}, and another is prepared")
    except Exception as error:  # TFDS raises all kinds
        raise UserError(
            f"{folder}: TFDS cannot open its {dataset} ({_first_line(error)}); "
            f"{_remedy(folder, dataset)}"
        ) from error
    parts = dict(info.features) if hasattr(info.features, "keys") else {}
    image, label = parts.get("image"), parts.get("label")
    classes = None
    if (
        isinstance(image, tfds.features.Image)
        and np.dtype(image.np_dtype) in (np.uint8, np.uint16)
        and isinstance(label, tfds.features.ClassLabel)
    ):
        classes = tuple(map(label.int2str, range(label.num_classes)))
    words = ", ".join(f"{name}: {type(part).__name__}" for name, part in parts.items())
    return Description(splits, words or type(info.features).__name__, classes)


def how_to_prepare(folder: Path, dataset: str) -> str:
    """Says how TFDS is made to prepare a data set in a folder.

    >>> "tfds.data_source('mnist', data_dir='/data')" in how_to_prepare(Path("/data"), "mnist")
    True
    """
    return (
        'prepare it once, which needs TensorFlow: pip install tensorflow, then python -c "import '
        f"tensorflow_datasets as tfds; tfds.data_source('{dataset}', data_dir='{folder}')\""
    )


def read_records(folder: Path, dataset: str, split: str, *, title: str) -> Iterator[dict[str, Any]]:
    """Reads the records of one split, the images as the bytes that are stored.

    Args:
      folder: TFDS's ``data_dir``, in which ``find_prepared`` found the data set.
      dataset: its name in TFDS, such as ``"mnist"``.
      split: ``"train"`` or ``"test"``.
      title: what error messages call it, such as ``"MNIST"``.

    Yields:
      For each record a dictionary; ``image`` holds the bytes of a PNG or JPEG.

    Raises:
      UserError: it cannot be opened, or is damaged.

    >>> import tempfile
    >>> next(read_records(Path(tempfile.mkdtemp()), "mnist", "train", title="MNIST"))
    Traceback (most recent call last):
        ...
    jaxfer.typing.UserError: ...: TFDS cannot open its MNIST (...
    """
    import tensorflow_datasets as tfds  # not at the top: it takes a while

    remedy = _remedy(folder, dataset)
    try:
        with _quiet_absl():
            records = tfds.data_source(
                dataset,
                split=split,
                data_dir=str(folder),
                # The PNGs go through the same decoder as those of files.
                decoders={"image": tfds.decode.SkipDecoding()},
                download=False,
            )
    except Exception as error:  # TFDS raises all kinds
        raise UserError(
            f"{folder}: TFDS cannot open its {title} ({_first_line(error)}); {remedy}"
        ) from error
    try:
        for at in range(0, len(records), _AT_ONCE):
            yield from records.__getitems__(range(at, min(at + _AT_ONCE, len(records))))
    except UserError:
        raise
    except Exception as error:
        raise UserError(
            f"{folder}, split {split}: is truncated or damaged ({_first_line(error)}); {remedy}"
        ) from error


def _remedy(folder: Path, dataset: str) -> str:
    name = dataset.partition(":")[0].partition("/")[0]
    return f"delete its {name} folder and {how_to_prepare(folder, dataset)}."


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
