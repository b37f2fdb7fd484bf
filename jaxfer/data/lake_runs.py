"""The one-shot classification runs of Lake et al.: read from their files, or made of characters."""

import hashlib
import re
import zipfile
import zlib
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from jaxfer.data.characters import CharacterSet, resize_ink
from jaxfer.data.omniglot_drawings import packed_ink
from jaxfer.typing import UserError

_FILE = re.compile(r"(?:.*/)?(run\d+)/(training/class\d+\.png|test/item\d+\.png|class_labels\.txt)")


class LakeRuns(NamedTuple):
    """Runs of within-alphabet one-shot classification.

    Attributes:
      training: uint8 ``[runs, way, height, width]``, one drawing of each character, ink 255 on 0.
      test: uint8 ``[runs, items, height, width]``, drawings by somebody else.
      answers: int32 ``[runs, items]``, of which training drawing each is another.
      names: of the runs, such as ``"run01"``.
      origin: one sentence: where they come from.
      checksum: sha256 of what was read, in order.

    >>> one = np.zeros((1, 2, 8, 8), np.uint8)
    >>> LakeRuns(one, one, np.array([[1, 0]]), ("run01",), "", "").answers.tolist()
    [[1, 0]]
    """

    training: np.ndarray
    test: np.ndarray
    answers: np.ndarray
    names: tuple[str, ...]
    origin: str
    checksum: str


def read_lake_runs(place: str | Path, *, image_size: int = 28) -> LakeRuns:
    """Reads runs in their official layout, from a folder or a zip.

    In it lie, at any depth, ``runNN/training/classNN.png``, ``runNN/test/itemNN.png`` and
    ``runNN/class_labels.txt`` with a line ``runNN/test/itemNN.png runNN/training/classNN.png`` for
    each test drawing. Drawings are 105 x 105, black on white.

    Args:
      place: the folder, or a zip such as ``all_runs.zip``.
      image_size: side of the images returned, in pixels, 8 to 105.

    Returns:
      The runs in the order of their names, their images in the order of their files.

    Raises:
      UserError: there is no such place or no run in it, a file is missing, damaged or not of the
        right size, a label names no drawing, or the runs are of different sizes.

    Source: Lake et al. 2015, Human-level concept learning through probabilistic program induction:
    20 runs of 20 training and 20 test drawings, https://github.com/brendenlake/omniglot

    >>> read_lake_runs("no-such-folder")
    Traceback (most recent call last):
        ...
    jaxfer.typing.UserError: no-such-folder is neither a folder nor a zip; name one that holds \
run01/training, run01/test and run01/class_labels.txt.
    """
    if not 8 <= image_size <= 105:
        raise UserError(f"--image-size is {image_size}; give 8 to 105 pixels.")
    place = Path(place).expanduser()
    files = _files(place)
    if not files:
        raise UserError(
            f"{place} holds no run: expected run01/training/class01.png, run01/test/item01.png, "
            "run01/class_labels.txt and so on."
        )
    digest = hashlib.sha256()
    found = []
    for name in sorted(files):
        found.append(_read_run(place, name, files[name], image_size, digest.update))
    sizes = {(len(training), len(test)) for training, test, _ in found}
    if len(sizes) > 1:
        raise UserError(
            f"{place}: the runs must be of one size; found {sorted(sizes)} training and test "
            "drawings."
        )
    training, test, answers = (np.stack(part) for part in zip(*found, strict=True))
    return LakeRuns(
        training,
        test,
        answers,
        tuple(sorted(files)),
        f"{len(found)} runs read from {place}.",
        digest.hexdigest(),
    )


def make_lake_runs(
    characters: CharacterSet,
    classes: np.ndarray,
    *,
    runs: int = 20,
    way: int = 20,
    seed: int = 0,
) -> LakeRuns:
    """Makes runs of the same protocol: each of one alphabet, two drawings of each character.

    Args:
      characters: where drawings and alphabets come from.
      classes: int ``[c]``, the characters that may be drawn from.
      runs: how many; the alphabets take turns in a random order.
      way: characters in a run, at least 2; alphabets with fewer are passed over.
      seed: of NumPy's generator.

    Returns:
      The runs.

    Raises:
      UserError: no alphabet has so many characters, or there is but one drawing of each.
      ValueError: a number is too small.

    >>> from jaxfer.data import draw_glyphs
    >>> glyphs = draw_glyphs(alphabets=2, characters=4, drawings=3)
    >>> made = make_lake_runs(glyphs, np.arange(8), runs=3, way=4)
    >>> made.training.shape, sorted(made.answers[0].tolist())
    ((3, 4, 28, 28), [0, 1, 2, 3])
    """
    if runs < 1 or way < 2:
        raise ValueError(f"runs must be at least 1 and way at least 2; got {runs} and {way}.")
    alphabets = np.array(characters.alphabets)[classes]
    names, counts = np.unique(alphabets, return_counts=True)
    large = names[counts >= way]
    if not len(large):
        raise UserError(
            f"No alphabet has {way} characters; the largest of {len(names)} has {counts.max()}."
        )
    examples = characters.images.shape[1]
    if examples < 2:
        raise UserError("Runs need two drawings of each character; there is only one.")
    draw = np.random.default_rng(seed)
    training, test, answers = [], [], []
    order = np.concatenate([draw.permutation(len(large)) for _ in range(-(-runs // len(large)))])
    for alphabet in large[order[:runs]]:
        chosen = draw.choice(classes[alphabets == alphabet], way, replace=False)
        pair = np.stack([draw.choice(examples, 2, replace=False) for _ in range(way)])
        answer = draw.permutation(way)
        training.append(characters.images[chosen, pair[:, 0]])
        test.append(characters.images[chosen[answer], pair[answer, 1]])
        answers.append(answer.astype(np.int32))
    return LakeRuns(
        np.stack(training),
        np.stack(test),
        np.stack(answers),
        tuple(f"run{number + 1:02d}" for number in range(runs)),
        f"{runs} runs made with seed {seed} of: {characters.origin}",
        characters.checksum,
    )


def _files(place: Path) -> dict[str, dict[str, Callable[[], bytes]]]:
    """For each run its files by their names below it, and how to read them."""
    found: dict[str, dict[str, Callable[[], bytes]]] = {}
    if place.is_dir():
        for path in sorted(place.rglob("run*/**/*")):
            if path.is_file() and (match := _FILE.fullmatch(path.relative_to(place).as_posix())):
                found.setdefault(match[1], {})[match[2]] = path.read_bytes
        return found
    if not zipfile.is_zipfile(place):
        raise UserError(
            f"{place} is neither a folder nor a zip; name one that holds run01/training, "
            "run01/test and run01/class_labels.txt."
        )
    try:
        with zipfile.ZipFile(place) as archive:
            for name in archive.namelist():
                if not name.startswith("__MACOSX") and (match := _FILE.fullmatch(name)):
                    read = partial(bytes, archive.read(name))
                    found.setdefault(match[1], {})[match[2]] = read
    except (zipfile.BadZipFile, zlib.error, EOFError) as error:
        raise UserError(f"{place}: is truncated or damaged ({error}); fetch it again.") from error
    return found


def _read_run(
    place: Path,
    run: str,
    files: Mapping[str, Callable[[], bytes]],
    image_size: int,
    seen: Callable[[bytes], object],
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    if "class_labels.txt" not in files:
        raise UserError(f"{place}: {run} has no class_labels.txt; fetch it again.")
    shown = sorted(name for name in files if name.startswith("training/"))
    asked = sorted(name for name in files if name.startswith("test/"))
    text = files["class_labels.txt"]()
    seen(text)
    answer: dict[str, str] = {}
    for number, line in enumerate(text.decode("utf-8", "replace").splitlines(), start=1):
        if not line.strip():
            continue
        parts = [_FILE.fullmatch(part) for part in line.split()]
        names = [part[2] for part in parts if part is not None and part[1] == run]
        if len(names) != 2 or names[0] not in asked or names[1] not in shown:
            raise UserError(
                f"{place}: {run}/class_labels.txt, line {number}, names no test drawing and its "
                f"training drawing of that run: {line.strip()!r}."
            )
        answer[names[0]] = names[1]
    for name in asked:
        if name not in answer:
            raise UserError(f"{place}: {run}/class_labels.txt has no line for {name}.")
    if not asked:
        raise UserError(f"{place}: {run} has no test drawings; fetch it again.")

    def decode(names: list[str]) -> np.ndarray:
        inks = []
        for name in names:
            content = files[name]()
            seen(content)
            try:
                inks.append(packed_ink(content))
            except UserError as error:
                raise UserError(f"{place}: {run}/{name} {error}; fetch it again.") from error
        return resize_ink(inks, image_size)

    answers = np.array([shown.index(answer[name]) for name in asked], np.int32)
    return decode(shown), decode(asked), answers
