"""Which source, which layer? Scores before training, and the accuracies that came of each after it.

Several pre-trained encoders of images, and each of their layers, are ranked for a labelled target
by LogME, H-score and TransRate, none of which trains anything. Then a linear head is trained on
each encoder, and all of it is fine-tuned, with several seeds; and on each layer a linear
classifier. Kendall's tau says how well the ranking foretold the accuracies.

    python -m jaxfer.experiments.which_source
    python -m jaxfer.experiments.which_source --preset more-labels
    python -m jaxfer.experiments.which_source --models A B C --data FOLDER --color

A, B, C are safetensors, folders with one (such as model/ of pretrain_images), or names of the
Hugging Face hub, all of one --network; FOLDER has a subfolder for each class. Without --models,
four small encoders are compared on scikit-learn's digits: pre-trained on generated characters by
labels, by rotations and by SimCLR, which runs first, and one that nothing has trained. The default
takes about seven minutes; experiments/which_source/README.md has what was measured. The run
folder gets config.json, summary.json, ranking.png, pretrained/, and for each source a folder as
finetune_images writes it, with metrics.jsonl, TensorBoard events and checkpoints.
"""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import tyro
from scipy.stats import kendalltau
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from jaxfer.data import Domain
from jaxfer.experiments import finetune_images, pretrain_images
from jaxfer.experiments import finetune_options as options
from jaxfer.experiments.command_line import check_at_least, main
from jaxfer.experiments.finetune_methods import Model
from jaxfer.experiments.finetune_run import Prepare, Task, compare, in_chunks
from jaxfer.models import find_model, from_nnx
from jaxfer.models.image_networks import (
    EncoderStart,
    ImageNetwork,
    image_network,
    load_image_encoder,
)
from jaxfer.models.loading import LoadReport
from jaxfer.report import RankedAccuracies, ranking_picture, table
from jaxfer.training.run_folder import open_run_folder, write_summary
from jaxfer.transferability import coding_rate_gain, log_evidence, rank_sources, shrunk_h_score
from jaxfer.typing import PyTree, UserError

OUT = Path("runs/which_source")
SCORES = {"LogME": log_evidence, "H-score": shrunk_h_score, "TransRate": coding_rate_gain}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(options.FineTuningOptions):
    """The settings of a run; the defaults are for a hundred handwritten digits."""

    models: Annotated[tuple[str, ...], tyro.conf.arg(metavar="FILE|FOLDER|NAME...")] = ()
    """Weights of the encoders that are compared, at least two. By default some are made here."""

    methods: Annotated[tuple[str, ...], tyro.conf.arg(metavar="NAME...")] = ("probe", "full")
    """How each source is tuned, see finetune_images."""

    data: Annotated[str, tyro.conf.arg(metavar="digits|cifar10|FOLDER")] = "digits"
    """The target: a folder of classes, or a name."""

    network: Annotated[str, tyro.conf.arg(metavar="NAME")] = "small"
    """The encoder: small, resnet18, resnet34, resnet50, mobilenet, vit-s or vit-b."""

    image_size: Annotated[int, tyro.conf.arg(metavar="N")] = 16
    """Side of the images, in pixels."""

    color: bool = False
    """Three channels instead of one."""

    few: Annotated[int | None, tyro.conf.arg(metavar="N")] = 100
    """Rank and train by that many images alone, the same share of each class."""

    flip: bool = False
    """Mirror half of the images in training; not for what has a left and a right, as letters."""

    skip_bad: bool = False
    """Leave out images that cannot be read."""

    pretraining_steps: Annotated[int, tyro.conf.arg(metavar="N")] = 400
    """How long the sources that are made here are trained."""

    steps: Annotated[int, tyro.conf.arg(metavar="N")] = 150
    """How many optimiser steps to train each method, those before a --resume included."""

    probe_steps: Annotated[int, tyro.conf.arg(metavar="N")] = 500
    """Steps of a probe, which are cheap: its features are computed once."""

    rate: options.Rate = 5e-4
    """Learning rate of AdamW where all of the network trains."""


PRESETS = {
    "more-labels": Config(few=400, steps=300),
    "cifar10": Config(data="cifar10", image_size=32, color=True, flip=True, few=1000, steps=500),
}
SMOKE = {**options.SMOKE, "methods": ("probe", "full"), "pretraining_steps": 4, "few": 40,
         "steps": 2, "runs": 1}  # fmt: skip


class Candidates(NamedTuple):
    """What is ranked, and what a linear classifier made of it.

    Attributes:
      scores: ``[candidates]`` by the name of the score.
      accuracies: ``[candidates]``, on the test.
    """

    scores: dict[str, np.ndarray]
    accuracies: np.ndarray


def images_config(config: Config) -> finetune_images.Config:
    """The same settings for what finetune_images does."""
    shared = {field.name for field in dataclasses.fields(finetune_images.Config)}
    return finetune_images.Config(**{n: v for n, v in vars(config).items() if n in shared})


def find_sources(
    config: Config, network: ImageNetwork, folder: Path
) -> dict[str, EncoderStart]:  # fmt: skip
    """The encoders by name, those that were named or those that are made now."""
    if config.models:
        paths = {name: find_model(name) for name in dict.fromkeys(config.models)}
        return {name: load_image_encoder(path, network) for name, path in paths.items()}
    found = {}
    for method in ("supervised", "rotation", "simclr"):
        weights = pretrain_images.pretrained(
            config, folder / "pretrained" / method, steps=config.pretraining_steps, method=method,
            network=config.network, image_size=config.image_size, color=config.color,
        )  # fmt: skip
        found[method] = load_image_encoder(weights, network)
    params, state = from_nnx(network.build).init(jax.random.key(config.seed))
    params, state = jax.tree.map(np.asarray, (params, state))
    nothing = LoadReport("nothing", (), (), ())
    return {**found, "untrained": EncoderStart(params, state, nothing, network)}


def layers_of(model: Model, prepare: Prepare, images: Domain) -> dict[str, list[np.ndarray]]:
    """What each layer makes of the training part and of the test, and the features last."""
    network = from_nnx(model.build, call=lambda module, x: (module.taps(x), module(x).features))
    params, state = network.init(jax.random.key(0))
    params, state = {**params, "encoder": model.start}, {**state, **model.state}

    names: list[str] = []

    def layers(x: PyTree) -> list[jax.Array]:
        (taps, features), _ = network.apply(params, state, prepare(x, None), train=False)
        names[:] = [*taps, "features"]  # what is compiled would give them by the alphabet
        return [*taps.values(), features]

    count = len(images.train.y)
    x = jnp.concatenate([jnp.asarray(part.x) for part in (images.train, images.test)])
    found = jax.jit(lambda x: in_chunks(layers, x))(x)
    return {n: np.split(np.asarray(x), [count]) for n, x in zip(names, found, strict=True)}


def judge_linearly(layers: Mapping[str, list[np.ndarray]], images: Domain) -> np.ndarray:
    """Accuracy on the test of a logistic regression on each, its numbers brought to one scale."""
    found = []
    for train, test in layers.values():
        classifier = make_pipeline(StandardScaler(), LogisticRegression(max_iter=500))
        found.append(classifier.fit(train, images.train.y).score(test, images.test.y))
    return np.array(found)


def score(layers: Mapping[str, list[np.ndarray]], images: Domain) -> dict[str, np.ndarray]:
    """Every score of each, in their order, from the training part alone."""
    found = {}
    train = {name: parts[0] for name, parts in layers.items()}
    for name, function in SCORES.items():
        ranking = dict(zip(*rank_sources(train, images.train.y, score=function), strict=True))
        found[name] = np.array([ranking[layer] for layer in layers])
    return found


def report(
    sources: Mapping[str, Mapping[str, Any]],
    of_sources: Mapping[str, np.ndarray],
    layers: Mapping[str, list[np.ndarray]],
    of_layers: Candidates,
    path: Path,
    *,
    title: str,
) -> dict[str, Any]:
    """Prints the table, draws the picture, and gives all of it for the summary."""
    methods = list(next(iter(sources.values())))
    accuracies = {
        name: np.array([source[name]["test_accuracy"]["mean"] for source in sources.values()])
        for name in methods
    }
    errors = {
        name: np.array([source[name]["test_accuracy"]["ci95"] for source in sources.values()])
        for name in methods
    }

    def correlate(scores: Mapping[str, np.ndarray], found: np.ndarray) -> dict[str, float]:
        # As many right answers are a tie, whatever their means were rounded to. Without an order on
        # one side there is no correlation, and 0 stands for that.
        found = np.round(found, 6)
        return {
            name: float(np.nan_to_num(kendalltau(each, found).statistic))
            for name, each in scores.items()
        }

    taus = {name: correlate(of_sources, found) for name, found in accuracies.items()}
    tau_of_layers = correlate(of_layers.scores, of_layers.accuracies)
    names = list(layers)
    groups = [layer.rsplit("/", 1)[0] for layer in names]
    # The baseline: deeper layers are better, and no score is needed to say so.
    depth = np.array([groups[:i].count(group) for i, group in enumerate(groups)], np.float32)
    tau_of_depth = correlate({"depth": depth}, of_layers.accuracies)["depth"]
    rows = [
        [name, *(f"{of_sources[n][i]:.3f}" for n in SCORES),
         *(f"{100 * accuracies[n][i]:.2f}" for n in methods)]
        for i, name in enumerate(sources)
    ]  # fmt: skip
    blank = [""] * len(methods)
    rows += [
        [f"tau with {name}", *(f"{taus[name][n]:.2f}" for n in SCORES), *blank] for name in methods
    ]
    rows.append(
        [f"tau over {len(layers)} layers", *(f"{tau_of_layers[n]:.2f}" for n in SCORES), *blank]
    )
    print(f"\n{table(['source', *SCORES, *(f'{n} (%)' for n in methods)], rows)}\n")
    print(
        f"tau over {len(layers)} layers of their depth alone, without a score: {tau_of_depth:.2f}"
    )
    chosen = {n: names[int(np.argmax(x))] for n, x in of_layers.scores.items()}
    best = names[int(of_layers.accuracies.argmax())]
    for name, layer in chosen.items():
        found = of_layers.accuracies[names.index(layer)]
        print(f"{name} would take the layer {layer}: a linear classifier has {100 * found:.2f}%.")
    most = 100 * of_layers.accuracies.max()
    print(f"The best by the test itself, which nothing may be chosen by: {best}, {most:.2f}%.")
    pictures = [
        RankedAccuracies(
            name, list(sources), of_sources, accuracies[name], errors[name], taus[name]
        )
        for name in methods
    ]
    pictures.append(
        RankedAccuracies("each layer, linear", groups, of_layers.scores, of_layers.accuracies, None,
                         tau_of_layers)
    )  # fmt: skip
    ranking_picture(pictures, path / "ranking.png", title=title)
    return {
        "sources": {
            name: {
                "scores": {n: float(of_sources[n][i]) for n in SCORES},
                "methods": dict(sources[name]),
            }
            for i, name in enumerate(sources)
        },
        "layers": {
            name: {
                "scores": {n: float(of_layers.scores[n][i]) for n in SCORES},
                "linear_accuracy": float(of_layers.accuracies[i]),
            }
            for i, name in enumerate(names)
        },
        "kendall_tau": {**taus, "layers": {**tau_of_layers, "depth alone": tau_of_depth}},
        "chosen_layers": {**chosen, "best": best},
    }


def run(config: Config) -> dict[str, Any]:
    """Ranks sources and layers, tunes each, compares, and writes everything into the run folder.

    Args:
      config: the settings.

    Returns:
      What ``summary.json`` holds.

    Raises:
      UserError: a setting, a file or the run folder is not as it must be.
    """
    options.check_options(config)
    check_at_least(config, image_size=8, pretraining_steps=1, few=2)
    if config.models and len(set(config.models)) < 2:
        raise UserError("--models names one source; give at least two to compare.")
    if "scratch" in config.methods:
        raise UserError("--methods scratch begins from no source; leave it out.")
    of_images = images_config(config)
    images = finetune_images.read_data(of_images)
    network = image_network(config.network, image_size=config.image_size, color=config.color)
    path = config.out or OUT
    with open_run_folder(path, config, resume=config.resume, may_differ=("methods",)) as folder:
        starts = find_sources(config, network, path)
        prepare = finetune_images.make_prepare(of_images)
        models = {n: finetune_images.make_model(s, len(images.classes)) for n, s in starts.items()}
        features: dict[str, list[np.ndarray]] = {}
        layers: dict[str, list[np.ndarray]] = {}
        for name, model in models.items():
            found = layers_of(model, prepare, images)
            features[name] = found.pop("features")
            layers |= {f"{name}/{layer}": parts for layer, parts in found.items()}
        of_sources = score(features, images)
        of_layers = Candidates(score(layers, images), judge_linearly(layers, images))
        order = sorted(features, key=lambda n: -of_sources["LogME"][list(features).index(n)])
        print(f"\nSources by LogME, before any is tuned: {', '.join(order)}")
        tuned = {}
        for number, (name, model) in enumerate(models.items()):
            print(f"\nFrom {name}:")
            place = path / (f"source{number}" if config.models else name)
            one = dataclasses.replace(
                of_images, out=place, model=name, resume=(place / "config.json").is_file()
            )
            tuned[name] = compare(one, Task(images, model, prepare, None))["methods"]
        summary = {
            **report(tuned, of_sources, layers, of_layers, path, title=images.name),
            "data": {"source": images.name, "origin": images.origin, "checksum": images.checksum},
            "config": config,
        }
        write_summary(folder, summary)
    return summary


if __name__ == "__main__":
    main(Config, run, PRESETS, smoke=SMOKE)
