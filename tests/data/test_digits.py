"""Scikit-learn's digits, and the two domains made of them."""

import hashlib

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from jaxfer.data import blur, load_digits, sharp_and_blurred_digits


def test_all_digits():
    digits = load_digits()
    assert digits.images.shape == (1797, 8, 8) and digits.images.dtype == np.float32
    assert digits.images.min() == 0 and digits.images.max() == 1
    assert np.bincount(digits.labels).tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]
    assert digits.checksum == hashlib.sha256(digits.images.tobytes()).hexdigest()


def test_the_halves_share_no_digit_and_differ_in_the_blur_alone():
    digits = load_digits()
    sharp, same = sharp_and_blurred_digits(seed=0, sigma=0)
    both = np.concatenate([sharp.images, same.images]).reshape(1797, -1)
    order = np.lexsort(both.T)
    everything = digits.images.reshape(1797, -1)
    np.testing.assert_array_equal(both[order], everything[np.lexsort(everything.T)])
    assert "as they are" in same.origin
    again, blurred = sharp_and_blurred_digits(seed=0, sigma=0.5)
    np.testing.assert_array_equal(again.images, sharp.images)
    np.testing.assert_array_equal(blurred.images, blur(same.images, 0.5))
    np.testing.assert_array_equal(blurred.labels, same.labels)
    assert blurred.checksum != same.checksum and "blurred with sigma 0.5" in blurred.origin
    other, _ = sharp_and_blurred_digits(seed=1, sigma=0.5)
    assert (other.images != sharp.images).any()


def test_the_blur_is_scipys_away_from_the_border():
    image = np.random.default_rng(0).random((2, 21, 25))
    found = blur(image, 0.8)
    for ours, theirs in zip(found, image, strict=True):
        expected = gaussian_filter(theirs, 0.8, truncate=8)
        np.testing.assert_allclose(ours[7:-7, 7:-7], expected[7:-7, 7:-7], rtol=1e-6)
    np.testing.assert_allclose(blur(np.ones((1, 5, 5)), 2.0), 1, rtol=1e-6)  # the border included
    assert blur(image.astype(np.float32), 0.8).dtype == np.float32


@pytest.mark.parametrize("sigma", [-0.1, np.nan, np.inf])
def test_a_blur_that_makes_no_sense(sigma):
    with pytest.raises(ValueError, match="sigma must be a finite number of at least 0"):
        sharp_and_blurred_digits(seed=0, sigma=sigma)
