"""Corruptions of images in five severities: shifts that come after training."""

import numpy as np

from jaxfer.data.digits import blur
from jaxfer.data.domains import Domain, make_domain
from jaxfer.typing import LabelledBatch

CORRUPTIONS = ("noise", "blur", "contrast", "inversion")

# For a severity of 1 to 5.
NOISE = (0.1, 0.2, 0.3, 0.4, 0.6)  # standard deviation, white being 1
BLUR = (0.05, 0.07, 0.09, 0.12, 0.15)  # standard deviation, the side of the image being 1
CONTRAST = (0.6, 0.45, 0.3, 0.2, 0.1)  # what is left of it
GREY = (51, 102, 153, 204, 255)  # what the image is subtracted from


def add_noise(images: np.ndarray, *, severity: int, seed: int) -> np.ndarray:
    """Adds Gaussian noise to every pixel and channel, cut off at black and white.

    Args:
      images: uint8 ``[n, height, width, channels]``.
      severity: 1 to 5, a standard deviation of 0.1, 0.2, 0.3, 0.4 or 0.6 of the range.
      seed: of NumPy's generator.

    Returns:
      Images of the same shape and type.

    Raises:
      ValueError: arrays of another type or shape, or another severity.

    >>> noisy = add_noise(np.full((1, 8, 8, 1), 128, np.uint8), severity=1, seed=0)
    >>> bool(15 < noisy.std() < 35)
    True
    """
    scale = 255 * NOISE[_checked(images, severity)]
    noise = np.random.default_rng(seed).standard_normal(images.shape, np.float32)
    return _pixels(images + np.float32(scale) * noise)


def blur_images(images: np.ndarray, *, severity: int) -> np.ndarray:
    """Blurs by a Gaussian whose width is a share of the image's side.

    Args:
      images: uint8 ``[n, height, width, channels]``.
      severity: 1 to 5, a standard deviation of 0.05, 0.07, 0.09, 0.12 or 0.15 of the height.

    Returns:
      Images of the same shape and type.

    Raises:
      ValueError: arrays of another type or shape, or another severity.

    >>> white = np.full((1, 8, 8, 3), 255, np.uint8)
    >>> bool((blur_images(white, severity=5) == 255).all())
    True
    """
    sigma = images.shape[1] * BLUR[_checked(images, severity)]
    planes = np.moveaxis(images, -1, 1).astype(np.float32)
    blurred = blur(planes.reshape(-1, *images.shape[1:3]), sigma).reshape(planes.shape)
    return _pixels(np.moveaxis(blurred, 1, -1))


def lower_contrast(images: np.ndarray, *, severity: int) -> np.ndarray:
    """Draws every pixel towards the mean of its image.

    Args:
      images: uint8 ``[n, height, width, channels]``.
      severity: 1 to 5, leaving 0.6, 0.45, 0.3, 0.2 or 0.1 of the contrast.

    Returns:
      Images of the same shape and type.

    Raises:
      ValueError: arrays of another type or shape, or another severity.

    >>> lower_contrast(np.array([0, 200], np.uint8).reshape(1, 1, 2, 1), severity=5).ravel()
    array([ 90, 110], dtype=uint8)
    """
    left = CONTRAST[_checked(images, severity)]
    mean = images.mean((1, 2, 3), keepdims=True, dtype=np.float32)
    return _pixels(mean + np.float32(left) * (images - mean))


def invert(images: np.ndarray, *, severity: int) -> np.ndarray:
    r"""Takes the absolute difference from a grey, :math:`|g - x|`: black on white in the end.

    Args:
      images: uint8 ``[n, height, width, channels]``.
      severity: 1 to 5, a grey of 51, 102, 153, 204 or 255; 5 is the negative.

    Returns:
      Images of the same shape and type.

    Raises:
      ValueError: arrays of another type or shape, or another severity.

    >>> invert(np.array([0, 255], np.uint8).reshape(1, 1, 2, 1), severity=2).ravel()
    array([102, 153], dtype=uint8)
    """
    grey = np.uint8(GREY[_checked(images, severity)])
    return np.maximum(images, grey) - np.minimum(images, grey)


def corrupt_domain(domain: Domain, corruption: str, *, severity: int, seed: int = 0) -> Domain:
    """Corrupts all images of a domain, for adaptation after training.

    Args:
      domain: images uint8 ``[n, height, width, channels]``.
      corruption: ``"noise"``, ``"blur"``, ``"contrast"`` or ``"inversion"``.
      severity: 1 to 5.
      seed: of the noise.

    Returns:
      The domain with the same labels, named such as ``"digits-noise3"``.

    Raises:
      ValueError: another corruption or severity.

    Source: Hendrycks and Dietterich: Benchmarking neural network robustness to common corruptions,
      ICLR (2019), for the idea; kinds and severities are chosen for digits.

    >>> batch = LabelledBatch(np.zeros((2, 8, 8, 1), np.uint8), np.array([0, 1]))
    >>> black = make_domain("black", batch, batch, classes=("a", "b"), origin="Two.")
    >>> corrupt_domain(black, "inversion", severity=5).train.x.min()
    np.uint8(255)
    """
    if corruption not in CORRUPTIONS:
        raise ValueError(f"corruption must be one of {', '.join(CORRUPTIONS)}; got {corruption!r}.")
    seeds = np.random.SeedSequence(seed).generate_state(2)
    train, test = (
        LabelledBatch(_corrupted(part.x, corruption, severity, int(part_seed)), part.y)
        for part, part_seed in zip((domain.train, domain.test), seeds, strict=True)
    )
    return make_domain(
        f"{domain.name}-{corruption}{severity}",
        train,
        test,
        classes=domain.classes,
        origin=f"{domain.origin.rstrip('.')}, corrupted by {corruption} of severity {severity}.",
    )


def _corrupted(images: np.ndarray, corruption: str, severity: int, seed: int) -> np.ndarray:
    if corruption == "noise":
        return add_noise(images, severity=severity, seed=seed)
    fixed = {"blur": blur_images, "contrast": lower_contrast, "inversion": invert}
    return fixed[corruption](images, severity=severity)


def _checked(images: np.ndarray, severity: int) -> int:
    if images.ndim != 4 or images.dtype != np.uint8:
        raise ValueError(
            f"images must be uint8 [n, height, width, channels]; got {images.dtype} {images.shape}."
        )
    if severity not in range(1, 6):
        raise ValueError(f"severity must be 1, 2, 3, 4 or 5; got {severity}.")
    return severity - 1


def _pixels(values: np.ndarray) -> np.ndarray:
    return np.rint(values).clip(0, 255).astype(np.uint8)
