"""Training and judging several adaptation methods on one shift, side by side."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxfer import adaptation, evaluation
from jaxfer.adaptation import Classifier, Method
from jaxfer.adapters import FeatureMap
from jaxfer.data import Domain
from jaxfer.experiments.adaptation_methods import (
    AdaptationOptions,
    Recipe,
    make_method,
    make_optimiser,
)
from jaxfer.experiments.adaptation_report import ON_TARGET, SOURCE_ONLY, Seen, report
from jaxfer.experiments.adaptation_scores import (
    LEAST_CLASS_ENTROPY,
    VALIDATORS,
    collapsed,
    keep_source_only,
    open_set_scores,
    validator_scores,
)
from jaxfer.training.devices import (
    Devices,
    Step,
    compile_evaluation,
    configure_devices,
    replicate,
)
from jaxfer.training.loop import Schedule, fit
from jaxfer.training.metrics import read_metrics
from jaxfer.training.run_folder import hardware, open_run_folder, versions, write_summary
from jaxfer.training.state import TrainState, init_train_state
from jaxfer.typing import (
    Classification,
    DomainBatch,
    Key,
    LabelledBatch,
    Metrics,
    PyTree,
    UserError,
)

Prepare: TypeAlias = Callable[[PyTree, Key | None], PyTree]
HELD_OUT = 1000  # examples of each training set that validate, at most a fifth of it
CHUNK = 256  # examples that are judged at once


class Arrays(NamedTuple):
    """What lies on every device.

    Attributes:
      source: labelled examples to train on.
      target: examples to train on, without labels.
      labelled_target: the few with labels, if there are any.
      source_validation: labelled examples that are not trained on.
      target_validation: target examples that are not trained on, without labels.
      target_test: the test, if its labels are known.
    """

    source: LabelledBatch
    target: PyTree
    labelled_target: LabelledBatch | None
    source_validation: LabelledBatch
    target_validation: PyTree
    target_test: LabelledBatch | None


class Outcome(NamedTuple):
    """What came of one method.

    Attributes:
      steps: ``[t]``, when it was validated.
      metrics: ``[t, runs]`` by name; ``target_accuracy`` among them where labels are known, and the
        score of every validator.
      picked: parameters and state ``[runs, ...]`` that the validator picked; of source-only and of
        training on the target, where nothing is to be picked, those of the last step.
      kept: ``[runs]``, booleans, whether there was none to pick, so that source-only is kept.
      seconds: how long it trained.
      method: what was trained.
    """

    steps: np.ndarray
    metrics: Mapping[str, np.ndarray]
    picked: tuple[PyTree, PyTree]
    kept: np.ndarray
    seconds: float
    method: Method


def make_arrays(source: Domain, target: Domain, *, target_labels: int, seed: int) -> Arrays:
    """Holds examples out for validation, and keeps labels of the target where they are allowed."""
    order = np.random.default_rng(seed)

    def held_out(domain: Domain) -> tuple[np.ndarray, np.ndarray]:
        if len(domain.train.x) < 2:
            raise UserError(
                f"{domain.name} has {len(domain.train.x)} example(s) to train on; give at least 2, "
                "of which one is held out to validate on."
            )
        shuffled = order.permutation(len(domain.train.x))
        count = min(HELD_OUT, max(1, len(shuffled) // 5))
        return shuffled[count:], shuffled[:count]

    source_train, source_validation = held_out(source)
    target_train, target_validation = held_out(target)
    x, y = source.train
    if y is None:
        raise UserError(f"{source.name} has no labels, and a source needs them.")
    if len(np.unique(y)) < 2:
        raise UserError(f"All examples of {source.name} are of one class; a source needs two.")
    labelled = None
    if target_labels:
        if target.train.y is None:
            raise UserError(
                f"--target-labels is {target_labels}, but {target.name} has no labels at all."
            )
        few = np.concatenate(
            [
                target_train[target.train.y[target_train] == label][:target_labels]
                for label in range(len(target.classes))
            ]
        )
        labelled = LabelledBatch(target.train.x[few], target.train.y[few])
        counts = np.bincount(labelled.y, minlength=len(target.classes))
        short = [name for name, n in zip(target.classes, counts, strict=True) if n < target_labels]
        if short:
            print(f"{target.name} has fewer than {target_labels} labels of: {', '.join(short)}.")
    test = None if target.test.y is None else LabelledBatch(*target.test)
    return jax.tree.map(
        jnp.asarray,
        Arrays(
            source=LabelledBatch(x[source_train], y[source_train]),
            target=target.train.x[target_train],
            labelled_target=labelled,
            source_validation=LabelledBatch(x[source_validation], y[source_validation]),
            target_validation=target.train.x[target_validation],
            target_test=test,
        ),
    )


def trained_on_target(arrays: Arrays, target: Domain, *, seed: int) -> Arrays:
    """The same test for a network that learns from the target's labels: the bound from above."""
    count = len(arrays.target_validation)
    # Shuffled: a domain may lie there class by class.
    order = np.random.default_rng(seed).permutation(len(target.train.x))
    x, y = (jnp.asarray(part[order]) for part in target.train)
    return arrays._replace(
        source=LabelledBatch(x[count:], y[count:]),
        labelled_target=None,
        source_validation=LabelledBatch(x[:count], y[:count]),
    )


def make_step(
    config: AdaptationOptions,
    method: Method,
    optimiser: optax.GradientTransformation,
    prepare: Prepare,
    devices: Devices,
) -> Step:
    """One step of one run: a batch of each domain by index, and every player's turn."""
    share = config.batch // len(devices)

    def step(run: TrainState, arrays: Arrays) -> tuple[TrainState, Metrics]:
        keys = jax.random.split(jax.random.fold_in(run.key, run.step), 5)

        def draw(key: Key, x: PyTree) -> tuple[PyTree, jax.Array]:
            """This device's share of a batch, drawn for all devices."""
            index_key, prepare_key = jax.random.split(key)
            total = len(jax.tree.leaves(x)[0])
            indices = jax.random.randint(index_key, (config.batch,), 0, total)
            place = jax.lax.axis_index("batch")
            indices = jax.lax.dynamic_slice_in_dim(indices, place * share, share)
            prepare_key = jax.random.fold_in(prepare_key, place)
            return prepare(jax.tree.map(lambda leaf: leaf[indices], x), prepare_key), indices

        source, source_indices = draw(keys[0], arrays.source.x)
        target, target_indices = draw(keys[1], arrays.target)
        labelled = None
        if arrays.labelled_target is not None:
            x, indices = draw(keys[2], arrays.labelled_target.x)
            labelled = LabelledBatch(x, arrays.labelled_target.y[indices])
        updated = adaptation.update(
            method,
            optimiser,
            run.params,
            run.state,
            run.opt_state,
            DomainBatch(
                LabelledBatch(source, arrays.source.y[source_indices]),
                target,
                labelled,
                target_indices,
            ),
            step=run.step,
            key=keys[3],
            axis_name="batch",
        )
        return run._replace(
            params=updated.params, state=updated.state, opt_state=updated.opt_state
        ), updated.metrics

    return step


class Shift(NamedTuple):
    """From where to where, by which network.

    Attributes:
      source, target: the domains.
      classifier: the network, of so many ``features``.
      prepare: ``prepare(x, key) -> x``, from what is stored to what the network takes, with random
        changes where there is a key.
      convolutional: whether the network has convolutions; then on a CPU the runs go in turn.
      unknown_head: where the target has classes that the source lacks, a head with one class more
        than the classifier's; the last of the domains' ``classes`` is then the unknown.
      least_class_entropy: of the guard, see `jaxfer.evaluation.reject_collapsed`.
    """

    source: Domain
    target: Domain
    classifier: Classifier
    features: int
    prepare: Prepare
    convolutional: bool = False
    unknown_head: FeatureMap | None = None
    least_class_entropy: float = LEAST_CLASS_ENTROPY

    @property
    def known(self) -> int:
        """How many classes the source has."""
        return len(self.source.classes) - (self.unknown_head is not None)


class Judged(NamedTuple):
    """One run that is put to a test, and what the source-only network says of the target."""

    params: PyTree
    state: PyTree
    source_only_logits: jax.Array | None


def make_predict(method: Method, prepare: Prepare) -> Callable[[PyTree, PyTree, PyTree], Any]:
    """Features and logits of many examples, some at a time."""

    def predict(params: PyTree, state: PyTree, x: PyTree) -> Any:
        def one(example: PyTree) -> Any:
            batch = jax.tree.map(lambda leaf: leaf[None], example)
            output = method.predict(params, state, prepare(batch, None))
            return jax.tree.map(lambda leaf: leaf[0], output)

        return jax.lax.map(one, x, batch_size=CHUNK)

    return predict


def make_judge(
    predict: Callable[..., Any],
    *,
    unknown: int | None = None,
    least_class_entropy: float = LEAST_CLASS_ENTROPY,
) -> Callable[[Judged, Arrays], Metrics]:
    """Every validator's score, without a target label; and apart from that the accuracies.

    With an ``unknown`` class, the number of the last one, also those in which classes count alike.
    """

    def judge(judged: Judged, arrays: Arrays) -> Metrics:
        source, target = (
            predict(judged.params, judged.state, x)
            for x in (arrays.source_validation.x, arrays.target_validation)
        )
        scores = validator_scores(source, target, arrays.source_validation.y)
        if judged.source_only_logits is not None:
            rejected = collapsed(
                target.logits, judged.source_only_logits, least_class_entropy=least_class_entropy
            )
            scores = {**scores, "rejected": rejected.astype(jnp.float32)}
        if arrays.target_test is not None:
            x, y = arrays.target_test
            logits = predict(judged.params, judged.state, x).logits
            scores = {**scores, "target_accuracy": evaluation.accuracy(logits, y)}
            if unknown is not None:
                scores = {**scores, **open_set_scores(logits, y, unknown=unknown)}
        return scores

    return judge


def train(
    config: AdaptationOptions,
    name: str,
    shift: Shift,
    arrays: Arrays,
    *,
    path: Path,
    devices: Devices,
    source_only_logits: jax.Array | None,
) -> Outcome:
    """Trains one method with all its seeds, and remembers what the validator picks."""
    classifier = shift.classifier
    if name == ON_TARGET and shift.unknown_head is not None:  # it is told which are unknown
        classifier = classifier._replace(head=shift.unknown_head)
    recipe = Recipe(
        classifier, shift.features, shift.known, config.steps, config.strength,
        2 * (config.adversary,), "batch" if len(devices) > 1 else None,
        unknown_head=shift.unknown_head,
    )  # fmt: skip
    prepare = shift.prepare
    method = make_method(SOURCE_ONLY if name == ON_TARGET else name, recipe)
    optimiser = make_optimiser(config)
    start = init_train_state(
        method.init,
        optax.GradientTransformation(
            lambda params: adaptation.init_optimiser(method, optimiser, params), optimiser.update
        ),
        seeds=config.seeds,
    )
    on_devices = replicate(arrays, devices)
    in_turn = shift.convolutional and devices[0].platform == "cpu"
    judge = compile_evaluation(
        make_judge(
            make_predict(method, prepare),
            unknown=None if shift.unknown_head is None else shift.known,
            least_class_entropy=shift.least_class_entropy,
        ),
        devices=devices,
        runs_in_turn=in_turn,
    )

    def validate(run: TrainState) -> Metrics:
        seen = judge(Judged(run.params, run.state, source_only_logits), on_devices)
        rejected = seen.get("rejected", jnp.zeros(())) > 0
        score = seen[config.validator] if name != ON_TARGET else seen["source_accuracy"]
        return {**seen, "score": jnp.where(rejected, jnp.nan, score)}

    with open_run_folder(
        path, {**vars(config), "method": name}, resume=(path / "config.json").exists(),
        may_differ=("methods", "out"),
    ) as folder:  # fmt: skip
        fitted = fit(
            make_step(config, method, optimiser, prepare, devices),
            start,
            on_devices,
            folder=folder,
            schedule=Schedule(
                steps=config.steps,
                steps_per_dispatch=min(25, config.validate_every, config.checkpoint_every),
                validate_every=config.validate_every,
                checkpoint_every=config.checkpoint_every,
            ),
            seeds=config.seeds,
            tasks_per_step=2 * config.batch,
            unit="examples",
            devices=devices,
            runs_in_turn=in_turn,
            validate=validate,
            score="score",
        )
    # Nothing is adapted in the bounds, so nothing is picked there.
    bound = name in (SOURCE_ONLY, ON_TARGET)
    best = fitted.train_state.best
    picked = fitted.train_state if bound else best
    kept = np.zeros(len(config.seeds), bool) if bound else np.asarray(best.step) < 0
    steps, metrics = curves(path, len(config.seeds))
    return Outcome(steps, metrics, (picked.params, picked.state), kept, fitted.seconds, method)


def curves(path: Path, runs: int) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """What validation saw, ``[t]`` and ``[t, runs]`` by name; NaN where a run had died."""
    rows = [row for row in read_metrics(path) if row["split"] == "validation"]
    steps = np.unique([row["step"] for row in rows])
    names = {name for row in rows for name in row} - {"step", "seconds", "split", "run"}
    found = {name: np.full((len(steps), runs), np.nan) for name in names}
    for row in rows:
        for name in names & row.keys():
            found[name][np.searchsorted(steps, row["step"]), row["run"]] = row[name]
    return steps, found


def in_order(methods: Sequence[str], with_bound: bool) -> list[str]:
    """Source-only first, then what was asked for, then training on the target."""
    middle = [name for name in dict.fromkeys(methods) if name != SOURCE_ONLY]
    return [SOURCE_ONLY, *middle, *([ON_TARGET] if with_bound else [])]


def compare(config: AdaptationOptions, shift: Shift) -> dict[str, Any]:
    """Trains every method on a shift, and says and draws how they stand beside each other.

    Args:
      config: the settings.
      shift: from where to where.

    Returns:
      What ``summary.json`` holds.

    Raises:
      UserError: a setting, a file or the run folder is not as it must be.
    """
    if config.validator not in VALIDATORS:
        raise UserError(
            f"There is no validator {config.validator!r}; there are: {', '.join(VALIDATORS)}."
        )
    if shift.unknown_head is not None and config.target_labels:
        raise UserError(
            "--target-labels cannot be given where the target has classes that the source lacks."
        )
    devices = configure_devices(
        config.devices, divides=config.batch, multihost=config.multihost,
        deterministic=config.deterministic,
    )  # fmt: skip
    print(f"Source: {shift.source.origin}\nTarget: {shift.target.origin}")
    arrays = make_arrays(
        shift.source, shift.target, target_labels=config.target_labels, seed=config.seed
    )
    in_turn = shift.convolutional and devices[0].platform == "cpu"

    def embed(
        outcome: Outcome, source_only: Mapping[str, Classification] | None = None
    ) -> dict[str, Classification]:
        """What the picked networks make of each domain's validation and of the test.

        Where none was picked, it is what the ``source_only`` networks make of them.
        """
        predict = make_predict(outcome.method, shift.prepare)
        evaluate = compile_evaluation(
            lambda run, x: predict(run[0], run[1], x), devices=devices, runs_in_turn=in_turn
        )
        inputs = {"source": arrays.source_validation.x, "target": arrays.target_validation}
        if arrays.target_test is not None:
            inputs["test"] = arrays.target_test.x
        outputs = {
            name: evaluate(outcome.picked, replicate(x, devices)) for name, x in inputs.items()
        }
        if source_only is None or not outcome.kept.any():
            return outputs
        kept = jnp.asarray(outcome.kept)
        return {name: keep_source_only(outputs[name], source_only[name], kept) for name in outputs}

    test_labels = None if arrays.target_test is None else np.asarray(arrays.target_test.y)
    outcomes: dict[str, Outcome] = {}
    may_differ = ("methods",)
    path = config.out or Path("runs/adaptation")
    with open_run_folder(path, config, resume=config.resume, may_differ=may_differ) as folder:
        reference: dict[str, Classification] | None = None
        for name in in_order(config.methods, arrays.target_test is not None):
            print(f"\n{name}", flush=True)
            on_target = name == ON_TARGET
            outcomes[name] = train(
                config,
                name,
                shift,
                trained_on_target(arrays, shift.target, seed=config.seed) if on_target else arrays,
                path=path / name,
                devices=devices,
                source_only_logits=(
                    None if on_target or reference is None else reference["target"].logits
                ),
            )
            if name == SOURCE_ONLY:
                reference = embed(outcomes[name])
        summary = {
            **report(
                {
                    name: Seen(outcome.steps, outcome.metrics, embed(outcome, reference))
                    for name, outcome in outcomes.items()
                },
                folder.path,
                validators=VALIDATORS,
                validator=config.validator,
                source_labels=np.asarray(arrays.source_validation.y),
                test_labels=test_labels,
                classes=shift.source.classes,
                title=f"{shift.source.name} to {shift.target.name}",
            ),
            "data": {
                side: {"source": domain.name, "origin": domain.origin, "checksum": domain.checksum}
                for side, domain in (("source", shift.source), ("target", shift.target))
            },
            "config": config,
            "versions": versions(),
            "hardware": hardware(devices),
            "seconds": sum(outcome.seconds for outcome in outcomes.values()),
        }
        write_summary(folder, summary)
    return summary
