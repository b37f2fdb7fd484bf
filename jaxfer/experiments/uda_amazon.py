"""Adapt a classifier of reviews from one kind of product to another, as in the DANN paper.

All ordered pairs of the domains in a folder: 2000 labelled reviews of the source, 2000 unlabelled
ones of the target, as counts of 5000 words; one hidden layer; a test on reviews of the target that
were not seen. DANN with 9 strengths and training on the source alone, with 10 seeds each, are one
program. Reverse validation picks the strength of each seed and the risk on held-out source reviews
the step: no target label takes part.

    python -m jaxfer.experiments.uda_amazon --data-dir FOLDER
    python -m jaxfer.experiments.uda_amazon --data-dir FOLDER --pairs books-dvd --runs 3
    python -m jaxfer.experiments.uda_amazon --data made-up --steps 72

A domain is two files, DOMAIN_train.svmlight and DOMAIN_test.svmlight, in FOLDER or its subfolder
amazon_reviews; those of the paper lie beside its published code. Without any, two made-up domains
take their place, to show how it works. All six pairs of three domains took a quarter of an hour
on two cores; experiments/uda_amazon/README.md has what was measured. The run folder gets
config.json, summary.json, pairs.png, and for each pair a folder with its metrics.jsonl and
result.json: with --resume, pairs that are finished are not computed again.
"""

import dataclasses
import itertools
import json
import time
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
import tyro

from jaxfer import evaluation
from jaxfer.data import Domain, load_reviews, make_up_reviews
from jaxfer.data.places import look_for
from jaxfer.experiments import spanned_dann as training
from jaxfer.experiments.command_line import TrainingOptions, check_at_least, main
from jaxfer.experiments.spanned_dann import Fitting, Nets, Side, Span
from jaxfer.report import AdaptationRow, adaptation_summary, adaptation_table, method_bars
from jaxfer.training.devices import configure_devices
from jaxfer.training.metrics import MetricsWriter
from jaxfer.training.progress import Progress
from jaxfer.training.run_folder import (
    hardware,
    open_run_folder,
    versions,
    write_json,
    write_summary,
)
from jaxfer.transferability import proxy_a_distance
from jaxfer.typing import Key, UserError

HELD_OUT = 0.1  # of either domain, as in the paper
WEAKEST, STRONGEST = 0.01, 1.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(TrainingOptions):
    """The settings of a run; the defaults are the paper's protocol."""

    data: Annotated[str, tyro.conf.arg(metavar="auto|made-up|FOLDER")] = "auto"
    """Where the reviews are; auto looks in --data-dir, JAXFER_DATA_DIR and the cache, and makes two
    domains up if there is nothing."""

    pairs: Annotated[tuple[str, ...], tyro.conf.arg(metavar="SOURCE-TARGET...")] = ()
    """Which pairs, such as books-dvd; all of them unless given."""

    runs: Annotated[int, tyro.conf.arg(metavar="N")] = 10
    """How many runs of everything, side by side, with seeds SEED, SEED + 1, ...; a seed deals out
    the held-out reviews, the initial weights and the order."""

    examples: Annotated[int, tyro.conf.arg(metavar="N")] = 2000
    """Training reviews to take from each domain, the first ones; fewer if there are fewer."""

    inputs: Literal["tfidf", "binary", "log", "counts"] = "tfidf"
    """What becomes of the counts: log(1 + count) times inverse document frequency, presence, the
    logarithm alone, each scaled to the length --length; or the bare counts of the paper."""

    length: Annotated[float, tyro.conf.arg(metavar="NORM")] = 5.0
    """Euclidean length of each review's inputs, except for bare counts."""

    hidden: Annotated[int, tyro.conf.arg(metavar="N")] = 50
    """Sigmoid units of the hidden layer; the paper has 50 or 100."""

    strengths: Annotated[int, tyro.conf.arg(metavar="N")] = 9
    """How many values of lambda to try, from 0.01 to 1 on a logarithmic scale."""

    steps: Annotated[int, tyro.conf.arg(metavar="N")] = 576
    """How many steps each fit takes, forward and in reverse; 36 are one pass over 1800 reviews."""

    batch: Annotated[int, tyro.conf.arg(metavar="N")] = 50
    """Reviews of each domain in a step."""

    rate: Annotated[float, tyro.conf.arg(metavar="RATE")] = 0.3
    """Learning rate of gradient descent; for bare counts take a tenth of it."""

    validate_every: Annotated[int, tyro.conf.arg(metavar="N")] = 36
    """Steps between looks at the held-out reviews, one of which is the step that is kept."""


SMOKE = {"data": "made-up", "runs": 2, "strengths": 2, "steps": 4, "validate_every": 2, "batch": 8,
         "hidden": 8, "examples": 40}  # fmt: skip


def load(config: Config) -> tuple[dict[str, Domain], bool]:
    """The domains by name, and whether they are real."""
    data_dir = None if config.data == "auto" else Path(config.data)
    if config.data == "auto":
        data_dir = config.data_dir
        found = look_for(
            lambda folder: next(folder.glob("**/*_train.svmlight"), None),
            title="reviews", data_dir=data_dir,
        )  # fmt: skip
    if config.data == "made-up" or (config.data == "auto" and found is None and data_dir is None):
        domains = make_up_reviews()
        print("No reviews were asked for or found: these are made up, and show only how it works.")
        return domains, False
    domains = load_reviews(data_dir)
    if len(domains) < 2:
        raise UserError(
            f"There is only one domain, {next(iter(domains))}; put another one's two files beside."
        )
    return domains, True


def chosen_pairs(config: Config, domains: Mapping[str, Domain]) -> list[tuple[str, str]]:
    """Source and target, in alphabetical order or in that of ``--pairs``."""
    pairs = {f"{a}-{b}": (a, b) for a, b in itertools.permutations(sorted(domains), 2)}
    for name in config.pairs:
        if name not in pairs:
            raise UserError(f"There is no pair {name!r}; the pairs are: {', '.join(pairs)}.")
    return [pairs[name] for name in dict.fromkeys(config.pairs or pairs)]


def prepare(source: np.ndarray, target: np.ndarray, *others: np.ndarray, how: str, length: float
            ) -> list[np.ndarray]:  # fmt: skip
    """Inputs of the network; document frequencies are those of source and target together."""
    if how == "counts":
        return [source, target, *others]
    weights = np.ones(source.shape[1], np.float32)
    if how == "tfidf":
        found = (source > 0).sum(0) + (target > 0).sum(0)
        weights = np.log((1 + len(source) + len(target)) / (1 + found)) + 1
    found = []
    for counts in (source, target, *others):
        x = (counts > 0) * 1.0 if how == "binary" else np.log1p(counts) * weights
        norm = np.linalg.norm(x, axis=1, keepdims=True)
        found.append((length * x / np.maximum(norm, 1e-9)).astype(np.float32))
    return found


def deal(config: Config, source: int, target: int) -> tuple[Side, Side]:
    """For each seed, places of the training and held-out examples, the source's first."""
    draws = [np.random.default_rng(seed) for seed in config.seeds]

    def side(first: int, count: int) -> Side:
        order = jnp.asarray(np.stack([first + draw.permutation(count) for draw in draws]))
        cut = max(1, round(HELD_OUT * count))
        return Side(order[:, cut:], order[:, :cut])

    return side(0, source), side(source, target)


def strengths_of(config: Config) -> np.ndarray:
    """0 for the source alone, then DANN's."""
    return np.concatenate(
        [[0], np.geomspace(WEAKEST, STRONGEST, config.strengths)]
    ).astype(np.float32)  # fmt: skip


def fit(
    config: Config,
    fitting: Fitting,
    span: Span,
    source: Side,
    target: Side,
    labels: jax.Array,
    *,
    reverse: bool,
    writer: MetricsWriter,
    progress: Progress,
    done: int,
) -> Fitting:
    """Trains all networks of a pair in one direction."""
    strengths = strengths_of(config)
    began = time.perf_counter()
    for at in range(0, config.steps, config.validate_every):
        keys = jnp.stack(
            [
                jax.random.fold_in(jax.random.fold_in(jax.random.key(seed), 1 + reverse), at)
                for seed in config.seeds
            ]
        )
        steps = min(config.validate_every, config.steps - at)
        fitting, metrics = training.advance(
            fitting, span, strengths, source, target, labels,
            keys=keys, at=at, rate=config.rate, steps=steps, batch=config.batch,
        )  # fmt: skip
        found = {name: np.asarray(value) for name, value in metrics.items()}
        writer.write(
            at + steps + reverse * config.steps,
            "validation",
            {
                f"{name}_{strength:.3g}": value[:, place]
                for name, value in found.items()
                for place, strength in enumerate(strengths)
            },
            seconds=time.perf_counter() - began,
        )
        shown = {name: float(found[name].mean()) for name in ("loss", "accuracy")}
        progress.update(done + at + steps, shown)
    return fitting


def adapt(
    config: Config, source: Domain, target: Domain, *, path: Path, progress: Progress, done: int
) -> dict[str, Any]:
    """Trains everything on one pair, forward and in reverse, and tests it."""
    began = time.perf_counter()
    xs, ys = (part[: config.examples] for part in source.train)
    xt = target.train.x[: config.examples]
    xs, xt, test = prepare(xs, xt, target.test.x, how=config.inputs, length=config.length)
    sides = deal(config, len(xs), len(xt))
    for side, domain in zip(sides, (source, target), strict=True):
        if side.train.shape[1] < config.batch:
            raise UserError(
                f"--batch is {config.batch}, but {domain.name} has {side.train.shape[1]} reviews "
                "to train on; give a smaller one."
            )
    x = np.concatenate([xs, xt])
    weights = training.first_weights(config.seeds, x.shape[1], config.hidden)
    span = Span(*training.inner_products(x, x, weights))
    count = len(strengths_of(config))
    known = np.concatenate([ys, np.zeros(len(xt), np.int32)])
    truth = jnp.broadcast_to(known[None, :, None], (config.runs, len(x), count))

    path.mkdir(parents=True, exist_ok=True)
    writer = MetricsWriter(path, seeds=config.seeds)
    begin = training.begin(training.start(span, config.seeds, count))
    forward = fit(
        config, begin, span, *sides, truth,
        reverse=False, writer=writer, progress=progress, done=done,
    )  # fmt: skip
    products, starts = training.inner_products(test, x, weights)
    right = {
        name: np.asarray(
            evaluate(nets, products, starts, jnp.asarray(target.test.y))
        )
        for name, nets in (("picked", forward.best), ("last", forward.nets))
    }  # fmt: skip
    said = training.predict(forward.best, *span)
    labels = jnp.argmax(said.logits, -1)
    rejected = collapsed(said.logits, sides[1])
    distances = proxy_a_distances(said.features, len(xs), config.seeds)
    backward = fit(
        config, training.begin(forward.best), span, *sides[::-1], labels,
        reverse=True, writer=writer, progress=progress, done=done + config.steps,
    )  # fmt: skip
    writer.close()
    back = training.predict_at(backward.best, span, sides[0].held_out)
    scores = reverse_scores(back.logits, jnp.asarray(ys)[sides[0].held_out])
    return {
        "source": source.name,
        "target": target.name,
        "strengths": strengths_of(config),
        "test_accuracy": right["picked"],
        "last_accuracy": right["last"],
        "reverse_score": scores,
        "rejected": rejected,
        "proxy_a": distances,
        "step": forward.step,
        "reverse_step": backward.step,
        "source_risk": forward.risk,
        "test_examples": len(test),
        "seconds": time.perf_counter() - began,
    }


def evaluate(nets: Nets, products: jax.Array, starts: jax.Array, labels: jax.Array) -> jax.Array:
    """Accuracy ``[seeds, strengths]``."""
    logits = training.predict(nets, products, starts).logits
    return (logits.argmax(-1) == labels[None, :, None]).mean(1)


def collapsed(logits: jax.Array, target: Side) -> jax.Array:
    """Which networks ``[seeds, strengths]`` have, by what they say of the held-out target."""
    held_out = jnp.take_along_axis(logits, target.held_out[..., None, None], 1)

    def rejected(own: jax.Array, source_only: jax.Array) -> jax.Array:
        return evaluation.reject_collapsed(own, source_only)[0]

    over_strengths = jax.vmap(rejected, (1, None))
    return jax.vmap(over_strengths)(held_out, held_out[:, :, 0])


@partial(jax.jit, static_argnames=("sources", "seeds"))
def proxy_a_distances(features: jax.Array, sources: int, seeds: tuple[int, ...]) -> jax.Array:
    """Of source and target in each network's hidden layer, ``[seeds, strengths]``."""

    def of_one(features: jax.Array, key: Key) -> jax.Array:
        return proxy_a_distance(features[:sources], features[sources:], key=key)[0]

    keys = jnp.stack([jax.random.key(seed) for seed in seeds])
    return jax.lax.map(lambda one: jax.vmap(of_one, (1, None))(*one), (features, keys))


def reverse_scores(logits: jax.Array, labels: jax.Array) -> jax.Array:
    """Accuracy ``[seeds, strengths]`` of the reverse classifiers; its ties go to the lower risk.

    ``logits`` are ``[seeds, k, strengths, classes]`` and ``labels`` ``[seeds, k]``.
    """
    truth = labels[:, :, None]
    logs = jax.nn.log_softmax(logits)
    risk = -jnp.take_along_axis(logs, truth[..., None], -1)[..., 0].mean(1)
    return (logits.argmax(-1) == truth).mean(1) - 1e-4 * jnp.minimum(risk, 5.0)


def row_of(name: str, result: Mapping[str, Any]) -> AdaptationRow:
    """What a pair comes to: for each seed source-only, the pick of reverse validation, the best."""
    accuracy, last, scores, distance = (
        np.asarray(result[field], float)
        for field in ("test_accuracy", "last_accuracy", "reverse_score", "proxy_a")
    )
    rejected = np.asarray(result["rejected"], bool)[:, 1:]
    choice = evaluation.choose(scores[:, 1:], rejected=rejected)
    picked, last, after = (
        np.asarray(evaluation.chosen(choice, values[:, 1:], values[:, 0]), float)
        for values in (accuracy, last, distance)
    )
    return AdaptationRow(
        name, accuracy[:, 0], last, picked, accuracy[:, 1:].max(1),
        kept_source_only=np.asarray(choice.source_only), proxy_a_before=distance[:, 0],
        proxy_a_after=after, domain_accuracy=0.5 + after / 4, validator="reverse validation",
    )  # fmt: skip


def mean_row(rows: Sequence[AdaptationRow]) -> AdaptationRow:
    """The mean over pairs, for each seed."""
    names = ("source_only", "last", "picked", "oracle", "domain_accuracy",
             "proxy_a_before", "proxy_a_after")  # fmt: skip
    means = {name: np.mean([getattr(row, name) for row in rows], axis=0) for name in names}
    return AdaptationRow("mean of the pairs", **means, validator=rows[0].validator)


def run(config: Config) -> dict[str, Any]:
    """Trains and tests every pair and writes everything into the run folder.

    Args:
      config: the settings.

    Returns:
      What ``summary.json`` holds.

    Raises:
      UserError: a setting, a file or the run folder is not as it must be.
    """
    check_at_least(
        config, examples=10, length=1e-3, hidden=1, strengths=1, batch=1, rate=0, validate_every=1
    )
    if config.devices != 1:
        raise UserError(f"--devices is {config.devices}; this experiment computes on one.")
    devices = configure_devices(
        1, multihost=config.multihost, deterministic=config.deterministic
    )  # fmt: skip
    domains, real = load(config)
    pairs = chosen_pairs(config, domains)
    for domain in domains.values():
        print(domain.origin)
    results: dict[str, dict[str, Any]] = {}
    out = config.out or Path("runs/uda_amazon")
    with open_run_folder(out, config, resume=config.resume, may_differ=("pairs",)) as folder:
        progress = Progress(
            steps=2 * config.steps * len(pairs), start=0, unit="examples",
            tasks_per_step=2 * config.batch * config.runs * (1 + config.strengths),
        )  # fmt: skip
        for number, (source, target) in enumerate(pairs):
            name = f"{source}-{target}"
            path = folder.path / name / "result.json"
            if not path.exists():
                progress.note(f"{name}:")
                result = adapt(
                    config, domains[source], domains[target], path=path.parent,
                    progress=progress, done=2 * config.steps * number,
                )  # fmt: skip
                write_json(path, result)
            results[name] = json.loads(path.read_text())
        progress.close()
        rows = [row_of(name, result) for name, result in results.items()]
        method_bars(
            rows, folder.path / "pairs.png", title="DANN on reviews, source to target", noun="pair"
        )
        if len(rows) > 1:
            rows.append(mean_row(rows))
        print(adaptation_table(rows))
        summary = {
            "test": {row.method: adaptation_summary(row) for row in rows},
            "data": {
                "source": "reviews" if real else "made-up reviews",
                "origin": " ".join(domain.origin for domain in domains.values()),
                "checksum": {name: domain.checksum for name, domain in domains.items()},
            },
            "config": config,
            "versions": versions(),
            "hardware": hardware(devices),
            "seconds": sum(result["seconds"] for result in results.values()),
        }
        write_summary(folder, summary)
        print(f"In {folder.path}: summary.json, pairs.png")
    return summary


if __name__ == "__main__":
    main(Config, run, smoke=SMOKE)
