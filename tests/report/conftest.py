import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image


@pytest.fixture
def write_run(tmp_path):
    """Writes a run folder as the experiments do, and gives its path."""

    def write(
        name,
        *,
        config=None,
        protocol=None,
        accuracy=0.97,
        runs=(0.97,),
        source="omniglot",
        checksum="abc",
        steps=4,
    ) -> Path:
        folder = tmp_path / name
        folder.mkdir(parents=True)
        config = {"way": 5, "shot": 1} if config is None else config
        rows = [
            {"step": step, "seconds": 0.1 * step, "split": split, "run": run}
            | {
                "loss": 2.0 / step + run,
                "accuracy": accuracy - (0.6 if split == "train" else 0.5) / step,
            }
            for step in range(1, steps + 1)
            for split in ("train", "validation")
            for run in range(len(runs))
        ]
        summary = {
            "test": {"accuracy": accuracy, "ci95": 0.002, "episodes": 600, "runs": list(runs)},
            "data": {"source": source, "origin": "a folder", "checksum": checksum},
            "config": config,
            "seconds": 12.5,
        }
        if protocol is not None:
            summary["test"]["protocol"] = protocol
        (folder / "config.json").write_text(json.dumps(config))
        (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        (folder / "summary.json").write_text(json.dumps(summary))
        return folder

    return write


@pytest.fixture
def colours():
    """Gives the share of a picture's pixels that come close to a colour like ``"#009E73"``."""

    def share(path: Path, colour: str) -> float:
        with Image.open(path) as image:
            pixels = np.asarray(image.convert("RGB"), dtype=float)
        wanted = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)])
        return float((np.abs(pixels - wanted).max(-1) < 12).mean())

    return share
