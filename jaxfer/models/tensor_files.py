"""Tensors in safetensors files: read whole or not at all, and written."""

import json
import os
from collections.abc import Mapping
from pathlib import Path

import ml_dtypes
import numpy as np
from safetensors import SafetensorError, deserialize, safe_open
from safetensors.numpy import save_file

from jaxfer.typing import UserError

WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"
_PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".h5", ".msgpack")
_TYPES = {
    "F64": np.float64, "F32": np.float32, "F16": np.float16, "BF16": ml_dtypes.bfloat16,
    "I64": np.int64, "I32": np.int32, "I16": np.int16, "I8": np.int8,
    "U64": np.uint64, "U32": np.uint32, "U16": np.uint16, "U8": np.uint8, "BOOL": np.bool_,
}  # fmt: skip


def read_tensors(path: str | Path) -> dict[str, np.ndarray]:
    """Reads every tensor of a safetensors file, or of a folder that holds one or its parts.

    Args:
      path: a file, or a folder with ``model.safetensors`` or ``model.safetensors.index.json`` and
        the files that it names.

    Returns:
      Arrays by name, as they stand in the file.

    Raises:
      UserError: there is none, it is truncated or damaged, of a type that cannot be read, or a
        pickle.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as name:
    ...     write_tensors(Path(name, "model.safetensors"), {"w": np.ones(2, np.float32)})
    ...     read_tensors(name)
    {'w': array([1., 1.], dtype=float32)}
    """
    tensors: dict[str, np.ndarray] = {}
    for file in weight_files(Path(path)):
        for name, tensor in _read_one(file).items():
            if name in tensors:
                raise UserError(f"{file} holds {name}, which another part has too; replace them.")
            tensors[name] = tensor
    return tensors


def weight_files(path: Path) -> list[Path]:
    """Lists the safetensors files that a path stands for.

    Args:
      path: as for :func:`read_tensors`.

    Returns:
      At least one.

    Raises:
      UserError: there is none, or only pickles.

    >>> weight_files(Path("model.bin"))
    Traceback (most recent call last):
        ...
    jaxfer.typing.UserError: model.bin is a pickle, which can run any program when it is read; \
convert it to safetensors where you trust it, by safetensors.torch.save_file.
    """
    if path.suffix in _PICKLES:
        raise UserError(_pickle(str(path)))
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise UserError(f"{path} does not exist; name a safetensors file, or a folder with one.")
    if (path / WEIGHTS).is_file():
        return [path / WEIGHTS]
    index = path / INDEX
    if index.is_file():
        try:
            names = sorted(
                set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
            )
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise UserError(f"{index} is no index of weights ({error!r}); replace it.") from error
        files = [path / Path(name).name for name in names]
        absent = [file.name for file in files if not file.is_file()]
        if absent or not files:
            raise UserError(
                f"{index} names {', '.join(absent) or 'no file'}; get the missing ones."
            )
        return files
    found = sorted(path.glob("*.safetensors"))
    if len(found) == 1:
        return found
    if found:
        raise UserError(f"{path} holds {len(found)} safetensors files; name one of them.")
    pickles = sorted(file.name for file in path.iterdir() if file.suffix in _PICKLES)
    if pickles:
        raise UserError(_pickle(f"{path} holds no safetensors file, and {pickles[0]}"))
    raise UserError(f"{path} holds no {WEIGHTS}; name a folder or file that does.")


def write_tensors(
    path: str | Path, tensors: Mapping[str, np.ndarray], *, note: Mapping[str, str] | None = None
) -> None:
    """Writes tensors as a safetensors file; killed at any instant, what was there before stays.

    Args:
      path: of the file.
      tensors: arrays by name.
      note: strings by name that are kept with them.

    Raises:
      UserError: it cannot be written.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as name:
    ...     write_tensors(Path(name, "a.safetensors"), {"w": np.zeros(3)})
    ...     read_tensors(Path(name, "a.safetensors"))["w"].dtype
    dtype('float64')
    """
    path = Path(path)
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    arrays = {name: np.ascontiguousarray(tensor) for name, tensor in tensors.items()}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        save_file(arrays, part, metadata=dict(note or {}))
        part.replace(path)
    except (OSError, SafetensorError) as error:
        part.unlink(missing_ok=True)
        raise UserError(f"{path} could not be written ({error}); make room or name another.") from (
            error
        )


def read_note(path: str | Path) -> dict[str, str]:
    """Reads the strings that :func:`write_tensors` kept beside the tensors.

    Args:
      path: of the file.

    Returns:
      Strings by name; none where none were kept.

    Raises:
      UserError: it is truncated or damaged.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as name:
    ...     write_tensors(Path(name, "a.safetensors"), {}, note={"padding": "SAME"})
    ...     read_note(Path(name, "a.safetensors"))
    {'padding': 'SAME'}
    """
    try:
        with safe_open(path, framework="numpy") as file:
            return dict(file.metadata() or {})
    except (OSError, SafetensorError) as error:
        raise UserError(f"{path} is no whole safetensors file ({error}); get it again.") from error


def _read_one(file: Path) -> dict[str, np.ndarray]:
    try:
        entries = deserialize(file.read_bytes())
    except (OSError, SafetensorError) as error:
        raise UserError(
            f"{file} is no whole safetensors file ({error}); it is truncated or damaged: get it "
            "again."
        ) from error
    tensors = {}
    for name, entry in entries:
        kind = _TYPES.get(entry["dtype"])
        if kind is None:
            raise UserError(
                f"{file}: {name} is of type {entry['dtype']}, which cannot be read; give weights "
                "in F32, F16 or BF16."
            )
        tensors[name] = np.frombuffer(entry["data"], kind).reshape(entry["shape"])
    return tensors


def _pickle(subject: str) -> str:
    return (
        f"{subject} is a pickle, which can run any program when it is read; convert it to "
        "safetensors where you trust it, by safetensors.torch.save_file."
    )
