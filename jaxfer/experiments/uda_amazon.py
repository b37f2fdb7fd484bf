"""Adapt a classifier of reviews from one kind of product to another, as in the DANN paper.

All ordered pairs of the domains in a folder: 2000 labelled reviews of the source, 2000 unlabelled
ones of the target, as counts of 5000 words; one hidden layer; a test on reviews of the target that
were not seen. DANN with 9 strengths and training on the source alone, with all seeds, are one
program; training on the target's labels is the bound from above. Reverse validation picks the
strength of each seed and the risk on held-out source reviews the step: no target label takes part.

    python -m jaxfer.experiments.uda_amazon
    python -m jaxfer.experiments.uda_amazon --data-dir FOLDER
    python -m jaxfer.experiments.uda_amazon --data-dir FOLDER --pairs books-dvd
    python -m jaxfer.experiments.uda_amazon --data-dir FOLDER --preset paper

A domain is two files, DOMAIN_train.svmlight and DOMAIN_test.svmlight, in FOLDER or its subfolder
amazon_reviews; those of the paper lie beside its published code. Without any, two made-up domains
take their place, to show how it works: a minute on two cores. With the paper's three domains the
default, 3 seeds on six pairs, takes about five minutes; the full run is --preset paper, 10 seeds,
about eight. experiments/uda_amazon/README.md has what was measured. The run folder gets
config.json, summary.json, pairs.png, and for each pair a folder with its result.json,
learning_curves.png, features.png, confusion.png, and the metrics.jsonl and TensorBoard events of
the training forward, in reverse/ and on-target/: with --resume, pairs that are finished are not
computed again.
"""

import dataclasses
import itertools
import json
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
import tyro

from jaxfer.data import Domain, load_reviews, make_up_reviews
from jaxfer.data.places import look_for
from jaxfer.experiments import spanned_dann as training
from jaxfer.experiments.adaptation_report import ON_TARGET
from jaxfer.experiments.amazon_report import (
    PICTURES,
    Curves,
    Shown,
    draw,
    mean_row,
    pick,
    picked_strengths,
    row_of,
)
from jaxfer.experiments.amazon_scores import (
    collapsed,
    evaluate,
    proxy_a_distances,
    reverse_scores,
)
from jaxfer.experiments.command_line import TrainingOptions, check_at_least, main
from jaxfer.experiments.review_inputs import check_enough, deal, prepare
from jaxfer.experiments.spanned_dann import Fitting, Nets, Side, Span
from jaxfer.report import adaptation_summary, adaptation_table, method_bars
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
from jaxfer.typing import UserError

WEAKEST, STRONGEST = 0.01, 1.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(TrainingOptions):
    """The settings of a run; the defaults are the paper's protocol, with fewer seeds."""

    data: Annotated[str, tyro.conf.arg(metavar="auto|made-up|FOLDER")] = "auto"
    """Where the reviews are; auto looks in --data-dir, JAXFER_DATA_DIR and the cache, and makes two
    domains up if there is nothing."""

    pairs: Annotated[tuple[str, ...], tyro.conf.arg(metavar="SOURCE-TARGET...")] = ()
    """Which pairs, such as books-dvd; all of them unless given."""

    runs: Annotated[int, tyro.conf.arg(metavar="N")] = 3
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


PRESETS = {"paper": Config(runs=10)}
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
    strengths: np.ndarray,
    judge: Callable[[Nets], jax.Array] | None = None,
    stream: int,
    path: Path,
    report: Callable[[int, Mapping[str, float]], None] | None = None,
) -> tuple[Fitting, Curves]:
    """Trains networks of all seeds and ``strengths``, on batches of a ``stream`` of their own.

    Args:
      config: the settings.
      fitting: where it begins.
      span, source, target, labels: of the examples, see `spanned_dann.advance`.
      strengths: ``[strengths]``.
      judge: gives the accuracy ``[seeds, strengths]`` of a test, for the reader alone.
      stream: another number for each fit of a pair.
      path: the folder that gets the metrics.
      report: is told the steps taken and what is to be shown of them.

    Returns:
      The fit, and what was seen on the way; accuracies are NaN without ``judge``.
    """
    began = time.perf_counter()
    path.mkdir(parents=True, exist_ok=True)
    writer = MetricsWriter(path, seeds=config.seeds)
    steps, seen = [], []
    for at in range(0, config.steps, config.validate_every):
        keys = jnp.stack(
            [
                jax.random.fold_in(jax.random.fold_in(jax.random.key(seed), stream), at)
                for seed in config.seeds
            ]
        )
        count = min(config.validate_every, config.steps - at)
        fitting, metrics = training.advance(
            fitting, span, strengths, source, target, labels,
            keys=keys, at=at, rate=config.rate, steps=count, batch=config.batch,
        )  # fmt: skip
        found = {name: np.asarray(value) for name, value in metrics.items()}
        if judge is not None:
            found["test_accuracy"] = np.asarray(judge(fitting.nets))
        steps.append(at + count)
        seen.append(found)
        writer.write(
            at + count,
            "validation",
            {
                f"{name}_{strength:.3g}": value[:, place]
                for name, value in found.items()
                for place, strength in enumerate(strengths)
            },
            seconds=time.perf_counter() - began,
        )
        if report is not None:
            report(at + count, {name: float(found[name].mean()) for name in ("loss", "accuracy")})
    writer.close()
    risk = np.stack([found["risk"] for found in seen])
    accuracy = np.stack(
        [found.get("test_accuracy", np.full_like(risk[0], np.nan)) for found in seen]
    )
    return fitting, Curves(np.array(steps), risk, accuracy)


def adapt(
    config: Config, source: Domain, target: Domain, *, path: Path, progress: Progress, done: int
) -> dict[str, Any]:
    """Trains everything on one pair, forward and in reverse, tests it and draws it."""
    began = time.perf_counter()
    (xs, ys), (xt, yt) = (
        (domain.train.x[: config.examples], domain.train.y[: config.examples])
        for domain in (source, target)
    )
    xs, xt, test = prepare(xs, xt, target.test.x, how=config.inputs, length=config.length)
    sides = deal(config.seeds, len(xs), len(xt))
    x = np.concatenate([xs, xt])
    weights = training.first_weights(config.seeds, x.shape[1], config.hidden)
    span = Span(*training.inner_products(x, x, weights))
    products, starts = training.inner_products(test, x, weights)
    strengths = strengths_of(config)
    judge = partial(
        evaluate, products=products, starts=starts, labels=jnp.asarray(target.test.y)
    )  # fmt: skip

    def begin(count: int) -> Fitting:
        return training.begin(training.start(span, config.seeds, count))

    def known(*labels: np.ndarray, count: int) -> jax.Array:
        return jnp.broadcast_to(
            np.concatenate(labels)[None, :, None], (config.runs, len(x), count)
        )  # fmt: skip

    hidden_from_it = np.zeros(len(xt), np.int32)
    forward, curves = fit(
        config, begin(len(strengths)), span, *sides,
        known(ys, hidden_from_it, count=len(strengths)), strengths=strengths, judge=judge,
        stream=1, path=path, report=lambda at, shown: progress.update(done + at, shown),
    )  # fmt: skip
    right = np.asarray(judge(forward.best))
    # The next fit begins with these networks and consumes them.
    first = training.select(forward.best, seed=0, strengths=tuple(range(len(strengths))))
    said = training.predict(forward.best, *span)
    labels = jnp.argmax(said.logits, -1)
    rejected = collapsed(said.logits, sides[1])
    distances = proxy_a_distances(said.features, len(xs), config.seeds)
    backward, _ = fit(
        config, training.begin(forward.best), span, *sides[::-1], labels,
        strengths=strengths, stream=2, path=path / "reverse",
        report=lambda at, shown: progress.update(done + config.steps + at, shown),
    )  # fmt: skip
    back = training.predict_at(backward.best, span, sides[0].held_out)
    scores = reverse_scores(back.logits, jnp.asarray(ys)[sides[0].held_out])
    # The bound from above: the same networks, told the target's labels and nothing of the source.
    on_target, _ = fit(
        config, begin(1), span, *sides[::-1], known(ys, yt, count=1),
        strengths=np.zeros(1, np.float32), judge=judge, stream=3, path=path / ON_TARGET,
    )  # fmt: skip
    result = {
        "source": source.name,
        "target": target.name,
        "strengths": strengths,
        "test_accuracy": right,
        "last_accuracy": curves.accuracy[-1],
        "best_accuracy": curves.accuracy.max(0),
        "target_trained": np.asarray(judge(on_target.best))[:, 0],
        "reverse_score": np.asarray(scores),
        "rejected": np.asarray(rejected),
        "proxy_a": distances,
        "step": np.asarray(forward.step),
        "reverse_step": backward.step,
        "source_risk": forward.risk,
        "test_examples": len(test),
    }
    both = (0, int(picked_strengths(pick(result))[0]))  # source-only, and the pick
    first = training.select(first, seed=0, strengths=both)
    places = sides[0].held_out[0]
    source_said, test_said = (
        jax.tree.map(lambda leaf: leaf[0], training.predict(first, *parts))
        for parts in (
            (span.products[places], span.starts[:1, places]), (products, starts[:1]),
        )
    )  # fmt: skip
    draw(
        result, curves, Shown(source_said, test_said, ys[places], target.test.y), path,
        classes=source.classes, title=f"{source.name} to {target.name}",
    )  # fmt: skip
    return {**result, "seconds": time.perf_counter() - began}


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
        if any(domain.name in pair for pair in pairs):
            count = min(config.examples, len(domain.train.x))
            check_enough(domain.name, count, batch=config.batch)
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
        drawn = (name for name in PICTURES if list(folder.path.glob(f"*/{name}")))
        print(f"In {folder.path}: summary.json, pairs.png; for each pair {', '.join(drawn)}")
    return summary


if __name__ == "__main__":
    main(Config, run, PRESETS, smoke=SMOKE)
