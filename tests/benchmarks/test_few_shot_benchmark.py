"""The benchmark of few-shot learning runs, and its peers compute the same. No test of speed."""

import json

import pytest


def test_a_step_of_prototypes_is_the_same_in_pytorch(benchmark_module):
    pytest.importorskip("torch")
    module = benchmark_module("few_shot_problem")
    problem = module.make_problem(module.SMOKE["prototypes-20way-5shot"])
    peer = benchmark_module("peers.jaxfer_prototypes").build(problem)["patches"]()
    problem = problem._replace(**peer.info["shared"])
    state, loss = peer.step(peer.state)
    expected = peer.gradient(state)
    for variant, build in benchmark_module("peers.torch_prototypes").build(problem).items():
        other = build()
        state, value = other.step(other.state)
        assert float(value) == pytest.approx(float(loss), rel=1e-4)
        error = benchmark_module("problem").relative_error(other.gradient(state), expected)
        assert error < 1e-3, variant


def test_one_program_and_a_loop_have_the_same_meta_gradient(benchmark_module):
    module = benchmark_module("few_shot_problem")
    problem = module.make_problem(module.SMOKE["online-cpu"])
    results = []
    for name in ("jaxfer_online", "online_scan", "jitted_loop"):
        [build] = benchmark_module(f"peers.{name}").build(problem).values()
        peer = build()
        gradient, loss = peer.step(peer.state)
        results.append((float(loss), peer.gradient(gradient)))
    (loss, expected), *others = results
    for other, found in others:
        assert other == pytest.approx(loss, rel=1e-5)
        assert benchmark_module("problem").relative_error(found, expected) < 1e-5


@pytest.mark.slow
def test_it_runs(benchmark_module, monkeypatch, tmp_path, capfd):
    pytest.importorskip("torch")
    monkeypatch.setattr(benchmark_module("turns"), "TURN", 0.01)
    out = tmp_path / "new" / "few_shot.json"
    flags = ["--smoke", "--repeats", "1", "--threads", "1", "--out", str(out)]
    rows = ["--rows", "prototypes-60way", "online-cpu"]
    assert benchmark_module("few_shot").main([*flags, *rows]) == 0
    rows = json.loads(out.read_text())["rows"]
    assert set(rows["prototypes-60way"]["peers"]) == {"jaxfer_prototypes", "torch_prototypes"}
    assert set(rows["online-cpu"]["peers"]) == {"jaxfer_online", "online_scan", "jitted_loop"}
    for row in rows.values():
        for found in row["peers"].values():
            assert found["first_seconds"] > found["median"] > 0
    assert "the fastest other takes" in capfd.readouterr().out


@pytest.mark.parametrize("flags", [["--repeats", "0"], ["--rows", "none"], ["--threads", "9999"]])
def test_flags_that_cannot_be(benchmark_module, flags, capsys):
    with pytest.raises(SystemExit):
        benchmark_module("few_shot").main(flags)
    assert flags[0].strip("-") in capsys.readouterr().err
