"""What a comparison of adaptation methods knows of one method, and its summary in numbers."""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from jaxfer.evaluation import Interval, gap_closed, seed_difference, seed_interval

_ACCURACIES = ("source_only", "last", "picked", "oracle", "target_trained")
_SHARES = (*_ACCURACIES, "domain_accuracy")
_DISTANCES = ("proxy_a_before", "proxy_a_after")


class AdaptationRow(NamedTuple):
    """One method's results on the target, a number for each seed; NaN for a seed that failed.

    Attributes:
      method: its name.
      source_only: ``[seeds]``, accuracy of the network that was trained on the source alone.
      last: ``[seeds]``, at the last step.
      picked: ``[seeds]``, at the validator's pick, which no target label had a part in.
      oracle: ``[seeds]``, the best that any step or setting had, found with the target's labels.
      target_trained: ``[seeds]``, of a network trained with the target's labels.
      kept_source_only: ``[seeds]``, booleans: the guard left nothing, and source-only was kept.
      domain_accuracy: ``[seeds]``, of a classifier of the domains on the picked network's features.
      proxy_a_before, proxy_a_after: ``[seeds]``, proxy A-distances of the features of source-only
        and of the pick.
      validator: the name of what picked.

    >>> row = AdaptationRow("DANN", [0.6, 0.7], [0.8, 0.8], [0.7, 0.8], [0.9, 0.9])
    >>> row.method, row.target_trained
    ('DANN', None)
    """

    method: str
    source_only: ArrayLike
    last: ArrayLike
    picked: ArrayLike
    oracle: ArrayLike
    target_trained: ArrayLike | None = None
    kept_source_only: ArrayLike | None = None
    domain_accuracy: ArrayLike | None = None
    proxy_a_before: ArrayLike | None = None
    proxy_a_after: ArrayLike | None = None
    validator: str = ""


class AdaptationEstimates(NamedTuple):
    """Means over seeds with their 95% intervals, of what an `AdaptationRow` holds.

    Attributes:
      means: by the name of the field, for those that are there; seeds that failed are left out.
      change: of the pick against source-only, over the seeds that have both.
      gap_closed: the share of the gap to training on the target; NaN where there is none.
      seeds: how many there are.
      failed: how many have a number that is not finite.
      kept_source_only: in how many source-only was kept.

    >>> row = AdaptationRow("DANN", [0.6, 0.7], [0.8, 0.8], [0.7, 0.8], [0.9, 0.9])
    >>> estimates(row).change.mean.__round__(3), estimates(row).seeds
    (0.1, 2)
    """

    means: dict[str, Interval]
    change: Interval
    gap_closed: Interval
    seeds: int
    failed: int
    kept_source_only: int

    @property
    def negative_transfer(self) -> bool:
        """Whether the change is below 0, its whole interval."""
        return self.change.mean + self.change.ci95 < 0

    @property
    def positive_transfer(self) -> bool:
        """Whether the change is above 0, its whole interval."""
        return self.change.mean - self.change.ci95 > 0


def estimates(row: AdaptationRow) -> AdaptationEstimates:
    """Checks a row and takes means over its seeds.

    Args:
      row: what is known of a method.

    Returns:
      The `AdaptationEstimates`.

    Raises:
      ValueError: the arrays differ in their seeds, an accuracy is no fraction.

    >>> row = AdaptationRow("DANN", [0.6, 0.7], [0.8, 0.8], [0.5, 0.6], [0.9, 0.9])
    >>> estimates(row).negative_transfer
    True
    """
    arrays = _arrays(row)
    source_only, picked = arrays["source_only"], arrays["picked"]
    both = np.isfinite(source_only) & np.isfinite(picked)
    nothing = Interval(math.nan, math.nan)
    gap = nothing
    if "target_trained" in arrays:
        all_three = both & np.isfinite(arrays["target_trained"])
        if all_three.any():
            parts = (picked, source_only, arrays["target_trained"])
            gap = gap_closed(*(part[all_three] for part in parts))
    kept = row.kept_source_only
    return AdaptationEstimates(
        means={name: _mean(values) for name, values in arrays.items()},
        change=seed_difference(picked[both], source_only[both]) if both.any() else nothing,
        gap_closed=gap,
        seeds=len(picked),
        failed=int((~np.all([np.isfinite(values) for values in arrays.values()], axis=0)).sum()),
        kept_source_only=0 if kept is None else int(np.sum(np.asarray(kept, bool))),
    )


def adaptation_summary(row: AdaptationRow) -> dict[str, Any]:
    """A method's results as they are written to ``summary.json``.

    Args:
      row: what is known of a method.

    Returns:
      For each accuracy its mean, ``ci95`` and the single ``runs``; the ``change`` against
      source-only, the ``gap_closed``; how many seeds there were, failed, and kept source-only; and
      whether there was ``negative_transfer``. None stands for what is not a number.

    Raises:
      ValueError: as `estimates`.

    >>> row = AdaptationRow("DANN", [0.6, 0.7], [0.8, 0.8], [0.5, 0.6], [0.9, 0.9])
    >>> summary = adaptation_summary(row)
    >>> summary["picked"]["runs"], summary["negative_transfer"]
    ([0.5, 0.6], True)
    """
    arrays, found = _arrays(row), estimates(row)
    summary: dict[str, Any] = {"method": row.method, "validator": row.validator}
    for name, interval in found.means.items():
        unit = "distance" if name in _DISTANCES else "accuracy"
        runs = [_number(value) for value in arrays[name].tolist()]
        summary[name] = {
            unit: _number(interval.mean),
            "ci95": _number(interval.ci95),
            "runs": runs,
        }
    for name, interval in (("change", found.change), ("gap_closed", found.gap_closed)):
        summary[name] = {"mean": _number(interval.mean), "ci95": _number(interval.ci95)}
    return summary | {
        "seeds": found.seeds,
        "failed": found.failed,
        "kept_source_only": found.kept_source_only,
        "negative_transfer": found.negative_transfer,
    }


def checked_rows(rows: Sequence[AdaptationRow]) -> list[AdaptationEstimates]:
    """The estimates of all rows.

    Args:
      rows: at least one, of different methods.

    Returns:
      One for each row.

    Raises:
      ValueError: there is none, two have one name, or as `estimates`.

    >>> row = AdaptationRow("DANN", [0.6], [0.8], [0.7], [0.9])
    >>> checked_rows([row])[0].seeds
    1
    """
    if not rows:
        raise ValueError("rows: expected at least one method's results, got none.")
    names = [row.method for row in rows]
    double = sorted({name for name in names if names.count(name) > 1})
    if double:
        raise ValueError(f"rows: each method needs a name of its own; twice: {', '.join(double)}.")
    return [estimates(row) for row in rows]


def _arrays(row: AdaptationRow) -> dict[str, np.ndarray]:
    """The row's numbers that are there, each ``[seeds]``."""
    given = {name: getattr(row, name) for name in (*_SHARES, *_DISTANCES)}
    arrays = {
        name: np.asarray(values, np.float64) for name, values in given.items() if values is not None
    }
    shape = arrays["picked"].shape
    if len(shape) != 1 or not shape[0]:
        raise ValueError(
            f"{row.method}: picked must be [seeds] with at least one; its shape is {shape}."
        )
    kept = {} if row.kept_source_only is None else {"kept_source_only": row.kept_source_only}
    for name, values in (arrays | kept).items():
        if np.shape(values) != shape:
            raise ValueError(
                f"{row.method}: {name} must have one number for each of the {shape[0]} seeds of "
                f"picked; its shape is {np.shape(values)}."
            )
    for name in _SHARES:
        values = arrays.get(name, np.zeros(0))
        if ((values < 0) | (values > 1)).any():
            raise ValueError(
                f"{row.method}: {name} must be fractions from 0 to 1, not per cent; they go from "
                f"{np.nanmin(values):g} to {np.nanmax(values):g}."
            )
    return arrays


def _mean(values: np.ndarray) -> Interval:
    finite = values[np.isfinite(values)]
    return seed_interval(finite) if len(finite) else Interval(math.nan, math.nan)


def _number(value: float) -> float | None:
    return value if math.isfinite(value) else None
