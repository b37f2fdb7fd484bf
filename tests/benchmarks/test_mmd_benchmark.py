"""The benchmark runs, its peers compute the same, and its own reference is right. No test of speed."""

import argparse
import json

import jax.numpy as jnp
import numpy as np
import pytest

PEERS = ("jaxfer_mmd", "dense_jax", "torch_eager", "tllib_formula", "scikit_learn")


def by_definition(source, target, bandwidth=None):
    """MMD squared pair by pair."""
    points = np.concatenate([source, target]).astype(np.float64)
    weights = np.repeat([1 / len(source), -1 / len(target)], [len(source), len(target)])
    squares = np.sum((points[:, None] - points[None]) ** 2, axis=-1)
    bandwidth = squares.mean() if bandwidth is None else bandwidth
    kernel = sum(np.exp(-squares / (2 * 2.0**power * bandwidth)) for power in range(-3, 2))
    return weights @ kernel @ weights, bandwidth


def test_the_reference_is_the_definition(benchmark_module, monkeypatch):
    problem = benchmark_module("mmd_problem")
    monkeypatch.setattr(problem, "BLOCK", 4)
    size = problem.Size(7, 5, 3)
    source, target = (x.astype(np.float64) for x in problem.samples(size))
    exact = problem.reference(size, 60.0)
    value, bandwidth = by_definition(source, target)
    assert exact.value == pytest.approx(value, rel=1e-12)
    assert sorted(exact.rows) == list(range(12))
    for row, found in zip(exact.rows, exact.gradient, strict=True):
        for feature in range(3):
            step = np.zeros((12, 3))
            step[row, feature] = 1e-5
            up, down = (
                by_definition(source + by * step[:7], target + by * step[7:], bandwidth)[0]
                for by in (1, -1)
            )
            assert found[feature] == pytest.approx((up - down) / 2e-5, abs=1e-9)
    assert problem.reference(size, 0.0).value is None


@pytest.mark.parametrize("peer", PEERS)
def test_a_peer_computes_the_same_number(benchmark_module, peer):
    if peer in ("torch_eager", "tllib_formula"):
        pytest.importorskip("torch")
    problem = benchmark_module("mmd_problem")
    size = problem.Size(33, 20, 5)
    module = benchmark_module(f"peers.{peer}")
    assert module.start(size, 1) == "cpu"
    (make,) = module.build(size).values()
    built = make()
    state, value = built.step(built.state)
    gradient = built.gradient(state)
    errors = problem.errors(size, float(value), gradient, problem.reference(size, 60.0))
    assert errors["value_error"] < 1
    if peer == "scikit_learn":
        assert errors["gradient_error"] is None
    else:
        assert {name: part.shape for name, part in gradient.items()} == {
            "source": (33, 5),
            "target": (20, 5),
        }
        assert errors["gradient_error"] < 1
    again, value_again = built.step(state)
    assert again is None
    assert float(value_again) == pytest.approx(float(value))


def test_it_runs_and_is_shown_again(benchmark_module, monkeypatch, tmp_path, capfd):
    monkeypatch.setattr(benchmark_module("turns"), "TURN", 0.01)
    mmd = benchmark_module("mmd")
    out, png = tmp_path / "new" / "mmd.json", tmp_path / "mmd.png"
    options = ["--rows", "12x12x256", "--repeats", "2", "--threads", "1", "--out", str(out)]
    assert mmd.main([*options, "--peers", "dense_jax,gram_product"]) == 0
    row = json.loads(out.read_text())["rows"]["12x12x256"]
    assert list(row["peers"]) == ["jaxfer_mmd", "dense_jax", "gram_product"]
    assert row["size"] == {"n": 12, "m": 12, "d": 256}
    for peer, found in row["peers"].items():
        assert found["first_seconds"] > found["median"] > 0
        assert len(found["seconds"]) == 2
        if peer != "gram_product":
            assert found["value"] == pytest.approx(row["exact"], rel=1e-4)
            assert max(found["value_error"], found["gradient_error"]) < 1
    printed = capfd.readouterr().out
    assert "the fastest other takes" in printed
    assert "bare Gram products" in printed
    assert mmd.main(["--show", str(out), "--plot", str(png)]) == 0
    assert capfd.readouterr().out.startswith("source x target x features")
    assert png.stat().st_size > 0


@pytest.mark.slow
def test_the_compiled_peer_computes_the_same_number(benchmark_module, monkeypatch, tmp_path):
    pytest.importorskip("torch")
    monkeypatch.setattr(benchmark_module("turns"), "TURN", 0.01)
    mmd = benchmark_module("mmd")
    out = tmp_path / "mmd.json"
    options = ["--rows", "12x9x5", "--repeats", "1", "--threads", "1", "--out", str(out)]
    assert mmd.main([*options, "--peers", "torch_compiled"]) == 0
    found = json.loads(out.read_text())["rows"]["12x9x5"]["peers"]["torch_compiled"]
    assert max(found["value_error"], found["gradient_error"]) < 1


def test_another_formula_is_no_result(benchmark_module):
    mmd, worker = benchmark_module("mmd"), benchmark_module("worker")
    problem = benchmark_module("mmd_problem")
    size = problem.Size(8, 6, 2)
    exact = problem.reference(size, 60.0)
    pooled = np.zeros((14, 2))
    pooled[exact.rows] = exact.gradient
    gradient = {"source": pooled[:8], "target": pooled[8:]}
    right = worker.Built({}, 0.0, exact.value, gradient, {})
    assert max(mmd.check(size, right, exact).values()) < 1e-9
    unbiased = exact.value - 5 * (1 / 8 + 1 / 6)
    for wrong in (
        right._replace(loss=unbiased),
        right._replace(loss=float("nan")),
        right._replace(gradient={**gradient, "target": -gradient["target"]}),
    ):
        with pytest.raises(worker.PeerError, match="computes something else"):
            mmd.check(size, wrong, exact)
    value_alone = mmd.check(size, right._replace(gradient={}), exact)
    assert value_alone == {"value_error": 0.0, "gradient_error": None}


def test_what_is_too_large_or_too_slow_is_left_out(benchmark_module):
    mmd, size = benchmark_module("mmd"), benchmark_module("mmd_problem").Size
    options = argparse.Namespace(memory=6.0, seconds=60.0)

    def reason(peer, size, before=None):
        return mmd.left_out(peer, size, options, before or {})

    assert reason("tllib_formula", size(256, 256, 256)) is None
    assert reason("tllib_formula", size(1024, 1024, 64)).startswith("does not fit")
    assert reason("dense_jax", size(4096, 4096, 2048)) is None
    assert reason("dense_jax", size(16384, 16384, 64)) == "does not fit: about 19 GiB"
    assert reason("gram_product", size(65536, 65536, 256)) is None
    slow = {"a": {"size": {"n": 1024, "m": 1024, "d": 64}, "peers": {"torch_eager": {"median": 7}}}}
    assert reason("torch_eager", size(2048, 2048, 64), slow) is None
    assert "too long: about 112 s" in reason("torch_eager", size(4096, 4096, 64), slow)
    assert reason("scikit_learn", size(4096, 4096, 64), slow) is None


def test_a_product_by_rows_is_the_product(benchmark_module):
    gram = benchmark_module("peers.gram_product").gram
    points = jnp.asarray(np.random.default_rng(0).normal(size=(8, 3)), jnp.float32)
    whole = points @ points.T
    np.testing.assert_allclose(gram(points, 1)[1], whole, rtol=1e-6)
    corner, last = gram(points, 2)
    np.testing.assert_allclose(last, whole[4:], rtol=1e-6)
    assert corner == last[0, 0]


@pytest.mark.parametrize("flags", [["--rows", "64x64"], ["--peers", "numpy"], ["--repeats", "0"]])
def test_flags_that_cannot_be(benchmark_module, flags, capsys):
    with pytest.raises(SystemExit):
        benchmark_module("mmd").parse(flags)
    assert flags[0].strip("-")[:-1] in capsys.readouterr().err
