"""A miniature of Omniglot in its official form, which the readers are told is the whole."""

import io
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from jaxfer.data import omniglot_files, omniglot_tfds

BACKGROUND = {"Greek": 2, "Latin": 1}  # characters of each alphabet
EVALUATION = {"Angelic": 2}


def drawing(seed: int, size: tuple[int, int] = (105, 105)) -> bytes:
    """A PNG of random black ink on white, one bit a pixel, as Omniglot's are."""
    ink = np.random.default_rng(seed).random(size[::-1]) < 0.1
    file = io.BytesIO()
    Image.fromarray(~ink).save(file, "PNG")
    return file.getvalue()


def drawings(alphabets: dict[str, int], first_label: int) -> dict[str, bytes]:
    """The files of one half, by their names."""
    characters = [(alphabet, i + 1) for alphabet, n in alphabets.items() for i in range(n)]
    return {
        f"{alphabet}/character{number:02d}/{label:04d}_{drawer:02d}.png": drawing(
            100 * label + drawer
        )
        for label, (alphabet, number) in enumerate(characters, first_label)
        for drawer in range(1, 21)
    }


@pytest.fixture
def halves(monkeypatch):
    """The files of both halves, ``(background, evaluation)``."""
    for module in (omniglot_files, omniglot_tfds):
        monkeypatch.setattr(module, "BACKGROUND_CHARACTERS", sum(BACKGROUND.values()))
        monkeypatch.setattr(module, "EVALUATION_CHARACTERS", sum(EVALUATION.values()))
    return drawings(BACKGROUND, 1), drawings(EVALUATION, 4)


@pytest.fixture
def write_zips():
    """Writes ``(background, evaluation)`` into a folder, as ``omniglot_files`` expects them."""

    def write(folder: Path, halves: tuple[dict[str, bytes], dict[str, bytes]]) -> Path:
        folder.mkdir(parents=True, exist_ok=True)
        for name, files in zip(("images_background", "images_evaluation"), halves, strict=True):
            with zipfile.ZipFile(folder / f"{name}.zip", "w", zipfile.ZIP_DEFLATED) as archive:
                for file, content in files.items():
                    archive.writestr(f"{name}/{file}", content)
        return folder

    return write


@pytest.fixture
def zips(halves, write_zips, tmp_path) -> Path:
    """A folder with both zips."""
    return write_zips(tmp_path / "zips", halves)


@pytest.fixture
def unpacked(zips) -> Path:
    """The same folder, the zips unpacked."""
    for path in zips.glob("*.zip"):
        with zipfile.ZipFile(path) as archive:
            archive.extractall(zips)
        path.unlink()
    return zips


@pytest.fixture
def prepared(halves, tmp_path, monkeypatch) -> Path:
    """A folder that TFDS, replaced for it, reads the same drawings from, shuffled."""
    folder = tmp_path / "tfds"
    (folder / "omniglot" / "3.0.0").mkdir(parents=True)
    (folder / "omniglot" / "3.0.0" / "dataset_info.json").write_text("{}")

    class Records(list):
        def __getitems__(self, indices):
            return [self[index] for index in indices]

    def data_source(name, *, split, data_dir, decoders, download):
        assert (name, data_dir, download) == ("omniglot", str(folder), False)
        files = halves[["train", "test"].index(split)]
        records = []
        for file, content in files.items():
            alphabet, character, label = file.replace("_", "/").split("/")[:3]
            with Image.open(io.BytesIO(content)) as image, io.BytesIO() as rgb:
                image.convert("RGB").save(rgb, "PNG")
                records.append(
                    {
                        "alphabet": omniglot_tfds.ALPHABETS.index(alphabet),
                        "alphabet_char_id": int(character.removeprefix("character")) - 1,
                        "label": int(label) - 1,
                        "image": rgb.getvalue(),
                    }
                )
        order = np.random.default_rng(0).permutation(len(records))
        return Records(records[index] for index in order)

    monkeypatch.setattr("tensorflow_datasets.data_source", data_source)
    return folder


@pytest.fixture(autouse=True)
def nothing_at_hand(monkeypatch, tmp_path):
    """No data of this machine and no network, unless a test brings them."""
    monkeypatch.delenv("JAXFER_DATA_DIR", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "tensorflow_datasets"))
    monkeypatch.setattr("jaxfer.data.omniglot.URL", "http://127.0.0.1:9")
    monkeypatch.setenv("no_proxy", "*")
