"""What other libraries call the parameters of the networks here."""

import re
from collections.abc import Callable

import numpy as np

from jaxfer.models.loading import Place, Spelling

Take = Callable[[np.ndarray], np.ndarray]
LEAF = {"kernel": "weight", "scale": "weight", "bias": "bias", "table": "weight",
         "mean": "running_mean", "variance": "running_var"}  # fmt: skip


def from_torch(leaf: str) -> Take:
    """How a tensor of PyTorch becomes a parameter here.

    Args:
      leaf: the parameter's own name.

    Returns:
      Of a ``kernel``: a transposition of ``[out, in]``, and of ``[out, in, height, width]``; of all
      else nothing.

    >>> from_torch("kernel")(np.zeros((8, 3, 5, 7))).shape
    (5, 7, 3, 8)
    """
    if leaf != "kernel":
        return np.asarray
    return lambda x: x.transpose(2, 3, 1, 0) if x.ndim == 4 else x.T


def _renamed(names: dict[str, str], *, block: str = "") -> Callable[[str], Place | None]:
    """From the names of layers, ``blockN`` counted in ``block``, to places."""

    def place(path: str) -> Place | None:
        *layer, leaf = path.split("/")
        inside = re.fullmatch(r"block(\d+)", layer[0]) if layer else None
        if inside:
            name = names.get("block/" + "/".join(layer[1:]))
            name = None if name is None else f"{block.format(inside[1])}.{name}"
        else:
            name = names.get("/".join(layer))
        if name is None or leaf not in LEAF:
            return None
        return Place(f"{name}.{LEAF[leaf]}", from_torch(leaf))

    return place


def _old_names(place: Callable[[str], Place | None]) -> Callable[[str], Place | None]:
    """Normalisations as files from TensorFlow have them: gamma and beta."""

    def renamed(path: str) -> Place | None:
        found = place(path)
        if found is None or "LayerNorm" not in found.name:
            return found
        name = found.name.replace("LayerNorm.weight", "LayerNorm.gamma")
        return found._replace(name=name.replace("LayerNorm.bias", "LayerNorm.beta"))

    return renamed


_bert = _renamed(
    {
        "words": "embeddings.word_embeddings",
        "positions": "embeddings.position_embeddings",
        "segments": "embeddings.token_type_embeddings",
        "norm": "embeddings.LayerNorm",
        "block/attention/query": "attention.self.query",
        "block/attention/key": "attention.self.key",
        "block/attention/value": "attention.self.value",
        "block/attention/output": "attention.output.dense",
        "block/attention_norm": "attention.output.LayerNorm",
        "block/up": "intermediate.dense",
        "block/down": "output.dense",
        "block/output_norm": "output.LayerNorm",
    },
    block="encoder.layer.{}",
)
_HEADS = ("*position_ids", "pooler.*", "cls.*", "classifier.*", "qa_outputs.*", "vocab_*",
          "pre_classifier.*")  # fmt: skip

BERT = (
    Spelling("transformers (BERT)", _bert, ("", "bert."), _HEADS),
    Spelling("transformers (BERT, gamma and beta)", _old_names(_bert), ("bert.", ""), _HEADS),
    Spelling(
        "transformers (DistilBERT)",
        _renamed(
            {
                "words": "embeddings.word_embeddings",
                "positions": "embeddings.position_embeddings",
                "norm": "embeddings.LayerNorm",
                "block/attention/query": "attention.q_lin",
                "block/attention/key": "attention.k_lin",
                "block/attention/value": "attention.v_lin",
                "block/attention/output": "attention.out_lin",
                "block/attention_norm": "sa_layer_norm",
                "block/up": "ffn.lin1",
                "block/down": "ffn.lin2",
                "block/output_norm": "output_layer_norm",
            },
            block="transformer.layer.{}",
        ),
        ("", "distilbert."),
        _HEADS,
    ),
)
"""Of :class:`jaxfer.models.Bert`."""
