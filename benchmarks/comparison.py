"""The result of the benchmark of MAML as a table and as a picture, and what others share of it."""

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from jaxfer.report import table
from jaxfer.report.style import COLOURS, GREY, picture

MIB = 2**20
NAMES = {
    "jaxfer_maml": "jaxfer",
    "textbook_jax": "JAX, vmap and lax.conv",
    "torch_func": "PyTorch, torch.func",
    "torch_loop": "PyTorch, loop over tasks",
    "bare_products": "bare matrix products",
    "jaxfer_mmd": "jaxfer",
    "dense_jax": "JAX, dense matrices",
    "torch_eager": "PyTorch, dense matrices",
    "torch_compiled": "PyTorch, torch.compile",
    "tllib_formula": "tllib's formula",
    "scikit_learn": "scikit-learn, value alone",
    "gram_product": "bare Gram product",
    "jaxfer_amazon": "jaxfer",
    "torch_networks": "PyTorch, network after network",
    "torch_strengths": "PyTorch, strengths side by side",
    "torch_span": "PyTorch, jaxfer's algebra",
    "jaxfer_adversarial": "jaxfer",
    "torch_adversarial": "PyTorch, eager",
    "jaxfer_prototypes": "jaxfer",
    "torch_prototypes": "PyTorch, eager",
    "jaxfer_online": "jaxfer, one program, steps as factors",
    "online_scan": "jaxfer, one program, weights written",
    "jitted_loop": "JAX, a loop of jitted steps",
    "jaxfer_finetune": "jaxfer",
    "torch_finetune": "PyTorch, eager",
}
HEADER = ("step of", "by", "written as", "seconds (quartiles)", "x jaxfer", "first step s",
          "peak MiB", "in a step", "building")  # fmt: skip


def table_of(rows: Mapping[str, Any], *, against: str, floor: str) -> str:
    """One line for each row and peer, and a sentence for each row."""
    lines: list[tuple[Any, ...]] = []
    sentences = []
    for name, row in rows.items():
        for peer, found in row["peers"].items():
            if "error" in found:
                lines.append((name, NAMES[peer], *[None] * (len(HEADER) - 2)))
                sentences.append(f"{name}, {NAMES[peer]}: {found['error']}")
                continue
            memory = found["memory"]
            peak = memory["running"] if memory["device"] is None else memory["device"]
            low, high = found["quartiles"]
            lines.append(
                (name, NAMES[peer], next(iter(found["variants"])),
                 f"{found['median']:.4f} ({low:.4f} to {high:.4f})", f"{found['ratio']:.2f}",
                 f"{found['first_seconds']:.1f}", f"{peak / MIB:.0f}",
                 f"{memory['step'] / MIB:.0f}", f"{memory['building'] / MIB:.0f}")
            )  # fmt: skip
            sentences += disturbance(name, peer, memory["idle_share"])
        sentences += summary(name, row["peers"], against=against, floor=floor)
    return "\n".join([table(HEADER, lines), "", *sentences])


def summary(name: str, peers: Mapping[str, Any], *, against: str, floor: str) -> list[str]:
    """The fastest other peer, and the share of the floor."""
    done = {peer: found for peer, found in peers.items() if "ratio" in found}
    sentences = fastest_other(name, done, leaving_out=(against, floor))
    if floor in done:
        share, products = done[floor]["ratio"], done[floor]["products"]
        work = sum(product["megaflop"] for product in products)
        number = round(sum(product["per_task"] for product in products))
        sentences.append(
            f"{name}: {share:.0%} of the step are bare products, "
            f"{number} a task of {work:.0f} megaflop together."
        )
    return sentences


def fastest_other(name: str, done: Mapping[str, Any], *, leaving_out: Collection[str]) -> list[str]:
    """A sentence, if there is another."""
    others = {peer: found["ratio"] for peer, found in done.items() if peer not in leaving_out}
    if not others:
        return []
    best = min(others, key=others.__getitem__)
    return [f"{name}: the fastest other takes {others[best]:.2f} x ({NAMES[best]})."]


def disturbance(name: str, peer: str, idle_share: float) -> list[str]:
    """A complaint about a peer that computed while others had their turn."""
    if idle_share <= 0.02:
        return []
    return [
        f"{name}, {NAMES[peer]}: used {idle_share:.0%} of a core "
        "while others had their turn; the comparison is disturbed."
    ]


def picture_of(rows: Mapping[str, Any], out_png: Path, *, against: str) -> None:
    """Bars: how many times as long as jaxfer each peer takes, on a logarithmic axis."""
    peers = list(dict.fromkeys(p for row in rows.values() for p in row["peers"] if p != against))
    if not peers:
        return
    thickness = 0.8 / len(peers)
    with picture(out_png, width=7, height=1.0 + 0.22 * len(peers) * len(rows)) as figure:
        axes = figure.add_subplot()
        for index, peer in enumerate(peers):
            colour = GREY if peer == "bare_products" else COLOURS[index % len(COLOURS)]
            for place, row in enumerate(rows.values()):
                ratio = row["peers"].get(peer, {}).get("ratio")
                if ratio is None:
                    continue
                height = place + (index - (len(peers) - 1) / 2) * thickness
                label = NAMES[peer] if place == 0 else None
                axes.barh(height, ratio - 1, thickness * 0.9, left=1, color=colour, label=label)
                axes.annotate(f" {ratio:.2g} ", (ratio, height), va="center", fontsize=7,
                              ha="left" if ratio >= 1 else "right")  # fmt: skip
        axes.axvline(1, color="black", linewidth=1)
        axes.set_xscale("log")
        axes.set_xlabel("time of an outer step, as a multiple of jaxfer's")
        axes.set_yticks(range(len(rows)), list(rows))
        axes.grid(visible=False, axis="y")
        axes.invert_yaxis()
        axes.margins(x=0.15)
        figure.legend(loc="outside upper center", ncols=len(peers))
