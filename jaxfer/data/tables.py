"""Numbers in a file, one row a point: NumPy's formats and comma-separated text."""

import csv
import hashlib
import io
import math
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxfer.typing import UserError

TEXT = (".csv", ".tsv", ".txt")
BINARY = (".npz", ".npy")

_DELIMITERS = ",;\t"
_MAGIC = {".npz": (b"PK\x03\x04", b"PK\x05\x06"), ".npy": (b"\x93NUMPY",)}


class Table(NamedTuple):
    """An array of points.

    Attributes:
      values: ``[n, ...]``, finite; float64 from text, of the type it was stored in otherwise.
      columns: names of the columns where text had a header; else empty.
      origin: one sentence: what was read, and from where.
      checksum: sha256 of the values with their type and shape.

    >>> Table(np.zeros((3, 2)), ("width", "height"), "Two zeros.", "").columns
    ('width', 'height')
    """

    values: np.ndarray
    columns: tuple[str, ...]
    origin: str
    checksum: str


def read_table(path: str | Path, *, array: str | None = None) -> Table:
    r"""Reads an array of points from an ``.npz``, ``.npy``, ``.csv``, ``.tsv`` or ``.txt`` file.

    Text has one point a line, its numbers set apart by commas, semicolons or tabs, whichever the
    first line holds most of. A first line is a header if what is no number in it is one in the
    line below it, or if it holds no number at all.

    Args:
      path: the file.
      array: which array of an ``.npz`` that holds several.

    Returns:
      The points; an array of one axis is taken as points of one feature.

    Raises:
      UserError: the file cannot be read, is none of these, has no such array, or holds what is no
        finite number: which column, in which line.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder, "a.csv")
    ...     _ = path.write_text("width,height\n1,2\n3,4\n")
    ...     table = read_table(path)
    >>> table.values.tolist(), table.columns
    ([[1.0, 2.0], [3.0, 4.0]], ('width', 'height'))
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix not in TEXT + BINARY:
        raise UserError(f"{path} is no table: its name ends in none of {', '.join(BINARY + TEXT)}.")
    if array is not None and suffix != ".npz":
        raise UserError(f"--array {array} is for .npz files alone; {path} is none, leave it out.")
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror or error}).") from error
    columns: tuple[str, ...] = ()
    if suffix in BINARY:
        values = _checked(path, _binary(path, content, array))
    else:
        values, columns = _text(path, content)
    digest = hashlib.sha256(f"{values.dtype.str} {values.shape}".encode())
    digest.update(np.ascontiguousarray(values).tobytes())
    which = f"array {array} of " if array is not None else ""
    shape = " x ".join(map(str, values.shape))
    return Table(values, columns, f"{which}{path}, {shape}.", digest.hexdigest())


def _binary(path: Path, content: bytes, array: str | None) -> Any:
    kind = path.suffix.lower()
    try:
        if not content.startswith(_MAGIC[kind]):
            raise ValueError("it does not begin as such a file does")
        loaded = np.load(io.BytesIO(content), allow_pickle=False)
        if isinstance(loaded, np.ndarray):
            return loaded
        with loaded:
            names = loaded.files
            if array is None and len(names) == 1:
                array = names[0]
            if array in names:
                return loaded[array]
            shapes = [f"{name} {loaded[name].shape}" for name in names]
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile) as error:
        if "allow_pickle" in str(error):
            raise UserError(
                f"{path} holds Python objects instead of numbers; save an array of numbers."
            ) from error
        raise UserError(
            f"{path} is no {kind} file that can be read ({error}); save it again by "
            f"numpy.{'savez' if kind == '.npz' else 'save'}."
        ) from error
    if not names:
        raise UserError(f"{path} holds no array.")
    wrong = "holds several arrays" if array is None else f"has no array {array}"
    raise UserError(f"{path} {wrong}; give --array with one of: {', '.join(shapes)}.")


def _checked(path: Path, values: np.ndarray) -> np.ndarray:
    if not (np.issubdtype(values.dtype, np.number) or values.dtype == bool) or np.iscomplexobj(
        values
    ):
        raise UserError(f"{path} holds values of type {values.dtype}; real numbers are needed.")
    if values.ndim == 0 or 0 in values.shape:
        raise UserError(
            f"{path} holds an array of shape {values.shape}; one with a row for each point is "
            "needed."
        )
    if np.issubdtype(values.dtype, np.floating) and not np.isfinite(values).all():
        wrong = np.argwhere(~np.isfinite(values))[0].tolist()
        raise UserError(
            f"{path} holds {values[tuple(wrong)]} at index {wrong}; remove or replace what is not "
            "finite."
        )
    return values[:, None] if values.ndim == 1 else values


def _text(path: Path, content: bytes) -> tuple[np.ndarray, tuple[str, ...]]:
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not text in UTF-8; save it as CSV again.") from error
    first = text.lstrip().split("\n", 1)[0]
    delimiter = max(_DELIMITERS, key=first.count)
    reader = csv.reader(io.StringIO(text), delimiter=delimiter)
    try:
        lines = [
            (reader.line_num, [cell.strip() for cell in row])
            for row in reader
            if any(cell.strip() for cell in row)
        ]
    except csv.Error as error:
        raise UserError(f"{path}, line {reader.line_num} cannot be read ({error}).") from error
    if not lines:
        raise UserError(f"{path} is empty; a line for each point is needed.")
    header = _is_header([cells for _, cells in lines[:2]])
    columns = tuple(lines[0][1]) if header else ()
    width = len(lines[0][1])
    values = np.empty((len(lines) - header, width))
    if not len(values):
        raise UserError(f"{path} holds a header and no line with numbers.")
    for row, (number, cells) in zip(values, lines[header:], strict=True):
        if len(cells) != width:
            raise UserError(
                f"{path}, line {number} has {len(cells)} cells where the first has {width}; give "
                "every line as many."
            )
        try:
            row[:] = [float(cell) for cell in cells]
            good = bool(np.isfinite(row).all())
        except ValueError:
            good = False
        if not good:
            raise UserError(_bad_cell(path, number, cells, columns))
    return values, columns


def _is_header(lines: Sequence[Sequence[str]]) -> bool:
    words = [not _is_number(cell) for cell in lines[0]]
    if not any(words):
        return False
    if all(words) or len(lines) == 1:
        return all(words)
    return all(_is_number(cell) for cell, word in zip(lines[1], words, strict=False) if word)


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _bad_cell(path: Path, number: int, cells: Sequence[str], columns: Sequence[str]) -> str:
    index = next(
        i for i, cell in enumerate(cells) if not (_is_number(cell) and math.isfinite(float(cell)))
    )
    column = f"column {columns[index]!r}" if columns else f"column {index + 1}"
    said = repr(cells[index]) if cells[index] else "nothing"
    return (
        f"{path}, line {number}: {column} holds {said}, which is no finite number; remove the "
        "column, or put a number there."
    )
