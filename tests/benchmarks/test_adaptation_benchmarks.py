"""The benchmarks of adaptation run, and their peers compute the same. No test of speed."""

import json

import numpy as np
import pytest


def smoke(benchmark_module, monkeypatch, tmp_path, name, *flags):
    monkeypatch.setattr(benchmark_module("turns"), "TURN", 0.01)
    out = tmp_path / "new" / f"{name}.json"
    options = ["--smoke", "--repeats", "1", "--threads", "1", "--out", str(out), *flags]
    code = benchmark_module(name).main(options)
    return code, json.loads(out.read_text())["rows"]


@pytest.mark.slow
def test_reverse_validation_is_the_same_in_pytorch(benchmark_module):
    torch = pytest.importorskip("torch")
    torch.set_num_threads(1)
    module = benchmark_module("amazon_problem")
    problem = module.make_problem(module.SMOKE)
    (make,) = benchmark_module("peers.jaxfer_amazon").build(problem).values()
    peer = make()
    state, loss = peer.step(peer.state)
    expected = peer.gradient(state)
    assert expected["risk"].shape == expected["reverse_risk"].shape == (2, 2)
    assert len(np.unique(expected["risk"])) == 4
    problem = problem._replace(**peer.info["shared"])
    for name in ("torch_networks", "torch_strengths", "torch_span"):
        for variant, build in benchmark_module(f"peers.{name}").build(problem).items():
            other = build()
            state, value = other.step(other.state)
            assert float(value) == pytest.approx(float(loss), rel=1e-5), (name, variant)
            for part, found in other.gradient(state).items():
                np.testing.assert_allclose(found, expected[part], rtol=1e-4, err_msg=variant)


@pytest.mark.slow
@pytest.mark.parametrize("method", ["dann", "cdan", "cdan-random"])
def test_an_adversarial_step_is_the_same_in_pytorch(benchmark_module, method):
    pytest.importorskip("torch")
    module = benchmark_module("adversarial_problem")
    problem = module.make_problem(module.SMOKE[method])
    peer = benchmark_module("peers.jaxfer_adversarial").build(problem)["patches"]()
    problem = problem._replace(**peer.info["shared"])
    state, loss = peer.step(peer.state)
    expected = peer.gradient(state)
    for variant, build in benchmark_module("peers.torch_adversarial").build(problem).items():
        other = build()
        state, value = other.step(other.state)
        assert float(value) == pytest.approx(float(loss), rel=1e-5)
        found = other.gradient(state)
        error = benchmark_module("problem").relative_error(found, expected)
        assert error < 1e-4, variant


@pytest.mark.slow
@pytest.mark.parametrize("name", ["minilm-full", "minilm-lora", "minilm-probe", "resnet18-full"])
def test_a_step_of_fine_tuning_is_the_same_in_pytorch(benchmark_module, name):
    pytest.importorskip("torch")
    module = benchmark_module("finetune_problem")
    problem = module.make_problem(module.SMOKE[name])
    (make,) = benchmark_module("peers.jaxfer_finetune").build(problem).values()
    peer = make()
    problem = problem._replace(**peer.info["shared"])
    state, loss = peer.step(peer.state)
    expected = peer.gradient(state)
    for variant, build in benchmark_module("peers.torch_finetune").build(problem).items():
        other = build()
        state, value = other.step(other.state)
        assert float(value) == pytest.approx(float(loss), rel=1e-5)
        found = other.gradient(state)
        assert found.keys() == expected.keys()
        error = benchmark_module("problem").relative_error(found, expected)
        assert error < 1e-4, variant


@pytest.mark.slow
@pytest.mark.parametrize("name", ["uda_amazon", "adversarial"])
def test_it_runs(benchmark_module, monkeypatch, tmp_path, capfd, name):
    pytest.importorskip("torch")
    flags = {"uda_amazon": ("--peers", "torch_span"), "adversarial": ("--rows", "dann")}[name]
    code, rows = smoke(benchmark_module, monkeypatch, tmp_path, name, *flags)
    assert code == 0
    [row] = rows.values()
    assert len(row["peers"]) == 2
    for found in row["peers"].values():
        assert min(found["first_seconds"], found["median"]) > 0
    compiled = next(iter(row["peers"].values()))  # jaxfer; what is eager is as fast at first
    assert compiled["first_seconds"] > compiled["median"]
    assert "the fastest other takes" in capfd.readouterr().out


@pytest.mark.parametrize("name", ["uda_amazon", "adversarial", "finetune"])
@pytest.mark.parametrize("flags", [["--repeats", "0"], ["--rows", "none"], ["--threads", "9999"]])
def test_flags_that_cannot_be(benchmark_module, name, flags, capsys):
    with pytest.raises(SystemExit):
        benchmark_module(name).main(flags)
    assert flags[0].strip("-") in capsys.readouterr().err
