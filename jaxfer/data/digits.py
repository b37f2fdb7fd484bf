"""Scikit-learn's handwritten digits, which come with it, and two domains made of them."""

import hashlib
from typing import NamedTuple

import numpy as np
import sklearn.datasets

_ORIGIN = "scikit-learn's handwritten digits (1797 images of 8 x 8, from UCI's optdigits test set)"


class Digits(NamedTuple):
    """Images of handwritten digits.

    Attributes:
      images: float32 ``[n, 8, 8]`` in [0, 1], ink 1 on 0.
      labels: int32 ``[n]``, 0 to 9.
      origin: one sentence: what they are, and what was done to them.
      checksum: sha256 of the images.

    >>> load_digits().labels[:5].tolist()
    [0, 1, 2, 3, 4]
    """

    images: np.ndarray
    labels: np.ndarray
    origin: str
    checksum: str


def load_digits() -> Digits:
    """Loads all 1797 digits; they are installed with scikit-learn, nothing is downloaded.

    Returns:
      The digits, in scikit-learn's order.

    Source:
      Alpaydin and Kaynak: Optical recognition of handwritten digits, UCI (1998).

    >>> digits = load_digits()
    >>> digits.images.shape, float(digits.images.max())
    ((1797, 8, 8), 1.0)
    """
    bunch = sklearn.datasets.load_digits()
    images = np.asarray(bunch.images, np.float32) / 16
    labels = np.asarray(bunch.target, np.int32)
    return Digits(images, labels, f"{_ORIGIN}.", _checksum(images))


def sharp_and_blurred_digits(*, seed: int, sigma: float) -> tuple[Digits, Digits]:
    """Deals the digits into two halves at random and blurs the second: a shift made to be found.

    No digit is in both halves, which differ in nothing but the blur.

    Args:
      seed: of NumPy's generator, which deals them.
      sigma: see `blur`; 0 leaves the second half as it is.

    Returns:
      898 digits as they are, and 899 blurred ones.

    Raises:
      ValueError: ``sigma`` is negative or not finite.

    >>> sharp, blurred = sharp_and_blurred_digits(seed=0, sigma=0.5)
    >>> blurred.origin.split(", ")[-1], blurred.images.shape
    ('blurred with sigma 0.5.', (899, 8, 8))
    """
    digits = load_digits()
    order = np.random.default_rng(seed).permutation(len(digits.images))
    halves = []
    for indices, width in zip(np.array_split(order, [len(order) // 2]), (0, sigma), strict=True):
        images = blur(digits.images[indices], width)
        done = f"blurred with sigma {width:g}" if width else "as they are"
        origin = f"{_ORIGIN}, {len(indices)} of them drawn by seed {seed}, {done}."
        halves.append(Digits(images, digits.labels[indices], origin, _checksum(images)))
    return halves[0], halves[1]


def blur(images: np.ndarray, sigma: float) -> np.ndarray:
    """Blurs images by a Gaussian, whose weights at the border are those of the pixels that exist.

    Args:
      images: float ``[n, height, width]``.
      sigma: standard deviation of the Gaussian in pixels; 0 changes nothing.

    Returns:
      Images of the same shape and type.

    Raises:
      ValueError: ``sigma`` is negative or not finite.

    >>> dot = np.zeros((1, 3, 3), np.float32)
    >>> dot[0, 1, 1] = 1
    >>> print(blur(dot, 0.5).round(2)[0])
    [[0.01 0.09 0.01]
     [0.09 0.62 0.09]
     [0.01 0.09 0.01]]
    """
    if not 0 <= sigma < float("inf"):
        raise ValueError(f"sigma must be a finite number of at least 0; it is {sigma}.")
    if sigma == 0:
        return images
    rows, columns = (_gaussian(size, sigma) for size in images.shape[1:])
    return (rows @ images.astype(np.float64) @ columns.T).astype(images.dtype)


def _gaussian(size: int, sigma: float) -> np.ndarray:
    """``[size, size]``, each row the weights of one blurred pixel."""
    distance = np.arange(size)[:, None] - np.arange(size)
    weights = np.exp(-0.5 * (distance / sigma) ** 2)
    return weights / weights.sum(1, keepdims=True)


def _checksum(images: np.ndarray) -> str:
    return hashlib.sha256(np.ascontiguousarray(images).tobytes()).hexdigest()
