"""What is timed: a step of fine-tuning MiniLM or ResNet-18, in full, by LoRA or of the head."""

from typing import NamedTuple

import numpy as np


class Row(NamedTuple):
    """The size of a step."""

    network: str  # minilm or resnet18
    tuning: str = "full"  # full, lora (queries and values) or probe (the head, by every step)
    batch: int = 16
    size: int = 128  # tokens of a text, or pixels of a side
    layers: int = 6
    width: int = 384
    heads: int = 12
    hidden: int = 1536
    vocabulary: int = 30522
    widths: tuple[int, ...] = (64, 128, 256, 512)
    blocks: int = 2  # of a stage
    rank: int = 8
    classes: int = 2

    def __str__(self) -> str:
        unit = "tokens" if self.network == "minilm" else "pixels"
        return f"{self.network}, {self.tuning}, batches of {self.batch}, {self.size} {unit}"


RATE = 1e-4
FIRST_MOMENT_DECAY = 0.9  # Adam's: after one step its first moment is a tenth of the gradient
ROWS = {
    "minilm-full": Row("minilm"),
    "minilm-lora": Row("minilm", "lora"),
    "minilm-probe": Row("minilm", "probe"),
    "resnet18-full": Row("resnet18", batch=32, size=64, classes=10),
    "resnet18-probe": Row("resnet18", "probe", batch=32, size=64, classes=10),
}
SMOKE = {
    name: row._replace(
        batch=3, size=10 if row.network == "minilm" else 40, layers=1, width=8, heads=2, hidden=12,
        vocabulary=30, widths=(4, 4, 6, 6), blocks=1, rank=2,
    )
    for name, row in ROWS.items()
}  # fmt: skip


class Problem(NamedTuple):
    """A row with everything that is random.

    Attributes:
      row: the size.
      x: token numbers ``[batch, size]``, or images ``[batch, size, size, 3]``.
      mask: ``[batch, size]``, of the tokens.
      labels: ``[batch]``.
      weights: by name, as jaxfer has them; jaxfer says which.
      trained: names of those that train.
    """

    row: Row
    x: np.ndarray
    mask: np.ndarray | None
    labels: np.ndarray
    weights: dict[str, np.ndarray]
    trained: tuple[str, ...]


def make_problem(row: Row) -> Problem:
    """Texts of several lengths, or images of noise: the time does not depend on them."""
    draw = np.random.default_rng(1)
    labels = draw.integers(0, row.classes, row.batch)
    if row.network == "minilm":
        x = draw.integers(1, row.vocabulary, (row.batch, row.size))
        lengths = draw.integers(row.size // 2, row.size + 1, row.batch)
        return Problem(row, x, np.arange(row.size) < lengths[:, None], labels, {}, ())
    x = draw.normal(size=(row.batch, row.size, row.size, 3)).astype(np.float32)
    return Problem(row, x, None, labels, {}, ())
