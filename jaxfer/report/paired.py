"""Differences between runs that were tested on the very same episodes."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from jaxfer.evaluation import Interval, paired_difference
from jaxfer.report.run import RunRecord

# Settings that decide which episodes a test draws.
_EPISODES = (
    "way", "shot", "queries", "test_shot", "test_queries", "test_episodes", "test_seed",
    "rotations", "split", "split_seed", "image_size",
)  # fmt: skip


def paired_with_first(runs: Sequence[RunRecord]) -> list[Interval | None]:
    """Pairs each run's test episodes with those of the first run.

    Args:
      runs: what ``read_run`` gave; their folders may hold ``test_accuracies.npz``.

    Returns:
      For each run but the first the mean of its accuracies (averaged over seeds) minus the first's
      with its interval over episodes, as fractions; None where the episodes are not the same.

    >>> paired_with_first([])
    []
    """
    return [_difference(run, runs[0]) for run in runs[1:]]


def _difference(run: RunRecord, first: RunRecord) -> Interval | None:
    if any(run.config.get(name) != first.config.get(name) for name in _EPISODES):
        return None
    if run.data.get("checksum") is None or run.data.get("checksum") != first.data.get("checksum"):
        return None
    ours, theirs = _accuracies(run.folder), _accuracies(first.folder)
    if ours is None or theirs is None or ours.shape != theirs.shape:
        return None
    return paired_difference(ours, theirs)


def _accuracies(folder: Path) -> np.ndarray | None:
    """The accuracy of each test episode ``[episodes]``, the mean over a folder's runs."""
    path = Path(folder) / "test_accuracies.npz"
    if not path.exists():
        return None
    with np.load(path) as arrays:
        return arrays["accuracy"].mean(0)
