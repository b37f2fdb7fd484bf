"""The benchmark runs, its peers compute the same, and its arithmetic is right. No test of speed."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest


@pytest.mark.slow
def test_jaxfer_and_the_textbook_run_beside_each_other(benchmark_module, tmp_path, capfd):
    maml = benchmark_module("maml")
    out = tmp_path / "new" / "maml.json"
    options = ["--smoke", "--threads", "1", "--peers", "textbook_jax", "--out", str(out)]
    assert maml.main(options) == 0
    peers = json.loads(out.read_text())["rows"]["smoke"]["peers"]
    assert list(peers) == ["jaxfer_maml", "textbook_jax"]
    assert peers["textbook_jax"]["gradient_error"] < 1e-4
    for found in peers.values():
        assert found["first_seconds"] > found["median"] > 0
        assert found["memory"]["building"] > 0
        assert len(found["seconds"]) == 2
    assert out.with_suffix(".png").stat().st_size > 0
    printed = capfd.readouterr().out
    assert "the fastest other takes" in printed
    assert "JAX, vmap and lax.conv" in printed


@pytest.mark.slow
def test_torch_computes_what_the_textbook_does(benchmark_module):
    pytest.importorskip("torch")
    problem_module = benchmark_module("problem")
    row = problem_module.Row(way=3, shot=1, queries=2, tasks=2, inner_steps=2, width=4)
    rng = np.random.default_rng(0)
    labels = [np.tile(np.repeat(np.arange(3), n), (2, 1)) for n in (1, 2)]
    images = [rng.random((*y.shape, 28, 28, 1), np.float32) for y in labels]
    episodes = problem_module.Episodes(images[0], labels[0], images[1], labels[1])
    problem = problem_module.Problem(row, problem_module.initial_weights(row), episodes)

    def first_step(peer):
        state, loss = peer.step(peer.state)
        peer.wait((state, loss))
        return float(loss), peer.gradient(state)

    textbook = benchmark_module("peers.textbook_jax").build(problem)["vmap"]()
    expected_loss, expected = first_step(textbook)
    for name in ("torch_func", "torch_loop"):
        module = benchmark_module(f"peers.{name}")
        assert module.start(row, 1) == "cpu"
        for variant, make in module.build(problem).items():
            loss, gradient = first_step(make())
            assert loss == pytest.approx(expected_loss, rel=1e-5), (name, variant)
            error = problem_module.relative_error(gradient, expected)
            assert error < 1e-4, (name, variant)


def test_products_are_counted_through_loops(benchmark_module):
    bare = benchmark_module("peers.bare_products")

    def function(a, b):
        def once(carry, _):
            return carry @ b, jnp.einsum("ik,jk->ij", a, carry)

        return jax.lax.scan(once, a, None, length=3)

    traced = jax.make_jaxpr(jax.jit(function))(jnp.ones((5, 4)), jnp.ones((4, 4)))
    found = {product.size: times for product, times in bare.products(traced.jaxpr)}
    assert found == {(1, 5, 4, 4): 3, (1, 5, 4, 5): 3}


def test_each_repeated_product_needs_the_one_before(benchmark_module):
    bare = benchmark_module("peers.bare_products")
    a, b = np.random.default_rng(0).normal(size=(2, 3, 3)).astype(np.float32)
    expected = a.copy()
    for _ in range(3):
        expected[0, 0] = np.tanh(expected[:, 0] @ b[:, 0])
    found = bare.repeated(jnp.asarray(a), jnp.asarray(b), (((0,), (0,)), ((), ())), 3)
    assert float(found) == pytest.approx(expected[0, 0], abs=1e-6)


def test_turns_are_paired_and_slow_peers_sit_some_out(benchmark_module):
    module = benchmark_module("turns")
    taken = []

    def peer(name, seconds):
        def ask(command, *, steps):
            assert command == "take"
            taken.append((name, steps))
            return seconds

        return ask

    asks = {"jaxfer_maml": peer("jaxfer_maml", 0.1), "slow": peer("slow", 20.0)}
    variants = {"jaxfer_maml": {"a": 0.1}, "slow": {"a": 20.0, "b": 30.0}}
    turns = module.take_turns(asks, variants, 6)
    assert turns["jaxfer_maml"] == [0.1] * 6
    assert turns["slow"] == [20.0, None, 20.0, None, 20.0, None]
    assert taken[:3] == [("jaxfer_maml", 5), ("slow", 1), ("jaxfer_maml", 5)]
    summary = module.summarise([4.0, None, 9.0], [2.0, 100.0, 3.0])
    assert (summary["median"], summary["ratio"]) == (6.5, 2.5)


def test_a_peer_that_computes_something_else_is_no_result(benchmark_module):
    side_by_side, worker = benchmark_module("side_by_side"), benchmark_module("worker")
    expected = worker.Built({}, 0.0, 1.0, {"w": np.ones(4)}, {})
    near = expected._replace(loss=1.0001, gradient={"w": np.full(4, 1.0001)})
    errors = side_by_side.compare(near, expected, 1e-3)
    assert errors["gradient_error"] == pytest.approx(1e-4)
    for wrong in (
        expected._replace(loss=1.01),
        expected._replace(gradient={"w": np.array([1.0, 1.0, 1.0, 1.01])}),
        expected._replace(loss=float("nan")),
    ):
        with pytest.raises(worker.PeerError, match="does not compute what jaxfer does"):
            side_by_side.compare(wrong, expected, 1e-3)


def test_what_goes_wrong_in_a_peer_is_said_here(benchmark_module):
    worker = benchmark_module("worker")
    with worker.worker("no_such_peer", 1) as ask:
        with pytest.raises(worker.PeerError, match="No module named 'peers.no_such_peer'"):
            ask("start")
    with worker.worker("textbook_jax", 1) as ask:
        pass  # killed with the block
    with pytest.raises(worker.PeerError, match="its process ended"):
        ask("start")
