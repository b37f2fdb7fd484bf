"""Memory of jaxfer's outer step: over many steps, and against the number of inner steps.

    python benchmarks/memory.py
    python benchmarks/memory.py --steps 20000 --inner-steps 1 5 10
    python benchmarks/memory.py --smoke                        in seconds: does it run at all?

Over the steps of a real training run (small network; metrics, validation and checkpoints included)
memory must stay where it is. Against the inner steps it grows linearly, and with ``--remat``, which
keeps only the adapted weights of each inner step, it grows by little.
"""

import argparse
import io
import json
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
from peers.jaxfer_maml import outer_step
from problem import NO_EPISODES, Problem, Row, initial_weights
from resident import resident_bytes
from worker import worker

from jaxfer.report import table
from jaxfer.report.style import BLUE, VERMILION, picture
from jaxfer.training.loop import Schedule, fit
from jaxfer.training.progress import Progress
from jaxfer.training.run_folder import open_run_folder, versions
from jaxfer.training.state import TrainState
from jaxfer.typing import Metrics

MIB = 2**20
TRAINING = Row(way=5, shot=1, queries=1, tasks=4, inner_steps=1, width=8)
ADAPTING = Row(way=20, shot=5, queries=1, tasks=2, inner_steps=1)  # activations that are to be seen
SMOKE = Row(way=5, shot=1, queries=1, tasks=2, inner_steps=1, width=8)
SAMPLES = 40  # of the memory of a training run
SETTLED = 0.2  # of the run: before, caches fill


def main(args: Sequence[str] | None = None) -> int:
    """Runs both parts."""
    options = parse(args)
    result: dict[str, Any] = {"versions": versions()}
    result["training"] = training(options.steps)
    print(in_words(result["training"]), flush=True)
    result["adapting"] = adapting(SMOKE if options.smoke else ADAPTING, options.inner_steps)
    print(table_of(result["adapting"]))
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(result, indent=1) + "\n")
    picture_of(result, options.out.with_suffix(".png"))
    print(f"In {options.out} and {options.out.with_suffix('.png')}.")
    return 0


def parse(args: Sequence[str] | None) -> argparse.Namespace:
    """The flags."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--steps", type=int, default=10_000, help="outer steps to train")
    parser.add_argument(
        "--inner-steps", type=int, nargs="+", default=[1, 2, 4, 6, 8, 10], help="to adapt by"
    )
    parser.add_argument("--out", type=Path, default=Path("runs/benchmarks/memory.json"))
    parser.add_argument("--smoke", action="store_true", help="tiny: does everything run?")
    options = parser.parse_args(args)
    if options.smoke:
        options.steps, options.inner_steps = 40, [1, 2]
    if options.steps < SAMPLES or min(options.inner_steps) < 1:
        parser.error(f"--steps must be at least {SAMPLES} and --inner-steps at least 1")
    return options


def training(steps: int) -> dict[str, Any]:
    """Resident memory of this process while it trains, sampled where it would validate."""
    outer = outer_step(TRAINING, initial_weights(TRAINING))
    every = steps // SAMPLES
    samples: list[tuple[int, int]] = []

    def validate(state: TrainState) -> Metrics:
        samples.append((int(state.step[0]), resident_bytes()))
        return {"loss": jnp.zeros(1), "accuracy": jnp.zeros(1)}

    with (
        tempfile.TemporaryDirectory() as out,
        open_run_folder(out, TRAINING._asdict()) as folder,
    ):
        fit(
            outer.step,
            outer.start,
            outer.arrays,
            folder=folder,
            schedule=Schedule(
                steps=steps,
                steps_per_dispatch=min(25, every),
                validate_every=every,
                checkpoint_every=every,
            ),
            seeds=[0],
            tasks_per_step=TRAINING.tasks,
            devices=outer.devices,
            validate=validate,
            progress=Progress(
                steps=steps, start=0, tasks_per_step=TRAINING.tasks, stream=io.StringIO()
            ),
        )
    settled = [sample for sample in samples if sample[0] >= SETTLED * steps]
    at, held = np.array(settled, float).T
    return {
        "size": TRAINING._asdict(),
        "samples": samples,
        "from_step": settled[0][0],
        "growth": settled[-1][1] - settled[0][1],
        "growth_per_1000_steps": 1000 * float(np.polyfit(at, held, 1)[0]),
    }


def adapting(row: Row, inner_steps: Sequence[int]) -> dict[str, Any]:
    """Memory of one step on one core, with and without ``--remat``, each in its own process."""
    found = []
    for remat in (False, True):
        for count in inner_steps:
            size = row._replace(inner_steps=count, remat=remat)
            with worker("jaxfer_maml", threads=1) as ask:
                ask("start", row=size)
                built = ask("build", problem=Problem(size, initial_weights(size), NO_EPISODES))
                seconds = min(ask("take", steps=1) for _ in range(3))
                memory = ask("memory")
            found.append(
                {
                    "inner_steps": count,
                    "remat": remat,
                    "seconds": seconds,
                    "first_seconds": built.first_seconds,
                    "temp_bytes": built.info["temp_bytes"],
                    **memory._asdict(),
                }
            )
            print(f"  {size}{', remat' if remat else ''}: ready", flush=True)
    return {"size": row._asdict(), "found": found}


def in_words(found: dict[str, Any]) -> str:
    """How much a training run grew."""
    last = found["samples"][-1]
    return (
        f"Training from step {found['from_step']} to {last[0]} the process grew by "
        f"{found['growth'] / MIB:+.1f} MiB to {last[1] / MIB:.0f} MiB, "
        f"{found['growth_per_1000_steps'] / MIB:+.2f} MiB for 1000 steps."
    )


def table_of(adapting: dict[str, Any]) -> str:
    """One line for each number of inner steps, with what each inner step adds below."""
    header = ("inner steps", "remat", "compiled step MiB", "resident MiB", "seconds")
    rows = [
        (one["inner_steps"], "yes" if one["remat"] else "no", f"{one['temp_bytes'] / MIB:.1f}",
         f"{one['step'] / MIB:.1f}", f"{one['seconds']:.3f}")
        for one in adapting["found"]
    ]  # fmt: skip
    lines = [table(header, rows), ""]
    for remat in (False, True):
        counts, temps, _ = curves(adapting, remat)
        slope = np.polyfit(counts, temps, 1)[0] if len(counts) > 1 else 0.0
        name = "with" if remat else "without"
        lines.append(f"Each inner step adds {slope:.2f} MiB {name} rematerialisation.")
    return "\n".join(lines)


def curves(adapting: dict[str, Any], remat: bool) -> tuple[list[int], list[float], list[float]]:
    """Inner steps, and in MiB what the compiled step sets aside and what the process took."""
    chosen = [one for one in adapting["found"] if one["remat"] == remat]
    return (
        [one["inner_steps"] for one in chosen],
        [one["temp_bytes"] / MIB for one in chosen],
        [one["step"] / MIB for one in chosen],
    )


def picture_of(result: dict[str, Any], out_png: Path) -> None:
    """Left the memory over a training run, right the memory against the inner steps."""
    with picture(out_png, width=8, height=3) as figure:
        left, right = figure.subplots(1, 2)
        steps, held = zip(*result["training"]["samples"], strict=True)
        left.plot(steps, [bytes_ / MIB for bytes_ in held], color=BLUE)
        left.set(xlabel="outer step", ylabel="resident MiB", title="Training", ylim=(0, None))
        left.margins(y=0.1)
        for remat, colour in ((False, VERMILION), (True, BLUE)):
            counts, temps, resident = curves(result["adapting"], remat)
            name = "with --remat" if remat else "without"
            right.plot(counts, temps, "o-", color=colour, label=f"{name}, compiled")
            right.plot(counts, resident, "x:", color=colour, label=f"{name}, resident")
        right.set(xlabel="inner steps", ylabel="MiB in a step", title="Adapting", ylim=(0, None))
        figure.legend(loc="outside lower center", ncols=4)


if __name__ == "__main__":
    sys.exit(main())
