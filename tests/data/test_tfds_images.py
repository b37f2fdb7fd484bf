"""Labelled images of TFDS: small sets written as TFDS writes them, and read without TensorFlow."""

import io
import json
import sys

import numpy as np
import pytest
from PIL import Image

from jaxfer.data import decode_image, load_tfds_images
from jaxfer.typing import UserError

CLASSES = ("dog", "cat", "ant")


def encode(size, mode, colour, form="PNG"):
    file = io.BytesIO()
    Image.new(mode, size, colour).save(file, form)
    return file.getvalue()


# Of all shapes and modes, as far as a set may hold them.
IMAGES = [
    encode((30, 20), "RGB", (200, 10, 10)),
    encode((8, 8), "L", 90),
    encode((20, 40), "P", 3),
    encode((9, 9), "RGBA", (0, 0, 0, 0)),
    encode((16, 16), "I;16", 30000),
    encode((33, 12), "RGB", (1, 2, 3), "JPEG"),
]


def prepare(place, name="pets", *, features=None, version="1.0.0", **splits):
    """Writes a prepared set; each split is a list of image bytes and labels."""
    import tensorflow_datasets as tfds
    from array_record.python.array_record_module import ArrayRecordWriter
    from tensorflow_datasets.core.example_serializer import ExampleSerializer

    features = features or {
        "image": tfds.features.Image(shape=(None, None, 3)),
        "label": tfds.features.ClassLabel(names=list(CLASSES)),
    }
    features = tfds.features.FeaturesDict(features)
    folder = place / name / version
    folder.mkdir(parents=True)
    features.save_config(folder)
    serializer = ExampleSerializer(features.get_serialized_info())
    base, _, _ = name.partition("/")
    for split, records in splits.items():
        path = folder / f"{base}-{split}.array_record-00000-of-00001"
        writer = ArrayRecordWriter(str(path), "group_size:1")
        for record in records:
            example = record if isinstance(record, dict) else dict(
                zip(("image", "label"), record, strict=True)
            )  # fmt: skip
            writer.write(serializer.serialize_example(example))
        writer.close()
    info = {
        "name": base, "version": version, "fileFormat": "array_record", "moduleName": "none.such",
        "splits": [
            {
                "name": split, "numBytes": "1", "shardLengths": [str(len(records))],
                "filepathTemplate": "{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}",
            }
            for split, records in splits.items()
        ],
    }  # fmt: skip
    if "/" in name:
        info["configName"] = name.partition("/")[2]
    (folder / "dataset_info.json").write_text(json.dumps(info))


RECORDS = [(image, index % 3) for index, image in enumerate(IMAGES)]


@pytest.mark.parametrize("color", [True, False])
def test_images_of_any_size_and_mode_come_as_those_of_files_do(tmp_path, color):
    before = "tensorflow" in sys.modules
    prepare(tmp_path / "tfds", train=RECORDS, test=RECORDS[:2])
    domain = load_tfds_images("pets", tmp_path, image_size=12, color=color)
    assert domain.train.x.shape == (6, 12, 12, 3 if color else 1)
    expected = [decode_image(image, image_size=12, color=color) for image in IMAGES]
    np.testing.assert_array_equal(domain.train.x, expected)
    assert domain.train.y.tolist() == [0, 1, 2, 0, 1, 2] and domain.test.y.tolist() == [0, 1]
    assert domain.classes == CLASSES and domain.name == "pets"  # as TFDS numbers them
    assert domain.origin == (
        f"TFDS's pets, 6 images in {tmp_path}/tfds/pets/train, 2 images in {tmp_path}/tfds/pets"
        "/test."
    )
    assert ("tensorflow" in sys.modules) == before


def test_without_a_test_validation_takes_its_place_or_a_part_of_the_training(tmp_path):
    withheld = [(image, -1) for image in IMAGES[:2]]
    prepare(tmp_path, "a", train=RECORDS, test=withheld, validation=RECORDS[1:4])
    domain = load_tfds_images("a", tmp_path, image_size=8)
    assert len(domain.train.y) == 6 and domain.test.y.tolist() == [1, 2, 0]
    prepare(tmp_path, "b", train=RECORDS)
    domain = load_tfds_images("b", tmp_path, image_size=8, test_share=0.5, seed=3)
    assert sorted(domain.test.y.tolist()) == sorted(domain.train.y.tolist()) == [0, 1, 2]
    assert domain.origin.endswith("/b/train, 0.5 of each class for the test by seed 3.")


def test_a_configuration_and_a_version_may_be_named(tmp_path):
    prepare(tmp_path, "pets/small", train=RECORDS)
    for name in ("pets/small", "pets/small:1.0.0"):
        assert len(load_tfds_images(name, tmp_path, image_size=8, test_share=0.4).classes) == 3
    with pytest.raises(UserError, match="There is no pets:2.0.0 prepared by TFDS"):
        load_tfds_images("pets:2.0.0", tmp_path)


def test_it_is_looked_for_where_data_lie_and_in_tfds_own_folder_last(tmp_path, monkeypatch):
    prepare(tmp_path / "own", train=RECORDS)
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "own"))
    assert "/own/pets/train" in load_tfds_images("pets", image_size=8, test_share=0.4).origin
    prepare(tmp_path / "named", train=RECORDS)
    monkeypatch.setenv("JAXFER_DATA_DIR", str(tmp_path / "named"))
    assert "/named/pets/train" in load_tfds_images("pets", image_size=8, test_share=0.4).origin
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=r"There is no pets .*/empty; prepare it once, which needs"):
        load_tfds_images("pets", tmp_path / "empty")


def test_unreadable_images_are_named_counted_and_skipped_only_if_asked(tmp_path):
    bad = [*RECORDS[:2], (b"\x89PNG no", 2), *RECORDS[3:]]
    prepare(tmp_path, train=bad, test=RECORDS)
    with pytest.raises(UserError, match=r"^1 of 6 images in .*/pets/train cannot be read: train 0"):
        load_tfds_images("pets", tmp_path, image_size=8)
    domain = load_tfds_images("pets", tmp_path, image_size=8, skip_bad=True)
    assert domain.train.y.tolist() == [0, 1, 0, 1, 2]  # labels stay with their images
    assert "1 unreadable left out" in domain.origin


def test_what_is_no_set_of_labelled_images_is_refused(tmp_path):
    import tensorflow_datasets as tfds

    label = tfds.features.ClassLabel(names=list(CLASSES))
    image = tfds.features.Image(shape=(None, None, 3))
    for name, features in (
        ("no_label", {"image": image}),
        ("numbers", {"image": image, "label": tfds.features.Scalar(dtype=np.int64)}),
        ("floats", {"image": tfds.features.Image(shape=(4, 4, 1), dtype=np.float32),
                    "label": label}),
    ):  # fmt: skip
        prepare(tmp_path, name, features=features, train=[])
        with pytest.raises(UserError, match=f"TFDS's {name} is no set of labelled images; .*image"):
            load_tfds_images(name, tmp_path)
    prepare(tmp_path, "tests", test=RECORDS)
    with pytest.raises(UserError, match="has no split train; it has: test"):
        load_tfds_images("tests", tmp_path)
    with pytest.raises(UserError, match=r"'\.\./pets' is no name of a TFDS data set"):
        load_tfds_images("../pets", tmp_path)


def test_damage_is_said_with_its_remedy(tmp_path):
    prepare(tmp_path, train=RECORDS, test=RECORDS)
    [path] = tmp_path.glob("pets/*/pets-train*")
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(UserError, match="delete its pets folder and prepare it once"):
        load_tfds_images("pets", tmp_path, image_size=8, skip_bad=True)
    prepare(tmp_path, "mnist", version="1.2.3", train=RECORDS)
    with pytest.raises(UserError, match="it reads version 3.0.1, and another is prepared"):
        load_tfds_images("mnist", tmp_path)
    [path] = tmp_path.glob("pets/*/features.json")
    path.write_text("{")
    with pytest.raises(UserError, match="TFDS cannot open its pets .*delete its pets folder"):
        load_tfds_images("pets", tmp_path, image_size=8)


@pytest.mark.slow
def test_mnist_is_the_same_as_by_its_own_loader(data_dir):
    from jaxfer.data import load_mnist

    mnist, found = load_mnist(data_dir), load_tfds_images(
        "mnist", data_dir, image_size=28, color=False
    )  # fmt: skip
    assert found.classes == mnist.classes
    np.testing.assert_array_equal(found.test.x, mnist.test.x)
    np.testing.assert_array_equal(found.train.y, mnist.train.y)
