"""Pairs of domains of handwritten digits, brought to one shape."""

from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np

from jaxfer.data.blended import blend_domain, load_photographs
from jaxfer.data.corruptions import corrupt_domain
from jaxfer.data.digits import load_digits
from jaxfer.data.domains import Domain, make_domain, train_test_indices
from jaxfer.data.mnist import CLASSES, load_mnist
from jaxfer.data.usps import Fit, load_usps
from jaxfer.typing import LabelledBatch

DigitDomain = Literal["digits", "blended", "mnist", "usps", "mnistm"]
DigitPair = Literal[
    "digits-blended",
    "mnist-usps",
    "usps-mnist",
    "mnist-mnistm",
    "digits-corrupted",
    "mnist-corrupted",
]

_TEST_SHARE = 0.2
_SHRINK = 4  # crops of 8 x 8 pixels from photographs of 160 x 107


def load_digit_domain(
    name: DigitDomain,
    data_dir: str | Path | None = None,
    *,
    photographs: str | Path | None = None,
    usps_fit: Fit = "stretch",
    seed: int = 0,
) -> Domain:
    """Loads a domain of handwritten digits; ``"digits"`` and ``"blended"`` are always at hand.

    Args:
      name: ``"digits"`` (scikit-learn's 1797 images of 8 x 8, a fifth of them for the test),
        ``"blended"`` (the same digits on photographs, in colour), ``"mnist"``, ``"usps"``
        (28 x 28) or ``"mnistm"`` (MNIST on photographs, in colour).
      data_dir: where MNIST and USPS are, see `load_mnist`.
      photographs: a folder of photographs instead of the two that come with scikit-learn.
      usps_fit: how USPS is enlarged, see `load_usps`.
      seed: deals training and test, and places the crops.

    Returns:
      The domain, images uint8 ``[n, height, width, 1 or 3]``, white ink on black.

    Raises:
      UserError: the data are not there.
      ValueError: another name.

    Source:
      Ganin et al.: Domain-adversarial training of neural networks, JMLR 17 (2016), section 5.2.4,
      for the blend. Crops of 8 x 8 are taken from photographs reduced 4 times.

    >>> digits = load_digit_domain("digits")
    >>> digits.train.x.shape, digits.test.x.shape, load_digit_domain("blended").test.x.shape
    ((1438, 8, 8, 1), (359, 8, 8, 1), (359, 8, 8, 3))
    """
    if name not in get_args(DigitDomain):
        raise ValueError(f"name must be one of {', '.join(get_args(DigitDomain))}; got {name!r}.")
    if name == "usps":
        return load_usps(data_dir, fit=usps_fit)
    grey = _split_digits(seed) if name in ("digits", "blended") else load_mnist(data_dir)
    return _blended(grey, photographs, seed) if name in ("blended", "mnistm") else grey


def digit_pair(
    pair: DigitPair,
    data_dir: str | Path | None = None,
    *,
    photographs: str | Path | None = None,
    usps_fit: Fit = "stretch",
    corruption: str = "noise",
    severity: int = 5,
    seed: int = 0,
) -> tuple[Domain, Domain]:
    """Loads source and target of a shift between digits, both of one shape.

    Where one of them is in colour, the other's grey stands in all three channels. Where the target
    is blended or corrupted it shows the same digits as the source, as in the literature; the test
    digits of both are never trained on.

    Args:
      pair: ``"digits-blended"`` (nothing to download), ``"mnist-usps"``, ``"usps-mnist"``,
        ``"mnist-mnistm"``, ``"digits-corrupted"`` (nothing to download) or ``"mnist-corrupted"``.
      data_dir, photographs, usps_fit, seed: see `load_digit_domain`; the seed is also that of the
        noise of a corruption.
      corruption, severity: of a corrupted target, see `corrupt_domain`.

    Returns:
      Source and target.

    Raises:
      UserError: the data are not there.
      ValueError: another pair, corruption or severity.

    >>> source, target = digit_pair("digits-blended")
    >>> source.train.x.shape, target.train.x.shape
    ((1438, 8, 8, 3), (1438, 8, 8, 3))
    >>> digit_pair("digits-corrupted", corruption="contrast", severity=2)[1].name
    'digits-contrast2'
    """
    if pair not in get_args(DigitPair):
        raise ValueError(f"pair must be one of {', '.join(get_args(DigitPair))}; got {pair!r}.")
    names: list[Any] = pair.split("-")
    source = load_digit_domain(names[0], data_dir, usps_fit=usps_fit, seed=seed)
    if names[1] in ("blended", "mnistm"):
        return in_color(source), _blended(source, photographs, seed)
    if names[1] == "corrupted":
        return source, corrupt_domain(source, corruption, severity=severity, seed=seed)
    return source, load_digit_domain(names[1], data_dir, usps_fit=usps_fit, seed=seed)


def in_color(domain: Domain) -> Domain:
    """Repeats the one channel of grey images, so that they go with images in colour.

    Args:
      domain: images ``[n, height, width, 1 or 3]``.

    Returns:
      The domain with images ``[n, height, width, 3]``.

    >>> in_color(load_digit_domain("digits")).test.x.shape
    (359, 8, 8, 3)
    """
    if domain.train.x.shape[-1] == 3:
        return domain
    train, test = (
        LabelledBatch(np.repeat(part.x, 3, -1), part.y) for part in (domain.train, domain.test)
    )
    origin = f"{domain.origin.rstrip('.')}, grey in three channels."
    return make_domain(domain.name, train, test, classes=domain.classes, origin=origin)


def _blended(grey: Domain, photographs: str | Path | None, seed: int) -> Domain:
    small = grey.name == "digits"
    photos = load_photographs(photographs, shrink=_SHRINK if small else 1)
    return blend_domain(grey, photos, name="blended" if small else "mnistm", seed=seed)


def _split_digits(seed: int) -> Domain:
    digits = load_digits()
    images = np.rint(255 * digits.images).astype(np.uint8)[..., None]
    parts = [
        LabelledBatch(images[indices], digits.labels[indices])
        for indices in train_test_indices(digits.labels, test_share=_TEST_SHARE, seed=seed)
    ]
    origin = f"{digits.origin.rstrip('.')}, a fifth of each class for the test by seed {seed}."
    return make_domain("digits", *parts, classes=CLASSES, origin=origin)
