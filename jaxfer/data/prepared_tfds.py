"""A data set that TensorFlow Datasets has prepared, read without TensorFlow."""

import contextlib
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from jaxfer.typing import UserError


def find_prepared(folder: Path, dataset: str) -> Path | None:
    """Finds where a folder keeps a data set prepared by TFDS: in ``tfds/`` or directly.

    >>> import tempfile
    >>> find_prepared(Path(tempfile.mkdtemp()), "mnist") is None
    True
    """
    for place in (folder / "tfds", folder):
        if any(place.glob(f"{dataset}/*/dataset_info.json")):
            return place
    return None


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
      For each record a dictionary; ``image`` holds the bytes of a PNG.

    Raises:
      UserError: it cannot be opened, or is damaged.

    >>> import tempfile
    >>> next(read_records(Path(tempfile.mkdtemp()), "mnist", "train", title="MNIST"))
    Traceback (most recent call last):
        ...
    jaxfer.typing.UserError: ...: TFDS cannot open its MNIST (...
    """
    import tensorflow_datasets as tfds  # not at the top: it takes a while

    remedy = f"delete its {dataset} folder and {how_to_prepare(folder, dataset)}."
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
        # All at once takes half the time of one by one.
        yield from records.__getitems__(range(len(records)))
    except UserError:
        raise
    except Exception as error:
        raise UserError(
            f"{folder}, split {split}: is truncated or damaged ({_first_line(error)}); {remedy}"
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
