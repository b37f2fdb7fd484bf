"""The user's own folders and zips: labels, classes that differ, what is empty or broken."""

import io
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from jaxfer.data import load_image_pair
from jaxfer.typing import UserError


def picture(value) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (12, 10), (value, 0, 0)).save(file, "PNG")
    return file.getvalue()


def files(domain, classes=("cat", "dog"), n=5, value=0):
    return {
        f"{domain}/{name}/{i}.png": picture(value + 10 * k + i)
        for k, name in enumerate(classes)
        for i in range(n)
    }


def write(folder: Path, contents: dict[str, bytes]) -> Path:
    for name, content in contents.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


def pack(path: Path, contents: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in contents.items():
            archive.writestr(name, content)
    return path


def pair(folder, **options):
    return load_image_pair(folder / "shop", folder / "photo", **{"image_size": 4} | options)


def test_folders_become_domains(tmp_path):
    write(tmp_path, files("shop") | files("photo", n=10, value=100))
    source, target = pair(tmp_path, seed=1)
    assert source.name == "shop" and source.classes == target.classes == ("cat", "dog")
    assert source.train.x.shape == (8, 4, 4, 3) and target.test.x.shape == (4, 4, 4, 3)
    for domain, value in ((source, 0), (target, 100)):
        for part in (domain.train, domain.test):
            red = part.x[:, 0, 0, 0].astype(int) - value
            np.testing.assert_array_equal(red // 10, part.y)
    everything = np.concatenate([target.train.x, target.test.x])[:, 0, 0, 0]
    assert sorted(everything) == list(range(100, 120))
    assert "0.2 of each class for the test by seed 1" in target.origin


def test_a_target_without_labels_and_a_test_of_the_same_images(tmp_path):
    write(tmp_path, files("shop") | {f"photo/{i}.png": picture(i) for i in range(6)})
    source, target = pair(tmp_path, test_share=0.5, color=False)
    assert target.train.y is None and target.test.y is None and len(target.test.x) == 3
    assert target.classes == source.classes and target.train.x.shape[-1] == 1
    assert "0.5 of them for the test" in target.origin
    source, target = pair(tmp_path, test_share=0.0)
    assert len(target.train.x) == len(target.test.x) == 6
    assert "the test the same images" in source.origin


def test_zips_hold_the_same_as_folders(tmp_path):
    contents = files("shop") | files("photo")
    write(tmp_path, contents)
    hidden = {"__MACOSX/shop/cat/._0.png": b"", "shop/.DS_Store": b"", "shop/cat/": b""}
    archive = pack(tmp_path / "both.zip", contents | hidden)
    alone = pack(tmp_path / "alone.ZIP", {n.removeprefix("photo/"): c for n, c in contents.items() if n.startswith("photo/")})  # fmt: skip
    expected = pair(tmp_path)
    found = load_image_pair(archive / "shop", alone, image_size=4)
    assert [d.checksum for d in found] == [d.checksum for d in expected]
    assert f"{archive}/shop" in found[0].origin and found[1].name == "alone.ZIP"
    with pytest.raises(UserError, match="holds no image in attic; its folders are: __MACOSX, ph"):
        load_image_pair(archive / "attic", alone)
    with pytest.raises(UserError, match="cannot be read as a zip file"):
        load_image_pair(tmp_path / "absent.zip" / "shop", alone)


@pytest.mark.parametrize(
    ("contents", "message"),
    [
        (files("shop") | files("photo", ("cat", "cow")), r"differ: .*shop alone has dog; .*photo alone has cow; give both"),
        (files("shop") | files("photo", ("cat", "dog", "emu")), "differ: .*photo alone has emu; give"),
        (files("shop") | files("photo", ("pictures",)), "directly into its folder if it has no labels"),
        (files("shop") | files("photo") | {"photo/cow/notes.txt": b""}, "photo: the classes cow hold no image"),
        (files("shop") | files("photo") | {"photo/x.png": picture(0)}, "photo: 1 images, such as x.png, lie in no class"),
        ({"shop/1.png": picture(0), "shop/2.png": picture(1)} | files("photo"), "shop has no class subfolders"),
        (files("shop") | {"photo/1.png": picture(0)}, "photo holds 1 image; at least 2"),
        (files("shop"), "photo is no folder"),
        (files("shop") | files("photo") | {"photo/cat/bad.png": b"no"}, "1 of 11 images in .*photo cannot be read: cat/bad.png"),
        (files("shop") | files("photo", ("cat",)) | {"photo/dog/bad.png": b"no"}, "--skip-bad"),
    ],
    ids=["differ", "more", "pictures", "empty", "astray", "bare source", "one", "none", "bad", "only bad"],
)  # fmt: skip
def test_what_is_wrong_is_named(tmp_path, contents, message):
    write(tmp_path, contents)
    with pytest.raises(UserError, match=message):
        pair(tmp_path)


def test_bad_images_are_left_out_when_asked_for(tmp_path):
    write(tmp_path, files("shop") | files("photo") | {"photo/cat/bad.png": b"no"})
    _, target = pair(tmp_path, skip_bad=True)
    assert len(target.train.x) + len(target.test.x) == 10
    assert "1 unreadable left out" in target.origin
    for path in (tmp_path / "photo" / "cat").glob("[0-9].png"):
        path.write_bytes(b"no")
    with pytest.raises(UserError, match="the classes cat hold no image"):
        pair(tmp_path, skip_bad=True)
    with pytest.raises(UserError, match="--test-share is 1; give at least 0 and less than 1"):
        pair(tmp_path, test_share=1)


def test_the_real_office_images(data_dir):
    archive = next((data_dir / "office_images").glob("*.zip"))
    source, target = load_image_pair(archive / "dslr", archive / "webcam", image_size=16)
    assert len(source.train.x) + len(source.test.x) == 157 and len(source.classes) == 10
    assert len(target.train.x) + len(target.test.x) == 295
