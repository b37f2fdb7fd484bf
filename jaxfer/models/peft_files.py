"""LoRA in PEFT's file format: adapters of other libraries read, and ours written for them."""

import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxfer.models.loading import Spelling
from jaxfer.models.spellings import BERT
from jaxfer.models.tensor_files import read_tensors, write_tensors
from jaxfer.typing import PyTree, UserError

_CONFIG, _WEIGHTS, _BASE = "adapter_config.json", "adapter_model.safetensors", "base_model.model."


class PeftAdapter(NamedTuple):
    """Corrections of low rank, by the paths of the layers they belong to.

    Attributes:
      factors: for each path of a layer ``(down, up)``, ``[in, rank]`` and ``[rank, out]``, or of a
        convolution ``[height, width, in, rank]``.
      rank: of all of them.
      alpha: what a product is multiplied by, over the rank.

    >>> PeftAdapter({}, 8, 16.0).alpha
    16.0
    """

    factors: dict[str, tuple[np.ndarray, np.ndarray]]
    rank: int
    alpha: float


def adapter_of(params: PyTree, *, alpha: float) -> PeftAdapter:
    """The corrections in a network's parameters.

    Args:
      params: nested dicts, in which some layers have ``low_rank`` beside ``kernel``.
      alpha: that they were made with.

    Returns:
      The adapter.

    Raises:
      ValueError: there is none, or their ranks differ.

    >>> factors = {"down": np.ones((2, 1)), "up": np.ones((1, 3))}
    >>> adapter_of({"q": {"kernel": np.ones((2, 3)), "low_rank": factors}}, alpha=1.0).rank
    1
    """
    found: dict[str, tuple[np.ndarray, np.ndarray]] = {}

    def look(tree: PyTree, path: tuple[str, ...]) -> None:
        if not isinstance(tree, dict):
            return
        if "low_rank" in tree:
            pair = tree["low_rank"]
            found["/".join(path)] = np.asarray(pair["down"]), np.asarray(pair["up"])
        for name, below in tree.items():
            look(below, (*path, name))

    look(params, ())
    ranks = {up.shape[0] for _, up in found.values()}
    if len(ranks) != 1:
        raise ValueError(f"params must hold factors of one rank; their ranks are {sorted(ranks)}.")
    return PeftAdapter(found, ranks.pop(), float(alpha))


def write_peft(
    folder: str | Path,
    adapter: PeftAdapter,
    *,
    spelling: Spelling = BERT[0],
    base_model: str = "",
) -> None:
    """Writes an adapter as PEFT reads it: ``adapter_config.json`` and its safetensors.

    Args:
      folder: it is made if need be.
      adapter: its paths as those of the network that ``spelling`` is of.
      spelling: names of the layers in the model that PEFT will put it on.
      base_model: name of that model, which is written down.

    Raises:
      UserError: it cannot be written.
      ValueError: for a path that the spelling does not know.

    >>> import tempfile
    >>> pair = np.ones((2, 1), np.float32), np.ones((1, 3), np.float32)
    >>> adapter = PeftAdapter({"block0/attention/query": pair}, 1, 2.0)
    >>> with tempfile.TemporaryDirectory() as name:
    ...     write_peft(name, adapter)
    ...     read_peft(name, ["block0/attention/query"]).alpha
    2.0
    """
    folder = Path(folder)
    tensors, targets = {}, set()
    for path, (down, up) in adapter.factors.items():
        name = _module(path, spelling)
        targets.add(name.rpartition(".")[2])
        convolution = down.ndim == 4
        tensors[f"{_BASE}{name}.lora_A.weight"] = (
            down.transpose(3, 2, 0, 1) if convolution else down.T
        )
        tensors[f"{_BASE}{name}.lora_B.weight"] = up.T[..., None, None] if convolution else up.T
    config: dict[str, Any] = {
        "peft_type": "LORA", "base_model_name_or_path": base_model, "r": adapter.rank,
        "lora_alpha": adapter.alpha, "lora_dropout": 0.0, "bias": "none", "fan_in_fan_out": False,
        "target_modules": sorted(targets), "inference_mode": True, "task_type": None,
    }  # fmt: skip
    write_tensors(folder / _WEIGHTS, tensors)
    try:
        (folder / _CONFIG).write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    except OSError as error:
        raise UserError(f"{folder / _CONFIG} could not be written ({error}).") from error


def read_peft(
    folder: str | Path, layers: list[str], *, spelling: Spelling = BERT[0]
) -> PeftAdapter:
    """Reads an adapter that PEFT wrote, strictly.

    Args:
      folder: with ``adapter_config.json`` and ``adapter_model.safetensors``.
      layers: paths of the layers that may have a correction.
      spelling: names of these layers in the model that it was made for; of its prefixes any.

    Returns:
      The adapter, its paths among ``layers``.

    Raises:
      UserError: it cannot be read, is of another kind, or has a tensor that belongs to no layer.

    >>> read_peft("no/such/folder", [])
    Traceback (most recent call last):
        ...
    jaxfer.typing.UserError: no/such/folder/adapter_config.json cannot be read ([Errno 2] No such \
file or directory: 'no/such/folder/adapter_config.json').
    """
    folder = Path(folder)
    path = folder / _CONFIG
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
        rank, alpha = int(config["r"]), float(config["lora_alpha"])
        kind = config["peft_type"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path} cannot be read ({error}).") from error
    if kind != "LORA":
        raise UserError(f"{path} is of the kind {kind}; LORA can be read.")
    for name in ("use_dora", "fan_in_fan_out", "rank_pattern", "alpha_pattern"):
        if config.get(name):
            raise UserError(f"{path} sets {name}, which cannot be read.")
    if config.get("use_rslora"):
        alpha *= rank**0.5  # PEFT then divides by the root of the rank
    tensors = read_tensors(folder / _WEIGHTS)
    factors, used = {}, set()
    for layer in layers:
        for prefix in spelling.prefixes:
            name = f"{_BASE}{prefix}{_module(layer, spelling)}"
            a, b = f"{name}.lora_A.weight", f"{name}.lora_B.weight"
            if a in tensors and b in tensors:
                down, up = tensors[a], tensors[b]
                if down.ndim == 4:
                    down, up = down.transpose(2, 3, 1, 0), up[..., 0, 0].T
                else:
                    down, up = down.T, up.T
                if down.shape[-1] != rank or up.shape[0] != rank:
                    raise UserError(f"{name} has not the rank {rank} that {path} gives.")
                if not (np.isfinite(down).all() and np.isfinite(up).all()):
                    raise UserError(f"{name} holds NaN or infinity.")
                factors[layer] = (down, up)
                used |= {a, b}
                break
    left = sorted(set(tensors) - used)
    if left or not factors:
        raise UserError(
            f"{folder / _WEIGHTS} has tensors that belong to no layer: {', '.join(left) or 'none'}."
        )
    return PeftAdapter(factors, rank, alpha)


def with_adapter(params: PyTree, adapter: PeftAdapter) -> PyTree:
    """Parameters with an adapter's factors beside its layers' kernels.

    Args:
      params: nested dicts.
      adapter: its paths as those of ``params``.

    Returns:
      Nested dicts, as those of a network that :func:`add_low_rank` has changed; or, folded by
      :func:`fold_low_rank`, of the network as it was.

    Raises:
      ValueError: for a path that is not there, or shapes that do not fit.

    >>> pair = np.ones((2, 1)), np.ones((1, 3))
    >>> sorted(
    ...     with_adapter({"q": {"kernel": np.ones((2, 3))}}, PeftAdapter({"q": pair}, 1, 1.0))["q"]
    ... )
    ['kernel', 'low_rank']
    """
    left = set(adapter.factors)

    def put(tree: PyTree, path: tuple[str, ...]) -> PyTree:
        if not isinstance(tree, dict):
            return tree
        below = {name: put(sub, (*path, name)) for name, sub in tree.items()}
        name = "/".join(path)
        if name in adapter.factors and "kernel" in tree:
            down, up = adapter.factors[name]
            if tree["kernel"].shape != (*down.shape[:-1], up.shape[1]):
                raise ValueError(
                    f"factors {down.shape} and {up.shape} do not fit the kernel of {name}, "
                    f"{tree['kernel'].shape}."
                )
            left.discard(name)
            below["low_rank"] = {"down": down, "up": up}
        return below

    found = put(params, ())
    if left:
        raise ValueError(f"params have no layer {sorted(left)}.")
    return found


def _module(path: str, spelling: Spelling) -> str:
    place = spelling.place(f"{path}/kernel")
    if place is None:
        raise ValueError(f"the spelling of {spelling.library} knows no layer {path!r}.")
    return place.name.removesuffix(".weight")
