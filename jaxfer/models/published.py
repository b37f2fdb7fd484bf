"""Folders of published models: where they lie, what network they are of, and its parameters."""

import json
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxfer.models.bert import Bert, BertConfig
from jaxfer.models.functional import from_nnx
from jaxfer.models.loading import LoadReport, load_tensors
from jaxfer.models.spellings import BERT
from jaxfer.models.tensor_files import read_tensors
from jaxfer.typing import PyTree, UserError

_ACTIVATIONS = ("gelu", None)
_FILES = ("*.safetensors", "*.safetensors.index.json", "*.json", "vocab.txt")


def find_model(name: str | Path) -> Path:
    """Finds a published model: a folder or file, else the Hugging Face cache, else its hub.

    Args:
      name: a path, or a name of the hub such as ``sentence-transformers/all-MiniLM-L6-v2``.

    Returns:
      The folder, or the file.

    Raises:
      UserError: it is nowhere, or the network cannot be reached.

    >>> import tempfile
    >>> folder = tempfile.mkdtemp()
    >>> find_model(folder) == Path(folder)
    True
    """
    path = Path(name).expanduser()
    if path.exists():
        return path
    parts = str(name).split("/")
    local = path.is_absolute() or parts[0] in (".", "..") or path.suffix == ".safetensors"
    if local or len(parts) > 2 or not all(parts):
        raise UserError(f"{name} does not exist; name a file, a folder or a model of the hub.")
    try:
        from huggingface_hub import snapshot_download
    except ImportError as error:
        raise UserError(f"{name} is no folder, and huggingface_hub is not installed.") from error
    for offline in (True, False):  # what was fetched before needs no network
        try:
            found = snapshot_download(
                str(name), allow_patterns=list(_FILES), local_files_only=offline, etag_timeout=5
            )
            return Path(found)
        except Exception as error:  # the hub's, its client's and the network's are many
            failure = error
    reason = " ".join(str(failure).split())[:200]
    raise UserError(
        f"{name} is no folder, not in the Hugging Face cache, and could not be fetched ({reason}); "
        "give the folder of a model that you have."
    ) from failure


class LoadedEncoder(NamedTuple):
    """A published encoder of texts.

    Attributes:
      config: its sizes.
      params: of :class:`jaxfer.models.Bert`.
      report: what went where.

    >>> LoadedEncoder(BertConfig(), {}, None).config.layers
    12
    """

    config: BertConfig
    params: PyTree
    report: LoadReport


def read_config(folder: Path) -> dict[str, Any]:
    """Reads ``config.json`` of a model's folder.

    Args:
      folder: the folder, or a file in it.

    Returns:
      What it holds.

    Raises:
      UserError: it is missing or no JSON object.

    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> _ = (folder / "config.json").write_text('{"model_type": "bert"}')
    >>> read_config(folder)
    {'model_type': 'bert'}
    """
    path = (folder if folder.is_dir() else folder.parent) / "config.json"
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(config, dict):
            raise ValueError("it is no object")
        return config
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read ({error}); it says what network it is.") from error


def bert_config(config: dict[str, Any]) -> BertConfig:
    """The sizes of a BERT or DistilBERT from the ``config.json`` of transformers.

    Args:
      config: what it holds.

    Returns:
      The sizes.

    Raises:
      UserError: for another kind of network, or something that is not done here.

    >>> bert_config({"model_type": "distilbert", "dim": 64, "n_layers": 2}).width
    64
    """
    kind = config.get("model_type")
    names = {
        "bert": ("vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads",
                 "intermediate_size", "max_position_embeddings", "hidden_dropout_prob"),
        "distilbert": ("vocab_size", "dim", "n_layers", "n_heads", "hidden_dim",
                       "max_position_embeddings", "dropout"),
    }  # fmt: skip
    if kind not in names:
        raise UserError(f"config.json says model_type {kind!r}; bert and distilbert can be loaded.")
    activation = config.get("hidden_act" if kind == "bert" else "activation", "gelu")
    if activation not in _ACTIVATIONS:
        raise UserError(f"the activation is {activation!r}; 'gelu' is the one that can be loaded.")
    if config.get("position_embedding_type", "absolute") != "absolute":
        raise UserError("position embeddings are relative; absolute ones can be loaded.")
    fields = ("vocabulary", "width", "layers", "heads", "hidden", "positions", "dropout")
    given = {
        field: config[name]
        for field, name in zip(fields, names[kind], strict=True)
        if name in config
    }
    if kind == "distilbert":
        return BertConfig(**{"layers": 6, **given, "segments": 0, "epsilon": 1e-12})
    return BertConfig(
        **given,
        segments=config.get("type_vocab_size", 2),
        epsilon=config.get("layer_norm_eps", 1e-12),
    )


def load_encoder(name: str | Path) -> LoadedEncoder:
    """Loads a published encoder of texts: BERT, DistilBERT, MiniLM and others of their form.

    Args:
      name: as for :func:`find_model`.

    Returns:
      Its sizes, its parameters in float32 and what went where.

    Raises:
      UserError: it cannot be found or read, or does not fit in every parameter.

    >>> load_encoder("no/such/folder")
    Traceback (most recent call last):
        ...
    jaxfer.typing.UserError: no/such/folder does not exist; name a file, a folder or a model of \
the hub.
    """
    path = find_model(name)
    config = bert_config(read_config(path))
    network = from_nnx(lambda rngs: Bert(config, rngs=rngs))
    shapes, _ = jax.eval_shape(network.init, jax.random.key(0))
    params, _, report = load_tensors(read_tensors(path), shapes, {}, BERT, origin=str(path))
    return LoadedEncoder(config, jax.tree.map(np.asarray, params), report)
