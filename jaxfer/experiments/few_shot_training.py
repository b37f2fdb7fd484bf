"""Training one few-shot method in a folder of its own, all its seeds at once."""

from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import jax
import numpy as np

from jaxfer.experiments import episodic
from jaxfer.experiments.few_shot import FewShotMethod, FewShotOptions
from jaxfer.experiments.maml_omniglot import Judged
from jaxfer.report import learning_curve
from jaxfer.training.devices import Devices
from jaxfer.training.loop import Schedule, fit
from jaxfer.training.run_folder import hardware, open_run_folder, versions, write_summary
from jaxfer.training.state import Best, TrainState, init_train_state, remember_best
from jaxfer.typing import Key, Metrics, PyTree, Task

Validate: TypeAlias = Callable[[TrainState | Best], Metrics]


class Trained(NamedTuple):
    """What training one method left.

    Attributes:
      judged: parameters and state ``[runs, ...]`` that validation chose, or the last.
      start: those before any training.
      step: ``[runs]``, which step they are of.
      score: ``[runs]``, what they scored on fresh validation episodes; NaN without validation.
      seconds: how long it trained.
    """

    judged: Judged
    start: Judged
    step: np.ndarray
    score: np.ndarray
    seconds: float

    def runs(self, config: FewShotOptions) -> list[dict[str, Any]]:
        """What a summary says of each run."""
        return [
            {
                "seed": seed,
                "step": int(step),
                "validation": None if np.isnan(score) else float(score),
            }
            for seed, step, score in zip(config.seeds, self.step, self.score, strict=True)
        ]


def train_method(
    config: FewShotOptions,
    name: str,
    method: FewShotMethod,
    sample: Callable[[Key, Any], Task],
    *,
    devices: Devices,
    arrays: Any,
    path: Path,
    may_differ: Collection[str],
    chance: float,
    validators: tuple[Validate, Validate] | None,
) -> Trained:
    """Trains one method, from where its folder stands.

    Args:
      config: the settings.
      name: of the method.
      method: the method.
      sample: ``sample(key, arrays) -> Task``, what it sees in a step.
      devices: those of the run.
      arrays: what ``sample`` is given, replicated.
      path: the method's folder; what stands there of the same settings is gone on from.
      may_differ: settings that may change on resuming.
      chance: accuracy of a guess.
      validators: one that runs along the way, and one of fresh episodes that decides between the
        parameters which scored best in it and the last ones, since the best of many noisy
        validations is partly luck. ``None`` takes the last.

    Returns:
      What was trained.
    """
    optimiser = episodic.make_optimiser(config)

    def init(key: Key) -> tuple[PyTree, PyTree]:
        params, state = method.init(key)
        return method.learner.init(params), state

    start = init_train_state(init, optimiser, seeds=config.seeds)
    step = episodic.make_outer_step(
        config, method.learner, optimiser, sample, devices, vmapped=False, keep_state=True
    )
    steady = config.outer_schedule == "constant"
    with open_run_folder(
        path, {**vars(config), "method": name}, resume=(path / "config.json").exists(),
        may_differ=(*may_differ, *(["steps"] if steady else [])),
    ) as folder:  # fmt: skip
        fitted = fit(
            step,
            start,
            arrays,
            folder=folder,
            schedule=Schedule(
                steps=config.steps,
                steps_per_dispatch=min(25, config.validate_every, config.checkpoint_every),
                validate_every=config.validate_every,
                checkpoint_every=config.checkpoint_every,
            ),
            seeds=config.seeds,
            tasks_per_step=config.tasks,
            devices=devices,
            runs_in_turn=True,
            validate=validators[0] if validators else None,
        )
        last = fitted.train_state
        if validators:
            fresh = validators[1]
            rechecked = last.best._replace(score=fresh(last.best)["accuracy"])
            best = remember_best(last._replace(best=rechecked), fresh(last)["accuracy"]).best
            chosen, at, score = Judged(best.params, best.state), best.step, best.score
        else:
            chosen, at = Judged(last.params, last.state), last.step
            score = np.full(config.runs, np.nan)
        trained = Trained(
            chosen, Judged(start.params, start.state), np.asarray(at), np.asarray(score),
            fitted.seconds,
        )  # fmt: skip
        if jax.process_index() == 0:
            learning_curve(
                path / "metrics.jsonl", path / "learning_curve.png", title=name, chance=chance
            )
        summary = {
            "config": config,
            "runs": trained.runs(config),
            "versions": versions(),
            "hardware": hardware(devices),
            "seconds": fitted.seconds,
        }
        write_summary(folder, summary)
    return trained
