"""The result of the benchmark of MMD as a table and as a picture."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from comparison import MIB, NAMES, disturbance, fastest_other
from mmd_problem import Size

from jaxfer.report import table
from jaxfer.report.style import COLOURS, GREY, picture

WORK = 1.5  # Gram products: arithmetic of value and gradient, the matrix being symmetric
VALUE_ALONE = "scikit_learn"
FEATURES = 256  # of the rows in the picture
HEADER = ("source x target x features", "by", "milliseconds (quartiles)", "x jaxfer",
          "Gram products", "first call s", "peak MiB", "value error", "gradient error")  # fmt: skip


def table_of(rows: Mapping[str, Any], *, against: str, floor: str) -> str:
    """One line for each row and peer, and sentences for each row.

    ``peak`` is what a call needs beyond what the process holds between calls: the gradients, and
    everything on the way to them, but not the samples. Errors are multiples of what is allowed.
    """
    lines: list[tuple[Any, ...]] = []
    sentences = []
    for name, row in in_order(rows).items():
        size, peers = Size(**row["size"]), row["peers"]
        product = peers.get(floor, {}).get("ratio")
        for peer, found in peers.items():
            if "median" not in found:
                lines.append((name, NAMES[peer], *[None] * (len(HEADER) - 2)))
                reason = found.get("left_out") or found["error"]
                sentences.append(f"{name}, {NAMES[peer]}: {reason}.")
                continue
            low, high = found["quartiles"]
            errors = [found.get(f"{what}_error") for what in ("value", "gradient")]
            lines.append(
                (name, NAMES[peer],
                 f"{1e3 * found['median']:.4g} ({1e3 * low:.4g} to {1e3 * high:.4g})",
                 f"{found['ratio']:.2f}",
                 None if product is None else f"{found['ratio'] / product:.2f}",
                 f"{found['first_seconds']:.2f}", f"{peak_bytes(found['memory'], size) / MIB:.1f}",
                 *[None if error is None else f"{error:.2g}" for error in errors])
            )  # fmt: skip
            sentences += disturbance(name, peer, found["memory"]["idle_share"])
        done = {peer: found for peer, found in peers.items() if "median" in found}
        sentences += fastest_other(name, done, leaving_out=(against, floor, VALUE_ALONE))
        sentences += rate(name, size, done, against=against, floor=floor)
    return "\n".join([table(HEADER, lines), "", *sentences])


def in_order(rows: Mapping[str, Any]) -> dict[str, Any]:
    """Samples of equal size first, by features and points."""
    sizes = {name: Size(**row["size"]) for name, row in rows.items()}
    order = sorted(rows, key=lambda name: (sizes[name].n != sizes[name].m, sizes[name][::-1]))
    return {name: rows[name] for name in order}


def peak_bytes(memory: Mapping[str, Any], size: Size) -> int:
    """Beyond the samples; on a GPU of the device's memory."""
    if memory["device"] is None:
        return memory["step"]
    return max(0, memory["device"] - size.input_bytes)


def rate(name: str, size: Size, done: Mapping[str, Any], *, against: str, floor: str) -> list[str]:
    """How fast jaxfer computes, and how much of what a bare product reaches that is."""
    if floor not in done:
        return []
    ratio = done[floor]["ratio"]
    gram = size.gram_flops / 1e9
    return [
        f"{name}: jaxfer takes {1 / ratio:.2f} bare Gram products. For the arithmetic of {WORK} "
        f"that is {WORK * gram / done[against]['median']:.3g} GFLOP/s, {WORK * ratio:.0%} of the "
        f"bare product's {gram / done[floor]['median']:.3g}."
    ]


def picture_of(rows: Mapping[str, Any], out_png: Path, *, against: str, floor: str) -> bool:
    """Time over points, a line for each peer, at its end the ratio to jaxfer; False if no rows."""
    chosen = [
        (size.n, row["peers"])
        for row in rows.values()
        if (size := Size(**row["size"])).n == size.m and size.d == FEATURES
    ]
    chosen.sort(key=lambda pair: pair[0])
    peers = dict.fromkeys(p for _, row in chosen for p, found in row.items() if "median" in found)
    if not peers:
        return False
    colours = iter(COLOURS)
    with picture(out_png, width=7, height=4.2) as figure:
        axes = figure.add_subplot()
        for peer in peers:
            done = [(n, row[peer]) for n, row in chosen if "median" in row.get(peer, {})]
            colour = GREY if peer == floor else next(colours)
            points, times = zip(*[(n, found["median"]) for n, found in done], strict=True)
            style = "s--" if peer == floor else "o-"
            axes.plot(points, times, style, color=colour, label=NAMES[peer], markersize=3,
                      linewidth=2.2 if peer == against else 1.3)  # fmt: skip
            if peer != against:
                ratio = done[-1][1]["ratio"]
                label = f"  {ratio:.0f}x" if ratio >= 10 else f"  {ratio:.2g}x"
                end = (points[-1], times[-1])
                axes.annotate(label, end, va="center", fontsize=7, color=colour)
        axes.set_xscale("log", base=2)
        axes.set_yscale("log")
        axes.set_xticks([n for n, _ in chosen], [str(n) for n, _ in chosen])
        axes.set_xlabel(f"points in each sample, {FEATURES} features")
        axes.set_ylabel("seconds, value and gradient")
        axes.margins(x=0.1)
        axes.set_title("At the end of each line its time as a multiple of jaxfer's")
        figure.legend(loc="outside lower center", ncols=4)
    return True
