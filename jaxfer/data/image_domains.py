"""The user's own images as domains: folders of classes, or a zip with such folders in it."""

import zipfile
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from jaxfer.data.domains import Domain, make_domain, train_test_indices
from jaxfer.data.folders import SUFFIXES, ImageFolder, gather_images, read_image_folder
from jaxfer.typing import LabelledBatch, UserError

_NAMED = 5  # classes that an error names


def load_image_pair(
    source: str | Path,
    target: str | Path,
    *,
    image_size: int = 64,
    color: bool = True,
    skip_bad: bool = False,
    test_share: float = 0.2,
    seed: int = 0,
) -> tuple[Domain, Domain]:
    """Loads source and target from folders with a subfolder for each class.

    A target whose images lie directly in the folder is one without labels. A folder may also be a
    zip file, or one in it: ``office.zip/webcam``. How an image is brought to size says
    `decode_image`.

    Args:
      source, target: the folders.
      image_size: side of the images returned, in pixels.
      color: three channels instead of grey.
      skip_bad: leave out images that cannot be read, and say in ``origin`` how many.
      test_share: part of each class that is kept for the test, in (0, 1); or 0 for none, and then
        the test is the training images, as is usual for small sets of photographs (the adaptation
        has seen the images that it is judged by, but not their labels).
      seed: of NumPy's generator, which deals them.

    Returns:
      Source and target, images uint8 ``[n, image_size, image_size, 3 or 1]``.

    Raises:
      UserError: no such folder, no or unreadable images, an empty class, classes that differ, a
        source without classes, or a domain of one image.

    >>> import tempfile
    >>> from PIL import Image
    >>> folder = Path(tempfile.mkdtemp())
    >>> for name in ("shop/cat/1", "shop/cat/2", "shop/dog/1", "shop/dog/2", "photo/1", "photo/2"):
    ...     (folder / name).parent.mkdir(parents=True, exist_ok=True)
    ...     Image.new("RGB", (30, 20)).save(folder / f"{name}.png")
    >>> source, target = load_image_pair(folder / "shop", folder / "photo", image_size=8)
    >>> source.classes, source.test.y.tolist(), target.test.y, target.train.x.shape
    (('cat', 'dog'), [0, 1], None, (1, 8, 8, 3))
    """
    if not 0 <= test_share < 1:
        raise UserError(f"--test-share is {test_share}; give at least 0 and less than 1.")
    found = [
        _read(place, image_size=image_size, color=color, skip_bad=skip_bad)
        for place in (Path(source).expanduser(), Path(target).expanduser())
    ]
    for place, images in zip((source, target), found, strict=True):
        _check_classes(place, images)
    classes = found[0].class_names
    if not classes:
        raise UserError(
            f"{source} has no class subfolders, so that there are no labels to learn from; put the "
            "images of each class into a folder of its own."
        )
    if found[1].class_names and found[1].class_names != classes:
        raise UserError(_difference(source, classes, target, found[1].class_names))
    domains = [
        _domain(place, images, classes, test_share, seed)
        for place, images in zip((source, target), found, strict=True)
    ]
    return domains[0], domains[1]


def _read(place: Path, *, image_size: int, color: bool, skip_bad: bool) -> ImageFolder:
    archive = next((p for p in (place, *place.parents) if p.suffix.lower() == ".zip"), None)
    if archive is None or archive.is_dir():
        images = read_image_folder(place, image_size=image_size, color=color, skip_bad=skip_bad)
        folders = [p.name for p in place.iterdir() if p.is_dir()]
    else:
        inside = place.relative_to(archive).as_posix()
        prefix = "" if inside == "." else f"{inside}/"
        try:
            with zipfile.ZipFile(archive) as file:
                names = [
                    name.removeprefix(prefix) for name in file.namelist() if name.startswith(prefix)
                ]
                found = sorted(name for name in names if _is_image(name))
                if not found:
                    raise UserError(_no_image(archive, inside, file.namelist()))
                images = gather_images(
                    found, lambda name: file.read(prefix + name), place=place,
                    image_size=image_size, color=color, skip_bad=skip_bad,
                )  # fmt: skip
        except (OSError, zipfile.BadZipFile) as error:
            raise UserError(f"{archive} cannot be read as a zip file ({error}).") from error
        folders = [name.split("/")[0] for name in names if "/" in name]
    hidden = (".", "__MACOSX")
    empty = {n for n in folders if not n.startswith(hidden)} - set(images.class_names)
    if images.class_names and empty:
        raise UserError(
            f"{place}: the classes {_some(empty)} hold no image; put some there, or remove them."
        )
    return images


def _is_image(name: str) -> bool:
    parts = name.split("/")
    hidden = any(part.startswith((".", "__MACOSX")) for part in parts)
    return not hidden and name.lower().endswith(SUFFIXES)


def _no_image(archive: Path, inside: str, names: Iterable[str]) -> str:
    if inside == ".":
        return f"{archive} holds no image; give a zip with a folder for each class."
    tops = sorted({name.split("/")[0] for name in names if "/" in name})
    return f"{archive} holds no image in {inside}; its folders are: {', '.join(tops) or 'none'}."


def _check_classes(place: str | Path, images: ImageFolder) -> None:
    bare = np.flatnonzero(images.labels < 0)
    if images.class_names and len(bare):
        raise UserError(
            f"{place}: {len(bare)} images, such as {images.names[bare[0]]}, lie in no class "
            "subfolder while others do; move them into one, or away."
        )
    if len(images.names) < 2:
        raise UserError(f"{place} holds {len(images.names)} image; at least 2 are needed.")


def _difference(
    source: str | Path, classes: Iterable[str], target: str | Path, others: Iterable[str]
) -> str:
    source_only, target_only = set(classes) - set(others), set(others) - set(classes)
    said = [
        f"{place} alone has {_some(only)}"
        for place, only in ((source, source_only), (target, target_only))
        if only
    ]
    return (
        f"The classes of source and target differ: {'; '.join(said)}; give both the same "
        "subfolders, or put the target's images directly into its folder if it has no labels."
    )


def _some(names: Iterable[str]) -> str:
    names = sorted(names)
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more


def _domain(
    place: str | Path, images: ImageFolder, classes: tuple[str, ...], test_share: float, seed: int
) -> Domain:
    labels = images.labels if images.class_names else None
    if test_share:
        indices = train_test_indices(
            len(images.names) if labels is None else labels, test_share=test_share, seed=seed
        )
        dealt = f"{test_share:g} of each class for the test by seed {seed}"
        dealt = dealt.replace("each class", "them") if labels is None else dealt
    else:
        everything = np.arange(len(images.names))
        indices, dealt = (everything, everything), "the test the same images"
    train, test = (
        LabelledBatch(images.images[part], None if labels is None else labels[part])
        for part in indices
    )
    origin = f"{images.origin.rstrip('.')}, {dealt}."
    return make_domain(Path(place).name, train, test, classes=classes, origin=origin)
