import numpy as np
import pytest

from jaxfer.report.compare import compare_runs
from jaxfer.report.paired import paired_with_first
from jaxfer.report.run import RunRecord


def recorded(folder, accuracy, **config):
    folder.mkdir()
    np.savez(folder / "test_accuracies.npz", accuracy=np.asarray(accuracy))
    settings = {"way": 5, "test_seed": 1, **config}
    return RunRecord(folder, settings, {"checksum": "a"}, {}, {}, {}, ())


def test_the_difference_is_paired_by_episode(tmp_path):
    # The episodes differ much among themselves, the methods by exactly 0.1 in each.
    first = recorded(tmp_path / "a", [[0.1, 0.5, 0.9]])
    second = recorded(tmp_path / "b", [[0.1, 0.5, 0.9], [0.3, 0.7, 1.1]])
    (difference,) = paired_with_first([first, second])
    assert difference.mean == pytest.approx(0.1)
    assert difference.ci95 == pytest.approx(0.0, abs=1e-12)
    assert "10.00 ± 0.00" in compare_runs([first, second])


@pytest.mark.parametrize("other", [{"test_seed": 2}, {"way": 20}])
def test_other_episodes_are_not_paired(tmp_path, other):
    first = recorded(tmp_path / "a", [[0.1, 0.5]])
    assert paired_with_first([first, recorded(tmp_path / "b", [[0.1, 0.5]], **other)]) == [None]


def test_a_run_without_its_episodes_is_not_paired(tmp_path):
    first = recorded(tmp_path / "a", [[0.1, 0.5]])
    second = recorded(tmp_path / "b", [[0.1, 0.5]])
    (second.folder / "test_accuracies.npz").unlink()
    assert paired_with_first([first, second]) == [None]
