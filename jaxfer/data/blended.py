"""Digits on photographs, in the fashion of MNIST-M: the absolute difference of the two."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import sklearn.datasets
from PIL import Image

from jaxfer.data.domains import Domain, make_domain
from jaxfer.data.folders import SUFFIXES
from jaxfer.typing import LabelledBatch, UserError

TRAIN_SHARE = 0.75  # of the width of a photograph, from the left


class Photographs(NamedTuple):
    """Photographs to blend with, those for training apart from those for the test.

    Attributes:
      train: each uint8 ``[height, width, 3]``; sizes may differ.
      test: the same; no pixel is in both.
      origin: one phrase: what they are, and what was done to them.

    >>> Photographs(train=(), test=(), origin="none").origin
    'none'
    """

    train: tuple[np.ndarray, ...]
    test: tuple[np.ndarray, ...]
    origin: str


def load_photographs(
    folder: str | Path | None = None, *, shrink: int = 1, skip_bad: bool = False
) -> Photographs:
    """Loads photographs: of every one the left three quarters to train on, the rest for the test.

    Args:
      folder: with images directly in it; without it the two photographs that come with
        scikit-learn, a temple and a flower of 640 x 427.
      shrink: by how much their sides are reduced, at least 1, so that a small crop shows some
        structure.
      skip_bad: leave out images that cannot be read or are smaller than 64 pixels after that.

    Returns:
      The photographs in red, green and blue.

    Raises:
      UserError: no such folder, no image in it, or one that cannot be used.

    >>> [photo.shape for photo in load_photographs().test]
    [(427, 160, 3), (427, 160, 3)]
    """
    if shrink < 1:
        raise ValueError(f"shrink must be at least 1; got {shrink}.")
    if folder is None:
        bunch = sklearn.datasets.load_sample_images()
        images = [Image.fromarray(image) for image in bunch.images]
        origin = "scikit-learn's photographs china.jpg and flower.jpg"
    else:
        images = _read_folder(Path(folder).expanduser(), 64 * shrink, skip_bad)
        origin = f"the {len(images)} photographs in {folder}"
    arrays = [np.asarray(image.convert("RGB").reduce(shrink)) for image in images]
    cuts = [round(TRAIN_SHARE * array.shape[1]) for array in arrays]
    return Photographs(
        train=tuple(array[:, :cut] for array, cut in zip(arrays, cuts, strict=True)),
        test=tuple(array[:, cut:] for array, cut in zip(arrays, cuts, strict=True)),
        origin=origin if shrink == 1 else f"{origin}, reduced {shrink} times",
    )


def blend(images: np.ndarray, photographs: Sequence[np.ndarray], *, seed: int) -> np.ndarray:
    r"""Blends each image with a random crop of a random photograph, the way MNIST-M was made.

    .. math:: z_{ijc} = | p_{ijc} - x_{ij} |

    Args:
      images: uint8 ``[n, height, width, 1]``, such as white ink on black.
      photographs: uint8 ``[H, W, 3]`` each, at least as large as the images.
      seed: of NumPy's generator: photographs and places are uniform.

    Returns:
      uint8 ``[n, height, width, 3]``: the photograph where the image is black, its negative where
      it is white.

    Raises:
      ValueError: arrays of another type or shape, or no photograph that is large enough.

    Source:
      Ganin et al.: Domain-adversarial training of neural networks, JMLR 17 (2016), section 5.2.4.
      They crop from BSDS500; the crop is drawn anew for each image there too.

    >>> photograph = np.full((8, 8, 3), 200, np.uint8)
    >>> digits = np.array([0, 255], np.uint8).reshape(1, 1, 2, 1)
    >>> blend(digits, [photograph], seed=0)[0, 0].tolist()
    [[200, 200, 200], [55, 55, 55]]
    """
    images = np.asarray(images)
    if images.ndim != 4 or images.shape[-1] != 1 or images.dtype != np.uint8:
        raise ValueError(
            f"images must be uint8 [n, height, width, 1]; got {images.dtype} {images.shape}."
        )
    height, width = images.shape[1:3]
    for photograph in photographs:
        wrong = photograph.ndim != 3 or photograph.shape[-1] != 3 or photograph.dtype != np.uint8
        if wrong or photograph.shape[0] < height or photograph.shape[1] < width:
            raise ValueError(
                f"each photograph must be uint8 [H, W, 3] of at least {height} x {width}; got "
                f"{photograph.dtype} {photograph.shape}."
            )
    if not len(photographs):
        raise ValueError("photographs must hold at least one.")
    generator = np.random.default_rng(seed)
    which = generator.integers(len(photographs), size=len(images))
    place = generator.random((2, len(images)))
    blended = np.empty((*images.shape[:3], 3), np.uint8)
    for index, photograph in enumerate(photographs):
        chosen = np.flatnonzero(which == index)
        crops = np.lib.stride_tricks.sliding_window_view(photograph, (height, width), axis=(0, 1))
        rows, columns = (
            (place[axis, chosen] * crops.shape[axis]).astype(np.int64) for axis in (0, 1)
        )
        crop = crops[rows, columns].transpose(0, 2, 3, 1)
        # Of unsigned numbers: the larger less the smaller.
        blended[chosen] = np.maximum(crop, images[chosen]) - np.minimum(crop, images[chosen])
    return blended


def blend_domain(domain: Domain, photographs: Photographs, *, name: str, seed: int) -> Domain:
    """Blends a domain of grey images, its test with the photographs that are kept for the test.

    Args:
      domain: images uint8 ``[n, height, width, 1]``.
      photographs: what to blend with.
      name: of the result.
      seed: of NumPy's generator.

    Returns:
      A domain of images uint8 ``[n, height, width, 3]`` with the same labels.

    >>> batch = LabelledBatch(np.zeros((2, 8, 8, 1), np.uint8), np.array([0, 1]))
    >>> grey = make_domain("grey", batch, batch, classes=("a", "b"), origin="Two.")
    >>> blend_domain(grey, load_photographs(), name="photo", seed=0).train.x.shape
    (2, 8, 8, 3)
    """
    seeds = np.random.SeedSequence(seed).generate_state(2)
    train, test = (
        LabelledBatch(blend(part.x, photos, seed=int(part_seed)), part.y)
        for part, photos, part_seed in zip(
            (domain.train, domain.test), (photographs.train, photographs.test), seeds, strict=True
        )
    )
    done = f"blended with crops of {photographs.origin} by seed {seed}"
    origin = f"{domain.origin.rstrip('.')}, {done}."
    return make_domain(name, train, test, classes=domain.classes, origin=origin)


def _read_folder(folder: Path, smallest: int, skip_bad: bool) -> list[Image.Image]:
    if not folder.is_dir():
        raise UserError(f"{folder} is no folder; name one that holds photographs.")
    images, wrong = [], []
    for path in sorted(folder.iterdir()):
        if path.name.startswith(".") or not path.name.lower().endswith(SUFFIXES):
            continue
        try:
            with Image.open(path) as image:
                images.append(image.convert("RGB"))
        except Exception as error:  # Pillow's decoders raise all kinds of them on broken files
            wrong.append(f"{path.name} ({type(error).__name__})")
            continue
        if (1 - TRAIN_SHARE) * images[-1].width < smallest or images[-1].height < smallest:
            wrong.append(f"{path.name} ({images[-1].width} x {images[-1].height} is too small)")
            images.pop()
    if wrong and not skip_bad:
        raise UserError(
            f"{len(wrong)} photographs in {folder} cannot be used: {', '.join(wrong[:3])}; remove "
            "them."
        )
    if not images:
        raise UserError(f"{folder} holds no photograph that can be used; put some there.")
    return images
