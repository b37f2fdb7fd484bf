"""Any set of labelled images that TensorFlow Datasets has prepared, as a domain."""

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from jaxfer.data.domains import Domain, make_domain, train_test_indices
from jaxfer.data.folders import ImageFolder, gather_images
from jaxfer.data.places import cache_folder, look_for
from jaxfer.data.prepared_tfds import describe, find_prepared, how_to_prepare, read_records
from jaxfer.typing import LabelledBatch, UserError

_NAME = re.compile(r"[a-z]\w*(/[\w.+-]+)?(:\d+\.\d+\.\d+)?")
_TESTS = ("test", "validation")


class _Damaged(Exception):
    """What cannot be read further; not one image that may be skipped."""


def load_tfds_images(
    dataset: str,
    data_dir: str | Path | None = None,
    *,
    image_size: int = 64,
    color: bool = True,
    skip_bad: bool = False,
    test_share: float = 0.2,
    seed: int = 0,
) -> Domain:
    """Loads a data set of TFDS whose examples have an ``image`` and a ``label``.

    It has to be prepared, in ``data_dir`` or in ``tfds/`` there; if that is not given, in the
    folder that ``JAXFER_DATA_DIR`` names, in the cache or in TFDS's own folder. TensorFlow is
    needed to prepare it, and not to read it. Its ``test`` is the test, or else ``validation``,
    unless their labels are withheld; or else a part of ``train``. How an image is brought to size
    says `decode_image`.

    Args:
      dataset: its name in TFDS, such as ``"mnist"``, ``"name/config"`` or ``"name:1.0.0"``.
      data_dir: where to look first, and if given, nowhere else.
      image_size: side of the images returned, in pixels.
      color: three channels instead of grey.
      skip_bad: leave out images that cannot be read, and say in ``origin`` how many.
      test_share: part of each class that is kept for the test where there is none, in (0, 1).
      seed: of NumPy's generator, which deals it.

    Returns:
      The domain, images uint8 ``[n, image_size, image_size, 3 or 1]``.

    Raises:
      UserError: it is not prepared, which says how to; it has no images with labels, or is damaged.

    >>> import tempfile
    >>> load_tfds_images("mnist", tempfile.mkdtemp())
    Traceback (most recent call last):
        ...
    jaxfer.typing.UserError: There is no mnist prepared by TFDS in ...; prepare it once, which ...
    """
    if not _NAME.fullmatch(dataset):
        raise UserError(
            f"{dataset!r} is no name of a TFDS data set; give one such as mnist, or NAME/CONFIG."
        )
    folder = look_for(lambda place: find_prepared(place, dataset), title=dataset, data_dir=data_dir)
    own = Path(os.environ.get("TFDS_DATA_DIR") or Path.home() / "tensorflow_datasets")
    if folder is None and data_dir is None:
        folder = find_prepared(own, dataset)
    if folder is None:
        named = data_dir or os.environ.get("JAXFER_DATA_DIR")
        where = data_dir or f"JAXFER_DATA_DIR, {cache_folder()} or {own}"
        there = Path(named) / "tfds" if named else own
        raise UserError(
            f"There is no {dataset} prepared by TFDS in {where}; {how_to_prepare(there, dataset)}."
        )
    description = describe(folder, dataset)
    if description.classes is None:
        raise UserError(
            f"{folder}: TFDS's {dataset} is no set of labelled images; its examples need an image "
            f"of 8 or 16 bits and a label of classes; it has {description.features}."
        )
    if "train" not in description.splits:
        raise UserError(
            f"{folder}: TFDS's {dataset} has no split train; it has: "
            f"{', '.join(description.splits)}."
        )

    def read(split: str) -> tuple[ImageFolder, np.ndarray]:
        return _read_split(
            folder, dataset, split, description.splits[split],
            image_size=image_size, color=color, skip_bad=skip_bad,
        )  # fmt: skip

    found, y = read("train")
    origin = f"TFDS's {dataset}, {found.origin.rstrip('.')}"
    train = LabelledBatch(found.images, y)
    for split in _TESTS:
        if split not in description.splits:
            continue
        found, y = read(split)
        if (y >= 0).all():
            test, how = LabelledBatch(found.images, y), found.origin
            break
    else:
        parts = train_test_indices(train.y, test_share=test_share, seed=seed)
        train, test = (LabelledBatch(train.x[part], train.y[part]) for part in parts)
        how = f"{test_share:g} of each class for the test by seed {seed}."
    return make_domain(dataset, train, test, classes=description.classes, origin=f"{origin}, {how}")


def _read_split(
    folder: Path, dataset: str, split: str, count: int, **options: Any
) -> tuple[ImageFolder, np.ndarray]:
    """Images and their labels ``[n]``; as they come, so that no more than some lie undecoded."""
    records: Iterator[dict[str, Any]] = read_records(folder, dataset, split, title=dataset)
    labels: dict[str, int] = {}

    def read(name: str) -> bytes:
        try:
            record = next(records)
        except UserError as error:
            raise _Damaged(str(error)) from error
        labels[name] = int(record["label"])
        return bytes(record["image"])

    names = [f"{split} {index:08d}" for index in range(count)]
    try:
        found = gather_images(names, read, place=folder / dataset / split, **options)
    except _Damaged as error:
        raise UserError(str(error)) from error
    return found, np.array([labels[name] for name in found.names], np.int32)
