"""Meta-SGD: the gradients of the initial parameters and of every rate, against finite differences."""

import jax
import numpy as np
import pytest

from jaxfer.adapters import by_path
from jaxfer.meta import meta_sgd

from .references import (
    assert_meta_gradient,
    assert_trees_close,
    descend,
    full_rates,
    make_loss,
    make_params,
    make_task,
    maml_objective,
    to_jax,
)


def varied_rates(params, names=None, seed=3):
    draw = np.random.default_rng(seed).uniform
    return jax.tree.map(
        lambda leaf: leaf * draw(0.2, 1.8, leaf.shape), full_rates(params, 0.2, names)
    )


@pytest.mark.parametrize("steps", [1, 2])
def test_meta_gradient_of_parameters_and_rates(steps, x64):
    learner = meta_sgd(make_loss(), rate=0.2, steps=steps)
    meta = learner.init(make_params())
    assert_trees_close(meta["rates"], full_rates(make_params(), 0.2), rtol=1e-12)
    meta["rates"] = varied_rates(meta["params"])

    def objective(meta, task):
        return maml_objective(meta["params"], [meta["rates"]] * steps, task)

    assert_meta_gradient(learner, meta, objective, make_task())


def test_only_the_adapted_parameters_have_rates(x64):
    learner = meta_sgd(
        make_loss("batch", record=True),
        rate=0.2,
        mask=by_path(("body", "head")),
        query_loss_fn=make_loss("recorded"),
    )
    meta = learner.init(make_params())
    assert meta["rates"]["norm"] == {"scale": None, "bias": None}
    assert meta["rates"]["context"] is None
    varied = varied_rates(meta["params"])
    meta["rates"] |= {name: varied[name] for name in ("body", "head")}
    zero = full_rates(meta["params"], 0.0)

    def objective(meta, task):
        rates = zero | {name: meta["rates"][name] for name in ("body", "head")}
        return maml_objective(meta["params"], [rates], task, "batch", "recorded")

    assert_meta_gradient(learner, meta, objective, make_task(), state={"mean": np.zeros(4)})


def test_rates_may_be_zero_or_negative(x64):
    learner = meta_sgd(make_loss(), rate=0.2)
    params, task = make_params(), make_task()
    rates = {**varied_rates(params), "head": full_rates(params, -0.3)["head"]}
    rates["body"] = full_rates(params, 0.0)["body"]
    adapted = learner.adapt(
        to_jax({"params": params, "rates": rates}), {}, task.support, None
    ).params
    assert_trees_close(adapted, descend(params, task.support, [rates])[-1], rtol=1e-10)
    np.testing.assert_array_equal(adapted["body"]["kernel"], params["body"]["kernel"])


def test_options_are_those_of_adapt():
    learner = meta_sgd(make_loss(), rate=0.2, steps=1, gradient="third")
    with pytest.raises(ValueError, match="gradient must be"):
        learner.adapt(learner.init(make_params()), {}, make_task().support, None)
    with pytest.raises(ValueError, match="chooses no parameter"):
        meta_sgd(make_loss(), rate=0.2, mask=False).init(make_params())
