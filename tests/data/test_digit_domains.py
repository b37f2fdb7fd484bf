"""Domains of digits: the blend, MNIST and USPS in their forms, and the pairs."""

import gzip
import hashlib
import io

import numpy as np
import pytest
from PIL import Image

from jaxfer.data import (
    blend,
    corrupt_domain,
    digit_pair,
    load_digit_domain,
    load_mnist,
    load_photographs,
    load_usps,
    mnist,
    usps,
)
from jaxfer.typing import UserError


def test_the_digits_are_dealt_and_none_is_in_both():
    domain = load_digit_domain("digits", seed=1)
    assert domain.train.x.dtype == np.uint8 and domain.train.x.max() == 255
    assert np.bincount(domain.test.y).tolist() == [36, 36, 35, 37, 36, 36, 36, 36, 35, 36]
    everything = np.concatenate([domain.train.x, domain.test.x])
    assert len(everything) == 1797
    assert load_digit_domain("digits", seed=1).checksum == domain.checksum
    assert load_digit_domain("digits", seed=2).checksum != domain.checksum


def test_the_blend_is_the_absolute_difference_with_a_crop_of_a_photograph():
    generator = np.random.default_rng(0)
    photographs = [
        generator.integers(0, 256, (9, 12, 3)).astype(np.uint8),
        generator.integers(0, 256, (6, 7, 3)).astype(np.uint8),
    ]
    images = generator.integers(0, 256, (50, 5, 4, 1)).astype(np.uint8)
    blended = blend(images, photographs, seed=3)
    assert blended.shape == (50, 5, 4, 3) and blended.dtype == np.uint8
    crops = [
        photo[i : i + 5, j : j + 4].astype(int)
        for photo in photographs
        for i in range(photo.shape[0] - 4)
        for j in range(photo.shape[1] - 3)
    ]
    used = set()
    for image, result in zip(images.astype(int), blended, strict=True):
        matches = [k for k, crop in enumerate(crops) if (np.abs(crop - image) == result).all()]
        assert len(matches) == 1
        used.update(matches)
    assert len(used) > 20 and min(used) < 45 < max(used)  # many places, both photographs
    np.testing.assert_array_equal(blend(images, photographs, seed=3), blended)
    assert (blend(images, photographs, seed=4) != blended).any()


def test_photographs_for_the_test_are_kept_apart(tmp_path):
    wide = np.broadcast_to(np.arange(400, dtype=np.uint16)[None, :, None] // 2, (80, 400, 3))
    for name in ("one.png", "two.png"):
        Image.fromarray(wide.astype(np.uint8)).save(tmp_path / name)
    photographs = load_photographs(tmp_path)
    assert len(photographs.train) == len(photographs.test) == 2
    assert photographs.train[0].max() < photographs.test[0].min()
    assert photographs.train[0].shape == (80, 300, 3) and "the 2 photographs in" in (
        photographs.origin
    )
    (tmp_path / "bad.jpg").write_bytes(b"no")
    Image.new("RGB", (90, 90)).save(tmp_path / "small.png")
    with pytest.raises(UserError, match=r"2 photographs .*: bad.jpg \(.*small.png \(90 x 90 is to"):
        load_photographs(tmp_path)
    assert len(load_photographs(tmp_path, skip_bad=True).train) == 2
    with pytest.raises(UserError, match="holds no photograph"):
        (tmp_path / "none").mkdir()
        load_photographs(tmp_path / "none")
    with pytest.raises(UserError, match="is no folder"):
        load_photographs(tmp_path / "absent")


@pytest.mark.parametrize(
    ("images", "photographs", "message"),
    [
        (np.zeros((1, 8, 8, 3), np.uint8), [np.zeros((9, 9, 3), np.uint8)], "images must be uint8"),
        (np.zeros((1, 8, 8, 1)), [np.zeros((9, 9, 3), np.uint8)], "got float64"),
        (np.zeros((1, 8, 8, 1), np.uint8), [np.zeros((9, 7, 3), np.uint8)], "at least 8 x 8"),
        (np.zeros((1, 8, 8, 1), np.uint8), [], "at least one"),
    ],
)
def test_what_cannot_be_blended(images, photographs, message):
    with pytest.raises(ValueError, match=message):
        blend(images, photographs, seed=0)


def test_the_default_pair_shows_the_same_digits_in_colour():
    source, target = digit_pair("digits-blended")
    assert source.name == "digits" and target.name == "blended"
    for one, other in ((source.train, target.train), (source.test, target.test)):
        np.testing.assert_array_equal(one.y, other.y)
        assert one.x.shape == other.x.shape and one.x.shape[1:] == (8, 8, 3)
    assert (source.train.x[..., 0] == source.train.x[..., 2]).all()
    assert "china.jpg" in target.origin and "reduced 4 times" in target.origin
    assert target.checksum == load_digit_domain("blended").checksum


def test_a_corrupted_target_shows_the_digits_of_the_source():
    source, target = digit_pair("digits-corrupted", corruption="noise", severity=2, seed=1)
    assert (source.name, target.name) == ("digits", "digits-noise2")
    assert source.checksum == load_digit_domain("digits", seed=1).checksum
    expected = corrupt_domain(source, "noise", severity=2, seed=1)
    assert target.checksum == expected.checksum
    assert digit_pair("digits-corrupted")[1].name == "digits-noise5"
    with pytest.raises(ValueError, match="corruption must be one of noise, .* got 'fog'"):
        digit_pair("digits-corrupted", corruption="fog")


def fingerprint(images, labels):
    rows = np.concatenate([images.reshape(len(images), -1), labels[:, None]], 1)
    return hashlib.sha256(b"".join(sorted(row.tobytes() for row in rows))).hexdigest()


@pytest.fixture
def small_mnist(monkeypatch):
    """Images and labels of either split, which the loader is told are MNIST."""
    generator = np.random.default_rng(0)
    parts = {}
    for part, n in (("train", 30), ("test", 20)):
        images = generator.integers(0, 256, (n, 28, 28)).astype(np.uint8)
        parts[part] = images, (np.arange(n) % 10).astype(np.uint8)
    contents = {part: fingerprint(*arrays) for part, arrays in parts.items()}
    monkeypatch.setattr(mnist, "CONTENTS", contents)
    monkeypatch.setattr(mnist, "URL", "http://127.0.0.1:9")
    return parts


def write_idx(folder, parts, packed=True):
    folder.mkdir(parents=True, exist_ok=True)
    for part, arrays in parts.items():
        for name, array in zip(mnist._FILES[part], arrays, strict=True):
            header = bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">i4").tobytes()
            content = header + array.tobytes()
            path = folder / (f"{name}.gz" if packed else name)
            path.write_bytes(gzip.compress(content) if packed else content)


@pytest.mark.parametrize(("place", "packed"), [("mnist", True), ("", False)])
def test_mnist_in_its_official_files(small_mnist, tmp_path, place, packed):
    write_idx(tmp_path / place, small_mnist, packed)
    domain = load_mnist(tmp_path)
    np.testing.assert_array_equal(domain.test.x[..., 0], small_mnist["test"][0])
    np.testing.assert_array_equal(domain.train.y, small_mnist["train"][1])
    assert "official files" in domain.origin and domain.classes == tuple("0123456789")


def test_mnist_prepared_by_tfds(small_mnist, tmp_path, monkeypatch):
    (tmp_path / "tfds" / "mnist" / "3.0.1").mkdir(parents=True)
    (tmp_path / "tfds" / "mnist" / "3.0.1" / "dataset_info.json").write_text("{}")

    class Records(list):
        def __getitems__(self, indices):
            return [self[index] for index in indices]

    def data_source(name, *, split, data_dir, decoders, download):
        assert (name, data_dir, download) == ("mnist", str(tmp_path / "tfds"), False)
        records = Records()
        for image, label in zip(*small_mnist[split], strict=True):
            file = io.BytesIO()
            Image.fromarray(image).save(file, "PNG")
            records.append({"image": file.getvalue(), "label": int(label)})
        return Records(reversed(records))

    monkeypatch.setattr("tensorflow_datasets.data_source", data_source)
    monkeypatch.setenv("JAXFER_DATA_DIR", str(tmp_path))
    domain = load_mnist()
    np.testing.assert_array_equal(domain.train.x[::-1, ..., 0], small_mnist["train"][0])
    assert "prepared by TFDS" in domain.origin


def test_mnist_that_is_not_all_there(small_mnist, tmp_path):
    with pytest.raises(UserError, match=r"There is no MNIST in JAXFER_DATA_DIR .*--data-dir\.$"):
        load_mnist()
    with pytest.raises(UserError, match="absent, which is no folder"):
        load_mnist(tmp_path / "absent")
    small_mnist["train"][0][0, 0, 0] ^= 1
    write_idx(tmp_path, small_mnist)
    with pytest.raises(UserError, match="split train, is not MNIST .30 images, checksum"):
        load_mnist(tmp_path)
    path = tmp_path / "train-images-idx3-ubyte.gz"
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(UserError, match="truncated or damaged .*; replace it by http"):
        load_mnist(tmp_path)
    path.unlink()
    with pytest.raises(UserError, match="holds no train-images-idx3-ubyte.gz; put http"):
        load_mnist(tmp_path)


@pytest.fixture
def small_usps(monkeypatch, tmp_path):
    generator = np.random.default_rng(0)
    contents, images = {}, {}
    for part, n in (("train", 12), ("test", 11)):
        pixels = generator.integers(0, 256, (n, 256)).astype(np.uint8)
        labels = (np.arange(n) % 10).astype(np.uint8)
        contents[part] = hashlib.sha256(np.c_[pixels, labels].tobytes()).hexdigest()
        lines = np.c_[labels, pixels / 127.5 - 1]
        file = io.BytesIO()
        np.savetxt(file, lines, fmt="%.4f")
        (tmp_path / f"zip.{part}.gz").write_bytes(gzip.compress(file.getvalue()))
        images[part] = pixels.reshape(n, 16, 16)
    monkeypatch.setattr(usps, "CONTENTS", contents)
    monkeypatch.setattr(usps, "URL", "http://127.0.0.1:9")
    return images


def test_usps_is_enlarged_with_or_without_a_margin(small_usps, tmp_path):
    same = load_usps(tmp_path, image_size=16)
    np.testing.assert_array_equal(same.train.x[..., 0], small_usps["train"])
    stretched, centered = (load_usps(tmp_path, fit=fit) for fit in ("stretch", "center"))
    assert stretched.test.x.shape == centered.test.x.shape == (11, 28, 28, 1)
    assert centered.test.x[:, :4].max() == centered.test.x[:, :, 24:].max() == 0
    assert centered.test.x[:, 4].max() > 0 and stretched.test.x[:, 0].max() > 0
    # Bilinear, pixel centres at half integers: a plain formula at one inner pixel.
    row = (10.5 * 16 / 28) - 0.5
    low, share = int(row), row - int(row)
    square = small_usps["test"][0][low : low + 2, low : low + 2].astype(float)
    weights = np.array([1 - share, share])
    assert abs(weights @ square @ weights - stretched.test.x[0, 10, 10, 0]) <= 1


def test_usps_that_is_not_all_there(small_usps, tmp_path):
    with pytest.raises(UserError, match=r"There is no USPS in JAXFER_DATA_DIR .*--data-dir\.$"):
        load_usps()
    path = tmp_path / "zip.test.gz"
    content = path.read_bytes()
    path.write_bytes(content[:50])
    with pytest.raises(UserError, match="zip.test.gz: is truncated or damaged"):
        load_usps(tmp_path)
    path.write_bytes((tmp_path / "zip.train.gz").read_bytes())
    with pytest.raises(UserError, match="zip.test.gz is not USPS's .12 images"):
        load_usps(tmp_path)
    path.unlink()
    with pytest.raises(UserError, match="holds no zip.test.gz; put http"):
        load_usps(tmp_path)
    with pytest.raises(ValueError, match="fit 'stretch' or 'center'"):
        load_usps(tmp_path, fit="crop")


def test_names_that_there_are_not():
    with pytest.raises(ValueError, match="name must be one of digits, .* got 'svhn'"):
        load_digit_domain("svhn")
    with pytest.raises(ValueError, match="pair must be one of digits-blended, .* got 'usps-usps'"):
        digit_pair("usps-usps")


def test_the_real_usps(data_dir):
    domain = load_usps(data_dir)
    assert np.bincount(domain.test.y)[:3].tolist() == [359, 264, 198]
    assert len(domain.train.x) == 7291


@pytest.mark.slow
def test_the_real_mnist_on_photographs(data_dir):
    source, target = digit_pair("mnist-mnistm", data_dir)
    assert source.train.x.shape == target.train.x.shape == (60_000, 28, 28, 3)
    assert np.bincount(target.test.y)[:3].tolist() == [980, 1135, 1032]
    np.testing.assert_array_equal(source.train.y, target.train.y)
