"""Runs of within-alphabet one-shot classification: their files as published, and runs made."""

import zipfile
from pathlib import Path

import numpy as np
import pytest

from jaxfer.data import draw_glyphs, make_lake_runs, read_lake_runs
from jaxfer.data.characters import resize_ink
from jaxfer.data.omniglot_drawings import packed_ink
from jaxfer.typing import UserError

from .conftest import drawing

RUNS, WAY = 2, 3
ORDERS = {"run01": [2, 0, 1], "run02": [1, 2, 0]}


@pytest.fixture
def folder(tmp_path) -> Path:
    """Two runs in the published layout; test item i shows class ORDERS[run][i]."""
    for number, (run, order) in enumerate(ORDERS.items()):
        for part in ("training", "test"):
            (tmp_path / "all_runs" / run / part).mkdir(parents=True)
        lines = []
        for i in range(WAY):
            base = tmp_path / "all_runs" / run
            (base / "training" / f"class{i + 1:02d}.png").write_bytes(drawing(10 * number + i))
            (base / "test" / f"item{i + 1:02d}.png").write_bytes(drawing(100 + 10 * number + i))
            lines.append(
                f"{run}/test/item{i + 1:02d}.png {run}/training/class{order[i] + 1:02d}.png\n"
            )
        (tmp_path / "all_runs" / run / "class_labels.txt").write_text("".join(reversed(lines)))
    return tmp_path / "all_runs"


def test_a_folder_in_the_published_layout(folder):
    found = read_lake_runs(folder, image_size=28)
    assert found.training.shape == found.test.shape == (RUNS, WAY, 28, 28)
    assert found.names == ("run01", "run02")
    assert found.answers.tolist() == list(ORDERS.values())
    for number in range(RUNS):
        for i in range(WAY):
            for images, seed in ((found.training, 0), (found.test, 100)):
                ink = packed_ink(drawing(seed + 10 * number + i))
                np.testing.assert_array_equal(images[number, i], resize_ink([ink], 28)[0])
    assert str(folder) in found.origin and len(found.checksum) == 64


def test_a_zip_and_a_folder_above_are_the_same(folder, tmp_path):
    packed = tmp_path / "all_runs.zip"
    with zipfile.ZipFile(packed, "w") as archive:
        for path in folder.rglob("*"):
            if path.is_file():
                archive.write(path, path.relative_to(tmp_path))
        archive.writestr("__MACOSX/all_runs/run01/test/item01.png", b"")
    one, two, three = (read_lake_runs(place) for place in (folder, packed, tmp_path))
    for other in (two, three):
        np.testing.assert_array_equal(other.test, one.test)
        np.testing.assert_array_equal(other.answers, one.answers)
        assert other.checksum == one.checksum


def spoil(path: Path, text: str) -> None:
    path.write_text(text)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (lambda f: (f / "run01/class_labels.txt").unlink(), "run01 has no class_labels.txt"),
        (lambda f: (f / "run02/training/class02.png").unlink(), "names no test drawing"),
        (
            lambda f: spoil(f / "run01/class_labels.txt", "run01/test/item01.png class01.png"),
            "class_labels.txt, line 1, names no test drawing",
        ),
        (
            lambda f: spoil(
                f / "run01/class_labels.txt", "run01/test/item01.png run01/training/class01.png\n"
            ),
            "has no line for test/item02.png",
        ),
        (
            lambda f: (f / "run01/test/item03.png").write_bytes(b"no picture"),
            "run01/test/item03.png is not a readable PNG",
        ),
        (
            lambda f: (f / "run02/training/class01.png").write_bytes(drawing(1, (80, 105))),
            "run02/training/class01.png is 80 x 105 pixels",
        ),
        (
            lambda f: (f / "run02/training/class04.png").write_bytes(drawing(1)),
            "the runs must be of one size",
        ),
    ],
)
def test_what_is_wrong_is_named(folder, change, complaint):
    change(folder)
    with pytest.raises(UserError, match=complaint):
        read_lake_runs(folder)


def test_places_without_runs(tmp_path):
    with pytest.raises(UserError, match="holds no run: expected run01/training"):
        read_lake_runs(tmp_path)
    (tmp_path / "runs.zip").write_bytes(b"PK no zip")
    with pytest.raises(UserError, match="is neither a folder nor a zip"):
        read_lake_runs(tmp_path / "runs.zip")
    with pytest.raises(UserError, match="--image-size is 4; give 8 to 105"):
        read_lake_runs(tmp_path, image_size=4)


def test_made_runs_are_of_one_alphabet_and_two_drawings_of_each_character():
    glyphs = draw_glyphs(alphabets=4, characters=5, drawings=4)
    classes = np.arange(5, 20)  # three alphabets
    made = make_lake_runs(glyphs, classes, runs=6, way=5, seed=3)
    of = {
        image.tobytes(): (glyphs.alphabets[c], c, e)
        for c, character in enumerate(glyphs.images)
        for e, image in enumerate(character)
    }
    seen = []
    for run in range(6):
        shown, asked = (
            [of[image.tobytes()] for image in part[run]] for part in (made.training, made.test)
        )
        [alphabet] = {each[0] for each in shown + asked}
        seen.append(alphabet)
        for item, answer in enumerate(made.answers[run]):
            assert asked[item][1] == shown[answer][1] and asked[item][2] != shown[answer][2]
        assert sorted(made.answers[run].tolist()) == list(range(5))
    assert {seen.count(alphabet) for alphabet in set(seen)} == {2} and len(set(seen)) == 3
    again = make_lake_runs(glyphs, classes, runs=6, way=5, seed=3)
    np.testing.assert_array_equal(made.test, again.test)
    with pytest.raises(UserError, match="No alphabet has 6 characters; the largest of 3 has 5"):
        make_lake_runs(glyphs, classes, way=6)
    with pytest.raises(ValueError, match="runs must be at least 1"):
        make_lake_runs(glyphs, classes, runs=0)
