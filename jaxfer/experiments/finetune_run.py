"""Fine-tuning one network in several ways and judging them side by side."""

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxfer.adapters import count_parameters, parameter_table
from jaxfer.data import Domain
from jaxfer.evaluation import accuracy
from jaxfer.experiments.finetune_listening import make_listening
from jaxfer.experiments.finetune_methods import (
    Model,
    Plan,
    Tuning,
    by_name,
    make_tuning,
    plan_tuning,
)
from jaxfer.experiments.finetune_options import FineTuningOptions
from jaxfer.experiments.finetune_rates import make_optimiser, rate_of, search_rate
from jaxfer.experiments.finetune_report import Judged, report
from jaxfer.losses import class_weights
from jaxfer.models import Linear, fold_low_rank, from_nnx
from jaxfer.report import learning_curve
from jaxfer.training.devices import Devices, Step, compile_evaluation, configure_devices, replicate
from jaxfer.training.loop import Schedule, fit
from jaxfer.training.memory import peak_memory
from jaxfer.training.run_folder import hardware, open_run_folder, versions, write_summary
from jaxfer.training.state import TrainState, init_train_state
from jaxfer.typing import Classification, Key, LabelledBatch, Metrics, PyTree, UserError

Prepare: TypeAlias = Callable[[PyTree, Key | None], PyTree]
HELD_OUT = 1000  # examples of the training set that validate, at most a fifth of it
CHUNK = 64  # examples that are judged at once
SEARCH_STEPS = 100  # of the search for a learning rate


class Task(NamedTuple):
    """What to learn, by what network.

    Attributes:
      domain: the examples; ``x`` may be any pytree of arrays.
      model: the network.
      prepare: ``prepare(x, key) -> x``, from what is stored to what the network takes, with random
        changes where there is a key.
      save: ``save(folder, params, state)``: writes a model that predicts by itself.
      explain: ``explain(folder, params, state, logits)``: draws what single predictions turned on,
        from the logits ``[n, classes]`` of the test.
      elsewhere: examples of other domains with the same classes, by the domain's name; what was
        trained is judged on them too, and nothing is picked by them.
      listen: steps in which a trained network adapts to the test's examples without their labels,
        for a row of its own; 0 for none.

    >>> Task(None, None, lambda x, key: x, None).explain is None
    True
    """

    domain: Domain
    model: Model
    prepare: Prepare
    save: Callable[[Path, PyTree, PyTree], None] | None
    explain: Callable[[Path, PyTree, PyTree, np.ndarray], None] | None = None
    elsewhere: Mapping[str, LabelledBatch] = MappingProxyType({})
    listen: int = 0


class Parts(NamedTuple):
    """What lies on every device.

    Attributes:
      train, validation, test: examples with labels.
      elsewhere: tests of other domains.
      weights: ``[classes]``, of the loss.
      frozen: parameters that do not train.
    """

    train: LabelledBatch
    validation: LabelledBatch
    test: LabelledBatch
    elsewhere: dict[str, LabelledBatch]
    weights: jax.Array
    frozen: PyTree


def split(
    config: FineTuningOptions,
    domain: Domain,
    elsewhere: Mapping[str, LabelledBatch] = MappingProxyType({}),
) -> Parts:
    """Holds examples out for validation; the order is drawn by the seed."""
    x, y = domain.train
    if y is None or domain.test.y is None:
        raise UserError(f"{domain.name} has no labels; fine-tuning learns from them.")
    size = len(y)
    order = np.random.default_rng(config.seed).permutation(size)
    count = min(HELD_OUT, max(1, size // 5))

    def part(places: np.ndarray) -> LabelledBatch:
        return LabelledBatch(jax.tree.map(lambda leaf: leaf[places], x), y[places])

    train = part(order[count:])
    counts = np.bincount(train.y, minlength=len(domain.classes))
    if not counts.all():
        empty = domain.classes[int(np.argmin(counts))]
        raise UserError(f"No example of the class {empty!r} is left to train on; give more.")
    weights = class_weights(counts) if config.balance else jnp.ones(len(counts))
    parts = Parts(
        train, part(order[:count]), LabelledBatch(*domain.test), dict(elsewhere), weights, None
    )
    return jax.tree.map(jnp.asarray, parts)


def make_loss(tuning: Tuning) -> Callable[..., tuple[jax.Array, tuple[PyTree, jax.Array]]]:
    """``loss(trained, state, parts, x, y, key)`` of a prepared batch, and what comes with it.

    That is the new batch statistics and the share of right predictions.
    """

    def loss_fn(
        trained: PyTree, state: PyTree, parts: Parts, x: PyTree, y: jax.Array, key: Key
    ) -> tuple[jax.Array, tuple[PyTree, jax.Array]]:
        params = tuning._replace(frozen=parts.frozen).whole(trained)
        output, state = tuning.network.apply(params, state, x, train=True, key=key)
        each = optax.softmax_cross_entropy_with_integer_labels(output.logits, y)
        loss = jnp.mean(each * parts.weights[y]) + tuning.penalty(trained)
        return loss, (state, jnp.mean(jnp.argmax(output.logits, -1) == y))

    return loss_fn


def make_step(
    config: FineTuningOptions, tuning: Tuning, prepare: Prepare, devices: Devices
) -> Step:
    """One step of one run: a batch by index, and a gradient of what trains alone."""
    share = config.batch // len(devices)
    loss_fn = make_loss(tuning)

    def step(run: TrainState, parts: Parts) -> tuple[TrainState, Metrics]:
        index_key, prepare_key, network_key = jax.random.split(
            jax.random.fold_in(run.key, run.step), 3
        )
        indices = jax.random.randint(index_key, (config.batch,), 0, len(parts.train.y))
        place = jax.lax.axis_index("batch")
        indices = jax.lax.dynamic_slice_in_dim(indices, place * share, share)
        x = jax.tree.map(lambda leaf: leaf[indices], parts.train.x)
        x, y = prepare(x, jax.random.fold_in(prepare_key, place)), parts.train.y[indices]
        network_key = jax.random.fold_in(network_key, place)

        (loss, (state, right)), gradient = jax.value_and_grad(loss_fn, has_aux=True)(
            run.params, run.state, parts, x, y, network_key
        )
        gradient, state, loss, right = jax.lax.pmean((gradient, state, loss, right), "batch")
        updates, opt_state = tuning.optimiser.update(gradient, run.opt_state, run.params)
        params = optax.apply_updates(run.params, updates)
        return run._replace(params=params, state=state, opt_state=opt_state), {
            "loss": loss,
            "accuracy": right,
        }

    return step


def in_chunks(function: Callable[[PyTree], PyTree], x: PyTree) -> PyTree:
    """A function of a batch on any number of examples, so many at a time that memory is bounded.

    >>> in_chunks(lambda x: 2 * x, jnp.arange(100)).shape
    (100,)
    """
    n = len(jax.tree.leaves(x)[0])
    size = min(n, CHUNK)
    # The last chunk is filled up with the last example: one body is compiled, not two.
    places = jnp.minimum(jnp.arange(-(-n // size) * size), n - 1).reshape(-1, size)
    found = jax.lax.map(lambda at: function(jax.tree.map(lambda leaf: leaf[at], x)), places)
    return jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:])[:n], found)


def make_predict(
    tuning: Tuning, prepare: Prepare
) -> Callable[[dict[str, jax.Array], PyTree, PyTree, PyTree], Classification]:
    """Features and logits of many examples, some at a time."""

    def predict(
        trained: dict[str, jax.Array], state: PyTree, frozen: PyTree, x: PyTree
    ) -> Classification:
        params = tuning._replace(frozen=frozen).whole(trained)

        def some(x: PyTree) -> Classification:
            return tuning.network.apply(params, state, prepare(x, None), train=False)[0]

        return in_chunks(some, x)

    return predict


def make_probe(config: FineTuningOptions, width: int, classes: int, rate: float) -> Tuning:
    """A linear layer on features that were computed once."""
    head = from_nnx(lambda rngs: Linear(width, classes, rngs=rngs))

    def apply(
        params: PyTree, state: PyTree, x: PyTree, *, train: bool, key: Key | None = None
    ) -> tuple[Classification, PyTree]:
        logits, state = head.apply(params["head"], state, x, train=train, key=key)
        return Classification(x, logits), state

    def init(key: Key) -> tuple[dict[str, jax.Array], PyTree]:
        params, state = head.init(key)
        return by_name({"head": params}), state

    shapes, _ = jax.eval_shape(head.init, jax.random.key(0))
    return Tuning(
        head._replace(apply=apply), init, {"head": jax.tree.map(lambda _: None, shapes)},
        make_optimiser(config, rate, config.probe_steps), lambda trained: 0.0,
    )  # fmt: skip


def embed(task: Task, parts: Parts) -> Parts:
    """The parts with the pre-trained network's features in the place of their examples."""
    network = from_nnx(task.model.build)
    params, state = network.init(jax.random.key(0))
    whole, state = {**params, "encoder": task.model.start}, {**state, **task.model.state}
    tuning = Tuning(network, network.init, whole, optax.identity(), lambda trained: 0.0)
    predict = make_predict(tuning, task.prepare)
    every = (parts.train, parts.validation, parts.test, *parts.elsewhere.values())
    features = jax.jit(lambda whole, state, x: predict({}, state, whole, x).features)
    # All in one call: each size would be a program of its own.
    found = np.asarray(features(whole, state, _joined([part.x for part in every])))
    ends = np.cumsum([len(part.y) for part in every])[:-1]
    new = [
        LabelledBatch(x, part.y)
        for x, part in zip(np.split(found, ends), every, strict=True)
    ]  # fmt: skip
    return parts._replace(
        train=new[0], validation=new[1], test=new[2],
        elsewhere=dict(zip(parts.elsewhere, new[3:], strict=True)),
    )  # fmt: skip


def _joined(parts: Sequence[PyTree]) -> PyTree:
    return jax.tree.map(lambda *leaves: jnp.concatenate(leaves), *parts)


def find_method_rate(
    config: FineTuningOptions, tuning: Tuning, prepare: Prepare, parts: Parts, folder: Path
) -> float:
    """A learning rate by a short run on random batches of the training part, without validation."""
    trained, state = tuning.init(jax.random.key(config.seed))
    loss_fn = make_loss(tuning)
    index_key, batch_key = jax.random.split(jax.random.key(config.seed))
    shape = (SEARCH_STEPS, config.batch)
    places = jax.random.randint(index_key, shape, 0, len(parts.train.y))
    x, y = jax.tree.map(lambda leaf: leaf[places], tuple(parts.train))

    def loss(trained: dict[str, jax.Array], batch: PyTree) -> jax.Array:
        x, y, key = batch
        prepare_key, network_key = jax.random.split(key)
        return loss_fn(trained, state, parts, prepare(x, prepare_key), y, network_key)[0]

    batches = (x, y, jax.random.split(batch_key, SEARCH_STEPS))
    found = search_rate(config, loss, trained, batches, folder)
    print(f"Learning rate: {found:.1e}, by a search over {SEARCH_STEPS} steps.", flush=True)
    return found


def train(
    config: FineTuningOptions,
    name: str,
    plan: Plan,
    task: Task,
    parts: Parts,
    *,
    path: Path,
    devices: Devices,
) -> tuple[dict[str, Judged], Callable[[Path], None]]:
    """Trains one method with all its seeds: what the test says, and how to keep the model."""
    prepare, steps = task.prepare, config.steps
    print(parameter_table(plan.shapes, plan.mask), flush=True)
    if name == "probe":
        parts = embed(task, parts)
        prepare, steps = (lambda x, key: x), config.probe_steps

    def tune(rate: float) -> Tuning:
        if name == "probe":
            return make_probe(config, parts.train.x.shape[1], len(task.domain.classes), rate)
        return make_tuning(name, task.model, config, plan=plan, rate=rate)

    with open_run_folder(
        path, {**vars(config), "method": name}, resume=(path / "config.json").exists(),
        may_differ=("methods", "out", "listen"),
    ) as folder:  # fmt: skip
        rate = rate_of(config, name)
        tuning = tune(0.0 if rate == "find" else rate)
        parts = parts._replace(frozen=jax.tree.map(jnp.asarray, tuning.frozen))
        if rate == "find":
            rate = find_method_rate(config, tuning, prepare, parts, path)
            tuning = tune(rate)
        start = init_train_state(tuning.init, tuning.optimiser, seeds=config.seeds)
        one = jax.tree.map(lambda leaf: leaf[0], start.params)
        on_devices = replicate(parts, devices)
        in_turn = devices[0].platform == "cpu" and name != "probe"
        predict = make_predict(tuning, prepare)

        def judge(run: tuple[dict[str, jax.Array], PyTree], data: Parts) -> Metrics:
            output = predict(*run, data.frozen, data.validation.x)
            each = optax.softmax_cross_entropy_with_integer_labels(output.logits, data.validation.y)
            return {"accuracy": accuracy(output.logits, data.validation.y), "loss": jnp.mean(each)}

        validate = compile_evaluation(judge, devices=devices, runs_in_turn=in_turn)
        with peak_memory() as peak:
            fitted = fit(
                make_step(config, tuning, prepare, devices),
                start,
                on_devices,
                folder=folder,
                schedule=Schedule(
                    steps=steps,
                    steps_per_dispatch=min(10, config.validate_every, config.checkpoint_every),
                    log_every=config.validate_every,
                    validate_every=config.validate_every,
                    checkpoint_every=config.checkpoint_every,
                    patience=config.patience,
                ),
                seeds=config.seeds,
                tasks_per_step=config.batch,
                unit="examples",
                devices=devices,
                runs_in_turn=in_turn,
                validate=lambda run: validate((run.params, run.state), on_devices),
                score="accuracy",
            )
        if jax.process_index() == 0:
            learning_curve(
                path / "metrics.jsonl", path / "learning_curve.png", title=name, step_name="step"
            )
    best = fitted.train_state.best

    def test(
        run: tuple[dict[str, jax.Array], PyTree], data: Parts
    ) -> tuple[jax.Array, dict[str, jax.Array]]:
        every = [data.test, *data.elsewhere.values()]
        logits = predict(*run, data.frozen, _joined([part.x for part in every])).logits
        own, *others = jnp.split(logits, np.cumsum([len(part.y) for part in every])[:-1])
        return own, {
            place: accuracy(found, part.y)
            for found, (place, part) in zip(others, data.elsewhere.items(), strict=True)
        }

    judge_test = compile_evaluation(test, devices=devices, runs_in_turn=in_turn)
    logits, elsewhere = jax.tree.map(np.asarray, judge_test((best.params, best.state), on_devices))
    judged = Judged(
        logits, np.asarray(best.score), np.asarray(best.step), count_parameters(one),
        count_parameters((one, tuning.frozen)), fitted.seconds, peak.bytes,
        elsewhere, rate,
    )  # fmt: skip
    rows = {name: judged}
    if task.listen:
        listened = make_listening(tuning, prepare, predict, steps=task.listen, seed=config.seed)

        def hear(run: tuple[PyTree, PyTree], data: Parts) -> jax.Array:
            return listened(*run, data.frozen, data.test.x)

        ask = compile_evaluation(hear, devices=devices, runs_in_turn=in_turn)
        begun = time.monotonic()
        logits = np.asarray(ask((best.params, best.state), on_devices))
        seconds = time.monotonic() - begun
        rows[f"{name}, listening"] = judged._replace(
            logits=logits, seconds=seconds, peak_bytes=None, elsewhere={}
        )

    def save(folder: Path) -> None:
        place = int(np.argmax(judged.validation))
        trained, state = jax.tree.map(
            lambda leaf: np.asarray(leaf[place]), (best.params, best.state)
        )
        params = tuning.whole(trained)
        if name == "probe":
            params, state = {**params, "encoder": task.model.start}, task.model.state
        params = fold_low_rank(params, alpha=tuning.alpha)
        if task.save is not None:
            task.save(folder / "model", params, state)
        if task.explain is not None:
            task.explain(folder, params, state, judged.logits[place])

    return rows, save


def compare(
    config: FineTuningOptions, task: Task, *, extra: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Fine-tunes in every way that was asked for, and says how they stand beside each other.

    Args:
      config: the settings.
      task: what to learn.
      extra: more for ``summary.json``.

    Returns:
      What ``summary.json`` holds.

    Raises:
      UserError: a setting, a file or the run folder is not as it must be.
    """
    devices = configure_devices(
        config.devices, divides=config.batch, unit="examples", multihost=config.multihost,
        deterministic=config.deterministic,
    )  # fmt: skip
    print(task.domain.origin)
    parts = split(config, task.domain, task.elsewhere)
    # All before any trains: what does not fit is said at once, not after hours of the others.
    names = dict.fromkeys(config.methods)
    plans = {name: plan_tuning(name, task.model, config) for name in names}
    path = config.out or Path("runs/finetune")
    found: dict[str, Judged] = {}
    savers = {}
    with open_run_folder(
        path, config, resume=config.resume, may_differ=("methods", "listen")
    ) as folder:
        for name, plan in plans.items():
            print(f"\n{name}", flush=True)
            rows, savers[name] = train(
                config, name, plan, task, parts, path=path / name, devices=devices
            )
            found |= rows
        summary = {
            **report(found, np.asarray(parts.test.y), task.domain.classes, folder.path,
                     title=task.domain.name),
            "data": {"source": task.domain.name, "origin": task.domain.origin,
                     "checksum": task.domain.checksum},
            **(extra or {}),
            "config": config,
            "versions": versions(),
            "hardware": hardware(devices),
            "seconds": sum(each.seconds for each in found.values()),
        }  # fmt: skip
        # By validation alone: the test had no part in it. Adapters are a network of their own kind.
        plain = [name for name in savers if name != "adapters"]
        chosen = max(plain, key=lambda name: found[name].validation.mean(), default=None)
        if chosen is not None:
            savers[chosen](path)
        if chosen is not None and task.save is not None:
            print(f"The model of {chosen}, which validated best, is in {path / 'model'}.")
        write_summary(folder, {**summary, "saved": chosen})
    return summary
