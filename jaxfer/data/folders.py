"""A folder of images, however nested, as one array; its subfolders as classes."""

import hashlib
import io
import os
import sys
import warnings
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError
from tqdm import tqdm

from jaxfer.typing import UserError

SUFFIXES = (
    ".avif", ".bmp", ".gif", ".jfif", ".jpeg", ".jpg", ".pgm", ".png", ".pnm", ".ppm", ".tif",
    ".tiff", ".webp",
)  # fmt: skip
"""What a file must end in to count as an image, in upper or lower case."""

_NAMED = 3  # unreadable images that an error names


class ImageFolder(NamedTuple):
    """The images of a folder, all of one size.

    Attributes:
      images: uint8 ``[n, size, size, channels]`` with 1 channel (grey) or 3 (red, green, blue), in
        the order of their names.
      names: their paths below the folder, such as ``"mug/frame_0001.jpg"``.
      labels: int32 ``[n]``, the class of each: the subfolder of the folder itself that it lies in,
        at any depth; -1 for an image that lies in none.
      class_names: names of those subfolders that hold an image, in ascending order.
      skipped: for each image that could not be read its name and why.
      origin: one sentence: what was read, and from where.
      checksum: sha256 of the names and contents of the files that were read.

    >>> one = np.zeros((1, 8, 8, 1), np.uint8)
    >>> ImageFolder(one, ("cat/1.png",), np.zeros(1, np.int32), ("cat",), (), "", "").class_names
    ('cat',)
    """

    images: np.ndarray
    names: tuple[str, ...]
    labels: np.ndarray
    class_names: tuple[str, ...]
    skipped: tuple[tuple[str, str], ...]
    origin: str
    checksum: str


def read_image_folder(
    folder: str | Path, *, image_size: int, color: bool = False, skip_bad: bool = False
) -> ImageFolder:
    """Reads all images of a folder and of the folders in it.

    Images are the files with one of the usual endings; other files, and all whose name or folder
    begins with a dot, are passed over. How an image is brought to size says `decode_image`.

    Args:
      folder: with images directly in it, or at any depth.
      image_size: side of the images returned, in pixels.
      color: three channels instead of grey.
      skip_bad: leave out what cannot be read, and list it in ``skipped``.

    Returns:
      The images with their names and classes.

    Raises:
      UserError: no such folder, no image in it, or unreadable ones.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as name:
    ...     for kind, grey in (("cat", 80), ("dog", 160)):
    ...         Path(name, kind).mkdir()
    ...         Image.new("L", (30, 20), grey).save(Path(name, kind, "1.png"))
    ...     found = read_image_folder(name, image_size=8)
    >>> found.names, found.class_names, found.labels.tolist(), found.images[:, 0, 0, 0].tolist()
    (('cat/1.png', 'dog/1.png'), ('cat', 'dog'), [0, 1], [80, 160])
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise UserError(f"{folder} is no folder; name one that holds images.")
    found = sorted(_image_files(folder))
    if not found:
        raise UserError(
            f"{folder} holds no image: no file in it, at any depth, ends in "
            f"{', '.join(SUFFIXES[:-1])} or {SUFFIXES[-1]}."
        )
    return gather_images(
        found,
        lambda name: (folder / name).read_bytes(),
        place=folder,
        image_size=image_size,
        color=color,
        skip_bad=skip_bad,
    )


def gather_images(
    found: Sequence[str],
    read: Callable[[str], bytes],
    *,
    place: Path,
    image_size: int,
    color: bool = False,
    skip_bad: bool = False,
) -> ImageFolder:
    """Decodes images, wherever their bytes come from; `read_image_folder` says how.

    Args:
      found: their paths below ``place``, ascending.
      read: gives the bytes of one.
      place: what error messages name.
      image_size, color, skip_bad: see `read_image_folder`.

    Returns:
      The images with their names and classes.

    Raises:
      UserError: unreadable images.

    >>> gather_images(["a.png"], lambda name: b"no", place=Path("pets"), image_size=8)
    Traceback (most recent call last):
        ...
    jaxfer.typing.UserError: 1 of 1 images in pets cannot be read: a.png (not an image that can \
be read); remove them, or leave them out by --skip-bad.
    """
    digest = hashlib.sha256()
    images, names, skipped = [], [], []
    # A bar on a terminal only, and there only where it takes a while.
    for name in tqdm(found, desc=place.name, unit="image", delay=1, disable=None, file=sys.stderr):
        try:
            content = read(name)
            images.append(decode_image(content, image_size=image_size, color=color))
        except (OSError, UserError, zipfile.BadZipFile, zlib.error) as error:
            skipped.append((name, str(getattr(error, "strerror", None) or error)))
            continue
        names.append(name)
        digest.update(f"{name}\0{len(content)}\0".encode())
        digest.update(content)
    if skipped and not (skip_bad and names):
        raise UserError(_complaint(place, skipped, len(found), skip_bad))
    classes = [name.split("/")[0] if "/" in name else None for name in names]
    class_names = tuple(sorted({name for name in classes if name is not None}))
    labels = [-1 if name is None else class_names.index(name) for name in classes]
    note = f", {len(skipped)} unreadable left out: {_some(skipped)}" if skipped else ""
    return ImageFolder(
        images=np.stack(images),
        names=tuple(names),
        labels=np.array(labels, np.int32),
        class_names=class_names,
        skipped=tuple(skipped),
        origin=f"{len(names)} images in {place}{note}.",
        checksum=digest.hexdigest(),
    )


def decode_image(content: bytes, *, image_size: int, color: bool = False) -> np.ndarray:
    """Decodes an image file and brings it to size.

    It is turned as its EXIF says, laid on white where it is transparent, cut to the square in its
    middle, and resized by the antialiasing Lanczos filter. 16 bits a channel become 8. Of several
    frames or pages the first is taken.

    Args:
      content: the bytes of the file, in any format that Pillow reads.
      image_size: side of the result, in pixels.
      color: three channels instead of grey.

    Returns:
      uint8 ``[image_size, image_size, 3 or 1]``.

    Raises:
      UserError: it cannot be decoded; why, without a name.

    >>> decode_image(b"GIF87a", image_size=8)
    Traceback (most recent call last):
        ...
    jaxfer.typing.UserError: not an image that can be read
    """
    mode = "RGB" if color else "L"
    try:
        with warnings.catch_warnings():
            # Of odd metadata, and of large images that are read all the same.
            warnings.simplefilter("ignore")
            with Image.open(io.BytesIO(content)) as image:
                # A JPEG is decoded no larger than twice what is needed.
                image.draft(mode, (2 * image_size, 2 * image_size))
                square = ImageOps.fit(
                    _eight_bits(ImageOps.exif_transpose(image), mode),
                    (image_size, image_size),
                    Image.Resampling.LANCZOS,
                )
    except UnidentifiedImageError as error:
        raise UserError("not an image that can be read") from error
    except Exception as error:  # Pillow's decoders raise all kinds of them on broken files
        raise UserError(str(error).rstrip(".") or type(error).__name__) from error
    return np.asarray(square).reshape(image_size, image_size, -1)


def _eight_bits(image: Image.Image, mode: str) -> Image.Image:
    if image.mode == "F":
        raise UserError("an image of floating-point numbers, whose range is not known")
    if image.mode.startswith("I"):  # 16 bits, which convert() would cut off at 255
        return Image.fromarray((np.asarray(image) >> 8).clip(0, 255).astype(np.uint8)).convert(mode)
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image.convert(mode)


def _image_files(folder: Path) -> Iterator[str]:
    """Paths below the folder, through links too; a link that leads back up is not followed."""
    seen = set()
    for place, folders, files in os.walk(folder, followlinks=True):
        real = os.path.realpath(place)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        folders[:] = [name for name in folders if not name.startswith((".", "__MACOSX"))]
        for name in files:
            if not name.startswith(".") and name.lower().endswith(SUFFIXES):
                yield (Path(place) / name).relative_to(folder).as_posix()


def _complaint(place: Path, skipped: list[tuple[str, str]], found: int, skip_bad: bool) -> str:
    remedy = "no image is left" if skip_bad else "remove them, or leave them out by --skip-bad"
    return (
        f"{len(skipped)} of {found} images in {place} cannot be read: {_some(skipped)}; {remedy}."
    )


def _some(skipped: list[tuple[str, str]]) -> str:
    named = ", ".join(f"{name} ({why})" for name, why in skipped[:_NAMED])
    return named + (f" and {len(skipped) - _NAMED} more" if len(skipped) > _NAMED else "")
