"""Runs that are to be compared take turns, and every ratio is of two neighbouring ones."""

import statistics
import time
from collections.abc import Sequence
from typing import Any

from worker import Ask

TURN = 0.5  # seconds: shorter steps are repeated within a turn
PATIENCE = 40.0  # seconds that a slow peer's turns may take together, if it has had three
REST = 0.03  # seconds between turns, in which the threads of the last one fall asleep


def take_turns(
    asks: dict[str, Ask], variants: dict[str, dict[str, float]], repeats: int
) -> dict[str, list[float | None]]:
    """Seconds of a step, one number for each round; None where a slow peer sat the round out."""
    due = {}
    steps = {}
    for peer, times in variants.items():
        seconds = min(times.values())
        steps[peer] = max(1, round(TURN / seconds))
        rounds = min(repeats, max(3, int(PATIENCE / (seconds * steps[peer]))))
        due[peer] = {i * repeats // rounds for i in range(rounds)}
    turns: dict[str, list[float | None]] = {peer: [] for peer in asks}
    for number in range(repeats):
        for peer, ask in asks.items():
            if number in due[peer]:
                time.sleep(REST)
                turns[peer].append(ask("take", steps=steps[peer]))
            else:
                turns[peer].append(None)
    return turns


def summarise(own: Sequence[float | None], jaxfers: Sequence[float | None]) -> dict[str, Any]:
    """Median and quartiles of the rounds, and the median of their ratios to jaxfer's rounds."""
    pairs = [(a, b) for a, b in zip(own, jaxfers, strict=True) if a is not None and b is not None]
    seconds = [a for a, _ in pairs]
    return {
        "median": statistics.median(seconds),
        "quartiles": quartiles(seconds),
        "ratio": statistics.median(a / b for a, b in pairs),
        "ratio_quartiles": quartiles([a / b for a, b in pairs]),
    }


def quartiles(values: Sequence[float]) -> tuple[float, float]:
    """The first and the third, between which half of the values lie."""
    if len(values) == 1:
        return values[0], values[0]
    first, _, third = statistics.quantiles(values, n=4, method="inclusive")
    return first, third
