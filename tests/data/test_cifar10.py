"""CIFAR-10 in each of its forms, a few images of it."""

import io
import pickle
import tarfile

import numpy as np
import pytest

from jaxfer.data import load_cifar10
from jaxfer.data.cifar10 import CLASSES
from jaxfer.typing import UserError

from .test_tfds_images import encode, prepare

TRAIN = [f"data_batch_{number}.bin" for number in range(1, 6)]


@pytest.fixture
def files():
    """Two rows a file: a label, then all red, all green, all blue values."""
    draw = np.random.default_rng(0)
    found = {}
    for name in (*TRAIN, "test_batch.bin"):
        images = draw.integers(0, 256, (2, 32, 32, 3), dtype=np.uint8)
        labels = draw.integers(0, 10, 2, dtype=np.uint8)
        found[name] = images, labels
    return found


def rows(images, labels):
    return b"".join(
        bytes([label]) + b"".join(image[..., channel].tobytes() for channel in range(3))
        for image, label in zip(images, labels, strict=True)
    )


def write_archive(path, files, **others):
    with tarfile.open(path, "w:gz") as archive:
        for name, content in {**{n: rows(*each) for n, each in files.items()}, **others}.items():
            member = tarfile.TarInfo(f"cifar-10-batches-bin/{name}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))


def write_files(folder, files):
    folder.mkdir(parents=True, exist_ok=True)
    for name, each in files.items():
        (folder / name).write_bytes(rows(*each))


@pytest.mark.parametrize("form", ["archive", "cifar10/", "cifar-10-batches-bin/", "directly"])
def test_the_official_binary_version(files, tmp_path, form):
    if form == "archive":
        write_archive(tmp_path / "cifar-10-binary.tar.gz", files, readme=b"-")
    else:
        write_files(tmp_path / ("" if form == "directly" else form), files)
    domain = load_cifar10(tmp_path)
    np.testing.assert_array_equal(domain.train.x, np.concatenate([files[n][0] for n in TRAIN]))
    np.testing.assert_array_equal(domain.train.y, np.concatenate([files[n][1] for n in TRAIN]))
    np.testing.assert_array_equal(domain.test.x, files["test_batch.bin"][0])
    assert domain.classes[:4] == ("airplane", "automobile", "bird", "cat")
    assert domain.origin.startswith("10 training and 2 test images of CIFAR-10 in ")


def write_part(folder):
    folder.mkdir(parents=True, exist_ok=True)
    x, y = np.full((3, 32, 32, 3), 7, np.uint8), np.array([0, 1, 1])
    np.savez(
        folder / "cifar10_png_exact_4k1k.npz", x_train=x, y_train=y, x_test=x[:1], y_test=y[:1],
        class_names=np.array(["one", "two"]),
    )  # fmt: skip


def test_the_whole_comes_before_the_part_and_the_part_before_tfds(files, tmp_path):
    import tensorflow_datasets as tfds

    features = {
        "image": tfds.features.Image(shape=(32, 32, 3)),
        "label": tfds.features.ClassLabel(names=list(CLASSES)),
    }
    image = encode((32, 32), "RGB", (5, 6, 7))
    prepare(
        tmp_path / "tfds", "cifar10", version="3.0.2", features=features,
        train=[(image, 1)] * 4, test=[(image, 2)],
    )  # fmt: skip
    assert load_cifar10(tmp_path).train.x[0, 0, 0].tolist() == [5, 6, 7]
    write_part(tmp_path / "cifar10_part")
    assert load_cifar10(tmp_path).classes == ("one", "two")
    write_archive(tmp_path / "cifar-10-binary.tar.gz", files)
    assert len(load_cifar10(tmp_path).train.y) == 10


def test_images_are_brought_to_size(files, tmp_path):
    write_files(tmp_path, files)
    domain = load_cifar10(tmp_path, image_size=16, color=False)
    assert domain.train.x.shape == (10, 16, 16, 1) and domain.train.x.dtype == np.uint8
    grey = files["test_batch.bin"][0] @ [0.299, 0.587, 0.114]
    assert abs(domain.test.x.mean() - grey.mean()) < 2
    assert load_cifar10(tmp_path, image_size=40).test.x.shape == (2, 40, 40, 3)


def test_a_pickle_is_never_opened(tmp_path, monkeypatch):
    """What it would run is anybody's choice."""

    class Trap:
        def __reduce__(self):
            return (pytest.fail, ("it was unpickled",))

    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    (folder / "data_batch_1").write_bytes(pickle.dumps(Trap()))
    with pytest.raises(UserError, match=r"batches-py is a pickle, which can run .*binary.tar.gz"):
        load_cifar10(tmp_path)
    # An npz may hold one, too.
    part = tmp_path / "cifar10_part"
    part.mkdir()
    np.savez(
        part / "cifar10_png_exact_4k1k.npz", x_train=np.array([Trap()], object), allow_pickle=True
    )
    with pytest.raises(UserError, match="is not the part of CIFAR-10"):
        load_cifar10(tmp_path)


def test_without_any_one_sentence_names_all_places(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    with pytest.raises(UserError) as caught:
        load_cifar10(tmp_path)
    [line] = str(caught.value).splitlines()
    for place in ("cifar-10-binary.tar.gz of https://www.cs", "cifar10_part/cifar10_png", "TFDS"):
        assert place in line
    with pytest.raises(UserError, match=r"no CIFAR-10 in JAXFER_DATA_DIR or .*cache/jaxfer; put"):
        load_cifar10()


def test_damage_is_named(files, tmp_path):
    archive = tmp_path / "cifar-10-binary.tar.gz"
    write_archive(archive, files)
    archive.write_bytes(archive.read_bytes()[:2000])
    with pytest.raises(UserError, match="is truncated or damaged .*replace it by https://"):
        load_cifar10(tmp_path)
    write_archive(archive, {name: files[name] for name in TRAIN})
    with pytest.raises(UserError, match=r"holds no test_batch.bin; replace it by https://"):
        load_cifar10(tmp_path)
    archive.unlink()
    write_files(tmp_path, {name: files[name] for name in TRAIN})
    with pytest.raises(UserError, match="holds no test_batch.bin; put it beside the others"):
        load_cifar10(tmp_path)
    write_files(tmp_path, files)
    (tmp_path / TRAIN[2]).write_bytes(rows(*files[TRAIN[2]])[:-1])
    with pytest.raises(UserError, match="data_batch_3.bin has 6145 bytes, and 3073 are an image"):
        load_cifar10(tmp_path)
    images, labels = files[TRAIN[2]]
    (tmp_path / TRAIN[2]).write_bytes(rows(images, labels + 200))
    with pytest.raises(UserError, match="cifar10, train: label 20. is outside of 0 to 9"):
        load_cifar10(tmp_path)
