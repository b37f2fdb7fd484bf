"""The USPS digits: scanned envelopes, in the copy that goes with a textbook."""

import gzip
import hashlib
import zlib
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image

from jaxfer.data.domains import Domain, make_domain
from jaxfer.data.download import download
from jaxfer.data.mnist import CLASSES
from jaxfer.data.mnist import SIDE as MNIST_SIDE
from jaxfer.data.places import cache_folder, look_for
from jaxfer.typing import LabelledBatch, UserError

SIDE = 16
URL = "https://hastie.su.domains/ElemStatLearn/datasets"
CONTENTS = {  # of the pixels as uint8 with the label behind them, in the order of the file
    "train": "11cc55f4131aa75981f7bfcf0add47881bf58ce09a75b092e848f7ba229b5c43",
    "test": "da60c2899b847630a80dd9f80f3fe081c8b13b3c589436ea11759b306021ef2b",
}

Fit = Literal["stretch", "center"]


def load_usps(
    data_dir: str | Path | None = None, *, image_size: int = MNIST_SIDE, fit: Fit = "stretch"
) -> Domain:
    """Loads USPS, 7291 images to train on and 2007 to be judged by, white ink on black.

    It is looked for in ``data_dir``, and if that is not given in the folder that
    ``JAXFER_DATA_DIR`` names and in the cache, and is then downloaded. In a folder, the files
    ``zip.train.gz`` and ``zip.test.gz`` may lie directly or in ``usps/``.

    Pixels in [-1, 1] become ``round(127.5 (x + 1))``.

    Args:
      data_dir: where to look first, and if given, nowhere else.
      image_size: side of the images in pixels, at least 16.
      fit: how 16 x 16 becomes larger. ``"stretch"`` enlarges the whole image bilinearly, as the
        literature on MNIST and USPS does: the digits touch the border, unlike MNIST's.
        ``"center"`` enlarges it to 5/7 of the side and leaves a black margin, MNIST's own layout of
        20 x 20 in 28 x 28; that is knowledge about both domains, so say so where you use it.

    Returns:
      The domain, images uint8 ``[n, image_size, image_size, 1]``.

    Raises:
      UserError: no USPS and no network, or a damaged one; what to do about it.

    Source:
      Hull: A database for handwritten text recognition research, PAMI 16 (1994), in the copy of
      Hastie, Tibshirani, Friedman: The elements of statistical learning.

    >>> import tempfile
    >>> load_usps(tempfile.mkdtemp())
    Traceback (most recent call last):
        ...
    jaxfer.typing.UserError: ... holds no USPS; put zip.train.gz and zip.test.gz of ... there.
    """
    if image_size < SIDE or fit not in ("stretch", "center"):
        raise ValueError(
            f"image_size must be at least {SIDE} and fit 'stretch' or 'center'; got {image_size} "
            f"and {fit!r}."
        )
    wanted = f"zip.train.gz and zip.test.gz of {URL}"
    place = look_for(_find, title="USPS", data_dir=data_dir)
    if place is None and data_dir is not None:
        raise UserError(f"{data_dir} holds no USPS; put {wanted} there.")
    if place is None:
        place = cache_folder() / "usps"
        try:
            for part in CONTENTS:
                download(f"{URL}/zip.{part}.gz", place / f"zip.{part}.gz")
        except UserError as error:
            raise UserError(
                f"There is no USPS in JAXFER_DATA_DIR or {place}, and {str(error).rstrip('.')}; "
                f"put {wanted} in a folder and name it by --data-dir."
            ) from error
    parts = {}
    for part in CONTENTS:
        pixels, labels = _read(place / f"zip.{part}.gz", part)
        parts[part] = LabelledBatch(_enlarge(pixels, image_size, fit), labels)
    done = "enlarged" if fit == "stretch" else "enlarged with a margin as MNIST's"
    return make_domain(
        "usps",
        **parts,
        classes=CLASSES,
        origin=f"USPS from {place}, {done} to {image_size} x {image_size}.",
    )


def _find(folder: Path) -> Path | None:
    for place in (folder / "usps", folder):
        if any((place / f"zip.{part}.gz").is_file() for part in CONTENTS):
            return place
    return None


def _read(path: Path, part: str) -> tuple[np.ndarray, np.ndarray]:
    remedy = f"replace it by {URL}/{path.name}"
    try:
        lines = gzip.decompress(path.read_bytes()).splitlines()
        table = np.loadtxt(lines).reshape(-1, 1 + SIDE * SIDE)
    except FileNotFoundError as error:
        raise UserError(f"{path.parent} holds no {path.name}; put {URL}/{path.name} there.") from (
            error
        )
    except (OSError, EOFError, zlib.error, ValueError) as error:
        raise UserError(f"{path}: is truncated or damaged ({error}); {remedy}.") from error
    rows = np.rint(127.5 * (table + 1)).clip(0, 255).astype(np.uint8)
    rows = np.concatenate([rows[:, 1:], table[:, :1].astype(np.uint8)], 1)
    digest = hashlib.sha256(rows.tobytes()).hexdigest()
    if digest != CONTENTS[part]:
        raise UserError(
            f"{path} is not USPS's ({len(rows)} images, checksum {digest[:12]}); {remedy}."
        )
    return rows[:, :-1].reshape(-1, SIDE, SIDE), rows[:, -1]


def _enlarge(images: np.ndarray, size: int, fit: Fit) -> np.ndarray:
    inner = size if fit == "stretch" else max(SIDE, round(size * 5 / 7))
    resized = np.stack(
        [
            np.asarray(Image.fromarray(image).resize((inner, inner), Image.Resampling.BILINEAR))
            for image in images
        ]
    )
    before = (size - inner) // 2
    margin = (before, size - inner - before)
    return np.pad(resized, ((0, 0), margin, margin))[..., None]
